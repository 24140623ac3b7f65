"""A vector set in Neo4j's own vector index: filled on request, and asked for candidates where it is filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl

from aroma.errors import StoreUnavailableError, UsageError
from aroma.kgstore.engines import open_engine
from aroma.kgstore.engines.base import Progress, silent
from aroma.kgstore.engines.vectors import Filled, Part, fill_vectors, filled, nearest_nodes
from aroma.kgstore.home import GraphTarget
from aroma.retrieval.snapshot import Snapshot
from aroma.retrieval.vector_store import VectorSet


def fill_neo4j(
    snapshot: Snapshot, vectors: VectorSet, target: GraphTarget, *, progress: Progress = silent
) -> dict[str, object]:
    """Put a vector set into Neo4j as a property of its nodes, with an index a label; return what was done.

    Raises:
        UsageError: The database is the embedded one, or takes no vectors of this size.
        StoreUnavailableError: It cannot be reached, or holds another release.
    """
    if target.is_embedded:
        raise UsageError(
            "only Neo4j has a vector index to fill (--uri bolt://…); the embedded engine goes through FAISS"
        )
    parts = list(_by_label(snapshot, vectors))
    said = Filled(vectors.card.id, snapshot.release, vectors.digest, tuple(label for label, _, _ in parts))
    with open_engine(snapshot.home, target).connect(snapshot.release) as graph:
        written = fill_vectors(graph, said, vectors.card.dim, parts, progress=progress)
        address = graph.address
    return {
        "encoder": vectors.card.name,
        "id": vectors.card.id,
        "release": snapshot.release,
        "database": address,
        "nodes": written,
        "labels": list(said.labels),
    }


def nearest_in_neo4j(
    snapshot: Snapshot, vectors: VectorSet, label: str, target: GraphTarget | None, *, required: bool
) -> Callable[[int, int], Sequence[int]] | None:
    """Return what finds candidates in Neo4j; None where it was not filled with these vectors, or does not answer.

    Args:
        snapshot: The opened release.
        vectors: The vector set.
        label: Of the nodes wanted.
        target: The database.
        required: Raise instead of returning None.

    Raises:
        UsageError: Required, and the database is the embedded one.
        StoreUnavailableError: Required, and it cannot answer.
    """
    if target is None or target.is_embedded:
        if required:
            raise UsageError(
                "index neo4j needs a Neo4j server (--uri bolt://…); the embedded engine goes through FAISS"
            )
        return None
    engine = open_engine(snapshot.home, target)

    def near(row: int, k: int) -> Sequence[int]:
        with engine.connect(snapshot.release) as graph:
            found = nearest_nodes(graph, vectors.card.id, label, vectors.ids[row], k)
        rows: list[int] = vectors.rows_of(found).tolist()
        return [one for one in rows if one >= 0]

    try:
        with engine.connect(snapshot.release) as graph:
            held = filled(graph, vectors.card.id)
    except StoreUnavailableError:
        if required:
            raise
        return None
    fresh = held is not None and (held.release, held.digest) == (snapshot.release, vectors.digest)
    if held is not None and fresh and label in held.labels:
        return near
    if required:
        raise StoreUnavailableError(
            f"{target.uri} does not hold these vectors of {vectors.card.name}; run: aroma similar --fill-neo4j "
            f"{vectors.card.name}"
        )
    return None


def _by_label(snapshot: Snapshot, vectors: VectorSet) -> Iterator[Part]:
    ids = pl.DataFrame({"id": vectors.ids.series()}).with_row_index("row").join(snapshot.nodes.by_id, on="id")
    labelled = ids.with_columns(label=snapshot.nodes.labels.series().gather(ids["node"])).sort("row")
    for (label,), part in labelled.group_by("label", maintain_order=True):
        yield str(label), part["id"].to_list(), np.asarray(vectors.vectors[part["row"].to_numpy()], dtype=np.float32)
