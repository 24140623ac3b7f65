"""Whether probabilities mean what they say: Brier score and skill, reliability by class, another prevalence.

A slope is that of a logistic recalibration (Cox 1958; Van Calster et al. 2019, doi:10.1186/s12916-019-1466-7): the
log-odds of what was measured on the log-odds of what was predicted. 1 is right, below 1 the predictions are too
extreme, above 1 too timid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from aroma.errors import UsageError
from aroma.model.evaluation.metrics import Columns, Floats, Ints
from aroma.model.labels import CLASSES, Probabilities

BINS: Final = 10
QUARTILES: Final = 4
_LEAST: Final = 1e-6
_ROUNDS: Final = 50
_SMALLEST_STEP: Final = 1e-9
_FEWEST: Final = 20
"""A slope of fewer rows of either kind says nothing."""


def brier_by_row(probabilities: Probabilities, truth: Columns) -> Floats:
    """Return each row's sum over classes of squared error, 0 to 2 (Brier 1950): float64 (rows)."""
    hit = np.zeros_like(probabilities)
    hit[np.arange(len(truth)), truth] = 1.0
    found: Floats = ((probabilities - hit) ** 2).sum(axis=1)
    return found


def brier(probabilities: Probabilities, truth: Columns) -> float:
    """Return the mean of ``brier_by_row``; NaN without rows."""
    return float(brier_by_row(probabilities, truth).mean()) if len(truth) else float("nan")


def skill(own: npt.ArrayLike, baseline: npt.ArrayLike) -> Floats:
    """Return ``1 - own / baseline``: the share of the baseline's Brier score that a model takes away.

    Args:
        own: Brier scores, of a set of rows or of draws.
        baseline: Those of the baseline (``gene-frequency``) on the same rows or draws.
    """
    one, other = np.asarray(own, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    found: Floats = 1.0 - np.divide(one, other, out=np.full(one.shape, np.nan), where=other > 0)
    return found


@dataclass(frozen=True, slots=True)
class Reliability:
    """How predicted probabilities of one class stand to what was measured.

    Attributes:
        name: The class.
        rows: How many rows.
        slope: Of the logistic recalibration; NaN with fewer than 20 rows of the class, or of the others.
        intercept: Of the same, in log-odds.
        predicted: float64 (bins), mean prediction of bins that hold equal sums of p (1 - p), as bins of equally many
            rows would put most of them where next to nothing changes.
        observed: float64 (bins), share of the class in them.
        counts: int64 (bins).
        error: Mean over rows of |observed - predicted| of its bin (expected calibration error).
    """

    name: str
    rows: int
    slope: float
    intercept: float
    predicted: Floats
    observed: Floats
    counts: Ints
    error: float


def reliability(probabilities: Probabilities, truth: Columns, *, bins: int = BINS) -> list[Reliability]:
    """Return the reliability of each class, in the order of ``CLASSES``."""
    return [_of_class(name, probabilities[:, column], truth == column, bins) for column, name in enumerate(CLASSES)]


def reliability_by_quartile(
    probabilities: Probabilities, truth: Columns, rate: Floats, *, bins: int = BINS
) -> list[list[Reliability]]:
    """Return the reliability of each class within quartiles of the target's rate, lowest quartile first.

    Over all rows a lookup of target rates is well calibrated whatever it knows; within a quartile the rates hardly
    differ, so what is seen is what a model adds.

    Args:
        probabilities: float64 (rows, 3).
        truth: int8 (rows).
        rate: float64 (rows): the training rate at which the row's target changes (``gene-frequency``'s prediction).
        bins: Bins of each curve.
    """
    if not len(rate):
        return []
    edges = np.quantile(rate, np.arange(1, QUARTILES) / QUARTILES)
    quartile = np.searchsorted(edges, rate, side="left")
    return [reliability(probabilities[quartile == q], truth[quartile == q], bins=bins) for q in range(QUARTILES)]


def _of_class(name: str, predicted: Floats, hit: npt.NDArray[np.bool_], bins: int) -> Reliability:
    slope, intercept = calibration_line(predicted, hit)
    places = _equal_bins(predicted, bins)
    size = int(places.max()) + 1 if len(places) else 0
    counts = np.bincount(places, minlength=size)
    mean = np.bincount(places, weights=predicted, minlength=size) / np.maximum(counts, 1)
    share = np.bincount(places, weights=hit, minlength=size) / np.maximum(counts, 1)
    error = float((np.abs(mean - share) * counts).sum() / counts.sum()) if size else float("nan")
    return Reliability(name, len(hit), slope, intercept, mean, share, counts, error)


def _equal_bins(values: Floats, bins: int) -> Ints:
    """Return the bin of each value; bins hold about equal sums of p (1 - p), and equal values the same bin."""
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    ordered = np.sort(values)
    doubt = np.cumsum(ordered * (1 - ordered) + _LEAST)
    edges = np.unique(ordered[np.searchsorted(doubt, doubt[-1] * np.arange(1, bins) / bins)])
    _, places = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)
    return places.astype(np.int64)


