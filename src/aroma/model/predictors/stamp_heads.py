"""``stamp-heads``: three linked questions in place of one: does it change, which way, and how much (as in STAMP)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.numpy import load_file, save_file
from scipy.special import expit

from aroma.model.class_weights import Weights, learn_weights
from aroma.model.labels import CLASSES, Probabilities
from aroma.model.plugin import Plugin, Progress, Reason, Setting, Training, column_of
from aroma.model.predictors.core_voting import unseen_rates
from aroma.model.predictors.simple_features import KINDS, SimpleFeatures

Float64 = npt.NDArray[np.float64]
_FILE: Final = "heads.safetensors"
_SWEEPS: Final = 30
_CLIP: Final = 8.0
_FEW: Final = 10
_TEXTS: Final = {
    "rates": "how often {target} changes in training, whatever is perturbed",
    "related perturbations": "what perturbations related to {perturbation} did to {target}",
    "other lines": "what {perturbation} did to {target} in other cell lines",
    "perturbation": "how much {perturbation} changes in other cell lines, over all targets",
}


class StampHeads(Plugin):
    """Changed?, direction and magnitude as linear heads, each fed with the answer of the ones before it.

    Features are ``aroma.model.predictors.simple_features``. The magnitude (absolute difference of mean log expression)
    is learned where training has it, and is then one more column of the predictions.
    """

    name: ClassVar[str] = "stamp-heads"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Changed, direction, magnitude: three linked linear heads over rates and votes."
    providers: ClassVar[tuple[str, ...]] = ("gene_ontology", "corum", "reactome", "string")
    defaults: ClassVar[Mapping[str, Setting]] = {"penalty": 10.0}

    _features: SimpleFeatures
    _heads: dict[str, Float64]
    _weights: Mapping[str, Weights]

    def _fit(self, training: Training, progress: Progress) -> None:
        rows = training.rows
        self._features = SimpleFeatures.of(rows, self.ground)
        progress("features", 0.1)
        rates = unseen_rates(self._features.rates, rows, training.seed)
        values = self._features.values(rows, rates)
        scale = values.std(axis=0)
        self._heads = {"mean": values.mean(axis=0), "scale": np.where(scale > 0, scale, 1.0)}
        progress("heads", 0.6)
        columns = column_of(rows["label"].to_numpy())
        changed = columns != CLASSES.index("not significant")
        penalty = float(self.settings["penalty"])
        inputs = self._standard(values)
        self._heads["changed"] = _logistic(inputs, changed.astype(np.float64), penalty)
        linked = _linked(inputs, self._heads["changed"])
        up = (columns == CLASSES.index("up"))[changed].astype(np.float64)
        self._heads["direction"] = _logistic(linked[changed], up, penalty)
        self._fit_magnitude(training, linked, penalty)
        self._weights = learn_weights(rows["cell_line"], self._answer(linked), columns)

    def _fit_magnitude(self, training: Training, linked: Float64, penalty: float) -> None:
        if training.magnitudes is None:
            return
        keys = ["cell_line", "perturbation", "target"]
        known = training.magnitudes.select(*keys, "difference").unique(keys)
        size = training.rows.join(known, on=keys, how="left", maintain_order="left")["difference"].abs()
        has = (size.is_not_null() & size.is_finite() & (training.rows["label"] != 0)).to_numpy()
        if has.sum() >= _FEW:
            inputs = _linked(linked, self._heads["direction"])[has]
            self._heads["magnitude"] = _ridge(inputs, np.log(size.to_numpy()[has] + 1e-3), penalty)

    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        return self._answer(_linked(self._standard(self._features.values(rows)), self._heads["changed"]))

    def _answer(self, linked: Float64) -> Probabilities:
        changed = expit(linked[:, -1])
        up = expit(_apply(linked, self._heads["direction"]))
        found: Probabilities = np.stack([changed * (1 - up), 1 - changed, changed * up], axis=1)
        return found

    def _more(self, rows: pl.DataFrame) -> Mapping[str, pl.Series]:
        if "magnitude" not in self._heads:
            return {}
        linked = _linked(self._standard(self._features.values(rows)), self._heads["changed"])
        size = _apply(_linked(linked, self._heads["direction"]), self._heads["magnitude"])
        return {"magnitude": pl.Series(np.exp(size))}

    def _standard(self, values: Float64) -> Float64:
        scaled: Float64 = np.clip((values - self._heads["mean"]) / self._heads["scale"], -_CLIP, _CLIP)
        return scaled

    def _save(self, directory: Path) -> None:
        self._features.save(directory)
        save_file(self._heads, directory / _FILE)

    def _load(self, directory: Path) -> None:
        self._features = SimpleFeatures.load(directory, self.ground)
        self._heads = load_file(directory / _FILE)

    def _class_weights(self) -> Mapping[str, Weights]:
        return self._weights

    def _parameters(self) -> Mapping[str, Any]:
        return {"features": list(KINDS), "magnitude": "magnitude" in self._heads}

    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        rows = pl.DataFrame([dict(row)], schema=dict.fromkeys(row, pl.String))
        inputs = self._standard(self._features.values(rows))
        changed = inputs[0] * self._heads["changed"][:-1]
        direction = (inputs[0] * self._heads["direction"][: len(changed)]) * expit(changed.sum())
        reasons = []
        for kind in dict.fromkeys(KINDS.values()):
            own = np.array([said == kind for said in KINDS.values()])
            moved, turned = float(changed[own].sum()), float(direction[own].sum())
            towards = "changed" if moved > 0 else "not significant"
            if moved > 0 and abs(turned) > moved:
                towards = "up" if turned > 0 else "down"
            reasons.append(Reason(kind, _TEXTS[kind].format(**row), abs(moved) + abs(turned), towards))
        return reasons


def _linked(inputs: Float64, head: Float64) -> Float64:
    """Return the inputs of the next head: those of the one before, and its answer."""
    return np.column_stack([inputs, np.clip(_apply(inputs, head), -_CLIP, _CLIP)])


def _apply(inputs: Float64, head: Float64) -> Float64:
    # Summed by row and not by a matrix product, whose order of adding depends on how many rows there are.
    found: Float64 = (inputs * head[:-1]).sum(axis=1) + head[-1]
    return found


def _logistic(inputs: Float64, right: Float64, penalty: float) -> Float64:
    """Return weights and intercept of a logistic regression with a ridge penalty, by Newton's method."""
    design = np.column_stack([inputs, np.ones(len(inputs))])
    ridge = np.diag([*[penalty] * inputs.shape[1], 1e-3])
    weights = np.zeros(design.shape[1])
    for _ in range(_SWEEPS):
        likely = expit(design @ weights)
        slope = design.T @ (right - likely) - ridge @ weights
        curve = (design * (likely * (1 - likely))[:, None]).T @ design + ridge
        step = np.linalg.solve(curve, slope)
        weights += step
        if np.abs(step).max() < 1e-8:  # noqa: PLR2004 - far below what a probability shows
            break
    return weights


def _ridge(inputs: Float64, right: Float64, penalty: float) -> Float64:
    """Return weights and intercept of a ridge regression."""
    design = np.column_stack([inputs, np.ones(len(inputs))])
    ridge = np.diag([*[penalty] * inputs.shape[1], 1e-3])
    found: Float64 = np.linalg.solve(design.T @ design + ridge, design.T @ right)
    return found
