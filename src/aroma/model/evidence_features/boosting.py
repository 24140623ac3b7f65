"""Boosted trees in two steps: is the target changed, and if so, up or down; calibrated, with class weights by line.

The second step is answered by the mean, in log odds, of trees and of a ridge regression (``linear``).

Each model of an average leaves out a part of the training rows; what it says of that part calibrates the probabilities
(beta calibration, Kull et al. 2017: monotone, three parameters) and chooses the class weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from aroma.model.evidence_features.layers import Float32
from aroma.model.evidence_features.linear import Linear, fit_linear
from aroma.model.evidence_features.similarity import booster
from aroma.model.labels import COLUMN_OF_LABEL, UP, Probabilities
from aroma.retrieval.csr import compiled

STEPS: Final = ("changed", "up")
_COMMON: Final[dict[str, Any]] = {
    "objective": "binary",
    "feature_fraction": 0.25,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
}
_BINS: Final[dict[str, Any]] = {
    "max_bin": 63,
    "bin_construct_sample_cnt": 100_000,
    "feature_pre_filter": False,
    "verbosity": -1,
}
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "changed": {**_COMMON, "num_leaves": 31, "learning_rate": 0.1, "min_data_in_leaf": 100, "rounds": 180},
    "up": {**_COMMON, "num_leaves": 15, "learning_rate": 0.05, "min_data_in_leaf": 40, "rounds": 200},
}
STRAIGHT: Final = 0.5
"""Share of the regressions in the log odds of direction."""
_FEWEST_ROUNDS: Final = 40
_MORE_DRAWN: Final = 4 / 3
"""Rounds of models whose thresholds are drawn, which learn more slowly, to those of others."""
_ROWS_A_ROUND: Final = 25
_LEAST: Final = 1e-6
_NEWTON_STEPS: Final = 30
_CLOSE: Final = 1e-9
_WEIGHTS: Final = np.exp(np.linspace(-1.0, 2.2, 33))
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Beta calibration: ``logit q = a·ln p - b·ln(1 - p) + c``."""

    a: float
    b: float
    c: float

    def __call__(self, p: Floats) -> Floats:
        """Return calibrated probabilities."""
        p = np.clip(p, _LEAST, 1 - _LEAST)
        return np.asarray(expit(self.a * np.log(p) - self.b * np.log1p(-p) + self.c))


def calibrate(p: Floats, said: npt.NDArray[Any]) -> Calibration:
    """Fit a calibration to predictions and 0/1 outcomes by Newton's method, drawn a little towards no change."""
    p = np.clip(p, _LEAST, 1 - _LEAST)
    wide = np.stack([np.log(p), -np.log1p(-p), np.ones_like(p)], axis=1)
    start = np.array([1.0, 1.0, 0.0])
    found = start.copy()
    for _ in range(_NEWTON_STEPS):
        expected = expit(wide @ found)
        gradient = wide.T @ (said - expected) - (found - start)
        curvature = (wide * (expected * (1 - expected))[:, None]).T @ wide + np.eye(3)
        step = np.linalg.solve(curvature, gradient)
        found = found + step
        if np.abs(step).max() < _CLOSE:
            break
    return Calibration(float(max(found[0], 0.05)), float(max(found[1], 0.05)), float(found[2]))


