"""From a directory of providers' files to a published release: the one way in."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from aroma import errors
from aroma.importers.base import ImportBatch, ImportContext, ImportOptions, ProviderFile
from aroma.importers.discover import Discovery, discover
from aroma.importers.registry import importers
from aroma.kgstore import gates, schema
from aroma.kgstore.assemble import with_content
from aroma.kgstore.curation_release import curate, reported, stamp
from aroma.kgstore.diff import diff
from aroma.kgstore.engines import open_engine
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.locks import exclusive
from aroma.kgstore.outcome_origins import Origin, load_origin, store_with_origin
from aroma.kgstore.publications import published, write_durably
from aroma.kgstore.releases import (
    Progress,
    Staged,
    known_releases,
    load_manifest,
    load_tables,
    publish,
    save_release,
    stage_gates,
)
from aroma.kgstore.resolver import GeneResolver
from aroma.kgstore.tables import ReleaseTables, release_id, tidy

_STAGED = "staged.json"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    Attributes:
        source: Directory with the providers' files.
        pins: ``provider`` or ``provider.kind`` to version.
        accept: Gates to let pass by name.
        options: Choices about importing.
        dry_run: Import and check only; nothing is kept.
        notes: What the audit is to say of a provider's files, by provider: that older ones had to be used, say.
    """

    source: Path
    pins: Mapping[str, str] = field(default_factory=dict)
    accept: tuple[str, ...] = ()
    options: ImportOptions = field(default_factory=ImportOptions)
    dry_run: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build did; ``aroma build --json`` prints it.

    Attributes:
        release: Release id.
        sequence: Of the publication; None after a dry run.
        unchanged: True when the same files were published already and nothing was done.
        seconds: Wall time.
        accepted: Rows by provider.
        rejected: Rows by provider.
        unresolved: Rows by provider whose gene is unknown or ambiguous.
        set_aside: Rows by provider that are well formed and no evidence here.
        views: Name to id, nodes, edges.
        ignored: Files that were not read, with the reason.
        changes: Diff summary against the release published before.
        accepted_gates: Gates that were let pass.
        steps: Seconds by step.
    """

    release: str
    sequence: int | None
    unchanged: bool
    seconds: float
    accepted: dict[str, int]
    rejected: dict[str, int]
    unresolved: dict[str, int]
    set_aside: dict[str, int]
    views: dict[str, dict[str, Any]]
    ignored: dict[str, str]
    changes: list[dict[str, object]]
    accepted_gates: tuple[str, ...]
    steps: dict[str, float]


def build(home: Home, target: GraphTarget, request: BuildRequest, progress: Progress = lambda _: None) -> BuildResult:
    """Build and publish a release; the same files again change nothing.

    Raises:
        InputFileError: A file that is damaged or of another format; nothing was staged.
        GateStoppedError: A gate stopped it; the published release is unchanged.
        LockHeldError: Another build is under way in this home.
        StoreUnavailableError: The database cannot be reached; the staged tables are kept for the next try.
    """
    clock = _Clock()
    discovery = discover(request.source, pins=request.pins)
    key = _build_key(discovery, request.options)
    clock.lap("find files")
    if request.dry_run:
        return _dry_run(home, discovery, request, progress, clock)
    with exclusive(home.locks / "build.lock", "a build"):
        curation = stamp(home)
        known = _known_release(home, key, curation, discovery)
        engine = open_engine(home, target)
        current = published(home)
        if known and current and current.release == known and _known_builds(home).get(_with(key, curation)) == known:
            before = engine.holds()
            publish(home, known, engine, progress=progress)
            unchanged = before is not None and before.release == known and before.state == "published"
            return _result(home, known, key, discovery, clock, unchanged=unchanged)
        if known:  # of the same files: what its providers say is in its tables
            read, staged, reports = load_tables(home, known), None, load_manifest(home, known).reports
        else:
            read, staged, reports = _stage(home, key, discovery, request.options, progress)
        clock.lap("read files")
        made = curate(home, read)
        tables, accepted = stage_gates(home, made.tables, request.accept)
        clock.lap("gates")
        if tables is not read:  # curated, or a gate let pass left rows out: the staged files are not the release
            staged = None
        reports = _noted(reported(reports, made), request.notes)
        release = save_release(home, tables, accepted=accepted, reports=reports, staged=staged, progress=progress)
        del tables, read, made
        _remember(home, _with(key, curation), release)
        shutil.rmtree(home.staging / key, ignore_errors=True)
        clock.lap("write tables")
        publish(home, release, engine, accepted=accepted, progress=progress)
        clock.lap("publish")
        return _result(home, release, key, discovery, clock, unchanged=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """All that the importers read.

    Attributes:
        tables: The release's tables; ``content`` filled, ``since`` not.
        reports: Findings by provider.
        measured: Measured outcomes, which are no part of a release, and where they come from; one entry a provider.
    """

    tables: ReleaseTables
    reports: dict[str, Any]
    measured: list[tuple[pl.DataFrame, Origin]]


def read_all(discovery: Discovery, options: ImportOptions, progress: Progress) -> Reading:
    """Run every importer that has files, in order, and join what they read."""
    parts: dict[str, list[pl.DataFrame]] = {table: [schema.empty(table)] for table in schema.TABLES}
    nodes: dict[str, pl.DataFrame] = {}
    reports: dict[str, Any] = {}
    measured = []
    resolver = GeneResolver(schema.empty("gene_names"), {})
    for name, files in discovery.selected.items():
        importer = importers()[name]
        progress(f"reading {importer.card.title}: {', '.join(f'{file.path.name} ({file.version})' for file in files)}")
        batch = importer.read(files, ImportContext(resolver, options, nodes))
        if batch.outcomes is not None:
            measured.append((batch.outcomes, _origin(batch, files)))
            continue
        _keep(batch, parts)
        if batch.nodes is not None:
            nodes[name] = batch.nodes
        if batch.reports:
            reports[name] = dict(batch.reports)
        if batch.gene_names is not None and batch.gene_names.height:
            resolver = _resolver(parts)
        del batch
    parts["sources"].append(
        _sources({name: files for name, files in discovery.selected.items() if not importers()[name].measures})
    )
    parts["name_conflicts"].append(schema.conform("name_conflicts", resolver.conflicts()))
    nodes.clear()
    statements = tidy("statements", pl.concat(parts.pop("statements")))
    frames = {"statements": statements, "edges": with_content(pl.concat(parts.pop("edges")), statements)}
    for table in schema.TABLES:  # one after the other, so that no table is held twice for long
        frames[table] = tidy(table, frames[table] if table in frames else pl.concat(parts.pop(table)))
    return Reading(ReleaseTables(frames), reports, measured)


def _noted(reports: Mapping[str, Any], notes: Mapping[str, str]) -> dict[str, Any]:
    """Return the findings by provider with what the request has to say of them."""
    said = {name: {"files": text, **reports.get(name, {})} for name, text in notes.items()}
    return {**reports, **said}


def _keep(batch: ImportBatch, parts: dict[str, list[pl.DataFrame]]) -> None:
    """Add a batch's frames to the parts of the tables."""
    parts["import_runs"].append(schema.conform("import_runs", batch.runs))
    for table, frames in parts.items():
        frame = getattr(batch, table, None)
        if frame is not None:
            frames.append(schema.conform(table, frame))


