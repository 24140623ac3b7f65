"""Graph kernels over genes: how alike two genes are by the terms, complexes, pathways or partners they share.

Each kernel is a sparse matrix of unit rows, one row a gene and one column a feature (a term, a complex, a pathway, an
interaction partner); the similarity of two genes is the dot product of their rows, 0 to 1. A feature of ``df`` among
``N`` genes weighs ``log(N / df)``; features of fewer than 2 or more than 1,500 genes are left out, as nothing that
nearly all genes have tells two of them apart. (``TERM_SETS``, from which sentences are made, keeps terms of one gene.)

Kernels are laid out as parts of the snapshot. GO annotations are propagated over ``is_a``, ``part_of`` and, since
this is a weight and no sentence, ``regulates``; pathways over their hierarchy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from aroma.errors import SnapshotError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.ontology import ancestors, positive_annotations
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.retrieval.columns import open_array
from aroma.retrieval.csr import Int32, compiled
from aroma.retrieval.parts import make_part, open_part
from aroma.retrieval.snapshot import NodeTable, Snapshot

KERNELS: Final = ("go", "complex", "pathway", "string")
"""Kernels that weigh how alike two genes are."""
TERM_SETS: Final = "go-terms"
"""Annotations propagated over is_a and part_of alone: what may be said in a sentence, so no kernel of ``KERNELS``."""
Float32 = npt.NDArray[np.float32]
SMALLEST_SET: Final = 2
LARGEST_SET: Final = 1500
_GO_KERNEL_RELATIONS: Final = (
    Relation.IS_A,
    Relation.PART_OF,
    Relation.REGULATES,
    Relation.POSITIVELY_REGULATES,
    Relation.NEGATIVELY_REGULATES,
)


@dataclass(frozen=True)
class Kernel:
    """One kernel of a release.

    Attributes:
        name: One of ``KERNELS``, or ``TERM_SETS``.
        genes: int32, release node numbers of the rows, ascending.
        features: int32, release node numbers of the columns.
        weights: float32, (features): log(genes / genes that have the feature).
        rows: float32, (genes, features), unit rows.
    """

    name: str
    genes: npt.NDArray[np.int32]
    features: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    rows: sparse.csr_matrix

    def row_of(self, gene: int) -> int | None:
        """Return the row of a gene (release node number), or None where the kernel knows nothing of it."""
        row: int = self._places[gene] if 0 <= gene < len(self._places) else -1
        return row if row >= 0 else None

    @cached_property
    def _places(self) -> memoryview:
        """Row by release node number, -1 for none; an item of a memory view is a plain int, at once."""
        rows = np.full(int(self.genes[-1]) + 1 if len(self.genes) else 0, -1, dtype=np.int32)
        rows[self.genes] = np.arange(len(self.genes), dtype=np.int32)
        return rows.data

    def weights_of(self, gene: int) -> dict[int, float]:
        """Return the features of a gene (release node numbers) and how much each weighs."""
        row = self.row_of(gene)
        if row is None:
            return {}
        columns = self._columns(row)
        return dict(zip(self.features[columns].tolist(), self.weights[columns].tolist(), strict=True))

    def similarity(self, gene: int, others: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """Return float32 similarities of ``gene`` to ``others`` (release node numbers); 0 for unknown ones."""
        return self.among(others).similarity(gene)

    def among(self, others: npt.NDArray[np.int32]) -> Among:
        """Return what compares any gene with a fixed set of others, one product a gene."""
        if not len(self.genes) or not len(others):
            return Among(self, np.zeros(len(others), dtype=bool), self.rows[:0])
        positions = np.minimum(np.searchsorted(self.genes, others), len(self.genes) - 1)
        known = self.genes[positions] == others
        return Among(self, known, self.rows[positions[known]])

    def matrix(self, genes: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """Return the float32 (genes, genes) similarities of a set of genes; zero rows for unknown ones."""
        positions = np.minimum(np.searchsorted(self.genes, genes), len(self.genes) - 1)
        known = self.genes[positions] == genes
        chosen = sparse.diags(known.astype(np.float32)) @ self.rows[positions]
        product: npt.NDArray[np.float32] = (chosen @ chosen.T).toarray().astype(np.float32)
        return product

    def shared(self, one: int, other: int, limit: int = 5) -> list[tuple[int, float]]:
        """Return the features that two genes share and what each adds to their similarity, largest first."""
        return self._best(one, other, limit, by_weight=False)

    def common(self, one: int, other: int, limit: int | None = None) -> list[tuple[int, float]]:
        """Return the features that two genes share with the weight of each, rarest first, at most ``limit``."""
        return [(node, round(weight, 3)) for node, weight in self._best(one, other, limit, by_weight=True)]

    def _best(self, one: int, other: int, limit: int | None, *, by_weight: bool) -> list[tuple[int, float]]:
        """Return the shared features of the largest weight, or product of weights in the two rows; ties by column."""
        rows = self.row_of(one), self.row_of(other)
        if rows[0] is None or rows[1] is None:
            return []
        matrix = self.rows
        most = limit if limit is not None else min(len(self._columns(rows[0])), len(self._columns(rows[1])))
        columns, values = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.float32)
        count = _best_shared(
            matrix.indptr, matrix.indices, matrix.data, self.weights, by_weight, rows[0], rows[1], columns, values
        )
        return list(zip(self.features[columns[:count]].tolist(), values[:count].tolist(), strict=True))

    def _columns(self, row: int) -> npt.NDArray[np.int32]:
        found: npt.NDArray[np.int32] = self.rows.indices[self.rows.indptr[row] : self.rows.indptr[row + 1]]
        return found


@compiled
def _best_shared(
    indptr: Int32,
    indices: Int32,
    data: Float32,
    weights: Float32,
    by_weight: bool,
    one: int,
    other: int,
    columns: Int32,
    values: Float32,
) -> int:
    """Merge two rows with ascending columns; fill ``columns`` and ``values`` with the best; return how many.

    The caller allocates: handing out an array costs a compiled function more than the merge.
    """
    first, second = indptr[one], indptr[other]
    first_end, second_end = indptr[one + 1], indptr[other + 1]
    count, most = 0, len(columns)
    while first < first_end and second < second_end:
        if indices[first] < indices[second]:
            first += 1
        elif indices[first] > indices[second]:
            second += 1
        else:
            column = indices[first]
            value = weights[column] if by_weight else data[first] * data[second]
            place = count
            while place > 0 and values[place - 1] < value:  # columns ascend, so equal values stay in their order
                if place < most:
                    columns[place], values[place] = columns[place - 1], values[place - 1]
                place -= 1
            if place < most:
                columns[place], values[place] = column, value
                count = min(count + 1, most)
            first, second = first + 1, second + 1
    return count


@dataclass(frozen=True)
class Among:
    """A kernel's rows of a set of genes.

    Attributes:
        kernel: The kernel.
        known: bool, (genes of the set): whether the kernel knows the gene.
        rows: float32, (known genes, features).
    """

    kernel: Kernel
    known: npt.NDArray[np.bool_]
    rows: sparse.csr_matrix

    def similarity(self, gene: int) -> npt.NDArray[np.float32]:
        """Return float32 similarities of a gene (release node number) to each of the set; 0 for unknown ones."""
        result = np.zeros(len(self.known), dtype=np.float32)
        row = self.kernel.row_of(gene)
        if row is None or not self.rows.shape[0]:
            return result
        own = self.kernel.rows
        start, stop = own.indptr[row], own.indptr[row + 1]
        dense = np.zeros(len(self.kernel.features), dtype=np.float32)
        dense[own.indices[start:stop]] = own.data[start:stop]
        result[self.known] = self.rows @ dense
        return result


class GeneKernels:
    """All kernels of a release, mapped from its snapshot; what is missing is laid out first."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._kernels: dict[str, Kernel] = {}

    def __getitem__(self, name: str) -> Kernel:
        if name not in {*KERNELS, TERM_SETS}:
            raise UsageError(f"no kernel is called {name!r}; there are {', '.join(KERNELS)}")
        if name not in self._kernels:
            self._kernels[name] = _open(self._snapshot, name)
        return self._kernels[name]

    @cached_property
    def all(self) -> tuple[Kernel, ...]:
        """Every kernel, in the order of ``KERNELS``."""
        return tuple(self[name] for name in KERNELS)


