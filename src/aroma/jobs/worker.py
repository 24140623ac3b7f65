"""A worker process: one device, one shard at a time; woken by the broker where there is one, by the ledger anyway."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from typing import Any

from aroma.jobs.broker import TASK, broker_address, make_app, shown_broker
from aroma.jobs.devices import check_device, check_queues
from aroma.jobs.hands import Hands
from aroma.kgstore.home import Home
from aroma.kgstore.work_loop import STOP
from aroma.model.embeddings.runs import embeddings_ledger

_log = logging.getLogger("aroma.work")


def serve_worker(home: Home, queues: str, device: str, idle: float | None = None) -> None:
    """Work until the process is told to end (SIGTERM, SIGINT); the shard under way is given back then.

    Args:
        home: Where runs and vector sets stand.
        queues: ``cpu``, ``gpu`` or ``cpu,gpu``.
        device: ``cpu``, ``cuda``, ``cuda:1``, ….
        idle: End after so many seconds in which nothing could be done; None: never.

    Raises:
        UsageError: A queue or device that is none, a broker's address that is none, or Celery is missing.
        ModelError: The device is not here.
        LedgerError: The ledger cannot be opened.
    """
    named = check_queues(queues)
    check_device(device)
    address = broker_address()
    hands = Hands(home, embeddings_ledger(home), named, device)
    _log.info("worker %s: queues %s, device %s, home %s", hands.name, ",".join(named), device, home.path)
    with hands.announced():
        if address is None:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: STOP.set())
            hands.serve(idle)
        else:
            _serve_with_broker(hands, address, idle)


def _serve_with_broker(hands: Hands, address: str, idle: float | None) -> None:
    """Let Celery have the main thread, and a second one look into the ledger; they share the work by a lock."""
    app = make_app(address)
    from celery import signals

    _quieten_celery()

    def work(run: str) -> int:
        return hands.work(run)

    is_stopping = threading.Event()

    def stop(**_: Any) -> None:
        is_stopping.set()
        STOP.set()

    app.task(name=TASK)(work)
    signals.worker_shutting_down.connect(stop, weak=False)

    def look() -> None:
        hands.serve(idle)
        if not is_stopping.is_set():
            os.kill(os.getpid(), signal.SIGTERM)  # Celery's own way to end

    def end_early(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_early)  # until Celery has put its own there: told before that, this ends as well
    looking = threading.Thread(target=look, name="look", daemon=True)
    looking.start()
    _log.info("broker %s", shown_broker(address))
    try:
        _celery_worker(app, hands).start()
    finally:
        is_stopping.set()
        STOP.set()
        looking.join()


def _celery_worker(app: Any, hands: Hands) -> Any:
    return app.Worker(
        pool="solo",
        concurrency=1,
        queues=list(hands.queues),
        hostname=f"aroma-{hands.name.replace(':', '-')}@%h",
        loglevel="WARNING",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )


def _quieten_celery() -> None:
    """Keep what an operator can use of Celery's log: one line where it shows a traceback, and no advice to coders."""
    from celery.exceptions import CPendingDeprecationWarning, SecurityWarning

    def without_traceback(record: logging.LogRecord) -> bool:
        record.exc_info = record.exc_text = None
        return "CPendingDeprecationWarning" not in record.getMessage()

    for name in ("celery.worker.consumer.consumer", "py.warnings"):
        logging.getLogger(name).addFilter(without_traceback)
    for category in (CPendingDeprecationWarning, SecurityWarning):
        warnings.simplefilter("ignore", category)
