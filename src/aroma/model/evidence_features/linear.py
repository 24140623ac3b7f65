"""A ridge logistic regression over the features, beside the trees.

Few rows say which way a target goes (one in seven), and there a straight line through rates, processes and factors
generalises better than trees alone; the mean of the two is better than either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from aroma.model.evidence_features.layers import Float32
from aroma.retrieval.csr import compiled

Floats = npt.NDArray[np.float64]
_PENALTY: Final = 30.0
_STEPS: Final = 8
_CLOSE: Final = 1e-4
_WIDEST: Final = 5.0
_LEAST: Final = 1e-3
_BLOCK: Final = 24
_SHARES: Final = ("rate_", "near_rate_", "line_")
"""Columns that begin so are shares, whose log odds are taken."""


def shares_of(names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which columns are shares."""
    return np.array([name.startswith(_SHARES) for name in names])


@dataclass(frozen=True)
class Linear:
    """A fitted regression.

    Attributes:
        shares: bool (columns), which are shares.
        mean: float32 (columns), of the training rows, after log odds.
        scale: float32 (columns), likewise; 0 where a column says nothing.
        weights: float64 (columns), of a column's spreads from its mean.
        level: What a row at all means gets.
    """

    shares: npt.NDArray[np.bool_]
    mean: Float32
    scale: Float32
    weights: Floats
    level: float

    def contributions(self, table: Float32) -> Floats:
        """Return float64 (rows, columns): what each feature adds to the log odds."""
        found = np.zeros(table.shape, dtype=np.float64)
        _spreads(table, self.shares, self.mean, self.scale, found)
        found *= self.weights
        return found

    def __call__(self, table: Float32) -> Floats:
        """Return float64 log odds of rows, each summed by itself."""
        found: Floats = self.contributions(table).sum(axis=1) + self.level
        return found

    def said(self) -> dict[str, Any]:
        """Return all numbers for JSON."""
        parts = {"shares": self.shares, "mean": self.mean, "scale": self.scale, "weights": self.weights}
        return {name: part.tolist() for name, part in parts.items()} | {"level": self.level}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """Return what ``said`` wrote."""
        return cls(
            np.array(said["shares"], dtype=np.bool_),
            np.array(said["mean"], dtype=np.float32),
            np.array(said["scale"], dtype=np.float32),
            np.array(said["weights"], dtype=np.float64),
            float(said["level"]),
        )


def fit_linear(table: Float32, said: npt.NDArray[np.bool_], shares: npt.NDArray[np.bool_]) -> Linear:
    """Fit by Newton's method.

    Args:
        table: float32 (rows, columns).
        said: bool (rows), the outcome.
        shares: bool (columns), which are shares.
    """
    columns = table.shape[1]
    raw = np.zeros(table.shape, dtype=np.float64)
    _spreads(table, shares, np.zeros(columns, np.float32), np.ones(columns, np.float32), raw)
    mean, spread = raw.mean(axis=0), raw.std(axis=0)
    scale = np.divide(1.0, spread, out=np.zeros(columns), where=spread > _CLOSE).astype(np.float32)
    _spreads(table, shares, mean.astype(np.float32), scale, raw)
    design = np.ones((len(table), columns + 1), dtype=np.float32)
    design[:, :-1] = raw
    ridge = np.diag([*[_PENALTY] * columns, 1e-3])
    weights = np.zeros(columns + 1)
    for _ in range(_STEPS):
        curve, slope = ridge.copy(), -ridge @ weights
        _newton(design, said, weights.astype(np.float32), curve, slope)
        step = np.linalg.solve(curve, slope)
        weights += step
        if np.abs(step).max() < _CLOSE:
            break
    return Linear(shares, mean.astype(np.float32), scale, weights[:-1], float(weights[-1]))


@compiled
def _newton(design: Float32, said: npt.NDArray[np.bool_], weights: Float32, curve: Floats, slope: Floats) -> None:
    """Add the curvature and the slope of the log likelihood to ``curve`` and ``slope``, a few rows at a time.

    So few that the library's products start no threads, which would wait for those of the other regressions.
    """
    columns = design.shape[1]
    scaled, part = np.empty((_BLOCK, columns), np.float32), np.empty((columns, columns), np.float32)
    odds, residual = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    for first in range(0, len(design), _BLOCK):
        rows = design[first : first + _BLOCK]
        count = len(rows)
        np.dot(rows, weights, odds[:count])
        for row in range(count):
            likely = np.float32(1.0) / (np.float32(1.0) + np.exp(-odds[row]))
            residual[row] = np.float32(said[first + row]) - likely
            weight = max(likely * (np.float32(1.0) - likely), np.float32(_LEAST))
            for column in range(columns):
                scaled[row, column] = weight * rows[row, column]
        np.dot(scaled[:count].T, rows, part)
        curve += part
        slope += np.dot(residual[:count], rows)


@compiled
def _spreads(table: Float32, shares: npt.NDArray[np.bool_], mean: Float32, scale: Float32, found: Floats) -> None:
    """Put the log odds of shares and all else as it is into ``found``, less the mean, by the scale; NaN is the mean."""
    for row in range(table.shape[0]):
        for column in range(table.shape[1]):
            value = table[row, column]
            if np.isnan(value):
                value = mean[column]
            elif shares[column]:
                value = min(max(value, np.float32(_LEAST)), np.float32(1 - _LEAST))
                value = np.log(value / (np.float32(1.0) - value))
            spread = (value - mean[column]) * scale[column]
            found[row, column] = min(max(spread, np.float32(-_WIDEST)), np.float32(_WIDEST))
