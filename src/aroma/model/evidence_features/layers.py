"""Kernels over all genes of a release, laid out as one sparse matrix, so that one pass compares a gene with many.

The snapshot's kernels stand beside parts of them: GO by aspect, STRING by channel, and STRING's direct links. A layer's
similarity of two genes is the dot product of the left row of one and the right row of the other. For all layers but
``link`` the two are the same unit row (a cosine); for ``link`` the left row holds the scores of the gene's links and
the right row the gene itself, so that the product is the score of their link.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.model.ground import Ground
from aroma.retrieval.csr import Int8, Int32, Int64, compiled
from aroma.retrieval.gene_kernels import unit_rows

Float32 = npt.NDArray[np.float32]
LAYERS: Final = (
    "go",
    "process",
    "function",
    "component",
    "complex",
    "pathway",
    "string",
    "coexpression",
    "experiments",
    "database",
    "link",
)
"""Names of the layers, in the order of their columns."""
PROVIDER_OF: Final = (*("gene_ontology",) * 4, "corum", "reactome", *("string",) * 5)
"""The provider of each layer."""
_ASPECTS: Final = {"process": "biological_process", "function": "molecular_function", "component": "cellular_component"}
_CHANNELS: Final = ("coexpression", "experiments", "database")


@dataclass(frozen=True)
class Layers:
    """All layers, side by side.

    Attributes:
        genes: int32, release node numbers of the rows, ascending.
        left: float32 CSR, (genes, features of all layers).
        right: float32 CSR, of the same shape.
        layer_of: int8, (features): the layer of each column.
    """

    genes: Int32
    left: sparse.csr_matrix
    right: sparse.csr_matrix
    layer_of: Int8

    def row_of(self, nodes: npt.NDArray[Any]) -> Int64:
        """Return the row of each release node; -1 for those no layer knows."""
        if not len(self.genes):
            return np.full(len(nodes), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.genes, nodes), len(self.genes) - 1)
        return np.where(self.genes[place] == nodes, place, -1).astype(np.int64)


@dataclass(frozen=True)
class GeneIndex:
    """A fixed set of genes, turned so that any gene of the release is compared with all of them in one pass.

    Attributes:
        layers: What is compared.
        nodes: int32, release node numbers of the set (-1: no gene of the release, similar to nothing).
    """

    layers: Layers
    nodes: Int32

    @cached_property
    def _columns(self) -> tuple[Int64, Int32, Float32]:
        """Right rows of the set, transposed: by feature, the members that have it."""
        rows = self.layers.row_of(self.nodes)
        known = sparse.diags((rows >= 0).astype(np.float32))
        turned = (known @ self.layers.right[np.maximum(rows, 0)]).T.tocsr()
        turned.sort_indices()
        return turned.indptr.astype(np.int64), turned.indices.astype(np.int32), turned.data.astype(np.float32)

    def row(self, node: int) -> Float32:
        """Return the float32 (set, layers) similarities of one gene to each of the set."""
        found = np.zeros((len(self.nodes), len(LAYERS)), dtype=np.float32)
        place = int(self.layers.row_of(np.array([node]))[0]) if len(self.nodes) else -1
        if place >= 0:
            left = self.layers.left
            own = slice(int(left.indptr[place]), int(left.indptr[place + 1]))
            _compare(left.indices[own], left.data[own], self.layers.layer_of, *self._columns, found)
        return found

    def rows(self, nodes: npt.NDArray[Any]) -> Iterator[Float32]:
        """Yield ``row`` of each node."""
        for node in nodes.tolist():
            yield self.row(node)


@compiled
def _compare(
    features: Int32, weights: Float32, layer_of: Int8, indptr: Int64, indices: Int32, data: Float32, found: Float32
) -> None:
    """Add up the products of one left row with the right rows of a set, layer by layer."""
    for place in range(len(features)):
        feature = features[place]
        layer, weight = layer_of[feature], weights[place]
        for entry in range(indptr[feature], indptr[feature + 1]):
            found[indices[entry], layer] += weight * data[entry]


def open_layers(ground: Ground, without: Collection[str] = ()) -> Layers:
    """Return the layers of an opened release; the same release gives the same layers.

    Args:
        ground: The release.
        without: Providers whose layers are left empty, so that under them no two genes are alike.
    """
    parts = dict(_set_layers(ground))
    parts |= dict(_string_layers(ground))
    genes = np.unique(np.concatenate([nodes for nodes, _, _ in parts.values()]))
    left = [_spread(*parts[name][:2], genes) for name in LAYERS]
    right = [_spread(parts[name][0], parts[name][2], genes) for name in LAYERS]
    layer_of = np.repeat(np.arange(len(LAYERS)), [part.shape[1] for part in left])
    wide = [sparse.hstack(side, format="csr", dtype=np.float32) for side in (left, right)]
    empty = np.array([provider in without for provider in PROVIDER_OF])[layer_of]
    for matrix in wide:
        matrix.data[empty[matrix.indices]] = 0.0
        matrix.eliminate_zeros()
        matrix.sort_indices()
        matrix.indices = matrix.indices.astype(np.int32)
    return Layers(genes.astype(np.int32), wide[0], wide[1], layer_of.astype(np.int8))


def _spread(nodes: npt.NDArray[Any], rows: sparse.csr_matrix, genes: npt.NDArray[Any]) -> sparse.csr_matrix:
    """Return ``rows`` placed among all genes."""
    place = sparse.csr_matrix(
        (np.ones(len(nodes), dtype=np.float32), (np.searchsorted(genes, nodes), np.arange(len(nodes)))),
        shape=(len(genes), len(nodes)),
    )
    return place @ rows


def _set_layers(ground: Ground) -> Iterator[tuple[str, tuple[Any, Any, Any]]]:
    """Yield the snapshot's set kernels, and GO by aspect."""
    for name in ("go", "complex", "pathway"):
        kernel = ground.kernels[name]
        yield name, (kernel.genes, kernel.rows, kernel.rows)
    kernel = ground.kernels["go"]
    aspects = np.array([ground.snapshot.nodes.namespaces[int(term)] for term in kernel.features])
    for name, namespace in _ASPECTS.items():
        part = _unit(kernel.rows[:, np.flatnonzero(aspects == namespace)])
        yield name, (kernel.genes, part, part)


