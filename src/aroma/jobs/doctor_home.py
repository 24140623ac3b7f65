"""What ``aroma doctor`` looks for in a home: layout, release, snapshot, locks, disk, clock, tokens, runs."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from aroma.errors import AromaError, SnapshotError
from aroma.jobs.findings import Finding, broken, good, note, warning
from aroma.kgstore import schema
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import State
from aroma.kgstore.locks import is_held
from aroma.kgstore.publications import published
from aroma.kgstore.releases import load_manifest
from aroma.kgstore.tokens import read_tokens, tokens_file
from aroma.model.embeddings.runs import existing_ledger
from aroma.retrieval.parts import open_part

_LITTLE: Final = 2 * 2**30
_NEXT_TO_NOTHING: Final = 200 * 2**20
_SKEW_SECONDS: Final = 60.0
_LONG_HELD: Final = timedelta(hours=24)
_SOON: Final = timedelta(days=14)


def layout(home: Home) -> Iterator[Finding]:
    """Yield whether this program can read the home at all."""
    if not home.path.is_dir():
        yield note("home", f"there is no home at {home.path}", "aroma build --from DIR")
        return
    if problem := home.layout_problem():
        yield broken("home", problem, "aroma doctor --upgrade" if "--upgrade" in problem else "see the message")
    elif not (home.path / "layout.json").exists():
        yield note("home", f"{home.path} has no layout.json: an older program made it", "aroma doctor --upgrade")
    else:
        yield good("home", f"{home.path}, layout {home.layout()}")


def release(home: Home) -> Iterator[Finding]:
    """Yield whether a release is published and all of it is there."""
    current = published(home)
    if current is None:
        yield note("release", "nothing is published", "aroma build --from DIR")
        return
    manifest = load_manifest(home, current.release)
    if manifest.schema_version != schema.SCHEMA_VERSION:
        found = f"{current.release} has tables of schema {manifest.schema_version}, not {schema.SCHEMA_VERSION}"
        yield broken("release", found, "aroma build --from DIR")
    lost = [name for name in manifest.digests if not (home.release(current.release) / f"{name}.parquet").exists()]
    if lost:
        found = f"{current.release} lacks {', '.join(lost)}"
        yield broken("release", found, "aroma restore BACKUP --home NEW, or aroma releases rollback")
    else:
        age = datetime.now(tz=UTC) - datetime.fromisoformat(current.published_at)
        yield good("release", f"{current.release}, number {current.sequence}, published {age.days} days ago")


def snapshot(home: Home) -> Iterator[Finding]:
    """Yield whether the snapshot of the published release is there and of this program's layout."""
    current = published(home)
    if current is None:
        return
    parts = sorted(path.parent for path in home.snapshot(current.release).glob("*/manifest.json"))
    if not parts:
        found = f"{current.release} has no snapshot: the first question lays it out, and waits for it"
        yield warning("snapshot", found, "aroma doctor --upgrade")
        return
    problems = []
    for part in parts:
        try:
            open_part(part, current.release)
        except SnapshotError as error:
            problems.append(str(error))
    if problems:
        yield warning("snapshot", "; ".join(problems), "aroma doctor --upgrade")
    else:
        yield good("snapshot", f"{len(parts)} parts")


def locks(home: Home) -> Iterator[Finding]:
    """Yield locks that are held for long, and what processes that died left behind."""
    for holder in sorted(home.locks.glob("*.holder")):
        lock = holder.with_suffix(".lock")
        try:
            said = json.loads(holder.read_text())
            who = f"process {said['pid']} on {said['host']} since {said['since']} ({said['command']})"
            since = datetime.fromisoformat(said["since"])
        except (OSError, ValueError, KeyError):
            who, since = "somebody", datetime.now(tz=UTC)
        if not is_held(lock):
            yield note("locks", f"{holder.name} was left by {who}, which ended without tidying", f"rm {holder}")
        elif datetime.now(tz=UTC) - since > _LONG_HELD:
            yield warning("locks", f"{lock.name} is held by {who}", "look at that process; the lock ends with it")
        else:
            yield good("locks", f"{lock.name} is held by {who}")
    if any(home.staging.glob("*")) and not is_held(home.locks / "build.lock"):
        yield note("locks", f"{home.staging} has a build that did not end", "run the same aroma build again")


def disk(home: Home) -> Iterator[Finding]:
    """Yield how much room there is."""
    free = shutil.disk_usage(home.path).free
    found = f"{free / 2**30:.1f} GiB free at {home.path}"
    if free < _NEXT_TO_NOTHING:
        yield broken("disk", found, "aroma releases prune --keep 2, or a larger disk")
    elif free < _LITTLE:
        yield warning("disk", found, "aroma releases prune --keep 2 --disk-budget SIZE")
    else:
        yield good("disk", found)


def clock(home: Home) -> Iterator[Finding]:
    """Yield whether this machine's clock agrees with the file system's and with what was published."""
    with tempfile.NamedTemporaryFile(dir=home.path, prefix=".doctor-") as file:
        skew = Path(file.name).stat().st_mtime - time.time()
    if abs(skew) > _SKEW_SECONDS:
        found = f"the file system's clock is {skew:+.0f} s from this machine's"
        yield warning("clock", found, "set both by NTP: ages and expiry of tokens go by them")
    current = published(home)
    ahead = (datetime.fromisoformat(current.published_at) - datetime.now(tz=UTC)).total_seconds() if current else 0.0
    if ahead > _SKEW_SECONDS:
        found = f"the release was published {ahead:.0f} s in the future: this clock, or that of then, is wrong"
        yield warning("clock", found, "set the clock by NTP (timedatectl)")
    if abs(skew) <= _SKEW_SECONDS and ahead <= _SKEW_SECONDS:
        yield good("clock", "agrees with the file system and the publications")


def tokens(home: Home) -> Iterator[Finding]:
    """Yield tokens that end soon, and whether others can read the file."""
    found, now = read_tokens(home), datetime.now(tz=UTC)
    if not found:
        return
    if tokens_file(home).stat().st_mode & 0o077:
        yield warning("tokens", f"{tokens_file(home)} can be read by others", f"chmod 600 {tokens_file(home)}")
    usable = [token for token in found if token.state(now) == "good"]
    for token in usable:
        if token.expires_at and datetime.fromisoformat(token.expires_at) - now < _SOON:
            what = f"token {token.id} of {token.name} ends {token.expires_at}"
            yield note("tokens", what, f"aroma tokens create NAME --scope {token.scope}")
    yield good("tokens", f"{len(usable)} of {len(found)} are good")


def runs(home: Home) -> Iterator[Finding]:
    """Yield runs that failed, and runs that wait for a worker that is not there."""
    ledger = existing_ledger(home)
    if ledger is None:
        return
    everything, workers = ledger.runs(), ledger.workers()
    for run in everything:
        if run.state is State.FAILED:
            yield warning("runs", f"run {run.id} failed: {run.message}", f"aroma runs resume {run.id}")
        elif run.is_open and not any(run.queue in worker.queues for worker in workers):
            found = f"run {run.id} is open and no worker serves queue {run.queue}"
            yield warning("runs", found, f"aroma worker --queue {run.queue}")
    is_open = sum(run.is_open for run in everything)
    yield good("runs", f"{len(everything)} runs, {is_open} open; {len(workers)} workers")


def checked(area: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield findings; an error that a check meets is a finding as well."""
    try:
        yield from findings
    except (AromaError, OSError) as error:
        yield broken(area, str(error), "see the message")