@dataclass(frozen=True)
class Boosted:
    """Trees, regressions and calibration of both steps.

    Attributes:
        trees: By step, the models whose mean is taken.
        straight: As many regressions for the direction.
        calibrations: By step.
    """

    trees: Mapping[str, tuple[lightgbm.Booster, ...]]
    straight: tuple[Linear, ...]
    calibrations: Mapping[str, Calibration]

    def probabilities(self, table: Float32, threads: int = 2) -> Probabilities:
        """Return float64 (rows, 3) probabilities of down, not significant, up."""
        said = {step: _mean([one.predict(table, num_threads=threads) for one in self.trees[step]]) for step in STEPS}
        said["up"] = mixed(said["up"], _mean([one(table) for one in self.straight]))
        changed, up = (self.calibrations[step](said[step]) for step in STEPS)
        return joined(changed, up)

    def contributions(self, row: Float32) -> dict[str, Floats]:
        """Return, by step, float64 (columns) what each feature of one row adds to the log odds (SHAP values)."""
        trees = [one for step in STEPS for one in self.trees[step]]
        with ThreadPoolExecutor(2) as pool:  # LightGBM gives a row one thread
            values = list(pool.map(lambda one: _shap(one, row), trees))
        size = len(self.trees[STEPS[0]])
        found = {step: _mean(values[place * size :][:size]) for place, step in enumerate(STEPS)}
        straight = _mean([one.contributions(row[None])[0] for one in self.straight])
        found["up"] = (1 - STRAIGHT) * found["up"] + STRAIGHT * straight
        return found

    def save(self, directory: Path, name: str) -> None:
        """Write LightGBM text files, and regressions and calibrations as JSON."""
        for step in STEPS:
            for place, one in enumerate(self.trees[step]):
                (directory / f"{name}-{step}-{place}.txt").write_text(one.model_to_string())
        said = {
            "models": len(self.trees["changed"]),
            "straight": [one.said() for one in self.straight],
            "calibrations": {step: vars_of(self.calibrations[step]) for step in STEPS},
        }
        (directory / f"{name}.json").write_text(json.dumps(said))

    @classmethod
    def load(cls, directory: Path, name: str) -> Boosted:
        """Read what ``save`` wrote."""
        said = json.loads((directory / f"{name}.json").read_text())
        trees = {
            step: tuple(
                booster((directory / f"{name}-{step}-{place}.txt").read_text()) for place in range(said["models"])
            )
            for step in STEPS
        }
        straight = tuple(Linear.read(one) for one in said["straight"])
        return cls(trees, straight, {step: Calibration(**said["calibrations"][step]) for step in STEPS})


def vars_of(calibration: Calibration) -> dict[str, float]:
    """Return the parameters by name."""
    return {"a": calibration.a, "b": calibration.b, "c": calibration.c}


def _shap(one: lightgbm.Booster, row: Float32) -> Floats:
    return np.asarray(one.predict(row[None], pred_contrib=True, num_threads=1))[0, :-1]


def mixed(p: Floats, straight: Floats) -> Floats:
    """Return the probabilities of the trees and the log odds of the regressions, taken together in log odds."""
    p = np.clip(p, _LEAST, 1 - _LEAST)
    together = (1 - STRAIGHT) * np.log(p / (1 - p)) + STRAIGHT * straight
    return np.asarray(expit(together))


def _mean(parts: list[Any]) -> Floats:
    total = np.zeros_like(np.asarray(parts[0], dtype=np.float64))
    for part in parts:
        total += part
    return total / len(parts)


def joined(changed: Floats, up: Floats) -> Probabilities:
    """Return (rows, 3) probabilities of down, not significant, up that sum to one."""
    return np.stack([changed * (1 - up), 1 - changed, changed * up], axis=1)


def boost(
    table: Float32,
    label: npt.NDArray[np.int8],
    part: npt.NDArray[Any],
    shares: npt.NDArray[np.bool_],
    *,
    seed: int,
    threads: int = 2,
) -> tuple[Boosted, Probabilities]:
    """Train the models, and return what each row is given by the model that did not see it.

    Args:
        table: float32 (rows, columns).
        label: int8 (rows).
        part: (rows), the part of each row; one model a part leaves it out.
        shares: bool (columns), which columns are shares (``linear.shares_of``).
        seed: Of bagging and of the choice of features.
        threads: Models trained at a time; the result does not depend on them.
    """
    parts = np.unique(part)
    binned = _binned(table, threads)

    def train(job: tuple[str, int]) -> tuple[lightgbm.Booster, Linear | None, Floats]:
        step, place = job
        kept, said = _kept(step, label, part, parts[place])
        mine = np.flatnonzero(part == parts[place])
        trees = _train(binned, said, kept, step, seed + place, drawn=place % 2 == 1)
        unseen = np.asarray(trees.predict(table[mine], num_threads=1))
        if step == "changed":
            return trees, None, unseen
        straight = fit_linear(table[kept], said[kept], shares)
        return trees, straight, mixed(unseen, straight(table[mine]))

    jobs = [(step, place) for step in STEPS for place in range(len(parts))]
    with ThreadPoolExecutor(threads) as pool:  # one model a thread: two threads in one model wait for each other
        made = dict(zip(jobs, pool.map(train, jobs), strict=True))
    trees = {step: tuple(made[step, place][0] for place in range(len(parts))) for step in STEPS}
    lines = tuple(one for place in range(len(parts)) if (one := made["up", place][1]) is not None)
    calibrations, unseen = {}, {}
    for step in STEPS:
        whole = np.zeros(len(label))
        for place, one in enumerate(parts):
            whole[part == one] = made[step, place][2]
        asked, said = _asked(step, label)
        calibrations[step] = calibrate(whole[asked], said[asked].astype(np.float64))
        unseen[step] = calibrations[step](whole)
    return Boosted(trees, lines, calibrations), joined(unseen["changed"], unseen["up"])


