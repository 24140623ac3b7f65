"""The worker of a process: takes shards of open runs from the ledger, one at a time, until it is told to stop.

A wake-up (a Celery task) only spares it the seconds until it looks into the ledger itself, so a lost message, or a
broker that is down, costs those seconds and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from aroma.errors import AromaError, LedgerError
from aroma.jobs.kinds import work_function
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, worker_name
from aroma.kgstore.work_loop import STOP, CannotDoError
from aroma.observe import logs, tracing

LOOK_SECONDS: Final = 3.0
_ANNOUNCE_SECONDS: Final = 15.0
_SHUN_SECONDS: Final = 60.0
_log = logging.getLogger("aroma.work")


class Hands:
    """The worker of this process.

    Args:
        home: Where runs and vector sets stand.
        ledger: The ledger.
        queues: ``cpu``, ``gpu`` or both.
        device: What it computes on.
    """

    def __init__(self, home: Home, ledger: Ledger, queues: Sequence[str], device: str) -> None:
        self.home, self.ledger, self.queues, self.device = home, ledger, tuple(queues), device
        self.name = worker_name()
        self._busy = threading.Lock()
        self._shunned: dict[str, float] = {}
        self._worked = time.monotonic()

    def work(self, run: str) -> int:
        """Do shards of a run until none can be had now; return how many.

        Nothing is done, and 0 returned, where the process is at work already (it looks for other runs when that is
        done), where the run is over, of another queue, or cannot be done here. What goes wrong is logged and stands
        with the run: a worker ends only when it is told to.
        """
        if not self._busy.acquire(blocking=False):
            return 0
        try:
            with logs.bound(run_id=run, worker=self.name):
                return self._work_said(run)
        finally:
            self._busy.release()

    def _work_said(self, run: str) -> int:
        """Do it; what goes wrong is logged, and stands with the run."""
        try:
            return self._work(run)
        except LedgerError as error:  # a full disk, a database that restarts: look again later
            _log.error("%s", error)
        except AromaError as error:
            self._shun(run, error)
        except Exception as error:  # noqa: BLE001 - a defect of one kind of run must not stop the others
            _log.exception("run %s", run)
            self._shun(run, error)
        return 0

    def look(self) -> int:
        """Work on every open run of this worker's queues, the oldest first; return how many shards were done."""
        try:
            runs = self.ledger.open_runs(self.queues)
        except LedgerError as error:
            _log.error("%s", error)
            return 0
        return sum(self.work(run) for run, _ in runs if not STOP.is_set())

    def serve(self, idle: float | None = None) -> None:
        """Look into the ledger every few seconds until ``STOP`` is set.

        Args:
            idle: Set it after so many seconds in which nothing could be done; None: never.
        """
        while not STOP.is_set():
            is_idle = not self.look() and not self._busy.locked()
            if idle is not None and is_idle and time.monotonic() - self._worked > idle:
                _log.info("nothing to do for %g s: this worker ends", idle)
                STOP.set()
            STOP.wait(LOOK_SECONDS)

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Let ``aroma status`` see this worker while the body runs."""
        ended = threading.Event()

        def announce() -> None:
            while True:
                try:
                    self.ledger.announce(self.name, self.queues, self.device)
                except LedgerError as error:
                    _log.warning("%s", error)
                if ended.wait(_ANNOUNCE_SECONDS):
                    return

        thread = threading.Thread(target=announce, name="announce", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            try:
                self.ledger.leave(self.name)
            except LedgerError as error:
                _log.warning("%s", error)

    def _work(self, run: str) -> int:
        if self._shunned.get(run, 0.0) > time.monotonic():
            return 0
        planned = self.ledger.run(run)
        if not planned.is_open or planned.queue not in self.queues:
            return 0
        facts = {"aroma.run": planned.id, "aroma.worker": self.name, "aroma.device": self.device}
        with tracing.span(f"task {planned.kind}", facts) as span:
            done = work_function(planned.kind)(self.home, self.ledger, planned.id, device=self.device, worker=self.name)
            if span is not None:
                span.set_attribute("aroma.shards", done)
        if done:
            self._worked = time.monotonic()
            _log.info("run %s: %d shards done", planned.id, done)
        return done

    def _shun(self, run: str, error: Exception) -> None:
        """Leave a run alone for a while, and write with it why."""
        _log.error("run %s: %s", run, error)
        self._shunned[run] = time.monotonic() + _SHUN_SECONDS
        if isinstance(error, CannotDoError):
            return  # stands with the run already
        try:
            self.ledger.note(run, f"{self.name}: {error}")
        except LedgerError as problem:
            _log.error("%s", problem)