def unit_rows(rows: npt.ArrayLike, columns: npt.ArrayLike, weights: npt.ArrayLike, shape: tuple[int, int]) -> Any:
    """Return a float32 CSR matrix with rows of length one (or zero) from coordinates; repeats add up."""
    matrix = sparse.csr_matrix((np.asarray(weights, dtype=np.float64), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    unit = (sparse.diags(scale) @ matrix).tocsr().astype(np.float32)
    unit.sort_indices()
    return unit


def gene_sets(home: Home, release: str, name: str) -> pl.DataFrame:
    """Return the distinct (``gene``, ``feature``) ids behind a set kernel, propagated to ancestors.

    Args:
        home: Where the release is.
        release: Release id.
        name: ``go``, ``go-terms``, ``complex`` or ``pathway``.
    """
    edges = read_table(home.release(release), "edges", ["subject", "relation", "object", "provider"])

    def direct(relation: Relation) -> pl.DataFrame:
        rows = edges.filter(pl.col("relation") == str(relation))
        return rows.select(pl.col("subject").alias("gene"), pl.col("object").alias("feature")).unique()

    if name == "complex":
        return direct(Relation.MEMBER_OF)
    if name == "pathway":
        closure = ancestors(edges, (Relation.CHILD_OF,))
        wide = direct(Relation.PARTICIPATES_IN).join(closure, left_on="feature", right_on="term", how="left")
        return wide.select("gene", pl.coalesce("ancestor", "feature").alias("feature")).unique()
    held = positive_annotations(edges)
    if name == "go":  # beyond what is annotated: NOT does not reach over regulation, so this comes after
        wide = held.join(ancestors(edges, _GO_KERNEL_RELATIONS), on="term", how="left")
        held = wide.select("gene", pl.coalesce("ancestor", "term").alias("term")).unique()
    return held.rename({"term": "feature"})


def _set_kernel(home: Home, release: str, nodes: NodeTable, name: str) -> tuple[Any, Any, Any, Any]:
    sets = gene_sets(home, release, name)
    genes_total = sets["gene"].n_unique()
    sized = sets.with_columns(pl.len().over("feature").alias("df"))
    smallest = 1 if name == TERM_SETS else SMALLEST_SET
    sized = sized.filter(pl.col("df").is_between(smallest, LARGEST_SET))
    numbered = _numbered(sized, nodes)
    genes, row = np.unique(numbered["gene"].to_numpy(), return_inverse=True)
    features, column = np.unique(numbered["feature"].to_numpy(), return_inverse=True)
    weights = np.log(max(genes_total, 2) / numbered["df"].to_numpy())
    by_feature = np.zeros(len(features))
    by_feature[column] = weights
    return genes, features, by_feature, unit_rows(row, column, weights, (len(genes), len(features)))


def _string_kernel(home: Home, release: str, nodes: NodeTable) -> tuple[Any, Any, Any, Any]:
    edges = read_table(home.release(release), "edges", ["subject", "relation", "object", "score"])
    pairs = edges.filter(pl.col("relation") == str(Relation.INTERACTS_WITH))
    numbered = _numbered(pairs.rename({"subject": "gene", "object": "feature"}), nodes)
    one, other = numbered["gene"].to_numpy(), numbered["feature"].to_numpy()
    score = numbered["score"].fill_null(0).to_numpy() / 1000.0
    genes, ends = np.unique(np.concatenate([one, other]), return_inverse=True)
    first, second = ends[: len(one)], ends[len(one) :]
    degree = np.bincount(ends, minlength=len(genes))
    rarity = np.log(max(len(genes), 2) / np.maximum(degree, 1))
    own = np.arange(len(genes))
    rows = np.concatenate([first, second, own])
    columns = np.concatenate([second, first, own])
    weights = np.concatenate([score * rarity[second], score * rarity[first], np.maximum(rarity, 0.0)])
    return genes, genes, rarity, unit_rows(rows, columns, weights, (len(genes), len(genes)))


def _numbered(frame: pl.DataFrame, nodes: NodeTable) -> pl.DataFrame:
    for column in ("gene", "feature"):
        numbers = nodes.by_id.rename({"id": column, "node": f"{column}_node"})
        frame = frame.join(numbers, on=column).drop(column).rename({f"{column}_node": column})
    return frame


def _open(snapshot: Snapshot, name: str) -> Kernel:
    place = snapshot.home.snapshot(snapshot.release) / f"kernel-{name}"
    try:
        open_part(place, snapshot.release)
    except SnapshotError:
        _make(snapshot, name, place)
    genes, features, weights = (open_array(place / f"{part}.npy") for part in ("genes", "features", "weights"))
    arrays = tuple(open_array(place / f"{part}.npy") for part in ("data", "indices", "indptr"))
    rows = sparse.csr_matrix(arrays, shape=(len(genes), len(features)), copy=False)
    return Kernel(name, genes, features, weights, rows)


def _make(snapshot: Snapshot, name: str, place: Path) -> None:
    if name == "string":
        genes, features, weights, rows = _string_kernel(snapshot.home, snapshot.release, snapshot.nodes)
    else:
        genes, features, weights, rows = _set_kernel(snapshot.home, snapshot.release, snapshot.nodes, name)
    arrays = {"data": rows.data, "indices": rows.indices, "indptr": rows.indptr}

    def fill(target: Path) -> None:
        np.save(target / "genes.npy", genes.astype(np.int32))
        np.save(target / "features.npy", features.astype(np.int32))
        np.save(target / "weights.npy", weights.astype(np.float32))
        for part, array in arrays.items():
            np.save(target / f"{part}.npy", array)

    make_part(place, snapshot.release, {"kernel": name, "genes": len(genes), "features": len(features)}, fill)
