"""When the next refresh is due: by a cron text, and by what the ledger knows of those before.

The ledger is the only state, so nothing is pickled and nothing is lost with the process that schedules. A time that was
missed (the process was down, or a refresh took longer than the time between two) is made up for once. Two processes
that schedule plan the same run. A clock that jumps ahead makes one refresh due; one that jumps back makes none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aroma.errors import UsageError
from aroma.jobs.refresh.options import RefreshOptions
from aroma.jobs.refresh.run import KIND as REFRESH
from aroma.kgstore.ledger import Ledger, Run, ShardPlan

if TYPE_CHECKING:
    from celery.schedules import crontab

CRON_VARIABLE: Final = "AROMA_REFRESH_CRON"
BEGUN: Final = "schedule"
_FIELDS: Final = 5
_log = logging.getLogger("aroma.schedule")
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time of the clock, UTC."""
    return datetime.now(tz=UTC)


def cron_text(given: str | None = None) -> str:
    """Return the cron text given, else that of ``AROMA_REFRESH_CRON``.

    Raises:
        UsageError: There is none.
    """
    text = (given or os.environ.get(CRON_VARIABLE, "")).strip()
    if not text:
        raise UsageError(
            f"say when to refresh: --cron '0 3 * * 0' or {CRON_VARIABLE} (minute hour day month weekday, UTC)"
        )
    return text


def read_cron(text: str, clock: Clock = utc_now) -> crontab:
    """Return a cron text, understood; times are UTC.

    Raises:
        UsageError: It is not understood, or Celery is not installed.
    """
    try:
        from celery.schedules import ParseException, crontab
    except ImportError as error:
        raise UsageError("a schedule needs Celery; pip install 'aroma-evidence[jobs]'") from error
    fields = text.split()
    if len(fields) != _FIELDS:
        raise _not_understood(text, f"{len(fields)} fields")
    minute, hour, day, month, weekday = fields
    try:
        return crontab(
            minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday, nowfun=clock
        )
    except (ValueError, ParseException) as error:
        raise _not_understood(text, error) from error


def _not_understood(text: str, why: object) -> UsageError:
    return UsageError(
        f"cron text {text!r} is not understood ({why}); give minute hour day month weekday, as '0 3 * * 0'"
    )


class Schedule:
    """Plans a refresh when one is due.

    Args:
        ledger: The ledger.
        cron: Cron text.
        options: What a refresh does.
        clock: What time it is.
    """

    def __init__(self, ledger: Ledger, cron: str, options: RefreshOptions, clock: Clock = utc_now) -> None:
        self._ledger, self._text, self._options, self._clock = ledger, cron, options, clock
        self._cron = read_cron(cron, clock)
        self._since = clock()
        said = json.dumps(options.to_dict(), sort_keys=True)
        self.name = f"schedule-{hashlib.sha256(f'{cron}|{said}'.encode()).hexdigest()[:12]}"
        run = ledger.plan(self.name, BEGUN, "cpu", {"cron": cron, "options": options.to_dict()}, [])
        ledger.close(run.id)

    def look(self) -> Run | None:
        """Plan a refresh if one is due and return it; None otherwise, and while the last one is under way."""
        runs = [run for run in self._ledger.runs() if run.kind == REFRESH and run.facts.get("schedule") == self.name]
        if any(run.is_open for run in runs):
            return None
        last = self._last(runs)
        if not self._cron.is_due(last)[0]:
            return None
        # Two processes that schedule know the same runs, so they give the next one the same name and plan it once.
        name = f"r{hashlib.sha256(f'{self.name}|{last.isoformat()}|{len(runs)}'.encode()).hexdigest()[:16]}"
        facts = {"options": self._options.to_dict(), "schedule": self.name}
        run = self._ledger.plan(name, REFRESH, "cpu", facts, [ShardPlan({})])
        _log.info("refresh %s is due (last %s)", run.id, last.isoformat())
        return run

    def seconds_left(self) -> float:
        """Return the seconds until the next time of the cron text."""
        return float(self._cron.remaining_estimate(self._clock()).total_seconds())

    def _last(self, runs: list[Run]) -> datetime:
        """Return when a refresh was last due: the latest planned one, else when the schedule began.

        A time in the future is of a clock that was wrong, then or now, and does not count.
        """
        present = self._clock()
        times = [datetime.fromisoformat(run.created_at) for run in runs]
        times.append(datetime.fromisoformat(self._ledger.run(self.name).created_at))
        past = [time for time in times if time <= present]
        return max(past) if past else min(self._since, present)