def _origin(batch: ImportBatch, files: tuple[ProviderFile, ...]) -> Origin:
    """Return what is stored beside outcomes: what a release's tables hold of other providers."""
    tables = {
        "import_runs": batch.runs,
        "rejects": batch.rejects,
        "unresolved": batch.unresolved if batch.unresolved is not None else schema.empty("unresolved"),
        "sources": _sources({batch.provider: files}),
    }
    return Origin(tables, {batch.provider: dict(batch.reports)})


def _measured(home: Home, key: str, discovery: Discovery) -> bool:
    """Tell whether the outcomes of this build are stored."""
    wanted = {name for name in discovery.selected if importers()[name].measures}
    return wanted <= set(load_origin(home, key=key).tables["import_runs"]["provider"])


def _resolver(parts: Mapping[str, list[pl.DataFrame]]) -> GeneResolver:
    nodes = pl.concat([frame.select("id", "label", "symbol") for frame in parts["nodes"]])
    return GeneResolver.from_tables(nodes, pl.concat(parts["gene_names"]))


def _sources(selected: Mapping[str, tuple[ProviderFile, ...]]) -> pl.DataFrame:
    rows = []
    for name, files in selected.items():
        card = importers()[name].card
        versions = dict.fromkeys(file.version for file in files)
        rows.append(
            {
                "provider": card.name,
                "title": card.title,
                "version": ", ".join(versions),
                "licence": card.licence,
                "licence_url": card.licence_url,
                "homepage": card.homepage,
                "commercial_use": card.commercial_use,
            }
        )
    return schema.conform("sources", pl.DataFrame(rows))


