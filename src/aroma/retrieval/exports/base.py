"""What every export reads and obeys: one release with its licences, and the contract of a format.

A format is one class with ``name``, ``summary``, ``extra``, ``default_view`` and ``write``; it is found by being listed
in ``aroma.retrieval.exports.registry``. What it reads comes from an ``ExportSource``, which leaves out what the asked
licence forbids and remembers whose data it handed out, so that the card beside the export names their licences.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import polars as pl

from aroma.errors import ReleaseError, UsageError
from aroma.kgstore import schema
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import find_release, load_manifest
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import ReleaseTables, read_table, scan_table
from aroma.kgstore.views import CO_MEMBERSHIP, ViewDefinition, preset, view_edges
from aroma.retrieval.snapshot import View, open_snapshot
from aroma.retrieval.withhold import NOTHING, Withhold

WHOLE: Final = ViewDefinition(name="whole-release", relations=tuple(Relation))
"""Every node and edge of a release, also nodes without an edge: what formats for whole graphs take by default."""
_PAIR: Final = ("subject", "object", "provider")
_PARALLEL: Final = ("statements", "evidence", "references", "qualifiers")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What some formats ask beyond the source; each takes what it needs and leaves the others.

    Attributes:
        outcomes: Measured outcomes (columns of ``kgstore.outcomes.OUTCOMES``), None for none.
        dim: Numbers a gene, for embeddings that are made here.
        encoder: Name of an encoder of texts or sequences; None takes the format's own default.
        seed: Seed of whatever is drawn.
        hops: Size of a neighbourhood.
        k: Most neighbours, paths or similar genes a gene.
        cell_line: The one cell line that is wanted; None takes all.
        withhold: Outcomes that may not be written.
    """

    outcomes: pl.DataFrame | None = None
    dim: int = 64
    encoder: str | None = None
    seed: int = 0
    hops: int = 1
    k: int = 20
    cell_line: str | None = None
    withhold: Withhold = NOTHING


