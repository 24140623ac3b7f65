"""``gene-frequency``: how often the target changes at all, whatever is perturbed; the baseline that keeps F1 honest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl

from aroma.model.class_weights import Weights, learn_weights
from aroma.model.labels import CLASSES, Probabilities
from aroma.model.plugin import Plugin, Progress, Reason, Training, column_of
from aroma.model.predictors.rates import OTHER_PSEUDO, OWN_PSEUDO, Rates
from aroma.model.splits import folds_by_perturbation

_FOLDS: Final = 5


class GeneFrequency(Plugin):
    """The training rate of the target gene in its line, shrunk towards other lines and the line's overall rate."""

    name: ClassVar[str] = "gene-frequency"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "How often the target gene went down, stayed or went up in training, by cell line."

    _rates: Rates
    _weights: Mapping[str, Weights]

    def _fit(self, training: Training, progress: Progress) -> None:
        rows = training.rows
        self._rates = Rates.of(rows)
        folds = folds_by_perturbation(rows, _FOLDS, training.seed)
        unseen = np.zeros((rows.height, len(CLASSES)))
        for fold in range(_FOLDS):
            progress("thresholds", fold / _FOLDS)
            held = folds == fold
            if held.any():
                asked = rows.filter(held)
                unseen[held.to_numpy()] = self._rates.without(asked).probabilities(asked)
        self._weights = learn_weights(rows["cell_line"], unseen, column_of(rows["label"].to_numpy()))

    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        return self._rates.probabilities(rows)

    def _save(self, directory: Path) -> None:
        self._rates.save(directory)

    def _load(self, directory: Path) -> None:
        self._rates = Rates.load(directory)

    def _class_weights(self) -> Mapping[str, Weights]:
        return self._weights

    def _parameters(self) -> Mapping[str, Any]:
        return {"own_pseudo_rows": OWN_PSEUDO, "other_pseudo_rows": OTHER_PSEUDO}

    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        return rate_reasons(self._rates, row)


def rate_reasons(rates: Rates, row: Mapping[str, Any]) -> list[Reason]:
    """Return what the counts of a target say, each with the pseudo-rows that it counts for as share."""
    asked = pl.DataFrame([dict(row)], schema_overrides={name: pl.String for name in row if name != "label"})
    own, other = (counts[0] for counts in rates.counts_of(asked))
    base = rates.line_rate(row["cell_line"])
    inside = own.sum()
    outside = OWN_PSEUDO * other.sum() / (other.sum() + OTHER_PSEUDO)
    whole = OWN_PSEUDO - outside
    target = row["target"]
    gene = (row["target_gene"],) if row["target_gene"] else ()
    found = []
    if inside:
        found.append(Reason("rates", f"{target} in {row['cell_line']}: {_said(own)}", inside, _pushed(own, base), gene))
    if outside:
        found.append(
            Reason("other lines", f"{target} in other lines: {_said(other)}", outside, _pushed(other, base), gene)
        )
    text = f"Of all target genes, {base[0]:.1%} go down and {base[2]:.1%} up"
    found.append(Reason("overall rate", text, whole, CLASSES[int(base.argmax())]))
    return found


def _said(counts: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    down, same, up = (int(count) for count in counts)
    return f"of {down + same + up} perturbations {down} took it down, {up} up, {same} left it"


def _pushed(counts: np.ndarray[Any, np.dtype[np.float64]], base: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Return the class that the counts make likeliest, against the overall rate."""
    rate = (counts + base) / (counts.sum() + 1.0)
    return CLASSES[int((rate / base).argmax())]
