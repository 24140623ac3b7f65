"""Vector sets as answers: which there are, and the vectors of nodes by id or gene name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aroma.errors import UsageError
from aroma.kgstore.schema import Label
from aroma.kgstore.tables import read_table
from aroma.retrieval.embedding_model import EncoderItem, EncoderList, VectorBatch, VectorItem
from aroma.retrieval.embedding_refs import proteins_of
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.snapshot import Snapshot
from aroma.retrieval.vector_store import VectorSet, find_vector_set, vector_sets_of

MOST_NUMBERS: Final = 2_000_000
"""Numbers in one answer: 1,953 vectors of 1,024."""


def list_encoders(snapshot: Snapshot) -> EncoderList:
    """Return the vector sets of an opened release."""
    sets = vector_sets_of(snapshot.home, snapshot.release)
    return EncoderList(release=snapshot.release, items=[encoder_item(snapshot, one) for one in sets])


def encoder_item(snapshot: Snapshot, vectors: VectorSet) -> EncoderItem:
    """Return what is said of a vector set; a provider whose terms the release does not know binds as non-commercial."""
    card = vectors.card
    sources = read_table(snapshot.home.release(snapshot.release), "sources")
    free = dict(sources.select("provider", "commercial_use").iter_rows())
    return EncoderItem(
        encoder=card.name,
        id=card.id,
        kind=card.kind,
        release=vectors.release,
        rows=len(vectors.ids),
        missing=len(vectors.problems),
        dim=card.dim,
        dtype=card.dtype,
        licence=card.licence,
        licences=dict(sorted(card.licences.items())),
        commercial_use=all(bool(free.get(provider)) for provider in card.licences),
    )


def vectors_of(store: EvidenceStore, encoder: str | None, names: Sequence[str]) -> VectorBatch:
    """Return the vectors of nodes in the order asked; what has none has the reason.

    Raises:
        IdentifierError: The release has no vectors of that encoder.
        UsageError: Several encoders fit, or more numbers are asked for than one answer holds.
    """
    vectors, rows, problems = find_rows(store, encoder, names)
    items = [
        VectorItem(
            query=name,
            node=vectors.ids[row] if row >= 0 else None,
            row=row if row >= 0 else None,
            vector=np.asarray(vectors.vectors[row], dtype=np.float32).tolist() if row >= 0 else None,
            problem=problem,
        )
        for name, row, problem in zip(names, rows.tolist(), problems, strict=True)
    ]
    return VectorBatch(
        release=store.snapshot.release,
        encoder=encoder_item(store.snapshot, vectors),
        found=int((rows >= 0).sum()),
        items=items,
    )


def find_rows(
    store: EvidenceStore, encoder: str | None, names: Sequence[str]
) -> tuple[VectorSet, npt.NDArray[np.int32], list[str | None]]:
    """Return the vector set, int32 rows of the names (-1 for none) and why those have none.

    Raises:
        IdentifierError: The release has no vectors of that encoder.
        UsageError: Several encoders fit, or more numbers are asked for than one answer holds.
    """
    vectors = find_vector_set(store.snapshot.home, store.snapshot.release, encoder)
    if len(names) * vectors.card.dim > MOST_NUMBERS:
        most = MOST_NUMBERS // vectors.card.dim
        raise UsageError(
            f"{len(names):,} vectors of {vectors.card.dim} numbers in one answer; at most {most:,}: ask in parts, or "
            "use aroma export vectors-parquet"
        )
    nodes = [name if vectors.ids.find(name) is not None else _node(store, name) for name in names]
    rows = vectors.rows_of(nodes)
    said = zip(names, nodes, rows.tolist(), strict=True)
    return vectors, rows, [None if row >= 0 else _problem(store, vectors, name, node) for name, node, row in said]


def _node(store: EvidenceStore, name: str) -> str | None:
    if store.snapshot.nodes.ids.find(name) is not None:
        return name
    gene: str | None = store.resolve(name).gene
    return gene


def _problem(store: EvidenceStore, vectors: VectorSet, name: str, node: str | None) -> str:
    if node is None:
        return f"it names no node and no gene here ({store.resolve(name).reason})"
    number = store.snapshot.nodes.ids.find(node)
    if vectors.card.kind == "protein" and number is not None and store.snapshot.nodes.labels[number] == Label.GENE:
        proteins: Any = [store.snapshot.nodes.ids[one] for one in proteins_of(store.snapshot, number)]
        return f"{vectors.card.name} reads proteins; ask for {', '.join(proteins) or 'others: it encodes none here'}"
    return vectors.problem_of(node) or "it was not among what was embedded"
