"""``calibrated-average``: several plug-ins, each calibrated on held-out folds of training, averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import ModelError, UsageError
from aroma.model.class_weights import Weights, learn_weights
from aroma.model.labels import CLASSES, Probabilities
from aroma.model.plugin import Plugin, Progress, Reason, Setting, Training, column_of
from aroma.model.registry import plugin
from aroma.model.scaling import Float64, learn_scaling, scaled
from aroma.model.splits import folds_by_perturbation


class CalibratedAverage(Plugin):
    """The weighted mean of calibrated members.

    Each member is fitted on all folds of perturbations but one and asked about that one; on these answers its
    temperature and class offsets are learned, and then the weights of the mean. At last each is fitted on all rows.
    """

    name: ClassVar[str] = "calibrated-average"
    version: ClassVar[str] = "2"
    summary: ClassVar[str] = "A weighted mean of other plug-ins, each calibrated on perturbations it had not seen."
    defaults: ClassVar[Mapping[str, Setting]] = {
        "members": "gene-frequency,line-transfer,core-voting,stamp-heads", "folds": 3, "member_settings": "",
    }  # fmt: skip

    _members: dict[str, Plugin]
    _scaling: dict[str, Float64]
    _shares: Float64
    _weights: Mapping[str, Weights]

    def _names(self) -> list[str]:
        names = [name.strip() for name in str(self.settings["members"]).split(",") if name.strip()]
        if not names or self.name in names or len(set(names)) < len(names):
            raise UsageError(
                f"setting members is {self.settings['members']!r}; give names of other plug-ins, each once"
            )
        return names

    def _fit(self, training: Training, progress: Progress) -> None:
        names, rows = self._names(), training.rows
        columns = column_of(rows["label"].to_numpy())
        self._member_settings()  # what is wrong with them is said before anything is fitted
        whole = replace(training, parameters={})
        unseen = self._unseen(names, whole, progress)
        asked = ~np.isnan(unseen[names[0]][:, 0])
        if not asked.any():
            raise ModelError("no fold of the training rows has all three classes in the others; give more outcomes")
        self._scaling = {name: learn_scaling(unseen[name][asked], columns[asked]) for name in names}
        calibrated = np.stack([scaled(unseen[name][asked], self._scaling[name]) for name in names])
        self._shares = _mixture(calibrated, columns[asked])
        mean = np.einsum("m,mrc->rc", self._shares, calibrated)
        self._weights = learn_weights(rows["cell_line"].filter(pl.Series(asked)), mean, columns[asked])
        self._members = {}
        for place, name in enumerate(names):
            progress(name, 0.8 + 0.2 * place / len(names))
            self._members[name] = plugin(name).fit(self._of_member(name, whole), self.ground)

    def _of_member(self, name: str, training: Training) -> Training:
        """Return the training with the settings of one member."""
        return replace(training, parameters=self._member_settings().get(name, {}))

    def _member_settings(self) -> dict[str, dict[str, str]]:
        """Return what ``member_settings`` says, by member."""
        found: dict[str, dict[str, str]] = {}
        for text in filter(None, (one.strip() for one in str(self.settings["member_settings"]).split(";"))):
            where, equals, value = text.partition("=")
            member, dot, setting = where.strip().partition(".")
            if not (equals and dot and setting) or member not in self._names():
                raise UsageError(
                    f"setting member_settings has {text!r}; write MEMBER.SETTING=VALUE, several apart by semicolons, "
                    f"for one of {', '.join(self._names())}"
                )
            found.setdefault(member, {})[setting] = value.strip()
        return found

    def _unseen(self, names: list[str], training: Training, progress: Progress) -> dict[str, Probabilities]:
        """Return each member's answers to rows of folds that it was not fitted on; NaN where it could not be."""
        rows, count = training.rows, int(self.settings["folds"])
        if count < 2:  # noqa: PLR2004 - one fold leaves nothing to fit on
            raise UsageError(f"setting folds is {count}; give 2 or more")
        folds = folds_by_perturbation(rows, count, training.seed)
        found = {name: np.full((rows.height, len(CLASSES)), np.nan) for name in names}
        for fold in range(count):
            held = (folds == fold).to_numpy()
            rest = rows.filter(~pl.Series(held))
            if not held.any() or rest["label"].n_unique() < len(CLASSES):
                continue
            for place, name in enumerate(names):
                progress(f"{name}, fold {fold + 1}", 0.8 * (fold + place / len(names)) / count)
                model = plugin(name).fit(self._of_member(name, replace(training, rows=rest, part=True)), self.ground)
                found[name][held] = model.predict_proba(rows.filter(pl.Series(held)))
        return found

    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        whole = np.zeros((rows.height, len(CLASSES)))
        for share, (name, member) in zip(self._shares, self._members.items(), strict=True):
            whole += share * scaled(member.predict_proba(rows), self._scaling[name])
        whole /= whole.sum(axis=1, keepdims=True)
        return whole

    def _save(self, directory: Path) -> None:
        for name, member in self._members.items():
            member.save(directory / name)

    def _load(self, directory: Path) -> None:
        said = self.card.parameters
        self._shares = np.array([said["shares"][name] for name in self._names()])
        self._scaling = {name: np.array(said["scaling"][name]) for name in self._names()}
        self._members = {name: plugin(name).load(directory / name, self.ground) for name in self._names()}

    def _class_weights(self) -> Mapping[str, Weights]:
        return self._weights

    def _parameters(self) -> Mapping[str, Any]:
        return {
            "shares": dict(zip(self._members, self._shares.tolist(), strict=True)),
            "scaling": {name: values.tolist() for name, values in self._scaling.items()},
        }

    def _providers(self) -> tuple[str, ...]:
        return tuple(sorted({name for member in self._members.values() for name in member.card.licences}))

    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        reasons: dict[tuple[str, str, str], Reason] = {}
        for share, member in zip(self._shares, self._members.values(), strict=True):
            for reason in member.explain(row):
                key = (reason.kind, reason.text, reason.towards)
                before = reasons[key].share if key in reasons else 0.0
                reasons[key] = replace(reason, share=before + float(share) * reason.share)
        return list(reasons.values())


def _mixture(calibrated: Float64, columns: npt.NDArray[np.int8]) -> Float64:
    """Return the weights of members (members, rows, 3) with the least log loss, by expectation maximisation."""
    right = calibrated[:, np.arange(len(columns)), columns]
    shares = np.full(len(right), 1.0 / len(right))
    for _ in range(200):
        joint = shares[:, None] * right
        moved = (joint / np.maximum(joint.sum(axis=0), 1e-300)).mean(axis=1)
        if np.abs(moved - shares).max() < 1e-5:  # noqa: PLR2004 - shares are shown with two digits
            break
        shares = moved
    return shares
