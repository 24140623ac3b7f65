"""Class weights: what probabilities are multiplied with before the largest is the label, learned for macro F1.

Changed rows are rare, so the largest probability is nearly always "not significant"; the F1 of the changed classes is
best at other thresholds, which differ by cell line. They are learned on rows that the probabilities have not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.model.labels import Probabilities

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
    table, counts = _distinct(probabilities, columns)
    coarse = max(((down, up) for down in _GRID for up in _GRID), key=lambda pair: _score(table, counts, *pair))
    fine = max(
        ((coarse[0] * down, coarse[1] * up) for down in _FINE for up in _FINE),
        key=lambda pair: _score(table, counts, *pair),
    )
    return (round(float(fine[0]), 4), 1.0, round(float(fine[1]), 4))


def macro_f1(confusion: npt.NDArray[np.float64]) -> float:
    """Return the mean F1 of the classes of a (right, answered) table of counts; a class without rows counts as 0."""
    right = np.diag(confusion)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(np.divide(2 * right, total, out=np.zeros(len(right)), where=total > 0)))


def mean_f1(lines: Mapping[str, npt.NDArray[np.float64]]) -> float:
    """Return the mean over cell lines of macro F1."""
    return float(np.mean([macro_f1(confusion) for confusion in lines.values()]))


def _distinct(
    probabilities: Probabilities, columns: npt.NDArray[np.int8]
) -> tuple[Probabilities, npt.NDArray[np.float64]]:
    """Return the distinct probabilities and how many rows of each class have them (lookups have few)."""
    frame = pl.DataFrame({"d": probabilities[:, 0], "u": probabilities[:, 2], "n": probabilities[:, 1], "c": columns})
    grouped = frame.group_by("d", "n", "u").agg(
        *((pl.col("c") == column).sum().alias(f"c{column}") for column in range(3))
    )
    grouped = grouped.sort("d", "n", "u")
    counts = grouped.select("c0", "c1", "c2").to_numpy().astype(np.float64)
    return grouped.select("d", "n", "u").to_numpy(), counts


def _score(table: Probabilities, counts: npt.NDArray[np.float64], down: float, up: float) -> float:
    low, high = table[:, 0] * down, table[:, 2] * up
    answer = np.where(low >= np.maximum(table[:, 1], high), 0, np.where(table[:, 1] >= high, 1, 2))
    confusion = np.stack([np.bincount(answer, counts[:, column], minlength=3) for column in range(3)])
    return macro_f1(confusion.astype(np.float64))