def _stage(
    home: Home, key: str, discovery: Discovery, options: ImportOptions, progress: Progress
) -> tuple[ReleaseTables, Staged, dict[str, Any]]:
    """Return the tables of this build and their reports: those that an earlier try staged, else read anew."""
    directory = home.staging / key
    done = directory / _STAGED
    if done.exists():
        said = json.loads(done.read_text())
        tables = ReleaseTables.read(directory)
        if tables.digests() == said["digests"] and _measured(home, key, discovery):
            progress("using the tables that an earlier try staged")
            return tables, Staged(directory, said["digests"]), said["reports"]
    for other in home.staging.glob("*"):  # what this or another build left behind half-way
        shutil.rmtree(other, ignore_errors=True)
    reading = read_all(discovery, options, progress)
    for outcomes, origin in reading.measured:
        store_with_origin(home, outcomes, origin, key)
    progress("staging the tables")
    reading.tables.write(directory)
    digests = reading.tables.digests()
    write_durably(done, json.dumps({"digests": digests, "reports": reading.reports}, default=str))
    return reading.tables, Staged(directory, digests), json.loads(json.dumps(reading.reports, default=str))


def _build_key(discovery: Discovery, options: ImportOptions) -> str:
    whole = hashlib.sha256(f"schema {schema.SCHEMA_VERSION} {asdict(options)}\n".encode())
    for name, files in discovery.selected.items():
        whole.update(f"{name} {importers()[name].parser_version}\n".encode())
        for file in sorted(files, key=lambda file: (file.kind, file.path.name)):
            whole.update(f"{file.kind} {file.path.name} {file.version} {file.version_found} {_sha256(file)}\n".encode())
    return whole.hexdigest()[:24]


def _sha256(file: ProviderFile) -> str:
    try:
        with file.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise errors.InputFileError(f"cannot be read ({error.strerror})", file=file.path) from error


def _with(key: str, curation: str) -> str:
    """Return the key of a build with what is curated in its home."""
    return f"{key}+{curation}" if curation else key


def _known_release(home: Home, key: str, curation: str, discovery: Discovery) -> str | None:
    """Return a release that is here and was made of these files: with this curation, else with any."""
    if not _measured(home, key, discovery):  # stored outcomes were removed
        return None
    builds, here = _known_builds(home), known_releases(home)
    wanted = [builds.get(_with(key, curation))]
    wanted += [release for name, release in builds.items() if name.partition("+")[0] == key]
    return next((release for release in wanted if release in here), None)


def _known_builds(home: Home) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(home.builds.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _remember(home: Home, key: str, release: str) -> None:
    write_durably(home.builds, json.dumps({**_known_builds(home), key: release}, indent=1))


def _dry_run(home: Home, discovery: Discovery, request: BuildRequest, progress: Progress, clock: _Clock) -> BuildResult:
    reading = read_all(discovery, request.options, progress)
    tables = curate(home, reading.tables).tables
    clock.lap("read files")
    current = published(home)
    old = load_tables(home, current.release) if current else None
    passed = gates.stop_unless_accepted(gates.check_gates(tables, old), request.accept)
    release = release_id(tables.digests())
    changes = diff(current.release, old, release, tables).summary() if current and old else []
    rows = _rows(tables["import_runs"], Origin.joined(origin for _, origin in reading.measured))
    return BuildResult(
        release,
        None,
        current is not None and current.release == release,
        clock.total(),
        **rows,
        views={},
        ignored=discovery.reasons(),
        changes=changes,
        accepted_gates=passed,
        steps=clock.steps,
    )


def _rows(runs: pl.DataFrame, measured: Origin) -> dict[str, dict[str, int]]:
    runs = pl.concat([runs, measured.tables["import_runs"]], how="diagonal")
    columns = ("accepted", "rejected", "unresolved", "set_aside")
    by_provider = runs.group_by("provider").agg(pl.col(column).sum() for column in columns).sort("provider")
    return {column: dict(by_provider.select("provider", column).iter_rows()) for column in columns}


def _result(home: Home, release: str, key: str, discovery: Discovery, clock: _Clock, *, unchanged: bool) -> BuildResult:
    manifest = load_manifest(home, release)
    said = json.loads((home.release(release) / "audit.json").read_text())
    runs = pl.read_parquet(home.release(release) / "import_runs.parquet")
    current = published(home)
    return BuildResult(
        release,
        current.sequence if current else None,
        unchanged,
        clock.total(),
        **_rows(runs, load_origin(home, key=key)),
        views=manifest.views,
        ignored=discovery.reasons(),
        changes=said["diff"]["summary"] if said["diff"] and not unchanged else [],
        accepted_gates=manifest.accepted,
        steps=clock.steps,
    )


class _Clock:
    """Seconds by step, for the operator and the benchmarks."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.steps: dict[str, float] = {}

    def total(self) -> float:
        """Seconds since the start."""
        return round(time.perf_counter() - self._start, 2)

    def lap(self, step: str) -> None:
        """Note the time since the last lap under ``step``."""
        present = time.perf_counter()
        self.steps[step] = round(present - self._last, 2)
        self._last = present
