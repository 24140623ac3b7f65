"""Vectors in Neo4j: a property of the nodes and a vector index a label, filled on request and asked for neighbours.

A vector set goes into the property ``vector_<encoder id>``, and one node ``(:VectorSet)`` a set says which release and
content was filled. Both are additions to what a release holds: no release table has them, ``compare`` leaves them out,
and a newly published release does not renew them, so who asks compares the ``VectorSet`` node first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aroma.errors import UsageError
from aroma.kgstore.engines.base import Progress, silent
from aroma.kgstore.graph import Graph

MARKER: Final = "VectorSet"
MOST_DIMENSIONS: Final = 4096
"""Of Neo4j 5.26's vector indexes."""
_ROWS_A_BATCH: Final = 500
_ENCODER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECONDS: Final = 30.0
Part = tuple[str, Sequence[str], Any]
"""Label, ids, and the float matrix of their vectors in the same order."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What a database says of a vector set in it.

    Attributes:
        encoder: Encoder id.
        release: Release id of the vector set.
        digest: Hash of its content.
        labels: Labels that have an index.
    """

    encoder: str
    release: str
    digest: str
    labels: tuple[str, ...]


def property_of(encoder: str) -> str:
    """Return the node property that holds the vectors of an encoder id.

    Raises:
        UsageError: It has characters that no encoder id has: Cypher takes names of properties as text alone.
    """
    if not _ENCODER.fullmatch(encoder):
        raise UsageError(f"{encoder!r} is no encoder id; see: aroma embed list")
    return f"vector_{encoder}"


def index_of(encoder: str, label: str) -> str:
    """Return the name of the vector index of an encoder id and a label."""
    return f"{property_of(encoder)}_{label}"


def vector_properties(graph: Graph) -> list[str]:
    """Return the node properties that hold vectors; none on an engine that is not Neo4j."""
    if graph.engine != "neo4j":
        return []
    rows = graph.read(f"MATCH (v:{MARKER}) RETURN v.id ORDER BY v.id").rows
    return [property_of(str(row[0])) for row in rows if _ENCODER.fullmatch(str(row[0]))]


def fill_vectors(graph: Graph, said: Filled, dim: int, parts: Iterable[Part], *, progress: Progress = silent) -> int:
    """Put a vector set into the database, instead of what it held of the encoder; return how many nodes have a vector.

    Killed half-way, the database does not say that it is filled, and the next call fills it again.

    Args:
        graph: A Neo4j database that holds the release.
        said: What is filled; ``labels`` are those of ``parts``.
        dim: Numbers a vector.
        parts: The vectors by label.
        progress: Told each step.

    Raises:
        UsageError: The engine has no such index, or it takes no vectors of this size.
        StoreUnavailableError: The database cannot be reached.
    """
    if graph.engine != "neo4j":
        raise UsageError(
            "only Neo4j has a vector index to fill; on the embedded engine aroma similar goes through FAISS"
        )
    if dim > MOST_DIMENSIONS:
        raise UsageError(f"Neo4j indexes vectors of at most {MOST_DIMENSIONS:,} numbers; these have {dim:,}")
    name = property_of(said.encoder)
    _clear(graph, said.encoder, name)
    # Marked before the first vector, so that a comparison with the tables knows the property whatever happens.
    graph.write(f"CREATE (v:{MARKER} {{id: $id, release: '', digest: '', labels: []}})", {"id": said.encoder})
    written = 0
    for label, ids, matrix in parts:
        text = (
            f"UNWIND $rows AS row MATCH (n:{label} {{id: row[0]}}) "
            f"CALL db.create.setNodeVectorProperty(n, '{name}', row[1]) RETURN count(n)"
        )
        for start in range(0, len(ids), _ROWS_A_BATCH):
            chosen = slice(start, start + _ROWS_A_BATCH)
            rows = [list(row) for row in zip(ids[chosen], matrix[chosen].astype(float).tolist(), strict=True)]
            written += int(str(graph.write(text, {"rows": rows}).rows[0][0]))
        progress(f"{len(ids):,} {label} nodes have a vector")
        graph.write(
            f"CREATE VECTOR INDEX `{index_of(said.encoder, label)}` IF NOT EXISTS FOR (n:{label}) ON (n.`{name}`) "
            f"OPTIONS {{indexConfig: {{`vector.dimensions`: {dim}, `vector.similarity_function`: 'cosine'}}}}"
        )
    progress("waiting for the index")
    graph.write("CALL db.awaitIndexes(600)")
    graph.write(
        f"MATCH (v:{MARKER} {{id: $id}}) SET v.release = $release, v.digest = $digest, v.labels = $labels",
        {"id": said.encoder, "release": said.release, "digest": said.digest, "labels": list(said.labels)},
    )
    return written


def filled(graph: Graph, encoder: str) -> Filled | None:
    """Return what the database holds of an encoder's vectors; None for nothing, or an engine that is not Neo4j."""
    if graph.engine != "neo4j":
        return None
    text = f"MATCH (v:{MARKER} {{id: $id}}) RETURN v.release, v.digest, v.labels"
    for release, digest, labels in graph.read(text, {"id": encoder}).rows:
        if digest:
            return Filled(
                encoder, str(release), str(digest), tuple(map(str, labels if isinstance(labels, list) else ()))
            )
    return None


def nearest_nodes(graph: Graph, encoder: str, label: str, node: str, k: int) -> list[str]:
    """Return the ids of the nodes that Neo4j's index finds nearest to a node's vector, itself among them.

    Args:
        graph: A database that is filled.
        encoder: Encoder id.
        label: Of the nodes wanted.
        node: Id of the node asked for, of any label.
        k: Most nodes.
    """
    text = (
        f"MATCH (q {{id: $node}}) WHERE q.`{property_of(encoder)}` IS NOT NULL WITH q LIMIT 1 "
        f"CALL db.index.vector.queryNodes($index, $k, q.`{property_of(encoder)}`) YIELD node, score "
        "RETURN node.id ORDER BY score DESC"
    )
    given = {"node": node, "index": index_of(encoder, label), "k": k}
    return [str(row[0]) for row in graph.read(text, given, timeout=_SECONDS, limit=None).rows]


def _clear(graph: Graph, encoder: str, name: str) -> None:
    """Take an encoder's indexes, vectors and marker out of the database."""
    for row in graph.read("SHOW INDEXES YIELD name, type WHERE type = 'VECTOR' RETURN name").rows:
        if str(row[0]).startswith(f"{name}_"):
            index = str(row[0]).replace("`", "``")
            graph.write(f"DROP INDEX `{index}` IF EXISTS")
    text = f"MATCH (n) WHERE n.`{name}` IS NOT NULL WITH n LIMIT 5000 REMOVE n.`{name}` RETURN count(n)"
    while int(str(graph.write(text).rows[0][0])):
        pass
    graph.write(f"MATCH (v:{MARKER} {{id: $id}}) DETACH DELETE v", {"id": encoder})
