"""Vectors of nodes by id, which the stores hand out beside a mask of the nodes that have one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import UsageError
from aroma.retrieval.csr import Int64
from aroma.retrieval.snapshot import Snapshot, View

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NodeVectors:
    """Vectors of some nodes.

    Attributes:
        ids: Node ids (CURIEs), each once.
        matrix: float32, (ids, dimensions); may be memory-mapped, rows are read when asked for.
        unknown: What stands in the vector of a node that has none. Not-a-number by default, so that a model that
            forgets the mask fails at once; give 0.0 where the mask is used.

    Raises:
        UsageError: Another type or shape, or an id is given twice.
    """

    ids: Sequence[str]
    matrix: Float32
    unknown: float = math.nan
    rows: pl.DataFrame = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.matrix.shape) != len(("ids", "dimensions")) or self.matrix.dtype != np.float32:
            raise UsageError(
                f"vectors must be float32 of shape (ids, dimensions), not {self.matrix.dtype} of {self.matrix.shape}"
            )
        if len(self.ids) != len(self.matrix):
            raise UsageError(f"there are {len(self.ids)} ids but {len(self.matrix)} vectors; give one vector for each")
        ids = pl.Series("id", list(self.ids), dtype=pl.String)
        if ids.n_unique() != len(ids):
            twice = ids.filter(ids.is_duplicated())[0]
            raise UsageError(f"{twice} has more than one vector; give each id once")
        rows = pl.DataFrame({"id": ids, "row": np.arange(len(ids), dtype=np.int64)})
        object.__setattr__(self, "rows", rows)

    def rows_of(self, ids: Sequence[str]) -> Int64:
        """Return int64, ids: row of each id, -1 where it has no vector."""
        asked = pl.DataFrame({"id": list(ids)}, schema={"id": pl.String})
        found: Int64 = asked.join(self.rows, on="id", how="left", maintain_order="left")["row"].fill_null(-1).to_numpy()
        return found

    def take(self, rows: Int64) -> Float32:
        """Return float32, (rows, dimensions); ``unknown`` where a row is -1."""
        known = rows >= 0
        found = np.full((len(rows), self.matrix.shape[1]), self.unknown, dtype=np.float32)
        found[known] = self.matrix[rows[known]]
        return found


def degree_vectors(snapshot: Snapshot, view: View) -> NodeVectors:
    """Return what the view alone says of each of its nodes, for models without other features.

    Dimensions: log2(1 + degree), the mean of that over the neighbours, and the node's share of the triangles that its
    neighbours could form (local clustering coefficient; 0 below two neighbours).

    Args:
        snapshot: The opened release.
        view: A view of it.
    """
    import scipy.sparse as sp

    csr = view.csr
    degree = csr.degrees.astype(np.float64)
    size = np.log2(1 + degree)
    ones = np.ones(len(csr.indices), dtype=np.float32)
    graph = sp.csr_matrix((ones, csr.indices, csr.indptr), shape=(csr.nodes, csr.nodes))
    mean = (graph @ size) / np.maximum(degree, 1)
    triangles = np.zeros(csr.nodes)
    for begin in range(0, csr.nodes, 2048):  # the square of a dense view as a whole would not fit in memory
        part = graph[begin : begin + 2048]
        triangles[begin : begin + 2048] = np.asarray((part @ graph).multiply(part).sum(axis=1)).ravel()
    clustering = triangles / np.maximum(degree * (degree - 1), 1)
    matrix = np.stack([size, mean, clustering], axis=1).astype(np.float32)
    ids = snapshot.nodes.ids.series().gather(view.to_release).to_list()
    return NodeVectors(ids, matrix)
