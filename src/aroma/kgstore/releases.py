"""Releases: staged tables become a named, immutable directory, and one of them is published.

Each step is idempotent and leaves nothing half-made under a final name: tables are written beside and renamed,
publishing is one rename of ``published.json``. A killed process costs a rerun, which starts at the step it lacks.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aroma.errors import ReleaseError
from aroma.kgstore import audit, gates, schema, tables
from aroma.kgstore.diff import carry_since, diff
from aroma.kgstore.home import Home
from aroma.kgstore.projection import PROJECTED
from aroma.kgstore.publications import Publication, append, published, read_publications, write_durably
from aroma.kgstore.tables import ReleaseTables
from aroma.kgstore.views import PRESETS, view_size

if TYPE_CHECKING:  # retrieval finds releases without a database: the driver would take a second of each command
    from aroma.kgstore.engines.base import Engine

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a release directory says of itself.

    Attributes:
        id: Release id.
        schema_version: Of the tables.
        created_at: ISO 8601, UTC; history, no part of the id.
        parent: Release that it was compared with when it was made, or None.
        digests: sha256 by table.
        counts: Rows by table.
        views: Name to id, nodes and edges of each preset view.
        accepted: Gates that were let pass.
        reports: Findings of the importers, by provider.
    """

    id: str
    schema_version: int
    created_at: str
    parent: str | None
    digests: dict[str, str]
    counts: dict[str, int]
    views: dict[str, dict[str, Any]]
    accepted: tuple[str, ...] = ()
    reports: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Staged:
    """Tables as they lie in the staging directory: where, and the digest of each."""

    directory: Path
    digests: dict[str, str]


def now() -> str:
    """Return the present time, ISO 8601, UTC, whole seconds."""
    return datetime.now(tz=UTC).isoformat(timespec="seconds")


def load_manifest(home: Home, release: str) -> Manifest:
    """Read a release's manifest.

    Raises:
        ReleaseError: There is no such release here, or its manifest is damaged.
    """
    path = home.release(release) / "manifest.json"
    try:
        said = json.loads(path.read_text())
    except FileNotFoundError as error:
        here = ", ".join(known_releases(home)) or "none"
        raise ReleaseError(f"release {release} is not in {home.path}; there are: {here}") from error
    except ValueError as error:
        raise ReleaseError(f"{path}: not readable as JSON ({error}); restore it from a backup") from error
    return Manifest(**{**said, "accepted": tuple(said["accepted"])})


def known_releases(home: Home) -> list[str]:
    """Return the ids of all release directories, sorted."""
    return sorted(path.parent.name for path in home.release("x").parent.glob("*/manifest.json"))


def find_release(home: Home, asked: str) -> str:
    """Return the release id for an id, an unambiguous beginning of one, a sequence number, or ``published``.

    Raises:
        ReleaseError: Nothing or more than one release fits.
    """
    publications = read_publications(home)
    if asked == "published" and publications:
        return publications[-1].release
    if asked.isascii() and asked.isdigit():
        by_sequence = {entry.sequence: entry.release for entry in publications}
        if int(asked) in by_sequence:
            return by_sequence[int(asked)]
    known = known_releases(home)
    fitting = [release for release in known if release.startswith(asked)]
    if len(fitting) == 1:
        return fitting[0]
    problem = "is not a release here" if not fitting else f"fits {len(fitting)} releases"
    raise ReleaseError(f"{asked!r} {problem}; there are: {', '.join(known) or 'none'} (see: aroma releases list)")


def load_tables(home: Home, release: str, only: Iterable[str] = tuple(schema.TABLES)) -> ReleaseTables:
    """Read the tables of a release, or some of them.

    Raises:
        ReleaseError: Unknown release, damaged table, or tables of another schema version.
    """
    manifest = load_manifest(home, release)
    if manifest.schema_version != schema.SCHEMA_VERSION:
        raise ReleaseError(
            f"release {release} has tables of schema {manifest.schema_version}, this program reads "
            f"{schema.SCHEMA_VERSION}; build it again from its files"
        )
    return ReleaseTables.read(home.release(release), only)


def check_tables(home: Home, release: str) -> list[str]:
    """Return the tables whose content is no longer what the manifest says (bit rot, a hand in the files)."""
    manifest = load_manifest(home, release)
    found = load_tables(home, release).digests()
    return sorted(name for name, digest in manifest.digests.items() if found.get(name) != digest)


