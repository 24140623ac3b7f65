"""Celery beat for refreshes: its loop and signals, a schedule in memory, and the ledger as the only state.

Celery's own scheduler keeps its state in a shelve, which is pickled; this one keeps none.
"""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from typing import Any, Final

from aroma.errors import LedgerError, UsageError
from aroma.jobs.broker import broker_address, make_app, shown_broker, wake
from aroma.jobs.refresh.options import RefreshOptions
from aroma.jobs.refresh.run import refresh_ledger
from aroma.jobs.schedule import Schedule
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, worker_name

LOOK_VARIABLE: Final = "AROMA_SCHEDULE_SECONDS"
_LOOK_SECONDS: Final = 20.0
_QUEUE: Final = "schedule"
_log = logging.getLogger("aroma.schedule")


def serve_schedule(home: Home, cron: str, options: RefreshOptions) -> None:
    """Plan refreshes when they are due and wake workers for them, until the process is told to end.

    Args:
        home: Whose.
        cron: See ``aroma.jobs.schedule.read_cron``.
        options: What a refresh does.

    Raises:
        UsageError: A cron text that is not understood, or Celery is not installed.
        LedgerError: The ledger cannot be opened.
    """
    address = broker_address()
    ledger = refresh_ledger(home)
    schedule = Schedule(ledger, cron, options)
    app = make_app(address or "memory://")
    from celery.beat import Scheduler, Service

    name = worker_name()

    class LedgerScheduler(Scheduler):  # type: ignore[misc]  # Celery has no types
        """Asks the ledger what is due; holds nothing."""

        def tick(self, *_: Any, **__: Any) -> float:
            _look(ledger, schedule, name, address)
            return min(_seconds(), max(schedule.seconds_left(), 1.0))

        def should_sync(self) -> bool:
            return False

        def close(self) -> None:
            """Nothing is held."""

    def end(*_: Any) -> None:
        raise SystemExit

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    _log.info("schedule %r (UTC), home %s, broker %s", cron, home.path, shown_broker(address) if address else "none")
    try:
        Service(app, scheduler_cls=partial(LedgerScheduler, lazy=True)).start()
    finally:
        ledger.leave(name)


def _look(ledger: Ledger, schedule: Schedule, name: str, address: str | None) -> None:
    """Plan what is due; a ledger that cannot be written for a moment is asked again at the next look."""
    try:
        ledger.announce(name, (_QUEUE,), "beat")
        run = schedule.look()
    except LedgerError as error:
        _log.error("%s", error)
        return
    if run is not None and address is not None and (problem := wake(address, run.id, run.queue, 1)):
        _log.warning("%s", problem)


def _seconds() -> float:
    """Return how often is looked.

    Raises:
        UsageError: The setting is no number.
    """
    text = os.environ.get(LOOK_VARIABLE, "")
    try:
        return max(float(text or _LOOK_SECONDS), 0.1)
    except ValueError as error:
        raise UsageError(f"{LOOK_VARIABLE} is {text!r}; give seconds, as 20") from error
