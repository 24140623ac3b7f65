"""What a database says against what the tables say: read back, compared by key and text, as changes to make."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from aroma.kgstore import projection
from aroma.kgstore.engines.base import Difference
from aroma.kgstore.engines.vectors import vector_properties
from aroma.kgstore.graph import Graph
from aroma.kgstore.projection import EDGE_KEY, Edges, Nodes
from aroma.kgstore.tables import ReleaseTables

Thing = tuple[str, str, str]
_READ_SECONDS: Final = 600.0
_WINDOW: Final = 25_000
"""Edges to read in one query: each stays well below the time limit that the embedded engine sets itself."""
_NODE_SCHEMA: Final = {"id": pl.String(), "text": pl.String()}
_EDGE_SCHEMA: Final = {"subject": pl.String(), "object": pl.String(), "provider": pl.String(), "text": pl.String()}


@dataclass(frozen=True, slots=True)
class NodeChanges:
    """What to do to the nodes of one label: ``add`` and ``alter`` have id and text, ``remove`` has ids."""

    label: str
    add: pl.DataFrame
    alter: pl.DataFrame
    remove: pl.DataFrame

    @property
    def rows(self) -> int:
        """How many nodes change."""
        return self.add.height + self.alter.height + self.remove.height


@dataclass(frozen=True, slots=True)
class EdgeChanges:
    """What to do to the edges of one type between two labels; an altered edge is removed and added."""

    thing: Thing
    add: pl.DataFrame
    alter: pl.DataFrame
    remove: pl.DataFrame

    @property
    def rows(self) -> int:
        """How many edges change."""
        return self.add.height + self.alter.height + self.remove.height


def node_changes(wanted: Iterable[Nodes], actual: Mapping[str, pl.DataFrame]) -> Iterator[NodeChanges]:
    """Compare nodes; ``actual`` has a frame (id, text) a label."""
    for nodes in wanted:
        found = actual.get(nodes.label, pl.DataFrame(schema=_NODE_SCHEMA))
        yield NodeChanges(nodes.label, *_compared(nodes.frame, found, ["id"]))


def edge_changes(wanted: Iterable[Edges], actual: Mapping[Thing, pl.DataFrame]) -> Iterator[EdgeChanges]:
    """Compare edges; ``actual`` has a frame (subject, object, provider, text) a type and labels of ends."""
    nothing = pl.DataFrame(schema=_EDGE_SCHEMA)
    seen: set[Thing] = set()
    for edges in wanted:
        seen.add(edges.thing)
        yield EdgeChanges(edges.thing, *_compared(edges.frame, actual.get(edges.thing, nothing), list(EDGE_KEY)))
    for thing in sorted(set(actual) - seen):
        yield EdgeChanges(thing, *_compared(nothing, actual[thing], list(EDGE_KEY)))


def _compared(
    wanted: pl.DataFrame, actual: pl.DataFrame, key: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return rows to add, to alter (text differs, or there more than once) and keys to remove."""
    if not actual.height:
        return wanted, wanted.clear(), actual.select(key)
    found = actual.group_by(key).agg(pl.col("text").first().alias("found"), pl.len().alias("copies"))
    joined = wanted.join(found, on=key, how="left", nulls_equal=True)
    differs = pl.col("found").is_not_null() & ((pl.col("text") != pl.col("found")) | (pl.col("copies") > 1))
    columns = [*key, "text"]
    return (
        joined.filter(pl.col("found").is_null()).select(columns),
        joined.filter(differs).select(columns),
        found.join(wanted, on=key, how="anti", nulls_equal=True).select(key),
    )


def read_nodes(graph: Graph) -> dict[str, pl.DataFrame]:
    """Read all nodes of our labels, ``Release`` left out, without the vectors that may have been added to them."""
    found = {}
    vectors = ", ".join(f"`{name}`: null" for name in vector_properties(graph))
    said = f"n {{.*, {vectors}}}" if vectors else "properties(n)"
    for label in projection.LABELS:
        rows = graph.read(f"MATCH (n:{label}) RETURN n.id, {said}", timeout=_READ_SECONDS, limit=None).rows
        data = [(_text_or_none(row[0]), projection.canonical(_properties(row[1]))) for row in rows]
        found[label] = pl.DataFrame(data, schema=_NODE_SCHEMA, orient="row")
    return found


