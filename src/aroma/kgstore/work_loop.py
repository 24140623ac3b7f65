"""A worker's loop over the shards of a run: claim, keep the lease, do, write down; with a broker or without."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from aroma.errors import AromaError, LedgerError
from aroma.kgstore.ledger import Ledger, Shard, worker_name

_RENEWALS_A_LEASE: Final = 5
_log = logging.getLogger("aroma.work")

Keep = Callable[[], None]
"""Called by what does a shard, between its steps; raises ``LeaseLostError`` when the shard is no longer its own."""
Do = Callable[[Shard, Keep], Mapping[str, Any]]
"""Does one shard and returns its result, JSON values. Done twice, it must give the same result."""


class LeaseLostError(AromaError):
    """The shard was taken over, or its run cancelled, while it was being done."""


class TryAgainError(AromaError):
    """A shard failed for a reason that may pass: another worker, or this one later, can do it."""


class CannotDoError(AromaError):
    """This worker cannot do shards of this run (other weights, no such device); another may."""


class StoppedError(AromaError):
    """This process is to end: its shard goes back to the ledger."""


STOP: Final = threading.Event()
"""Set when this process is to end, by a signal say: no further shard is begun, and the one under way is given back."""


def work(ledger: Ledger, run: str, do: Do, *, worker: str | None = None, most: int | None = None) -> int:
    """Do shards of a run until none can be had now; return how many were done.

    A shard that fails with ``TryAgainError`` or an unforeseen error is tried again, here or elsewhere; any other
    ``AromaError`` fails the run with its message. A shard that was lost is dropped in silence: who has it now does it.
    When ``STOP`` is set or the process is interrupted, the shard under way is given back at once.

    Args:
        ledger: The ledger.
        run: Run id.
        do: See ``Do``.
        worker: This worker's name; made up where not given.
        most: Stop after so many.

    Raises:
        CannotDoError: What does the shards said so; the shard was given back and a note stands with the run.
        LedgerError: The ledger cannot be read or written.
    """
    name, done = worker or worker_name(), 0
    while (most is None or done < most) and not STOP.is_set():
        shard = ledger.claim(run, name)
        if shard is None:
            break
        done += _one(ledger, shard, do)
    return done


def _one(ledger: Ledger, shard: Shard, do: Do) -> bool:
    started = time.monotonic()
    try:
        with _kept(ledger, shard) as keep:
            result = do(shard, keep)
        return ledger.finish(shard, result, round(time.monotonic() - started, 3))
    except LeaseLostError:
        _log.info("lost", extra={"fields": {"run": shard.run, "shard": shard.number}})
    except StoppedError:
        ledger.give_back(shard)
    except CannotDoError as error:
        ledger.give_back(shard)
        ledger.note(shard.run, f"{shard.worker}: {error}")
        raise
    except TryAgainError as error:
        ledger.fail(shard, str(error), again=True)
    except LedgerError:
        raise
    except AromaError as error:
        ledger.fail(shard, str(error), again=False)
    except Exception as error:  # noqa: BLE001 - a defect must not stop the worker; the ledger keeps what it said
        _log.exception("shard failed", extra={"fields": {"run": shard.run, "shard": shard.number}})
        ledger.fail(shard, f"{type(error).__name__}: {error}", again=True)
    except BaseException:  # the process is interrupted
        ledger.give_back(shard)
        raise
    return False


@contextmanager
def _kept(ledger: Ledger, shard: Shard) -> Iterator[Keep]:
    """Renew a shard's lease in a thread while the body runs."""
    lost, ended = threading.Event(), threading.Event()

    def renew() -> None:
        while not ended.wait(ledger.lease_seconds / _RENEWALS_A_LEASE):
            try:
                if not ledger.renew(shard):
                    lost.set()
                    return
            except LedgerError as error:  # a disk that is full for a moment; the lease bears a few of these
                _log.warning("lease not renewed", extra={"fields": {"run": shard.run, "error": str(error)}})

    def keep() -> None:
        if STOP.is_set():
            raise StoppedError(f"run {shard.run}, shard {shard.number}: this worker ends")
        if lost.is_set():
            raise LeaseLostError(f"run {shard.run}, shard {shard.number}: taken over or cancelled")

    thread = threading.Thread(target=renew, name=f"lease-{shard.number}", daemon=True)
    thread.start()
    try:
        yield keep
    finally:
        ended.set()
        thread.join()