def _unit(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    entries = rows.tocoo()
    return unit_rows(entries.row, entries.col, entries.data, rows.shape)


def _string_layers(ground: Ground) -> Iterator[tuple[str, tuple[Any, Any, Any]]]:
    """Yield STRING's profile, its channels' profiles, and its links."""
    kernel = ground.kernels["string"]
    yield "string", (kernel.genes, kernel.rows, kernel.rows)
    columns = [f"score_{name}{ending}" for name in _CHANNELS for ending in ("", "_transferred")]
    directory = ground.home.release(ground.release)
    edges = read_table(directory, "edges", ["subject", "relation", "object", "score", *columns])
    edges = edges.filter(pl.col("relation") == str(Relation.INTERACTS_WITH))
    one, other = (np.searchsorted(kernel.genes, ground.nodes_of(edges[side])) for side in ("subject", "object"))
    size = len(kernel.genes)
    for name in _CHANNELS:
        direct, carried = (edges[f"score_{name}{ending}"].fill_null(0).to_numpy() for ending in ("", "_transferred"))
        part = profile(one, other, 1 - (1 - direct / 1000.0) * (1 - carried / 1000.0), size)
        yield name, (kernel.genes, part, part)
    score = edges["score"].fill_null(0).to_numpy() / 1000.0
    ends = np.concatenate([one, other]), np.concatenate([other, one])
    links = sparse.csr_matrix((np.tile(score, 2), ends), shape=(size, size), dtype=np.float32)
    yield "link", (kernel.genes, links, sparse.identity(size, format="csr", dtype=np.float32))


def profile(one: npt.NDArray[Any], other: npt.NDArray[Any], score: npt.NDArray[Any], size: int) -> sparse.csr_matrix:
    """Return unit rows of interaction partners: score * log(genes / degree), with the gene itself at score one.

    Args:
        one: First ends of the links, 0 to ``size`` - 1.
        other: Second ends.
        score: 0 to 1; links of score 0 are left out.
        size: Number of genes.
    """
    held = score > 0
    one, other, score = one[held], other[held], score[held]
    degree = np.bincount(np.concatenate([one, other]), minlength=size)
    linked = np.flatnonzero(degree)
    rarity = np.log(max(len(linked), 2) / np.maximum(degree, 1))
    rows = np.concatenate([one, other, linked])
    columns = np.concatenate([other, one, linked])
    weights = np.concatenate([score * rarity[other], score * rarity[one], rarity[linked]])
    return unit_rows(rows, columns, weights, (size, size))
