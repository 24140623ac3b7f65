"""Regression trees as flat arrays: what LightGBM answers, without what it takes to ask LightGBM for a few rows.

Its ``predict`` costs milliseconds before the first row; similarities are asked for two thousand rows at every new pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import lightgbm
import numpy as np
import numpy.typing as npt

from aroma.model.evidence_features.layers import Float32
from aroma.retrieval.csr import Int32, compiled

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Forest:
    """Trees whose values are added up.

    Attributes:
        roots: int32 (trees), the first node of each.
        column: int32 (nodes), what a node looks at; -1: a leaf.
        threshold: float64 (nodes): up to it one goes left; of a leaf its value.
        right: int32 (nodes), where one goes else; the left one is the next node.
    """

    roots: Int32
    column: Int32
    threshold: Floats
    right: Int32

    @classmethod
    def of(cls, booster: lightgbm.Booster) -> Self:
        """Return the trees of a booster whose columns are numbers and never NaN."""
        nodes: list[tuple[int, float, int]] = []
        roots = []
        for tree in booster.dump_model()["tree_info"]:
            roots.append(len(nodes))
            nodes += _flat(tree["tree_structure"], len(nodes))
        column, threshold, right = zip(*nodes, strict=True)
        return cls(
            np.array(roots, np.int32), np.array(column, np.int32), np.array(threshold), np.array(right, np.int32)
        )

    def __call__(self, table: Float32) -> Floats:
        """Return the float64 sum over trees for each row of float32 (rows, columns)."""
        found = np.zeros(len(table))
        _sums(table, self.roots, self.column, self.threshold, self.right, found)
        return found


def _flat(node: dict[str, Any], place: int) -> Iterator[tuple[int, float, int]]:
    """Yield column, threshold and right child of a node and of all below, each before its children, left first."""
    if "leaf_value" in node:
        yield -1, node["leaf_value"], -1
        return
    left = list(_flat(node["left_child"], place + 1))
    right = place + 1 + len(left)
    yield node["split_feature"], node["threshold"], right
    yield from left
    yield from _flat(node["right_child"], right)


@compiled
def _sums(table: Float32, roots: Int32, column: Int32, threshold: Floats, right: Int32, found: Floats) -> None:
    for row in range(len(table)):
        for root in roots:
            node = root
            while column[node] >= 0:
                node = node + 1 if table[row, column[node]] <= threshold[node] else right[node]
            found[row] += threshold[node]
