"""Which releases stay: by number, age and disk budget, and never one that something still needs.

Who needs a release says so through a ``Keeper``: a function of the home that gives release ids with the reason. The
published release, and one that ``aroma releases open`` has open, are known here; doors add those of open runs and of
served models.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.locks import exclusive
from aroma.kgstore.publications import published, read_publications, write_durably
from aroma.kgstore.releases import known_releases, load_manifest

Keeper = Callable[[Home], Mapping[str, str]]
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
BUILD_LOCK: Final = "build.lock"
BACKUP_LOCK: Final = "backup.lock"


@dataclass(frozen=True, slots=True)
class Rules:
    """What is to stay.

    Attributes:
        keep: How many of the youngest published releases stay whatever their age and size.
        older_than: Others go when they are older; None for any age.
        disk_budget: Where those that are left take more bytes, the oldest of them go too; None for no budget.
    """

    keep: int = 1
    older_than: timedelta | None = None
    disk_budget: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A release of the home: its bytes (tables, snapshot, embedded copy), when it was last published, and its fate.

    ``kept`` says why it stays; empty for one that goes.
    """

    release: str
    bytes: int
    published_at: str
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a pruning does or would do.

    Attributes:
        releases: Every release, the oldest first.
        over_budget: Bytes by which those that stay exceed the budget.
    """

    releases: tuple[Held, ...]
    over_budget: int = 0
    gone: tuple[str, ...] = field(default=())

    @property
    def freed(self) -> int:
        """Bytes of those that go."""
        return sum(held.bytes for held in self.releases if held.release in self.gone)


def parse_size(text: str) -> int:
    """Return a number of bytes written as ``20G``, ``500M`` or ``1.5T`` (powers of 1024).

    Raises:
        UsageError: It is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise UsageError(f"size {text!r} is not understood; write it as 500M, 20G or 1.5T")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def plan_pruning(home: Home, rules: Rules, keepers: Iterable[Keeper] = (), now: datetime | None = None) -> Pruning:
    """Return what would go and what would stay and why; changes nothing.

    Args:
        home: Whose releases.
        rules: What is to stay.
        keepers: Who else needs releases.
        now: The present time, UTC.

    Raises:
        ReleaseError: The list of publications is damaged.
    """
    moment = now or datetime.now(tz=UTC)
    reasons = _needed(home, keepers)
    ages = _last_published(home)
    # By number, not by time: a clock that jumped must not make an old release young.
    order = sorted(known_releases(home), key=lambda release: (ages[release][1], release))
    youngest = [release for release in reversed(order) if ages[release][1]][: rules.keep]
    for release in youngest:
        reasons.setdefault(release, f"among the {rules.keep} youngest")
    held = [Held(release, _bytes_of(home, release), ages[release][0], reasons.get(release, "")) for release in order]
    gone = [one.release for one in held if not one.kept and _is_older(one, rules, moment)]
    left = sum(one.bytes for one in held if one.release not in gone)
    if rules.disk_budget is not None:
        for one in held:
            if left > rules.disk_budget and not one.kept and one.release not in gone:
                gone.append(one.release)
                left -= one.bytes
    over = max(0, left - rules.disk_budget) if rules.disk_budget is not None else 0
    shown = tuple(
        one if one.kept or one.release in gone else Held(one.release, one.bytes, one.published_at, "young enough")
        for one in held
    )
    return Pruning(shown, over, tuple(gone))


def prune_releases(home: Home, rules: Rules, keepers: Iterable[Keeper] = (), *, dry_run: bool = False) -> Pruning:
    """Delete the releases that need not stay, with their snapshots and embedded copies.

    A release goes out of sight in one rename before its files are deleted, so that a kill leaves none half-deleted.

    Raises:
        LockHeldError: A build or a backup is under way.
        ReleaseError: The list of publications is damaged.
    """
    if dry_run:
        return plan_pruning(home, rules, keepers)
    with ExitStack() as held:
        for lock, purpose in ((BUILD_LOCK, "a build"), (BACKUP_LOCK, "a backup")):
            held.enter_context(exclusive(home.locks / lock, purpose))
        plan = plan_pruning(home, rules, keepers)
        for release in plan.gone:
            _delete(home, release)
        for left in home.release("x").parent.glob(".*.gone"):
            shutil.rmtree(left, ignore_errors=True)
    return plan


def note_open(home: Home, release: str) -> None:
    """Write down that ``aroma releases open`` has a release open, for as long as the embedded engine runs."""
    write_durably(_opened(home, release), json.dumps({"owner": _owner(home)}))


def opened_releases(home: Home) -> dict[str, str]:
    """Return the releases that are open since the embedded engine started, with the reason to keep them."""
    owner, found = _owner(home), {}
    for path in _opened(home, "x").parent.glob("*.json"):
        try:
            same = owner is not None and json.loads(path.read_text())["owner"] == owner
        except (OSError, ValueError, KeyError):
            same = True  # it cannot be told: keeping a release costs disk, deleting it costs a user's work
        if same:
            found[path.stem] = "open by aroma releases open"
    return found


def _needed(home: Home, keepers: Iterable[Keeper]) -> dict[str, str]:
    current = published(home)
    reasons = {current.release: "published"} if current else {}
    for keeper in (opened_releases, *keepers):
        for release, reason in keeper(home).items():
            reasons.setdefault(release, reason)
    return reasons


def _last_published(home: Home) -> dict[str, tuple[str, int]]:
    """Return by release when it was last published and its number then; when it was made, and 0, where it never was."""
    found = {release: (load_manifest(home, release).created_at, 0) for release in known_releases(home)}
    return found | {entry.release: (entry.published_at, entry.sequence) for entry in read_publications(home)}


def _is_older(held: Held, rules: Rules, now: datetime) -> bool:
    if rules.older_than is None:
        return rules.disk_budget is None
    return now - datetime.fromisoformat(held.published_at) > rules.older_than


def _places(home: Home, release: str) -> tuple[Path, ...]:
    return home.release(release), home.snapshot(release), home.embedded(release)


def _bytes_of(home: Home, release: str) -> int:
    """Return the bytes of a release's files; one that has several names counts once."""
    sizes: dict[int, int] = {}
    for place in _places(home, release):
        for path in place.rglob("*"):
            try:
                stat = path.stat()
            except OSError:  # another process has just replaced it
                continue
            if path.is_file():
                sizes[stat.st_ino] = stat.st_size
    return sum(sizes.values())


def _delete(home: Home, release: str) -> None:
    from aroma.kgstore.engines.embedded import EmbeddedEngine

    EmbeddedEngine(home).discard(release)  # a running owner has to close it first
    tables = home.release(release)
    hidden = tables.with_name(f".{release}.gone")
    tables.rename(hidden)
    for directory in (hidden, home.snapshot(release)):
        shutil.rmtree(directory, ignore_errors=True)
    _opened(home, release).unlink(missing_ok=True)


def _opened(home: Home, release: str) -> Path:
    return home.locks / "opened" / f"{release}.json"


def _owner(home: Home) -> int | None:
    from aroma.kgstore.engines.embedded_owner import running_owner

    owner = running_owner(home)
    return owner.pid if owner else None
