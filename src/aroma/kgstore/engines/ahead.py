"""Prepare what comes next while an engine works on what came before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

Item = TypeVar("Item")
_POLL_SECONDS: Final = 0.2


def ahead(items: Iterable[Item], size: int = 2) -> Iterator[Item]:
    """Yield ``items``, up to ``size`` of which a thread makes in advance; its error is raised where it would be."""
    ready: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(size)
    left = threading.Event()

    def put(entry: tuple[Item] | BaseException | None) -> bool:
        while not left.is_set():
            try:
                ready.put(entry, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item,)):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the reader
            put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while (entry := ready.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]
    finally:
        left.set()
