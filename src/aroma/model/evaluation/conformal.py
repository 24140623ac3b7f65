"""Prediction sets: the classes that cannot be ruled out, with a stated chance of holding the right one.

Split conformal prediction, each class with its own threshold (Vovk 2012, Mondrian; Sadinle et al. 2019,
doi:10.1080/01621459.2017.1395341), so that the stated coverage holds within each class and not only on the many
not-significant rows. Rows of one perturbation are not exchangeable with others one by one, so thresholds are learned
on other perturbations than those they are judged on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from aroma.model.evaluation.metrics import Bools, Columns, Floats, Scored
from aroma.model.labels import CLASSES, Probabilities

COVERAGES: Final = (0.8, 0.9, 0.95)
_FOLDS: Final = 5


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a class's probability must reach to stand in the set.

    Attributes:
        coverage: Stated coverage.
        least: float64 (3); minus infinity for a class with too few rows to rule it out.
    """

    coverage: float
    least: Floats

    @classmethod
    def learn(cls, probabilities: Probabilities, truth: Columns, coverage: float) -> Thresholds:
        """Learn thresholds from rows that the model has not seen.

        Args:
            probabilities: float64 (rows, 3).
            truth: int8 (rows).
            coverage: Wanted chance that the set holds the right class, within each class.
        """
        least = np.full(len(CLASSES), -np.inf)
        for column in range(len(CLASSES)):
            right = np.sort(probabilities[truth == column, column])
            allowed = int(np.floor((1 - coverage) * (len(right) + 1) + 1e-9))
            if allowed >= 1:
                least[column] = right[allowed - 1]
        return cls(coverage, least)

    def sets(self, probabilities: Probabilities) -> Bools:
        """Return which classes stand in each row's set: bool (rows, 3); a set can be empty: nothing fits."""
        inside: Bools = probabilities >= self.least
        return inside


@dataclass(frozen=True, slots=True)
class Coverage:
    """How sets did on perturbations that their thresholds had not seen.

    Attributes:
        stated: Stated coverage.
        measured: Share of rows whose set holds the right class.
        by_class: float64 (3), the same within each class.
        size: Mean number of classes in a set.
        single: Share of rows with one class in the set.
        empty: Share of rows with none: no class looks as it did on rows of its own.
    """

    stated: float
    measured: float
    by_class: Floats
    size: float
    single: float
    empty: float


def coverage_of(rows: Scored, stated: float, *, seed: int = 0) -> Coverage:
    """Return coverage and size of sets, each perturbation's from thresholds learned on other perturbations.

    Args:
        rows: Predictions of rows that the model has not seen.
        stated: Stated coverage.
        seed: Of the draw of perturbations into folds.
    """
    places = np.random.default_rng(seed).permutation(len(rows.perturbations)) % _FOLDS
    fold = places[rows.perturbation]
    inside = np.zeros((len(rows), len(CLASSES)), dtype=bool)
    for number in range(_FOLDS):
        at = fold == number
        inside[at] = Thresholds.learn(rows.probabilities[~at], rows.truth[~at], stated).sets(rows.probabilities[at])
    right = inside[np.arange(len(rows)), rows.truth]
    size = inside.sum(axis=1)
    by_class = [_mean(right[rows.truth == column]) for column in range(len(CLASSES))]
    return Coverage(stated, _mean(right), np.array(by_class), _mean(size), _mean(size == 1), _mean(size == 0))


def _mean(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> float:
    return float(values.astype(np.float64).mean()) if len(values) else float("nan")
