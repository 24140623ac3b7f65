"""References from evidence to the vectors of its two genes: which vector sets have them, and in which rows.

No numbers enter the evidence: who wants them asks the vector set (``vector_store``) or ``POST /v1/embeddings/vectors``
by encoder id and node. The vector sets are those that were there when the release was opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import numpy as np

from aroma.kgstore.schema import Relation
from aroma.retrieval.evidence_model import EmbeddingRef, VectorRef
from aroma.retrieval.snapshot import Snapshot
from aroma.retrieval.vector_store import VectorSet, vector_sets_of

_ENCODES: Final = tuple(Relation).index(Relation.ENCODES)
_KEPT: Final = 50_000


def proteins_of(snapshot: Snapshot, gene: int) -> list[int]:
    """Return the proteins that a gene encodes, release node numbers, ascending."""
    edges = snapshot.edges.of(gene)
    span = slice(edges.start, edges.stop)
    objects = snapshot.edges.object[span][snapshot.edges.relation[span] == _ENCODES]
    found: list[int] = np.unique(objects).tolist()
    return found


class EmbeddingRefs:
    """The vector sets of an opened release, and where the vectors of its genes stand in them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.sets: tuple[VectorSet, ...] = tuple(vector_sets_of(snapshot.home, snapshot.release))
        self._of_gene = lru_cache(maxsize=_KEPT)(self._find)

    @property
    def digests(self) -> list[str]:
        """What the sets hold, as one hash each."""
        return [one.digest for one in self.sets]

    def of(self, perturbation: int | None, target: int | None) -> list[EmbeddingRef]:
        """Return one reference a vector set for two genes (release node numbers, or None for unknown ones)."""
        if not self.sets:
            return []
        rows = zip(self.sets, self._of_gene(perturbation), self._of_gene(target), strict=True)
        return [
            EmbeddingRef(
                encoder=one.card.name,
                id=one.card.id,
                kind=one.card.kind,
                release=one.release,
                perturbation=list(first),
                target=list(second),
            )
            for one, first, second in rows
        ]

    def _find(self, gene: int | None) -> tuple[tuple[VectorRef, ...], ...]:
        if gene is None:
            return ((),) * len(self.sets)
        ids = self._snapshot.nodes.ids
        own, proteins = [ids[gene]], [ids[protein] for protein in proteins_of(self._snapshot, gene)]
        return tuple(tuple(_rows(one, proteins if one.card.kind == "protein" else own)) for one in self.sets)


def _rows(vectors: VectorSet, nodes: Iterable[str]) -> Iterable[VectorRef]:
    for node in nodes:
        row = vectors.ids.find(node)
        if row is not None:
            yield VectorRef(node=node, row=row)
