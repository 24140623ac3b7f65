"""When a refresh is due: missed times, clocks that jump, two schedules at once, cron texts that are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aroma.errors import UsageError
from aroma.jobs.refresh.options import RefreshOptions
from aroma.jobs.schedule import Schedule, cron_text, read_cron
from aroma.kgstore import ledger as ledger_module
from aroma.kgstore.ledger import Ledger

DAILY = "0 3 * * *"
START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that is set by hand; the ledger goes by it too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        monkeypatch.setattr(ledger_module, "_now", lambda: self.now.isoformat(timespec="milliseconds"))

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def schedule(ledger: Ledger, clock: Clock) -> Schedule:
    return Schedule(ledger, DAILY, RefreshOptions(source="/files"), clock)


def finish(ledger: Ledger, run) -> None:
    shard = ledger.claim(run.id, "w")
    assert shard is not None
    assert ledger.finish(shard, {}, 0.1)
    assert ledger.close(run.id)


def test_a_refresh_is_due_once_a_time(ledger, clock):
    one = schedule(ledger, clock)
    assert one.look() is None
    assert one.seconds_left() == 15 * 3600
    clock.forward(hours=15)
    due = one.look()
    assert due is not None
    assert due.facts["options"]["source"] == "/files"
    assert one.look() is None  # under way
    finish(ledger, due)
    assert one.look() is None
    clock.forward(hours=23, minutes=59)
    assert one.look() is None
    clock.forward(minutes=1)
    assert one.look().id != due.id


def test_times_missed_while_nothing_ran_are_made_up_for_once(ledger, clock):
    schedule(ledger, clock)
    clock.forward(days=4)
    late = schedule(ledger, clock)  # the process was down for four days
    finish(ledger, late.look())
    assert late.look() is None
    clock.forward(hours=1)
    assert schedule(ledger, clock).look() is None


def test_a_restart_before_the_first_time_forgets_nothing(ledger, clock):
    for _ in range(4):
        assert schedule(ledger, clock).look() is None
        clock.forward(hours=4)
    assert schedule(ledger, clock).look() is not None


def test_a_clock_that_jumps_does_no_harm(ledger, clock):
    one = schedule(ledger, clock)
    clock.forward(days=365)
    finish(ledger, one.look())  # ahead: one refresh, not one for each day
    assert one.look() is None
    clock.forward(days=-365)
    assert one.look() is None  # back: none
    assert schedule(ledger, clock).look() is None
    clock.forward(hours=16)
    due = one.look()  # and the next time is the next one of the clock as it is now, not of a year ahead
    assert due is not None
    finish(ledger, due)
    assert one.look() is None
    clock.forward(days=-3)
    assert one.look() is None


def test_two_schedules_plan_one_refresh(ledger, clock, tmp_path):
    one, other = schedule(ledger, clock), schedule(Ledger(tmp_path / "ledger.sqlite"), clock)
    clock.forward(hours=15, seconds=5)
    first = one.look()
    clock.forward(seconds=1)
    assert other.look() is None
    finish(ledger, first)
    assert [one.look(), other.look()] == [None, None]
    assert len([run for run in ledger.runs() if run.kind == "refresh"]) == 1


def test_a_failed_refresh_is_tried_at_the_next_time(ledger, clock):
    one = schedule(ledger, clock)
    clock.forward(hours=15)
    ledger.fail_run(one.look().id, "the disk is full")
    assert one.look() is None
    clock.forward(days=1)
    assert one.look() is not None


@pytest.mark.parametrize("text", ["", "daily", "61 3 * * *", "0 3 * *", "0 3 * * noday"])
def test_cron_texts_that_are_none(text, monkeypatch):
    monkeypatch.delenv("AROMA_REFRESH_CRON", raising=False)
    with pytest.raises(UsageError, match="not understood|--cron"):
        read_cron(cron_text(text))


def test_the_setting(monkeypatch):
    monkeypatch.setenv("AROMA_REFRESH_CRON", "*/5 * * * *")
    assert cron_text() == "*/5 * * * *"
    assert cron_text(DAILY) == DAILY