def read_edges(graph: Graph, wanted: Iterable[Edges]) -> Iterator[tuple[Edges | None, Thing, pl.DataFrame]]:
    """Read all edges of our types between our labels, by type and labels.

    Yields:
        What is wanted there (None for nothing), the type and labels, and what is there.
    """
    left = set(_things(graph))
    for edges in wanted:
        left.discard(edges.thing)
        starts = edges.frame["subject"].sort().gather_every(_WINDOW).to_list()
        yield edges, edges.thing, _read_thing(graph, edges.thing, starts)
    for thing in sorted(left):
        yield None, thing, _read_thing(graph, thing, [])


def _things(graph: Graph) -> list[Thing]:
    ours = [*projection.LABELS, projection.RELEASE]
    found: list[Thing] = []
    for relation in projection.RELATIONS:
        rows = graph.read(
            f"MATCH (a)-[r:{relation}]->(b) WITH DISTINCT labels(a) AS s, labels(b) AS o RETURN s, o",
            timeout=_READ_SECONDS,
            limit=None,
        ).rows
        for subjects, objects in rows:
            pair = [next((label for label in ours if label in _list(labels)), None) for labels in (subjects, objects)]
            if pair[0] and pair[1]:
                found.append((relation, pair[0], pair[1]))
    return found


def _read_thing(graph: Graph, thing: Thing, starts: list[str]) -> pl.DataFrame:
    """Read the edges of one thing, a range of subjects at a time."""
    relation, subject, object_ = thing
    text = (
        f"MATCH (a:{subject})-[r:{relation}]->(b:{object_}) WHERE a.id >= $low AND ($high IS NULL OR a.id < $high) "
        "RETURN a.id, b.id, properties(r)"
    )
    bounds: list[str | None] = ["", *dict.fromkeys(starts[1:]), None]
    parts = []
    for low, high in itertools.pairwise(bounds):
        rows = graph.read(text, {"low": low, "high": high}, timeout=_READ_SECONDS, limit=None).rows
        data = []
        for a, b, said in rows:
            properties = _properties(said)
            provider = _text_or_none(properties.get("provider")) or ""
            data.append((_text_or_none(a), _text_or_none(b), provider, projection.canonical(properties)))
        parts.append(pl.DataFrame(data, schema=_EDGE_SCHEMA, orient="row"))
    return pl.concat(parts)


def differences(graph: Graph, tables: ReleaseTables, release: str) -> list[Difference]:
    """Compare a database with the tables of the release that it should hold."""
    found = list(_release_differences(graph, release))
    for changes in node_changes(projection.project_nodes(tables), read_nodes(graph)):
        found += _named("node", changes.label, changes, ["id"])
    for wanted, thing, actual in read_edges(graph, projection.project_edges(tables, release)):
        for compared in edge_changes([wanted] if wanted else [], {thing: actual}):
            found += _named("edge", thing[0], compared, ["subject", "object", "provider"])
    return found


def _release_differences(graph: Graph, release: str) -> Iterator[Difference]:
    held = [row[0] for row in graph.read("MATCH (r:Release) RETURN r.id ORDER BY r.id").rows]
    if release not in held:
        yield Difference("node", projection.RELEASE, "missing: 1", release)
    if extra := [str(one) for one in held if one != release] or held[1:]:
        yield Difference("node", projection.RELEASE, f"extra: {len(extra)}", str(extra[0]))


def _named(kind: str, thing: str, changes: NodeChanges | EdgeChanges, key: list[str]) -> list[Difference]:
    named = (("missing", changes.add), ("altered", changes.alter), ("extra", changes.remove))
    return [
        Difference(kind, thing, f"{problem}: {rows.height:,}", " ".join(str(part) for part in rows.select(key).row(0)))
        for problem, rows in named
        if rows.height
    ]


def _properties(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)