def save_release(
    home: Home,
    new: ReleaseTables,
    *,
    accepted: Iterable[str] = (),
    reports: dict[str, Any] | None = None,
    staged: Staged | None = None,
    progress: Progress = lambda _: None,
) -> str:
    """Write a release directory for ``new``, compared with what is published now; return the release id.

    A release that is already there is left as it is. ``since`` is carried over from the published release.

    Args:
        home: Where the release goes.
        new: Its tables.
        accepted: Gates that were let pass.
        reports: Findings of the importers, by provider.
        staged: The same tables as files, where they were written before: they are taken over, not written again.
        progress: Told each step.
    """
    digests = staged.digests if staged else new.digests()
    release = tables.release_id(digests)
    if (home.release(release) / "manifest.json").exists():
        return release
    current = published(home)
    old = load_tables(home, current.release) if current else None
    sequence = current.sequence + 1 if current else 1
    frames = {**new.frames, "edges": carry_since(new["edges"], old["edges"] if old else None, sequence)}
    whole = ReleaseTables(frames)
    partial = home.release(release).with_name(f".{release}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    progress(f"writing release {release}")
    _write(whole, partial, staged)
    manifest = Manifest(
        release,
        schema.SCHEMA_VERSION,
        now(),
        current.release if current else None,
        digests,
        whole.counts(),
        {name: asdict(view_size(whole, view)) for name, view in PRESETS.items()},
        tuple(sorted(accepted)),
        reports or {},
    )
    changes = diff(current.release, old, release, whole) if current and old else None
    said = audit.make_audit(asdict(manifest), whole, changes)
    write_durably(partial / "audit.json", json.dumps(said, indent=1, ensure_ascii=False, default=str))
    write_durably(partial / "audit.html", audit.render_html(said))
    write_durably(partial / "manifest.json", json.dumps(asdict(manifest), indent=1))
    partial.rename(home.release(release))
    return release


def _write(whole: ReleaseTables, target: Path, staged: Staged | None) -> None:
    """Write the tables, linking those that were staged; edges have got their ``since`` in the meantime."""
    if staged is None:
        whole.write(target)
        return
    target.mkdir(parents=True)
    for name in whole.present:
        if name != "edges":
            os.link(staged.directory / f"{name}.parquet", target / f"{name}.parquet")
    ReleaseTables({"edges": whole["edges"]}).write(target)


def publish(
    home: Home,
    release: str,
    engine: Engine,
    *,
    action: str = "build",
    accepted: Iterable[str] = (),
    note: str = "",
    progress: Progress = lambda _: None,
) -> Publication:
    """Make ``engine`` hold ``release``, then serve it. Does only what is missing.

    Returns:
        The publication that now serves the release; an existing one where it was served already.
    """
    current = published(home)
    if current and current.release == release:
        publication = current
    else:
        publication = Publication(
            current.sequence + 1 if current else 1,
            release,
            current.release if current else None,
            now(),
            action,
            tuple(sorted(accepted)),
            note,
        )
    held = engine.holds()
    if held is None or (held.release, held.sequence, held.state) != (release, publication.sequence, "published"):
        previous = None
        if held is not None and held.release in known_releases(home):
            previous = load_tables(home, held.release, PROJECTED)
        wanted = load_tables(home, release, PROJECTED)
        engine.project(wanted, publication, previous=previous, progress=progress)
    if publication is not current:
        append(home, publication)
    return publication


def roll_back(home: Home, engine: Engine, *, to: str | None = None, note: str = "", progress: Progress) -> Publication:
    """Publish an older release again under the next number.

    Args:
        home: Where the releases are.
        engine: The database to change.
        to: Release (id, beginning, sequence number); None for the one served before the present one.
        note: Why; kept in the publication.
        progress: Told each step.

    Raises:
        ReleaseError: There is nothing to roll back to, or its tables no longer are what their manifest says.
    """
    publications = read_publications(home)
    if to is not None:
        release = find_release(home, to)
    elif publications and publications[-1].parent:
        release = publications[-1].parent
    else:
        raise ReleaseError("there is no earlier release to roll back to (see: aroma releases list)")
    if damaged := check_tables(home, release):
        raise ReleaseError(f"release {release}: table(s) {', '.join(damaged)} changed since it was made; not published")
    return publish(home, release, engine, action="rollback", note=note, progress=progress)


def stage_gates(home: Home, new: ReleaseTables, accepted: Iterable[str]) -> tuple[ReleaseTables, tuple[str, ...]]:
    """Check the gates against the published release and return the tables to release and the gates let pass.

    Raises:
        GateStoppedError: A gate stopped and was not accepted.
    """
    current = published(home)
    old = load_tables(home, current.release) if current else None
    passed = gates.stop_unless_accepted(gates.check_gates(new, old), accepted)
    return (gates.drop_accepted(new, passed) if passed else new), passed
