"""The nodes whose vectors are nearest to one node's, joined with the graph: "genes like TP53 that share a complex".

An encoder that reads proteins knows no genes: a gene is asked through the proteins that it encodes, and two genes are
as alike as the two most alike of their proteins, which the answer names. No mean is taken: the mean of two proteins'
vectors is the vector of no protein.

Candidates come from an index (``vector_index``, or Neo4j's own where it was filled: ``vectors_in_neo4j``); where a
filter leaves few, each is compared. Cosines are computed here from the vectors, the same whatever found them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import IdentifierError, UsageError
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.schema import Label, Relation
from aroma.retrieval.answers import find_node
from aroma.retrieval.embedding_answers import encoder_item
from aroma.retrieval.embedding_model import SimilarAnswer, SimilarItem, Via
from aroma.retrieval.embedding_refs import proteins_of
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.shared_in_graph import SHARES, shared_in_graph, sharing
from aroma.retrieval.snapshot import NodeTable, Snapshot
from aroma.retrieval.vector_index import AUTO, KINDS, VectorIndex
from aroma.retrieval.vector_store import VectorSet, find_vector_set

MOST_SIMILAR: Final = 200
NEO4J: Final = "neo4j"
INDEXES: Final = (*KINDS, NEO4J)
_OPENED: Final = 4
_PROTEIN: Final = "protein"
_ENCODES: Final = tuple(Relation).index(Relation.ENCODES)
Mask = npt.NDArray[np.bool_]
Near = Callable[[int, int], Sequence[int]]
"""Gives at most so many rows (second) that are nearest to a row (first)."""


class NoVectorError(IdentifierError):
    """A node that has no vector; ``reason`` says why, ``release`` where."""

    def __init__(self, node: str, encoder: str, reason: str, release: str) -> None:
        self.reason, self.release = reason, release
        super().__init__(f"{node} has no vector by {encoder}: {reason}")


@dataclass(frozen=True, slots=True)
class SimilarOptions:
    """What may be chosen about a search.

    Attributes:
        k: Most nodes, 1 to ``MOST_SIMILAR``.
        shares: What a gene must share with the one asked for, all of them (``shared_in_graph.SHARES``).
        label: Label of the nodes wanted; None takes that of the node asked for.
        index: One of ``INDEXES``.
        build: Whether an HNSW index that is not there may be made now.
    """

    k: int = 10
    shares: tuple[str, ...] = ()
    label: str | None = None
    index: str = AUTO
    build: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MOST_SIMILAR:
            raise UsageError(f"k is {self.k}; it is 1 to {MOST_SIMILAR}")
        if self.index not in INDEXES:
            raise UsageError(f"index {self.index!r} is not known; it is one of {', '.join(INDEXES)}")
        if self.label is not None and self.label not in set(Label):
            raise UsageError(f"label {self.label!r} is not known; it is one of {', '.join(Label)}")
        if wrong := [what for what in self.shares if what not in SHARES]:
            raise UsageError(f"genes can share {', '.join(SHARES)}, not {wrong[0]!r}")


class OpenVectors:
    """A vector set with the release's nodes behind its rows, and its indexes as they are asked for."""

    def __init__(self, vectors: VectorSet, nodes: NodeTable) -> None:
        self.vectors = vectors
        ids = pl.DataFrame({"id": vectors.ids.series()}).join(nodes.by_id, on="id", how="left", maintain_order="left")
        self.nodes: npt.NDArray[np.int32] = ids["node"].fill_null(-1).to_numpy()
        """int32 by row: release node number, -1 for what the release has not."""
        self._labels = nodes.labels
        self._indexes: dict[str, VectorIndex] = {}

    def index(self, kind: str, *, build: bool) -> VectorIndex:
        """Return an index, opened first where it was not."""
        if kind not in self._indexes:
            self._indexes[kind] = VectorIndex(self.vectors, kind, build=build)
        return self._indexes[kind]

    @cached_property
    def labels(self) -> pl.Series:
        """Label by row; null for what the release has not."""
        known = pl.Series(self.nodes >= 0)
        labels = self._labels.series().gather(np.maximum(self.nodes, 0))
        return pl.select(pl.when(known).then(labels)).to_series()

    def mask(self, label: str) -> Mask:
        """Return which rows are of nodes with a label."""
        found: Mask = (self.labels == label).fill_null(value=False).to_numpy()
        return found

    def row_of(self, node: int) -> int | None:
        """Return the row of a release node."""
        rows = np.flatnonzero(self.nodes == node)
        return int(rows[0]) if len(rows) else None


