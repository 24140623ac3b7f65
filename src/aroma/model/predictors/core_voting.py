"""``core-voting``: related perturbations with known outcomes vote, positives against negatives (CORE)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import polars as pl

from aroma.errors import UsageError
from aroma.model.class_weights import Weights, learn_weights
from aroma.model.labels import CLASSES, Probabilities
from aroma.model.plugin import Plugin, Progress, Reason, Setting, Training, column_of
from aroma.model.predictors.cases import MEAN, CaseTable, Voting
from aroma.model.predictors.gene_frequency import rate_reasons
from aroma.model.predictors.rates import Rates
from aroma.model.splits import folds_by_perturbation
from aroma.retrieval.gene_kernels import KERNELS

_FOLDS: Final = 5
_WEIGHTS_TRIED: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_PROVIDERS: Final = {"go": "gene_ontology", "complex": "corum", "pathway": "reactome", "string": "string"}
_SHOWN: Final = 12
_SHARED: Final = {
    "go": "annotated to {}", "complex": "in {}", "pathway": "in pathway {}", "string": "near {} in STRING",
}  # fmt: skip


class CoreVoting(Plugin):
    """Similarity-weighted votes of related perturbations, beside the target's rate."""

    name: ClassVar[str] = "core-voting"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Outcomes of related perturbations on the same target, weighed by how alike the genes are."
    providers: ClassVar[tuple[str, ...]] = tuple(_PROVIDERS.values())
    defaults: ClassVar[Mapping[str, Setting]] = {
        "kernel": MEAN, "temperature": 0.6, "top_n": 0, "other_lines": 0.5, "same": 1.0,
    }  # fmt: skip

    _rates: Rates
    _cases: CaseTable
    _rate_weight: float
    _weights: Mapping[str, Weights]

    def _voting(self) -> Voting:
        chosen = self.settings
        if chosen["kernel"] not in {*KERNELS, MEAN}:
            raise UsageError(f"setting kernel is {chosen['kernel']!r}; there are {', '.join([MEAN, *KERNELS])}")
        if chosen["temperature"] <= 0:
            raise UsageError(f"setting temperature is {chosen['temperature']}; give a number above 0")
        for name in ("top_n", "other_lines", "same"):
            if chosen[name] < 0:
                raise UsageError(f"setting {name} is {chosen[name]}; give 0 or more")
        return Voting(**{name: chosen[name] for name in ("kernel", "temperature", "top_n", "other_lines", "same")})

    def _fit(self, training: Training, progress: Progress) -> None:
        rows = training.rows
        voting = self._voting()
        self._rates, self._cases = Rates.of(rows), CaseTable.of(rows, self.ground)
        progress("votes", 0.2)
        votes = self._cases.votes(rows, voting)
        progress("thresholds", 0.7)
        rates = unseen_rates(self._rates, rows, training.seed)
        columns = column_of(rows["label"].to_numpy())
        self._rate_weight = min(_WEIGHTS_TRIED, key=lambda weight: log_loss(_joined(votes, rates, weight), columns))
        self._weights = learn_weights(rows["cell_line"], _joined(votes, rates, self._rate_weight), columns)

    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        votes = self._cases.votes(rows, self._voting())
        return _joined(votes, self._rates.probabilities(rows), self._rate_weight)

    def _save(self, directory: Path) -> None:
        self._rates.save(directory)
        self._cases.save(directory)

    def _load(self, directory: Path) -> None:
        self._rates = Rates.load(directory)
        self._cases = CaseTable.load(directory, self.ground)
        self._rate_weight = float(self.card.parameters["rate_weight"])

    def _class_weights(self) -> Mapping[str, Weights]:
        return self._weights

    def _parameters(self) -> Mapping[str, Any]:
        return {"rate_weight": self._rate_weight}

    def _providers(self) -> tuple[str, ...]:
        kernel = self.settings["kernel"]
        return tuple(_PROVIDERS.values()) if kernel == MEAN else (_PROVIDERS[kernel],)

    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        found, weights = self._cases.of_row(row, self._voting())
        rated = rate_reasons(self._rates, row)
        whole = sum(reason.share for reason in rated) or 1.0
        scale = self._rate_weight / whole
        reasons = [Reason(r.kind, r.text, r.share * scale, r.towards, r.sources) for r in rated]
        for case, weight in zip(found[:_SHOWN].tolist(), weights[:_SHOWN].tolist(), strict=True):
            reasons.append(self._reason(row, self._cases.cases.row(case, named=True), weight))
        if len(found) > _SHOWN:
            rest = float(weights[_SHOWN:].sum())
            columns = self._cases.cases["column"].to_numpy()[found[_SHOWN:]]
            towards = CLASSES[int(np.bincount(columns, weights[_SHOWN:], minlength=3).argmax())]
            text = f"{len(found) - _SHOWN} less related perturbations"
            reasons.append(Reason("related perturbations", text, rest, towards))
        return reasons

    def _reason(self, row: Mapping[str, Any], case: Mapping[str, Any], weight: float) -> Reason:
        did = {0: "took {} down", 1: "left {} as it was", 2: "took {} up"}[case["column"]].format(row["target"])
        same = case["perturbation_gene"] is not None and case["perturbation_gene"] == row["perturbation_gene"]
        how = Shared.of(self, row["perturbation"], row["perturbation_gene"], case["perturbation_gene"])
        alike = "the same perturbation" if same else how.text
        text = f"{case['perturbation']} ({alike}) {did} in {case['cell_line']}"
        sources = tuple(gene for gene in (case["perturbation_gene"],) if gene) + (() if same else how.ids)
        kind = "other lines" if same else "related perturbations"
        return Reason(kind, text, weight, CLASSES[case["column"]], sources)