@dataclass(slots=True)
class Ledger:
    """What becomes the export's card.

    Attributes:
        rows: Rows written, by what they are ("nodes", "edges", "genes").
        notes: Sentences for the reader of the card: what was left out or changed, and why.
        providers: Providers whose data was handed to the format.
    """

    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    providers: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class ExportSource:
    """One release, opened for an export.

    Attributes:
        home: Where it is.
        release: Release id.
        definition: The view that is exported; ``WHOLE`` for everything.
        licences: Rows of the release's sources table that are kept (``schema.SOURCES``).
        left_out: Providers left out because their licence forbids the asked use, sorted.
        ledger: What formats say for the card.
    """

    home: Home
    release: str
    definition: ViewDefinition
    licences: pl.DataFrame
    left_out: tuple[str, ...]
    ledger: Ledger = field(default_factory=Ledger, compare=False, repr=False)

    def table(self, name: str, where: pl.Expr | None = None) -> pl.DataFrame:
        """Return a release table (``schema.TABLES``) without the rows of providers that are left out.

        A node that only a left-out provider defines goes; where an edge of another provider ends at it, its id and
        label stay and nothing that was said of it.

        Args:
            name: Name of the table.
            where: Rows wanted; names only the providers of those in the card, and takes less memory.

        Raises:
            ReleaseError: There is no such table, or it is damaged.
        """
        frame = self._read(name, where)
        if "provider" in frame.columns:
            self.ledger.providers.update(frame["provider"].drop_nulls().unique().to_list())
        return frame

    def height(self, name: str) -> int:
        """Return the rows that ``table`` would have, without reading them."""
        return int(self._rows(name).select(pl.len()).collect().item())

    def view(self) -> View:
        """Return the snapshot's view of ``definition``, without the providers that are left out."""
        snapshot = open_snapshot(self.home, self.release)
        definition = self.kept_definition()
        found = snapshot.derive(definition) if self.left_out or self.whole else snapshot.view(definition)
        self.ledger.providers.update(self._view_providers)
        return found

    def nodes(self) -> pl.DataFrame:
        """Return the nodes of ``definition``, columns as in ``schema.NODES``, sorted by id."""
        if self.whole:
            return self.table("nodes")
        edges = self._edges_in_view
        ends = pl.concat([edges["subject"], edges["object"]]).unique()
        return self.table("nodes", pl.col("id").is_in(ends.implode()))

    def edges(self) -> pl.DataFrame:
        """Return the edges of ``definition``, columns as in ``schema.EDGES``, sorted by their key.

        Edges that the view derives (genes of one complex, relation ``SHARES_COMPLEX``) carry the statements of the
        memberships that they follow from.
        """
        frame = self._read("edges", None) if self.whole else self._edges_in_view
        self.ledger.providers.update(frame["provider"].unique().to_list())
        return frame

    def licence_of(self, provider: str) -> dict[str, object] | None:
        """Return a provider's row of the release's sources table, kept or not; None where it has none."""
        rows = read_table(self.home.release(self.release), "sources").filter(pl.col("provider") == provider)
        return rows.row(0, named=True) if rows.height else None

    def count_left_out(self, table: str, provider: str) -> int:
        """Return how many rows of a release table a provider has."""
        rows = scan_table(self.home.release(self.release), table).filter(pl.col("provider") == provider)
        return int(rows.select(pl.len()).collect().item())

    def count(self, what: str, rows: int) -> None:
        """Say for the card how many rows of a kind were written."""
        self.ledger.rows[what] = rows

    def note(self, sentence: str) -> None:
        """Say for the card what was left out or changed, and why."""
        if sentence not in self.ledger.notes:
            self.ledger.notes.append(sentence)

    @property
    def whole(self) -> bool:
        """True where everything is exported, not a view."""
        return self.definition.id == WHOLE.id

    def _read(self, name: str, where: pl.Expr | None) -> pl.DataFrame:
        if where is None and not self.left_out and name in schema.TABLES:
            return read_table(self.home.release(self.release), name)
        rows = self._rows(name)
        return (rows if where is None else rows.filter(where)).collect()

    def _rows(self, name: str) -> pl.LazyFrame:
        if name not in schema.TABLES:
            raise ReleaseError(f"a release has no table {name!r}; there are {', '.join(schema.TABLES)}")
        rows = scan_table(self.home.release(self.release), name)
        if not self.left_out:
            return rows
        if name == "nodes":
            return self._kept_nodes(rows)
        if name == "sequences":
            return rows.filter(pl.col("protein").is_in(self._read("nodes", None)["id"].implode()))
        return rows.filter(self._is_kept()) if "provider" in schema.TABLES[name].columns else rows

    def _is_kept(self) -> pl.Expr:
        return pl.col("provider").is_in(self.left_out).not_().fill_null(value=True)

    def _kept_nodes(self, nodes: pl.LazyFrame) -> pl.LazyFrame:
        named = pl.concat([self._kept_ends["subject"], self._kept_ends["object"]]).unique().implode()
        stays = pl.col("id").is_in(named)
        bare = [
            pl.col(name) if name in {"id", "label"} else _nothing(name, dtype) for name, dtype in schema.NODES.items()
        ]
        emptied = nodes.filter(~self._is_kept() & stays).select(bare)
        return pl.concat([nodes.filter(self._is_kept()).select(*schema.NODES), emptied]).sort("id")

    @cached_property
    def _kept_ends(self) -> pl.DataFrame:
        rows = scan_table(self.home.release(self.release), "edges").filter(self._is_kept())
        return rows.select("subject", "object").collect()

    @cached_property
    def _edges_in_view(self) -> pl.DataFrame:
        definition = self.kept_definition()
        directory = self.home.release(self.release)
        edges = read_table(directory, "edges")
        dated = definition.annotated_until is not None
        frames = {"edges": edges, "statements": read_table(directory, "statements") if dated else pl.DataFrame()}
        found = view_edges(ReleaseTables(frames), definition)
        rows = edges[found["edge"].drop_nulls().unique().sort()]
        if not definition.co_membership:
            return rows
        derived = found.filter(pl.col("relation") == CO_MEMBERSHIP).select(_PAIR)
        return pl.concat([rows, _derived_edges(edges, derived)]).sort(schema.TABLES["edges"].key)

    @cached_property
    def _view_providers(self) -> set[str]:
        if self.whole:
            return set(self.licences["provider"])
        return {*self._edges_in_view["provider"].unique(), *self.nodes()["provider"].drop_nulls().unique()}

    def kept_definition(self) -> ViewDefinition:
        """Return the definition with the left-out providers excluded, which gives it another id."""
        if not self.left_out:
            return self.definition
        wanted = self.definition.providers or self.licences["provider"].to_list()
        kept = tuple(sorted(provider for provider in wanted if provider not in self.left_out))
        return self.definition.model_copy(update={"providers": kept})


