"""Curation and releases: what stands goes into every build, and ``apply`` makes a release of it at once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import polars as pl

from aroma.errors import ReleaseError
from aroma.kgstore.curation import Standing, State, replay
from aroma.kgstore.curation_apply import TRIPLE, Curated, curated, ordered, provider_rows
from aroma.kgstore.curation_log import read_log, read_settings
from aroma.kgstore.diff import diff
from aroma.kgstore.home import Home
from aroma.kgstore.locks import exclusive
from aroma.kgstore.publications import published, require_published
from aroma.kgstore.releases import Progress, load_manifest, load_tables, publish, save_release, stage_gates
from aroma.kgstore.tables import ReleaseTables, scan_table

if TYPE_CHECKING:
    from aroma.kgstore.engines.base import Engine

REPORT: Final = "curation"
"""Name under which a release's reports hold the findings of curation."""
_STAMP_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Applied:
    """What ``aroma curate apply`` did.

    Attributes:
        release: Release id that is served now.
        sequence: Of the publication.
        unchanged: True where the served release held just this already.
        seconds: Wall time.
        applied: Ids of the entries in the release.
        waiting: Ids of those that wait for a review.
        findings: What a curator should look at.
        changes: Diff summary against the release served before.
        accepted_gates: Gates that were let pass.
    """

    release: str
    sequence: int
    unchanged: bool
    seconds: float
    applied: list[str]
    waiting: list[str]
    findings: list[dict[str, object]]
    changes: list[dict[str, object]]
    accepted_gates: tuple[str, ...]


def standing(home: Home) -> list[Standing]:
    """Return every assertion and retraction of a home and what became of it, in the order entered.

    Raises:
        CurationLogError: The log was changed by hand, or lines of it are missing.
    """
    return replay(read_log(home), review=read_settings(home).review)


def stamp(home: Home) -> str:
    """Return a hash of all that curation puts into a release of this home; empty where nothing stands."""
    stands = [one for one in standing(home) if one.state is State.IN_FORCE]
    if not stands:
        return ""
    settings = read_settings(home)
    said = [(one.entry.line, one.entry.id, one.reviewed_by) for one in stands]
    text = msgspec.json.encode([said, settings.licence, settings.commercial_use])
    return hashlib.sha256(text).hexdigest()[:_STAMP_DIGITS]


def curate(home: Home, read: ReleaseTables) -> Curated:
    """Apply what stands in a home to tables; curation that is in them already is taken out first."""
    stands = standing(home)
    return curated(provider_rows(read), stands, read_settings(home), _before(home, stands))


def reported(reports: dict[str, Any], made: Curated) -> dict[str, Any]:
    """Return a release's reports with the findings of curation."""
    others = {name: said for name, said in reports.items() if name != REPORT}
    if not (made.findings or made.applied):
        return others
    return {**others, REPORT: {"findings": [finding.as_dict() for finding in made.findings]}}


def apply(home: Home, engine: Engine, accept: Iterable[str] = (), progress: Progress = lambda _: None) -> Applied:
    """Make a release of the published one's provider rows and of what stands now, and publish it.

    Raises:
        ReleaseError: Nothing is published.
        GateStoppedError: A gate stopped it; the published release is unchanged.
        LockHeldError: A build is under way in this home.
    """
    start = time.perf_counter()
    with exclusive(home.locks / "build.lock", "a build"):
        current = require_published(home)
        progress(f"taking the providers' rows of release {current.release}")
        made = curate(home, load_tables(home, current.release))
        tables, accepted = stage_gates(home, made.tables, accept)
        reports = reported(load_manifest(home, current.release).reports, made)
        release = save_release(home, tables, accepted=accepted, reports=reports, progress=progress)
        unchanged = release == current.release
        changes = [] if unchanged else _changes(home, current.release, release)
        made.tables = tables = ReleaseTables({})  # the engine takes memory of its own
        publication = publish(home, release, engine, action="curate", accepted=accepted, progress=progress)
    return Applied(
        release,
        publication.sequence,
        unchanged,
        round(time.perf_counter() - start, 2),
        made.applied,
        [one.entry.id for one in standing(home) if one.state is State.WAITING],
        [finding.as_dict() for finding in made.findings],
        changes,
        accepted,
    )


def _changes(home: Home, old: str, new: str) -> list[dict[str, object]]:
    """Return the diff summary of a release against the one served before: from its audit, where that has it."""
    said = json.loads((home.release(new) / "audit.json").read_text())["diff"]
    if said is not None and said["against"] == old:
        summary: list[dict[str, object]] = said["summary"]
        return summary
    compared = ("nodes", "edges", "sources", "import_runs")
    return diff(old, load_tables(home, old, compared), new, load_tables(home, new, compared)).summary()


def _before(home: Home, stands: Sequence[Standing]) -> pl.DataFrame | None:
    """Return the published edges between the ends of assertions."""
    current = published(home)
    triples = [ordered(*one.entry.edge) for one in stands if one.entry.kind == "assert"]
    if current is None or not triples:
        return None
    if not home.release(current.release).is_dir():
        raise ReleaseError(f"release {current.release} is published but not in {home.path}; restore it from a backup")
    wanted = pl.LazyFrame(triples, schema=dict.fromkeys(TRIPLE, pl.String()), orient="row").unique()
    edges = scan_table(home.release(current.release), "edges").select(*TRIPLE, "provider")
    return edges.join(wanted, on=TRIPLE, how="semi").collect()