def open_vectors(snapshot: Snapshot, encoder: str | None) -> OpenVectors:
    """Return the vectors of an encoder for an opened release; the last few stay open.

    Raises:
        IdentifierError: The release has no vectors of that encoder.
        UsageError: Several fit.
    """
    vectors = find_vector_set(snapshot.home, snapshot.release, encoder)
    return _opened(vectors.directory, snapshot.release, vectors.digest, snapshot.nodes)


@lru_cache(maxsize=_OPENED)
def _opened(directory: Path, release: str, digest: str, nodes: NodeTable) -> OpenVectors:
    del digest  # of the key: a vector set that was made anew is opened anew
    return OpenVectors(VectorSet(directory, release), nodes)


def similar(
    home: Home, name: str, encoder: str | None = None, options: SimilarOptions | None = None, **more: Any
) -> SimilarAnswer:
    """Return the nearest nodes of a node, without an opened store at hand; see ``similar_in``.

    Args:
        home: Where the release is.
        name: A gene by any name, or a node id.
        encoder: Name or id; None takes the only one.
        options: See ``SimilarOptions``.
        more: ``release`` (None for the published one) and ``target``.
    """
    return similar_in(
        EvidenceStore(home, more.get("release")), name, encoder, options or SimilarOptions(), target=more.get("target")
    )


def similar_in(
    store: EvidenceStore,
    name: str,
    encoder: str | None,
    options: SimilarOptions,
    *,
    target: GraphTarget | None = None,
) -> SimilarAnswer:
    """Return the nearest nodes of a node by one encoder, most alike first, then by id.

    Args:
        store: The opened release.
        name: A gene by any name, or a node id.
        encoder: Name or id; None takes the only one of the release.
        options: See ``SimilarOptions``.
        target: The database, which is asked where its vector index was filled; None asks none.

    Raises:
        UnknownGeneError: The name is no node; with the nearest symbols.
        NoVectorError: The node has no vector; with the reason.
        IdentifierError: No such encoder.
        UsageError: Options that do not fit.
        StoreUnavailableError: Neo4j's index is asked for by name and cannot answer.
    """
    opened = open_vectors(store.snapshot, encoder)
    query = find_node(store, name)
    search = _Search(store, opened, query, options)
    near, index, recall = search.finder(target)
    return SimilarAnswer(
        release=store.snapshot.release,
        encoder=encoder_item(store.snapshot, opened.vectors),
        query=store.snapshot.nodes.node(query),
        label=search.label,
        shares=list(options.shares),
        index=index,
        recall=recall,
        compared=int(search.mask.sum()),
        items=search.items(near),
    )


