"""The snapshot: a published release laid out once as memory-mapped arrays, shared by all processes that serve it.

Parts, each a directory under ``snapshots/<release>/``:

``nodes``
    All nodes of the release, sorted by id: ids, names, symbols, labels. A node's number is its row here.
``edges``
    Ends, relation, scores and statements of every edge; an edge's number is its row in the release's edges table.
``<view id>``
    One view as compressed sparse rows over its own nodes, and for each joined pair the edges behind it.

A part that is missing, of another release or layout, or cut off is made anew from the release's tables, never used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import SnapshotError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import find_release, known_releases
from aroma.kgstore.tables import ReleaseTables, read_table
from aroma.kgstore.views import PRESETS, ViewDefinition, preset, view_edges
from aroma.retrieval.columns import TextColumn, open_array, open_texts, write_texts
from aroma.retrieval.csr import Csr, Int32, Int64, compiled
from aroma.retrieval.curation_notes import asserted_notes
from aroma.retrieval.edge_table import EdgeTable, open_edges, write_edges
from aroma.retrieval.evidence_model import Node
from aroma.retrieval.parts import check_part, make_part, open_part

DERIVED: Final = -1
"""Edge number of a pair that is joined by co-membership of a complex and has no edge of its own."""
SERVED_VIEWS: Final = ("gene-kg", "path-kg")
"""Views that are laid out when a release is published; others when first asked for."""
_NODE_COLUMNS: Final = {
    "ids": "id",
    "names": "name",
    "symbols": "symbol",
    "labels": "label",
    "namespaces": "namespace",
    "statements": "statement",
    "providers": "provider",
    "texts": "text",
    "text_statements": "text_statement",
    "text_providers": "text_provider",
}


@dataclass(frozen=True)
class NodeTable:
    """All nodes of a release, sorted by id; rows are node numbers.

    Attributes:
        ids: CURIEs, ascending.
        names: Names.
        symbols: Approved symbols of genes, empty for others.
        labels: Label of each node.
        namespaces: Aspect of GO terms, locus group of genes.
        statements: The provider's line that defines the node.
        providers: Whose line that is.
        texts: STRING's annotation text of a gene, the definition of a term, the comment of a complex.
        text_statements: The line that ``texts`` comes from.
        text_providers: Whose line that is.
    """

    ids: TextColumn
    names: TextColumn
    symbols: TextColumn
    labels: TextColumn
    namespaces: TextColumn
    statements: TextColumn
    providers: TextColumn
    texts: TextColumn
    text_statements: TextColumn
    text_providers: TextColumn

    def shown(self, node: int) -> str:
        """Return what a person calls the node: a gene's symbol, else its name, else its id."""
        return self.symbols[node] or self.names[node] or self.ids[node]

    def node(self, number: int) -> Node:
        """Return a node as answers and evidence show it."""
        return Node(id=self.ids[number], label=self.labels[number], name=self.shown(number))

    @cached_property
    def by_id(self) -> pl.DataFrame:
        """``id`` and ``node`` (Int32) for joins over many identifiers."""
        return pl.DataFrame({"id": self.ids.series(), "node": np.arange(len(self.ids), dtype=np.int32)})


@compiled
def pair_number(indptr: Int64, indices: Int32, first_pair: Int64, one: int, other: int) -> int:
    """Return the number of the pair of two view nodes (either order), or -1 where the view does not join them."""
    low, high = min(one, other), max(one, other)
    row = indices[indptr[low] : indptr[low + 1]]
    at = np.searchsorted(row, high)
    if at == len(row) or row[at] != high:
        return -1
    pair: int = first_pair[low] + at - np.searchsorted(row, low)
    return pair


@compiled
def pair_numbers(indptr: Int64, indices: Int32, first_pair: Int64, ones: Int32, others: Int32) -> Int64:
    """Return ``pair_number`` of many steps."""
    found = np.empty(len(ones), dtype=np.int64)
    for step in range(len(ones)):
        found[step] = pair_number(indptr, indices, first_pair, ones[step], others[step])
    return found


