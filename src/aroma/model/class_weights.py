"""Class weights: what probabilities are multiplied with before the largest is the label, learned for macro F1.

Changed rows are rare, so the largest probability is nearly always "not significant"; the F1 of the changed classes is
best at other thresholds, which differ by cell line. They are learned on rows that the probabilities have not seen.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.model.labels import Probabilities
from aroma.retrieval.csr import compiled

Weights = tuple[float, float, float]
OTHER: Final = "*"
_GRID: Final = np.exp(np.linspace(np.log(0.25), np.log(16.0), 25))
_FINE: Final = np.exp(np.linspace(-0.15, 0.15, 7))


def learn_weights(
    cell_lines: pl.Series, probabilities: Probabilities, columns: npt.NDArray[np.int8]
) -> dict[str, Weights]:
    """Return the weights that give the best macro F1, by cell line, and over all rows as ``*``.

    Args:
        cell_lines: Of each row.
        probabilities: float64 (rows, 3) of rows that the model did not learn from.
        columns: int8, the right probability column of each row (``column_of``).
    """
    names = cell_lines.to_numpy()
    found = {OTHER: best_weights(probabilities, columns)}
    for name in sorted(set(names.tolist())):
        own = names == name
        found[name] = best_weights(probabilities[own], columns[own])
    return found


def best_weights(probabilities: Probabilities, columns: npt.NDArray[np.int8]) -> Weights:
    """Return the (down, 1, up) weights with the best macro F1: a grid of both, then a finer one about its best."""
    if len(np.unique(columns)) < 3:  # noqa: PLR2004 - without all three classes there is no macro F1 to choose by
        return (1.0, 1.0, 1.0)
    table = np.ascontiguousarray(probabilities, dtype=np.float64)
    right = np.ascontiguousarray(columns, dtype=np.int8)
    coarse = _best(table, right, _pairs(_GRID, _GRID))
    fine = _best(table, right, _pairs(coarse[0] * _FINE, coarse[1] * _FINE))
    return (round(fine[0], 4), 1.0, round(fine[1], 4))


def macro_f1(confusions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean F1 of the classes of each (..., right, answered) table; a class without rows counts as 0."""
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    total = confusions.sum(axis=-1) + confusions.sum(axis=-2)
    scores = np.divide(2 * right, total, out=np.zeros_like(total), where=total > 0)
    mean: npt.NDArray[np.float64] = scores.mean(axis=-1)
    return mean


def _pairs(down: npt.NDArray[np.float64], up: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.stack(np.meshgrid(down, up, indexing="ij"), axis=-1).reshape(-1, 2)


def _best(table: Probabilities, right: npt.NDArray[np.int8], pairs: npt.NDArray[np.float64]) -> tuple[float, float]:
    confusions = np.zeros((len(pairs), 3, 3))
    _count(table, right, pairs, confusions)
    best = int(macro_f1(confusions).argmax())
    return float(pairs[best, 0]), float(pairs[best, 1])


@compiled
def _count(
    table: npt.NDArray[np.float64],
    right: npt.NDArray[np.int8],
    pairs: npt.NDArray[np.float64],
    confusions: npt.NDArray[np.float64],
) -> None:
    """Count (right, answered) for each pair of weights; ties go to the first class, as in ``argmax``."""
    for pair in range(len(pairs)):
        down, up = pairs[pair, 0], pairs[pair, 1]
        for row in range(len(right)):
            low, same, high = table[row, 0] * down, table[row, 1], table[row, 2] * up
            if low >= same and low >= high:
                answer = 0
            elif same >= high:
                answer = 1
            else:
                answer = 2
            confusions[pair, right[row], answer] += 1.0
