"""Locks between processes, each of which can say who holds it. They end with the process that held them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import filelock

from aroma.errors import LockHeldError


@contextlib.contextmanager
def exclusive(path: Path, purpose: str) -> Iterator[None]:
    """Hold the lock at ``path`` for the body.

    Raises:
        LockHeldError: Another process holds it; the message says which, since when and for what.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise LockHeldError(f"{purpose} is under way: {_holder(path)}; wait for it, or end that process") from error
    holder = path.with_suffix(".holder")
    try:
        holder.write_text(
            json.dumps(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": datetime.now(tz=UTC).isoformat(timespec="seconds"),
                    "command": " ".join(sys.argv),
                }
            )
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def holders(directory: Path) -> list[dict[str, str]]:
    """Return who holds the locks in a directory: name of the lock, process, host, since when, command."""
    found = []
    for file in sorted(directory.glob("*.holder")):
        try:
            said = json.loads(file.read_text())
            row = {key: str(said[key]) for key in ("pid", "host", "since", "command")}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if is_held(file.with_suffix(".lock")):
            found.append({"lock": file.stem, **row})
    return found


def is_held(path: Path) -> bool:
    """Tell whether a process holds the lock at ``path``; a lock file that is not there is held by none."""
    if not path.exists():
        return False
    lock = filelock.FileLock(path, is_singleton=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def _holder(path: Path) -> str:
    try:
        said = json.loads(path.with_suffix(".holder").read_text())
        return f"process {said['pid']} on {said['host']} since {said['since']} ({said['command']})"
    except (OSError, ValueError, KeyError):
        return f"another process holds {path}"