@dataclass(frozen=True)
class View:
    """One view of a release.

    Attributes:
        definition: What the view takes.
        release: Release id.
        csr: The graph over the view's own node numbers, which are in the order of node ids.
        to_release: int32, node number in the view to node number in the release.
        first_pair: int64, view nodes + 1: number of the first pair whose smaller node is this one.
        pair_start: int64, pairs + 1: the edges behind pair ``p`` are ``pair_edges[pair_start[p]:pair_start[p + 1]]``.
        pair_edges: int32, edge numbers of the release, or ``DERIVED``.
    """

    definition: ViewDefinition
    release: str
    csr: Csr
    to_release: npt.NDArray[np.int32]
    first_pair: npt.NDArray[np.int64]
    pair_start: npt.NDArray[np.int64]
    pair_edges: npt.NDArray[np.int32]

    def local(self, node: int) -> int | None:
        """Return the view's number of a release node, or None where the view does not have it."""
        local: int = self._places[node] if 0 <= node < len(self._places) else -1
        return local if local >= 0 else None

    @cached_property
    def _places(self) -> memoryview:
        """View number by release node number, -1 for none; an item of a memory view is a plain int, at once."""
        numbers = np.full(int(self.to_release[-1]) + 1 if len(self.to_release) else 0, -1, dtype=np.int32)
        numbers[self.to_release] = np.arange(len(self.to_release), dtype=np.int32)
        return numbers.data

    def edges_between(self, one: int, other: int) -> list[int]:
        """Return the edge numbers behind one step between two view nodes (either order), ascending.

        Raises:
            KeyError: The view does not join the two.
        """
        pair = int(pair_number(self.csr.indptr, self.csr.indices, self.first_pair, one, other))
        if pair < 0:
            raise KeyError(f"view nodes {one} and {other} are not joined")
        found: list[int] = self.pair_edges[self.pair_start[pair] : self.pair_start[pair + 1]].tolist()
        return found

    def pairs_of(self, node: int) -> npt.NDArray[np.int64]:
        """Return the number of the joined pair behind each neighbour of a view node, in the neighbours' order."""
        others = self.csr.neighbours(node)
        ones = np.full(len(others), node, dtype=np.int32)
        found: npt.NDArray[np.int64] = pair_numbers(self.csr.indptr, self.csr.indices, self.first_pair, ones, others)
        return found


class Snapshot:
    """A release opened for retrieval; views are mapped when first asked for."""

    def __init__(self, home: Home, release: str, nodes: NodeTable, edges: EdgeTable) -> None:
        self.home, self.release, self.nodes, self.edges = home, release, nodes, edges
        self._views: dict[str, View] = {}

    def view(self, view: str | ViewDefinition) -> View:
        """Return a view by preset name or definition; it is laid out first where that was not done yet.

        Raises:
            UsageError: No preset has that name.
        """
        definition = preset(view) if isinstance(view, str) else view
        if definition.id not in self._views:
            self._views[definition.id] = _open_view(self.home, self.release, definition, self.nodes)
        return self._views[definition.id]

    def derive(self, definition: ViewDefinition) -> View:
        """Return a view that is laid out in memory and kept by the caller alone: nothing is written.

        For definitions that come from outside, where keeping each one would fill the disk.
        """
        csr, arrays = _lay_out(self.home, self.release, definition, self.nodes)
        places = ("to_release", "first_pair", "pair_start", "pair_edges")
        return View(definition, self.release, csr, *(arrays[name] for name in places))


def open_snapshot(home: Home, release: str | None = None) -> Snapshot:
    """Open the snapshot of the published release, or of another one; what is missing is laid out first.

    Raises:
        ReleaseError: Nothing is published, or there is no such release.
        SnapshotError: The files cannot be put in place.
    """
    found = require_published(home).release if release is None else find_release(home, release)
    place = home.snapshot(found)
    try:
        open_part(place / "nodes", found)
        open_part(place / "edges", found)
    except SnapshotError:
        _make_tables(home, found)
    nodes = place / "nodes"
    table = NodeTable(**{name: open_texts(nodes, name) for name in _NODE_COLUMNS})
    return Snapshot(
        home, found, table, open_edges(place / "edges", table.ids, partial(asserted_notes, home.release(found)))
    )


def make_snapshot(home: Home, release: str | None = None, views: Iterable[str] = SERVED_VIEWS) -> Snapshot:
    """Lay out a release with the views that are served; parts that are there and sound are kept."""
    snapshot = open_snapshot(home, release)
    for name in views:
        snapshot.view(name)
    return snapshot


def check_snapshot(home: Home, release: str) -> list[str]:
    """Compare every file of a release's snapshot with its checksum; return those that differ."""
    parts = [path.parent for path in sorted(home.snapshot(release).glob("*/manifest.json"))]
    return [problem for part in parts for problem in check_part(part)]


def repair_snapshot(home: Home, release: str) -> list[str]:
    """Make damaged parts of a release's snapshot anew from its tables; return the files that were damaged.

    Views for the occasion go, and are laid out again when they are asked for.
    """
    damaged = check_snapshot(home, release)
    for name in {problem.partition("/")[0] for problem in damaged}:
        (home.snapshot(release) / name / "manifest.json").unlink(missing_ok=True)
    if damaged:
        make_snapshot(home, release)
    return damaged


def prune_snapshots(home: Home) -> list[str]:
    """Delete snapshots of releases that are no longer here; return what went."""
    import shutil

    here = set(known_releases(home))
    gone = [path for path in home.snapshot("x").parent.glob("*") if path.name not in here]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name for path in gone)


def _make_tables(home: Home, release: str) -> None:
    directory, place = home.release(release), home.snapshot(release)
    nodes = _described(directory)
    by_id = nodes.select("id", pl.int_range(pl.len(), dtype=pl.Int32).alias("node"))

    def fill_nodes(target: Path) -> None:
        for name, column in _NODE_COLUMNS.items():
            write_texts(target, name, nodes[column])

    def fill_edges(target: Path) -> None:
        write_edges(directory, target, by_id)

    make_part(place / "nodes", release, {"nodes": nodes.height}, fill_nodes)
    make_part(place / "edges", release, {}, fill_edges)


