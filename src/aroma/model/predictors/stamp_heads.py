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

from aroma.model.class_weights import OTHER, Weights, learn_weights
from aroma.model.labels import CLASSES, Probabilities
from aroma.model.plugin import Plugin, Progress, Reason, Setting, Training, column_of
from aroma.model.predictors.core_voting import unseen_rates
from aroma.model.predictors.simple_features import KINDS, SimpleFeatures

Float64 = npt.NDArray[np.float64]
_FILE: Final = "heads.safetensors"
_KNOWN: Final = "known"
_UNSEEN: Final = "unseen"
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

    Heads that learned what a target does in its own line mislead about a line that training has not: there is a second
    set of them, learned on each line's rows as the other lines alone describe them.
    """

    name: ClassVar[str] = "stamp-heads"
    version: ClassVar[str] = "2"
    summary: ClassVar[str] = "Changed, direction, magnitude: three linked linear heads over rates and votes."
    providers: ClassVar[tuple[str, ...]] = ("gene_ontology", "corum", "reactome", "string")
    defaults: ClassVar[Mapping[str, Setting]] = {"penalty": 10.0}

    _features: SimpleFeatures
    _heads: dict[str, dict[str, Float64]]
    _weights: Mapping[str, Weights]

    def _fit(self, training: Training, progress: Progress) -> None:
        rows = training.rows
        self._features = SimpleFeatures.of(rows, self.ground)
        progress("features", 0.1)
        values = self._features.values(rows, unseen_rates(self._features.rates, rows, training.seed))
        progress("heads", 0.5)
        columns = column_of(rows["label"].to_numpy())
        self._heads = {_KNOWN: self._learn(training, rows, values)}
        self._weights = learn_weights(rows["cell_line"], self._answer(_KNOWN, values), columns)
        lines = rows["cell_line"].unique().sort().to_list()
        if len(lines) > 1:
            progress("heads for other lines", 0.6)
            parts = [self._as_unseen(rows, line) for line in lines]
            asked, values = pl.concat([part for part, _ in parts]), np.concatenate([value for _, value in parts])
            self._heads[_UNSEEN] = self._learn(training, asked, values)
            answers = self._answer(_UNSEEN, values)
            weights = learn_weights(asked["cell_line"], answers, column_of(asked["label"].to_numpy()))
            self._weights = {**self._weights, OTHER: weights[OTHER]}

    def _as_unseen(self, rows: pl.DataFrame, line: str) -> tuple[pl.DataFrame, Float64]:
        """Return the rows of a line, and their features as the other lines describe them."""
        asked = rows.filter(pl.col("cell_line") == line)
        return asked, SimpleFeatures.of(rows.filter(pl.col("cell_line") != line), self.ground).values(asked)

    def _learn(self, training: Training, rows: pl.DataFrame, values: Float64) -> dict[str, Float64]:
        """Return the heads that features of rows give."""
        scale = values.std(axis=0)
        heads = {"mean": values.mean(axis=0), "scale": np.where(scale > 0, scale, 1.0)}
        columns = column_of(rows["label"].to_numpy())
        changed = columns != CLASSES.index("not significant")
        penalty = float(self.settings["penalty"])
        inputs = _standard(heads, values)
        heads["changed"] = _logistic(inputs, changed.astype(np.float64), penalty)
        linked = _linked(inputs, heads["changed"])
        up = (columns == CLASSES.index("up"))[changed].astype(np.float64)
        heads["direction"] = _logistic(linked[changed], up, penalty)
        if training.magnitudes is not None:
            keys = ["cell_line", "perturbation", "target"]
            known = training.magnitudes.select(*keys, "difference").unique(keys)
            size = rows.join(known, on=keys, how="left", maintain_order="left")["difference"].abs()
            has = (size.is_not_null() & size.is_finite() & (rows["label"] != 0)).to_numpy()
            if has.sum() >= _FEW:
                inputs = _linked(linked, heads["direction"])[has]
                heads["magnitude"] = _ridge(inputs, np.log(size.to_numpy()[has] + 1e-3), penalty)
        return heads

    def _set_of(self, rows: pl.DataFrame) -> dict[str, npt.NDArray[np.int64]]:
        """Return the rows that each set of heads answers."""
        known = rows["cell_line"].is_in(list(self.card.cell_lines)).to_numpy()
        if _UNSEEN not in self._heads:
            known = np.ones(rows.height, dtype=bool)
        return {
            name: at for name, at in ((_KNOWN, np.flatnonzero(known)), (_UNSEEN, np.flatnonzero(~known))) if len(at)
        }

    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        values = self._features.values(rows)
        found = np.zeros((rows.height, len(CLASSES)))
        for name, mine in self._set_of(rows).items():
            found[mine] = self._answer(name, values[mine])
        return found

    def _answer(self, name: str, values: Float64) -> Probabilities:
        linked = self._to_direction(name, values)
        changed = expit(linked[:, -1])
        up = expit(_apply(linked, self._heads[name]["direction"]))
        found: Probabilities = np.stack([changed * (1 - up), 1 - changed, changed * up], axis=1)
        return found

    def _to_direction(self, name: str, values: Float64) -> Float64:
        """Return what the direction head is fed with."""
        return _linked(_standard(self._heads[name], values), self._heads[name]["changed"])

    def _more(self, rows: pl.DataFrame) -> Mapping[str, pl.Series]:
        if not any("magnitude" in heads for heads in self._heads.values()):
            return {}
        values, found = self._features.values(rows), np.full(rows.height, np.nan)
        for name, mine in self._set_of(rows).items():
            if "magnitude" in self._heads[name]:
                linked = self._to_direction(name, values[mine])
                size = _linked(linked, self._heads[name]["direction"])
                found[mine] = np.exp(_apply(size, self._heads[name]["magnitude"]))
        return {"magnitude": pl.Series(found, nan_to_null=True)}

    def _save(self, directory: Path) -> None:
        self._features.save(directory)
        flat = {f"{name}.{part}": value for name, heads in self._heads.items() for part, value in heads.items()}
        save_file(flat, directory / _FILE)

    def _load(self, directory: Path) -> None:
        self._features = SimpleFeatures.load(directory, self.ground)
        self._heads = {}
        for key, value in load_file(directory / _FILE).items():
            name, _, part = key.partition(".")
            self._heads.setdefault(name, {})[part] = value

    def _class_weights(self) -> Mapping[str, Weights]:
        return self._weights

    def _parameters(self) -> Mapping[str, Any]:
        return {"features": list(KINDS), "magnitude": "magnitude" in self._heads[_KNOWN]}

    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        rows = pl.DataFrame([dict(row)], schema=dict.fromkeys(row, pl.String))
        heads = self._heads[next(iter(self._set_of(rows)))]
        inputs = _standard(heads, self._features.values(rows))
        changed = inputs[0] * heads["changed"][:-1]
        direction = (inputs[0] * heads["direction"][: len(changed)]) * expit(changed.sum())
        reasons = []
        for kind in dict.fromkeys(KINDS.values()):
            own = np.array([said == kind for said in KINDS.values()])
            moved, turned = float(changed[own].sum()), float(direction[own].sum())
            towards = "changed" if moved > 0 else "not significant"
            if moved > 0 and abs(turned) > moved:
                towards = "up" if turned > 0 else "down"
            reasons.append(Reason(kind, _TEXTS[kind].format(**row), abs(moved) + abs(turned), towards))
        return reasons


def _standard(heads: Mapping[str, Float64], values: Float64) -> Float64:
    scaled: Float64 = np.clip((values - heads["mean"]) / heads["scale"], -_CLIP, _CLIP)
    return scaled


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