def _kept(
    step: str, label: npt.NDArray[np.int8], part: npt.NDArray[Any], left_out: Any
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return the rows that a step's model learns from without a part, and what every row says."""
    asked, said = _asked(step, label)
    kept = asked[part[asked] != left_out]
    if said[kept].all() or not said[kept].any():  # nothing to tell apart without this part
        kept = asked
    return kept, said


def _asked(step: str, label: npt.NDArray[np.int8]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return the rows that a step learns from, and what every row says."""
    if step == "changed":
        return np.arange(len(label)), label > 0
    return np.flatnonzero(label > 0), label == UP


def _binned(table: Float32, threads: int) -> lightgbm.Dataset:
    """Return the table in LightGBM's bins, which every model takes its rows of."""
    settings = {**_BINS, "num_threads": threads}
    return lightgbm.Dataset(table, np.zeros(len(table), np.float32), params=settings, free_raw_data=True).construct()


def _train(
    binned: lightgbm.Dataset, said: npt.NDArray[np.bool_], rows: npt.NDArray[Any], step: str, seed: int, *, drawn: bool
) -> lightgbm.Booster:
    """Train one model; ``drawn``: thresholds are drawn by chance, so that models of one mean err apart."""
    settings = {name: value for name, value in SETTINGS[step].items() if name != "rounds"}
    least = max(1, min(settings["min_data_in_leaf"], len(rows) // 50))
    most = SETTINGS[step]["rounds"] * (_MORE_DRAWN if drawn else 1)
    rounds = min(int(most), _FEWEST_ROUNDS + len(rows) // _ROWS_A_ROUND)
    settings |= {**_BINS, "seed": seed, "num_threads": 1, "min_data_in_leaf": least, "extra_trees": drawn}
    data = binned.subset(rows.tolist()).construct()
    data.set_label(said[rows].astype(np.float32))
    return booster(lightgbm.train(settings, data, rounds).model_to_string())


def class_weights(p: Probabilities, label: npt.NDArray[np.int8]) -> tuple[float, float, float]:
    """Return weights of down, not significant and up that give the best macro F1 on rows that were not seen.

    One weight after the other is tried on a grid, three rounds; ties go to the smaller change.
    """
    weights, truth = np.array([1.0, 1.0, 1.0]), COLUMN_OF_LABEL[label].astype(np.int64)
    tables = np.zeros((len(_WEIGHTS), 3, 3))
    for _ in range(3):
        for place in (0, 2):
            _answered(np.ascontiguousarray(p), truth, weights, place, _WEIGHTS, tables)
            tried = _mean_f1(tables)
            best = np.flatnonzero(np.isclose(tried, tried.max()))
            weights[place] = _WEIGHTS[best[np.abs(np.log(_WEIGHTS[best])).argmin()]]
    return float(weights[0]), 1.0, float(weights[2])


@compiled
def _answered(
    p: Floats, truth: npt.NDArray[np.int64], weights: Floats, place: int, tried: Floats, tables: Floats
) -> None:
    """Put the counts of (truth, answer) under each tried weight of down (0) or up (2) into ``tables`` (tried, 3, 3)."""
    tables[:] = 0.0
    for row in range(len(p)):
        down, same, up = p[row, 0] * weights[0], p[row, 1] * weights[1], p[row, 2] * weights[2]
        for one in range(len(tried)):
            if place == 0:
                down = p[row, 0] * tried[one]
            else:
                up = p[row, 2] * tried[one]
            if down >= same and down >= up:
                tables[one, truth[row], 0] += 1.0
            elif same >= up:
                tables[one, truth[row], 1] += 1.0
            else:
                tables[one, truth[row], 2] += 1.0


def _mean_f1(tables: Floats) -> Floats:
    """Return the mean F1 of the three classes of tables of counts (…, 3, 3)."""
    right = np.diagonal(tables, axis1=-2, axis2=-1)
    total = np.maximum(tables.sum(axis=-1) + tables.sum(axis=-2), 1)
    return np.asarray((2 * right / total).mean(axis=-1))


def macro_f1(column: npt.NDArray[Any], label: npt.NDArray[np.int8]) -> float:
    """Return the mean F1 of the three classes; ``column`` is the probability column that was chosen."""
    table = np.bincount(3 * COLUMN_OF_LABEL[label] + column, minlength=9).reshape(3, 3)
    return float(_mean_f1(table.astype(np.float64)))
