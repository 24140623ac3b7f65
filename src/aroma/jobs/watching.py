"""Watching a run until it ends: with workers, who are woken again where shards stand; or doing it in this process."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

from aroma.errors import LedgerError, ModelError
from aroma.jobs.broker import wake
from aroma.jobs.kinds import done_under_way, work_function
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, Run, State, worker_name
from aroma.kgstore.work_loop import STOP

_STEP_SECONDS: Final = 0.3
_WAKE_SECONDS: Final = 10.0
_LONELY_SECONDS: Final = 10.0
_WINDOW_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        run: As it stands.
        done: Cost done, with what is known of shards under way.
        rate: Cost done a second (residues or tokens; epochs for a training), over the last two minutes; None before
            anything was done.
        left: Seconds until it is done at that rate, or None.
        note: What the user should know now.
    """

    run: Run
    done: int = 0
    rate: float | None = None
    left: float | None = None
    note: str = ""


Show = Callable[[Progress], None]


class Pace:
    """Rate and time left of a run, from what was done while it was watched."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def of(self, done: int, cost: int, now: float) -> tuple[float | None, float | None]:
        """Return cost a second and seconds left, None where nothing can be said yet."""
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > _WINDOW_SECONDS:  # noqa: PLR2004 - a first and a last
            self._seen.popleft()
        (start, before), (end, _) = self._seen[0], self._seen[-1]
        if done <= before or end <= start:
            return None, None
        rate = (done - before) / (end - start)
        return rate, (cost - done) / rate


def watch(home: Home, ledger: Ledger, run: Run, address: str, show: Show) -> Run:
    """Wait until workers have ended a run; wake them again while shards stand that nobody takes.

    Args:
        home: Where.
        ledger: The ledger.
        run: The run.
        address: The broker's.
        show: Told a few times a second how far it is.
    """
    pace, note = Pace(), ""
    woken: float | None = None
    before: tuple[int, tuple[str, ...]] = (-1, ())
    since = time.monotonic()
    while (now_run := ledger.run(run.id)).is_open:
        now, standing = time.monotonic(), (now_run.cost_done, now_run.workers)
        if standing != before:
            before, since = standing, now
        waiting = now_run.shards.get(State.WAITING, 0)
        if woken is None or (waiting and now - max(since, woken) > _WAKE_SECONDS):
            note, woken = wake(address, run.id, run.queue, waiting) or "", now
        is_lonely = not now_run.workers and now - since > _LONELY_SECONDS
        show(_progress(home, now_run, pace, _said(ledger, now_run, note, is_lonely=is_lonely)))
        time.sleep(_STEP_SECONDS)
    show(Progress(now_run, now_run.cost_done))
    return now_run


def do_here(home: Home, ledger: Ledger, run: Run, device: str, show: Show) -> Run:
    """Do a run in this process and watch it; other workers on the ledger may help.

    Raises:
        AromaError: It cannot be done here, or was done and cannot be published.
    """
    failed: list[Exception] = []
    thread = threading.Thread(target=_do, args=(home, ledger, run, device, failed), name="work", daemon=True)
    thread.start()
    pace = Pace()
    try:
        with _interrupts_noted() as interrupted:
            while thread.is_alive():
                now = ledger.run(run.id)
                show(_progress(home, now, pace, now.message))
                thread.join(_STEP_SECONDS)
    except BaseException:
        STOP.set()  # the shard under way goes back to the ledger
        thread.join()
        raise
    if interrupted.is_set():
        raise KeyboardInterrupt
    ended = ledger.run(run.id)
    show(Progress(ended, ended.cost_done))
    if failed and ended.is_open:
        raise failed[0]
    return ended


@contextmanager
def _interrupts_noted() -> Iterator[threading.Event]:
    """Have Ctrl-C stop the work and be looked at between steps; a second one acts at once.

    Raised in the middle of a statement it would leave a transaction of the ledger open, and the shard under way could
    not be given back.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: FrameType | None) -> None:
        noted.set()
        STOP.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def require_done(run: Run) -> Run:
    """Return a run that is done.

    Raises:
        ModelError: It failed or was cancelled.
    """
    if run.state is State.FAILED:
        raise ModelError(f"run {run.id} failed: {run.message}")
    if run.state is State.CANCELLED:
        raise ModelError(f"run {run.id} was cancelled; aroma runs resume {run.id} goes on with it")
    return run


def _progress(home: Home, run: Run, pace: Pace, note: str) -> Progress:
    done = max(run.cost_done, done_under_way(home, run))
    return Progress(run, done, *pace.of(done, run.cost, time.monotonic()), note=note)


def _do(home: Home, ledger: Ledger, run: Run, device: str, failed: list[Exception]) -> None:
    """Work until the run has ended; shards that others hold are waited for, or taken over."""
    name = worker_name()
    try:
        while ledger.run(run.id).is_open and not STOP.is_set():
            if not work_function(run.kind)(home, ledger, run.id, device=device, worker=name):
                STOP.wait(_STEP_SECONDS)
    except Exception as error:  # noqa: BLE001 - shown by the thread that watches
        failed.append(error)


def _said(ledger: Ledger, run: Run, note: str, *, is_lonely: bool) -> str:
    if run.message:
        return run.message
    if is_lonely:
        try:
            if not any(run.queue in worker.queues for worker in ledger.workers()):
                return f"no worker serves queue {run.queue}; start one: aroma worker --queue {run.queue}"
        except LedgerError as error:
            return str(error)
    return note