class Exporter(Protocol):
    """One format. Classes are made without arguments and import what an extra brings inside ``write``.

    Attributes:
        name: What is typed: ``kgx``.
        summary: One line for ``aroma export --list``.
        extra: The ``pip install`` extra that it needs beyond the core, or None.
        default_view: Name of the preset view that is taken where none is asked for; None takes the whole release.
    """

    name: str
    summary: str
    extra: str | None
    default_view: str | None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write the export and return its files.

        Args:
            source: What to read.
            out: A path that does not exist yet, in a directory that does: either the one file, or a directory that
                the format makes and fills. It is put in its final place, under the same name, by the caller.
            options: What the user asked for.

        Raises:
            UsageError: Something that the format needs was not asked for or does not fit.
        """
        ...


def open_source(
    home: Home, release: str | None = None, *, view: str | ViewDefinition | None = None, commercial_only: bool = False
) -> ExportSource:
    """Open a release for an export.

    Args:
        home: Where it is.
        release: Id, beginning of one, sequence number; None for the published one.
        view: Preset name or definition; None for the whole release.
        commercial_only: Leave out providers whose licence forbids commercial use, and those whose licence is unknown.

    Raises:
        ReleaseError: Nothing is published, there is no such release, or its tables are damaged.
        UsageError: No preset has that name, or the view is a permutation, whose edges nobody asserted.
    """
    found = require_published(home).release if release is None else find_release(home, release)
    load_manifest(home, found)
    definition = WHOLE if view is None else preset(view) if isinstance(view, str) else view
    if definition.permutation_seed is not None:
        raise UsageError(f"view {definition.name} is a permutation: its edges have no source and are not exported")
    sources = read_table(home.release(found), "sources")
    if not commercial_only:
        return ExportSource(home, found, definition, sources, ())
    allowed = sources.filter(pl.col("commercial_use").fill_null(value=False))
    named = {provider for table in ("nodes", "edges") for provider in _providers(home, found, table)}
    left_out = (named | set(sources["provider"])) - set(allowed["provider"])
    return ExportSource(home, found, definition, allowed, tuple(sorted(left_out)))


def _providers(home: Home, release: str, table: str) -> list[str]:
    rows = scan_table(home.release(release), table).select(pl.col("provider").drop_nulls().unique())
    found: list[str] = rows.collect()["provider"].to_list()
    return found


def _nothing(name: str, dtype: schema.Column) -> pl.Expr:
    empty = pl.lit([], dtype=schema.TEXTS) if dtype == schema.TEXTS else pl.lit(None, dtype=dtype)
    return empty.alias(name)


def _derived_edges(edges: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return rows of an edges table for genes that share a complex, with the statements of their memberships."""
    columns = ["subject", "object", "provider", "provider_release", "licence", "import_runs", *_PARALLEL]
    members = edges.filter(pl.col("relation") == str(Relation.MEMBER_OF)).select(columns)
    both = members.join(members, on=["object", "provider"], suffix="_other").filter(
        pl.col("subject") < pl.col("subject_other")
    )
    joined = both.select(
        "subject",
        pl.col("subject_other").alias("object"),
        "provider",
        "provider_release",
        "licence",
        *(pl.concat_list(name, f"{name}_other").alias(name) for name in ("import_runs", *_PARALLEL)),
    ).join(pairs, on=list(_PAIR), how="semi")
    grouped = joined.group_by(_PAIR).agg(
        pl.first("provider_release", "licence"),
        pl.col("import_runs").explode().unique().sort(),
        *(pl.col(name).explode() for name in _PARALLEL),
    )
    return schema.conform("edges", grouped.with_columns(pl.lit(CO_MEMBERSHIP).alias("relation")))