def _described(directory: Path) -> pl.DataFrame:
    """Return the nodes, sorted by id, each with its text and where that comes from."""
    columns = ["id", "name", "symbol", "label", "namespace", "description", "provider", "statement"]
    nodes = read_table(directory, "nodes", columns)
    texts = read_table(directory, "descriptions").sort("node", "provider").unique("node", keep="first")
    told = texts.select(
        pl.col("node").alias("id"),
        "text",
        pl.col("statement").alias("text_statement"),
        pl.col("provider").alias("text_provider"),
    )
    joined = nodes.join(told, on="id", how="left", maintain_order="left")
    own = pl.col("text").is_null()
    return joined.with_columns(
        pl.coalesce("text", "description").alias("text"),
        pl.when(own).then(pl.col("statement")).otherwise(pl.col("text_statement")).alias("text_statement"),
        pl.when(own).then(pl.col("provider")).otherwise(pl.col("text_provider")).alias("text_provider"),
    )


def _open_view(home: Home, release: str, definition: ViewDefinition, nodes: NodeTable) -> View:
    place = home.snapshot(release) / definition.id
    try:
        open_part(place, release)
    except SnapshotError:
        _make_view(home, release, definition, nodes)
    return View(
        definition,
        release,
        Csr.of(open_array(place / "indptr.npy"), open_array(place / "indices.npy"), check=False),
        open_array(place / "to_release.npy"),
        open_array(place / "first_pair.npy"),
        open_array(place / "pair_start.npy"),
        open_array(place / "pair_edges.npy"),
    )


def _lay_out(
    home: Home, release: str, definition: ViewDefinition, nodes: NodeTable
) -> tuple[Csr, dict[str, npt.NDArray[Any]]]:
    """Return a view's graph and all its arrays by name."""
    plain = definition.model_copy(update={"permutation_seed": None})
    steps = _steps(home, release, plain, nodes)
    to_release = np.unique(np.concatenate([steps["low"].to_numpy(), steps["high"].to_numpy()]))
    low, high = (np.searchsorted(to_release, steps[name].to_numpy()) for name in ("low", "high"))
    edges = steps["edge"].to_numpy()
    if definition.permutation_seed is not None:
        from aroma.retrieval.permutation import permute_steps

        kinds = nodes.labels.series().gather(to_release)  # gene to term stays gene to term
        low, high = permute_steps(low, high, steps["relation"], len(to_release), definition.permutation_seed, kinds)
        edges = np.full(len(low), DERIVED, dtype=np.int32)
    order = np.lexsort((edges, high, low))
    low, high, edges = low[order], high[order], edges[order]
    fresh = np.ones(len(low), dtype=bool)
    fresh[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    starts = np.flatnonzero(fresh)
    csr = Csr.from_edges(len(to_release), np.stack([low[starts], high[starts]], axis=1))
    first_pair = np.searchsorted(low[starts], np.arange(len(to_release) + 1))
    arrays: dict[str, npt.NDArray[Any]] = {
        "indptr": csr.indptr,
        "indices": csr.indices,
        "to_release": to_release.astype(np.int32),
        "first_pair": first_pair.astype(np.int64),
        "pair_start": np.append(starts, len(low)).astype(np.int64),
        "pair_edges": edges.astype(np.int32),
    }
    return csr, arrays


def _make_view(home: Home, release: str, definition: ViewDefinition, nodes: NodeTable) -> None:
    csr, arrays = _lay_out(home, release, definition, nodes)

    def fill(target: Path) -> None:
        for name, array in arrays.items():
            np.save(target / f"{name}.npy", array)

    facts = {"view": definition.name, "id": definition.id, "nodes": csr.nodes, "edges": csr.edges}
    make_part(home.snapshot(release) / definition.id, release, facts, fill)


def _steps(home: Home, release: str, definition: ViewDefinition, nodes: NodeTable) -> pl.DataFrame:
    """Return the view's edges in node numbers: ``low``, ``high``, ``edge`` (Int32), ``relation``."""
    directory = home.release(release)
    frames = {"edges": read_table(directory, "edges")}
    dated = definition.annotated_until is not None
    frames["statements"] = read_table(directory, "statements") if dated else pl.DataFrame()
    edges = view_edges(ReleaseTables(frames), definition)
    numbered = edges.join(nodes.by_id.rename({"id": "subject", "node": "one"}), on="subject").join(
        nodes.by_id.rename({"id": "object", "node": "other"}), on="object"
    )
    return numbered.select(
        pl.min_horizontal("one", "other").alias("low"),
        pl.max_horizontal("one", "other").alias("high"),
        pl.col("edge").cast(pl.Int32).fill_null(DERIVED),
        "relation",
    )


__all__ = ["DERIVED", "PRESETS", "NodeTable", "Snapshot", "View", "check_snapshot", "make_snapshot", "open_snapshot"]
