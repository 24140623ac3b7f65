"""Retention: what goes by number, age and budget, and what never does."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aroma.cli.app import app
from aroma.errors import LockHeldError, UsageError
from aroma.kgstore import retention
from aroma.kgstore.home import Home
from aroma.kgstore.locks import exclusive
from aroma.kgstore.publications import published, read_publications, write_durably
from aroma.kgstore.releases import known_releases
from aroma.kgstore.retention import Rules, note_open, parse_size, plan_pruning, prune_releases
from tests.support.homes import home_of_tables
from tests.support.random_release import random_release

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with five releases, published 50, 40, 30, 20 and 10 days ago."""
    directory = tmp_path_factory.mktemp("retention") / "home"
    for number in range(5):
        home = home_of_tables(directory, random_release(number))
    rows = json.loads(home.published.read_text())
    for row, days in zip(rows, (50, 40, 30, 20, 10), strict=True):
        row["published_at"] = (NOW - timedelta(days=days)).isoformat()
    write_durably(home.published, json.dumps(rows))
    return home


@pytest.fixture
def home(made: Home, tmp_path: Path) -> Home:
    shutil.copytree(made.path, tmp_path / "home")
    return Home(tmp_path / "home")


def order(home: Home) -> list[str]:
    return [entry.release for entry in read_publications(home)]


def test_only_the_youngest_stay_where_nothing_else_is_said(home: Home):
    releases = order(home)
    plan = prune_releases(home, Rules(keep=2))
    assert plan.gone == tuple(releases[:3])
    assert known_releases(home) == sorted(releases[3:])
    assert not list(home.release("x").parent.glob(".*"))


def test_age_spares_the_young(home: Home):
    plan = plan_pruning(home, Rules(keep=1, older_than=timedelta(days=25)), now=NOW)
    assert plan.gone == tuple(order(home)[:3])
    assert [held.kept for held in plan.releases[3:]] == ["young enough", "published"]


def test_the_budget_takes_the_oldest_first_and_stops(home: Home):
    sizes = [held.bytes for held in plan_pruning(home, Rules()).releases]
    plan = plan_pruning(home, Rules(keep=1, disk_budget=sum(sizes[2:])), now=NOW)
    assert plan.gone == tuple(order(home)[:2])
    assert (plan.over_budget, plan.freed) == (0, sum(sizes[:2]))
    tight = plan_pruning(home, Rules(keep=2, disk_budget=sizes[-1]), now=NOW)
    assert tight.gone == tuple(order(home)[:3])
    assert tight.over_budget == sizes[3]


def test_who_needs_a_release_keeps_it(home: Home):
    first, second = order(home)[:2]
    plan = prune_releases(home, Rules(), [lambda _: {first: "model m1 is served"}, lambda _: {"unknown": "x"}])
    assert known_releases(home) == sorted({first, published(home).release})
    assert plan.releases[0].kept == "model m1 is served"
    assert second in plan.gone


def test_a_keeper_that_fails_stops_the_pruning(home: Home):
    def broken(_: Home) -> dict[str, str]:
        raise UsageError("who knows")

    before = known_releases(home)
    with pytest.raises(UsageError):
        prune_releases(home, Rules(), [broken])
    assert known_releases(home) == before


def test_the_published_release_stays_when_it_is_the_oldest(home: Home):
    rows = json.loads(home.published.read_text())
    rows.append({**rows[0], "sequence": 6, "parent": rows[-1]["release"], "action": "rollback"})
    write_durably(home.published, json.dumps(rows))
    prune_releases(home, Rules(keep=1, disk_budget=0))
    assert known_releases(home) == [rows[0]["release"]]


def test_a_dry_run_changes_nothing(home: Home):
    before = known_releases(home)
    assert len(prune_releases(home, Rules(), dry_run=True).gone) == 4
    assert known_releases(home) == before


@pytest.mark.parametrize("lock", ["build.lock", "backup.lock"])
def test_a_build_or_backup_under_way_stops_it(home: Home, lock: str):
    with exclusive(home.locks / lock, "a test"), pytest.raises(LockHeldError):
        prune_releases(home, Rules())
    assert len(known_releases(home)) == 5


def test_a_release_that_is_open_stays_until_its_engine_ends(home: Home, monkeypatch: pytest.MonkeyPatch):
    first = order(home)[0]
    monkeypatch.setattr(retention, "_owner", lambda _: 4711)
    note_open(home, first)
    assert plan_pruning(home, Rules()).releases[0].kept == "open by aroma releases open"
    monkeypatch.setattr(retention, "_owner", lambda _: 4712)  # the engine ended, another one runs
    assert first in plan_pruning(home, Rules()).gone
    monkeypatch.setattr(retention, "_owner", lambda _: None)
    assert first in prune_releases(home, Rules()).gone
    assert not list((home.locks / "opened").iterdir())


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("12", 12), ("1K", 1024), ("20G", 20 * 2**30), ("1.5T", 3 * 2**39), ("5 MB", 5 * 2**20)],
)
def test_sizes(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "1X", "1,5G", "inf"])
def test_sizes_that_are_none(text: str):
    with pytest.raises(UsageError, match="20G"):
        parse_size(text)


def test_the_command_says_what_stays_and_why(home: Home):
    arguments = ["releases", "prune", "--keep", "2", "--disk-budget", "0", "--home", str(home.path), "--json"]
    said = json.loads(CliRunner().invoke(app, [*arguments, "--dry-run"]).output)
    assert len(said["pruned"]) == 3
    assert len(known_releases(home)) == 5
    done = json.loads(CliRunner().invoke(app, arguments).output)
    assert done == {**said, "dry_run": False}
    assert set(done["kept"].values()) == {"published", "among the 2 youngest"}
    assert done["over_budget"] > 0
    assert len(known_releases(home)) == 2