class _Search:
    """One question: the rows asked for, the rows that may be found, and what they stand for."""

    def __init__(self, store: EvidenceStore, opened: OpenVectors, query: int, options: SimilarOptions) -> None:
        self.store, self.opened, self.query, self.options = store, opened, query, options
        self.snapshot = store.snapshot
        own = self.snapshot.nodes.labels[query]
        self.label = options.label or own
        self._check(own)
        self.through_proteins = opened.vectors.card.kind == _PROTEIN and self.label == Label.GENE
        self.rows = self._asked(own)
        mask = opened.mask(str(Label.PROTEIN) if self.through_proteins else self.label)
        self.sharing: set[int] | None = None
        for what in options.shares:
            genes = sharing(store.kernels, query, what)
            mask &= self._rows_of(genes)
            both = set(genes.tolist())
            self.sharing = both if self.sharing is None else both & self.sharing
        if not self.through_proteins:  # there a row may be of another gene as well
            mask[self.rows] = False
        self.mask = mask

    def _check(self, own: str) -> None:
        if self.options.shares and not own == self.label == Label.GENE:
            raise UsageError(
                "only genes share complexes, pathways, terms or interactions; ask for a gene and for genes"
            )
        proteins = self.opened.vectors.card.kind == _PROTEIN
        if proteins and not {own, self.label} <= {str(Label.GENE), str(Label.PROTEIN)}:
            raise UsageError(f"{self.opened.vectors.card.name} reads proteins: ask for a gene or a protein, not {own}")

    def _asked(self, own: str) -> list[int]:
        """Return the rows of the node asked for: its own, or those of the proteins that it encodes."""
        card, ids = self.opened.vectors.card, self.snapshot.nodes.ids
        of_proteins = card.kind == _PROTEIN and own == Label.GENE
        nodes = proteins_of(self.snapshot, self.query) if of_proteins else [self.query]
        rows = [row for node in nodes if (row := self.opened.row_of(node)) is not None]
        if rows:
            return rows
        shown = f"{self.snapshot.nodes.shown(self.query)} ({ids[self.query]})"
        reasons = [f"{ids[node]}: {_reason(self.opened.vectors, ids[node])}" for node in nodes]
        if of_proteins:
            reason = "; ".join(reasons) or "it encodes no protein of the release"
        else:
            reason = _reason(self.opened.vectors, ids[self.query])
        raise NoVectorError(shown, card.name, reason, self.snapshot.release)

    def _rows_of(self, genes: npt.NDArray[np.int32]) -> Mask:
        nodes = genes
        if self.through_proteins:
            subjects, objects = _encoding(self.snapshot)
            nodes = objects[np.isin(subjects, genes)]
        found: Mask = np.isin(self.opened.nodes, nodes)
        return found

    def finder(self, target: GraphTarget | None) -> tuple[Near, str, float | None]:
        """Return what finds candidates, its name, and its recall."""
        options = self.options
        if self.options.shares:
            index = self.opened.index("numpy", build=False)
            return self._through(index), "exact", None
        if options.index == NEO4J or (options.index == AUTO and target is not None and not target.is_embedded):
            from aroma.retrieval.vectors_in_neo4j import nearest_in_neo4j

            label = str(Label.PROTEIN) if self.through_proteins else self.label
            found = nearest_in_neo4j(self.snapshot, self.opened.vectors, label, target, required=options.index == NEO4J)
            if found is not None:
                return found, NEO4J, None
        index = self.opened.index(AUTO if options.index == NEO4J else options.index, build=options.build)
        return self._through(index), index.kind, index.recall

    def _through(self, index: VectorIndex) -> Near:
        barred = ~self.mask
        barred[self.rows] = False
        allowed = self.mask if barred.any() else None

        def near(row: int, k: int) -> Sequence[int]:
            query = np.asarray(self.opened.vectors.vectors[row], dtype=np.float32)
            found: list[int] = index.near(query, k, allowed).tolist()
            return found

        return near

    def items(self, near: Near) -> list[SimilarItem]:
        """Return the nearest nodes; more rows are asked for where several stand for one node, or for the query."""
        wanted, most = self.options.k, int(self.mask.sum())
        asked = min(2 * wanted + len(self.rows) + 16, most + len(self.rows))
        while True:
            found = self._scored(near, asked)
            if len(found) >= wanted or asked >= most + len(self.rows):
                break
            asked = min(asked * 4, most + len(self.rows))
        order = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))[:wanted]
        return [self._item(rank, node, *said) for rank, (node, said) in enumerate(order, start=1)]

    def _scored(self, near: Near, k: int) -> dict[int, tuple[float, int, int]]:
        """Return by node its best cosine and the two rows (asked, found) that gave it."""
        vectors, found = self.opened.vectors.vectors, dict[int, tuple[float, int, int]]()
        index = self.opened.index("numpy", build=False)
        for own in self.rows:
            rows = np.array([row for row in near(own, k) if self.mask[row]], dtype=np.int64)
            cosines = index.cosines(np.asarray(vectors[own], dtype=np.float32), rows).round(6)
            for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True):
                for node in self._nodes_of(row):
                    if node not in found or found[node][0] < cosine:
                        found[node] = (cosine, own, row)
        return found

    def _nodes_of(self, row: int) -> list[int]:
        """Return what a row stands for: its node, or the genes that encode the protein, without the one asked for."""
        node = int(self.opened.nodes[row])
        if not self.through_proteins:
            return [node]
        subjects, objects = _encoding(self.snapshot)
        genes: list[int] = subjects[objects == node].tolist()
        return [gene for gene in genes if gene != self.query and (self.sharing is None or gene in self.sharing)]

    def _item(self, rank: int, node: int, score: float, asked: int, found: int) -> SimilarItem:
        genes = self.label == self.snapshot.nodes.labels[self.query] == Label.GENE
        ids = self.opened.vectors.ids
        return SimilarItem(
            rank=rank,
            node=self.snapshot.nodes.node(node),
            score=score,
            via=Via(asked=ids[asked], found=ids[found]) if self.opened.vectors.card.kind == _PROTEIN else None,
            shared=shared_in_graph(self.snapshot, self.store.kernels, self.query, node) if genes else None,
        )


def _reason(vectors: VectorSet, node: str) -> str:
    return vectors.problem_of(node) or "it was not among what was embedded"


@lru_cache(maxsize=2)
def _encoding(snapshot: Snapshot) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return genes and the proteins that they encode, release node numbers."""
    chosen = np.flatnonzero(snapshot.edges.relation == _ENCODES)
    return snapshot.edges.subject[chosen], snapshot.edges.object[chosen]