@dataclass(frozen=True, slots=True)
class Shared:
    """What two genes share, named: for a reader."""

    text: str
    ids: tuple[str, ...]

    @classmethod
    def of(cls, plugin: Plugin, name: str, one: str | None, other: str | None) -> Shared:
        """Return the feature of each kernel that adds most to the similarity of two genes (ids), ``one`` by name."""
        first, second = plugin.ground.nodes_of(pl.Series([one, other], dtype=pl.String)).tolist()
        nodes = plugin.ground.snapshot.nodes
        asked = plugin.settings.get("kernel", MEAN)
        named, ids = [], []
        for kernel in KERNELS if asked == MEAN else (asked,):
            for feature, _ in plugin.ground.kernels[kernel].shared(first, second, limit=1):
                joined = feature in {first, second}  # a gene is its own partner: the two are partners of each other
                called = nodes.symbols[feature] or nodes.names[feature]
                named.append("joined in STRING" if joined else _SHARED[kernel].format(called))
                ids.append(nodes.ids[feature])
        return cls(f"like {name}: both {'; '.join(named)}" if named else "related", tuple(ids))


def unseen_rates(rates: Rates, rows: pl.DataFrame, seed: int) -> Probabilities:
    """Return (rows, 3) rates of training rows, each without the rows of its fold of perturbations."""
    folds = folds_by_perturbation(rows, _FOLDS, seed)
    found = np.zeros((rows.height, len(CLASSES)))
    for fold in range(_FOLDS):
        held = folds == fold
        if held.any():
            asked = rows.filter(held)
            found[held.to_numpy()] = rates.without(asked).probabilities(asked)
    return found


def log_loss(probabilities: Probabilities, columns: np.ndarray[Any, np.dtype[np.int8]]) -> float:
    """Return the mean negative log probability of the right columns."""
    right = probabilities[np.arange(len(columns)), columns]
    return float(-np.log(np.maximum(right, 1e-12)).mean())


def _joined(votes: Probabilities, rates: Probabilities, weight: float) -> Probabilities:
    whole: Probabilities = votes + weight * rates
    whole /= whole.sum(axis=1, keepdims=True)
    return whole