def calibration_line(predicted: Floats, hit: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and intercept of the logistic recalibration by Newton's method; NaN where they are not defined.

    Args:
        predicted: float64 (rows), probabilities of a class.
        hit: bool (rows), whether it was measured.
    """
    missing = float("nan"), float("nan")
    if min(int(hit.sum()), int((~hit).sum())) < _FEWEST or np.ptp(predicted) == 0:
        return missing
    clipped = np.clip(predicted, _LEAST, 1 - _LEAST)
    design = np.stack([np.log(clipped / (1 - clipped)), np.ones(len(clipped))], axis=1)
    line = np.zeros(2)  # from here Newton's steps converge also where predictions are far too extreme
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(design @ line, -30, 30)))
        weight = chance * (1 - chance) + 1e-12
        hessian = design.T @ (design * weight[:, None])
        step = np.linalg.lstsq(hessian, design.T @ (hit - chance), rcond=None)[0]
        line = line + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < _SMALLEST_STEP:
            return float(line[0]), float(line[1])
    return missing


def prevalence(truth: Columns) -> Floats:
    """Return the share of each class among rows: float64 (3)."""
    return np.bincount(truth, minlength=len(CLASSES)) / max(len(truth), 1)


def with_changed_share(shares: Floats, changed: float) -> Floats:
    """Return class shares with another share of changed rows, down and up in the proportion that they had.

    Args:
        shares: float64 (3).
        changed: Wanted share of down and up together, between 0 and 1.

    Raises:
        UsageError: ``changed`` is not between 0 and 1, or no row is changed.
    """
    if not 0 < changed < 1:
        raise UsageError(f"prevalence {changed} is no share of changed rows; give a number between 0 and 1, as 0.02")
    had = shares[0] + shares[2]
    if had <= 0:
        raise UsageError("no outcome is changed, so there is no proportion of down to up to keep")
    return np.array([shares[0] / had * changed, 1 - changed, shares[2] / had * changed])


def at_prevalence(probabilities: Probabilities, had: Floats, wanted: Floats) -> Probabilities:
    """Return probabilities for rows of another prevalence (Saerens et al. 2002, doi:10.1162/089976602753284446).

    Not-significant rows of PerturbQA are sampled, so that about 14 % of rows are changed; in a whole screen far fewer
    are. Each class's probability is multiplied with the ratio of its shares, and the row scaled to one. Ranks within a
    gene hardly change; probabilities do.

    Args:
        probabilities: float64 (rows, 3).
        had: Class shares in what the model was trained on, float64 (3).
        wanted: Class shares where it is used.
    """
    ratio = np.divide(wanted, had, out=np.zeros(len(CLASSES)), where=had > 0)
    scaled = probabilities * ratio
    total = scaled.sum(axis=1, keepdims=True)
    found: Probabilities = np.divide(scaled, total, out=np.array(probabilities, copy=True), where=total > 0)
    return found


def row_weights(truth: Columns, wanted: Floats) -> Floats:
    """Return weights with which rows stand for a set of another prevalence: float64 (rows), mean 1."""
    had = prevalence(truth)
    ratio = np.divide(wanted, had, out=np.zeros(len(CLASSES)), where=had > 0)
    return ratio[truth]
