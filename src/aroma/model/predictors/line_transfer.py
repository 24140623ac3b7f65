"""``line-transfer``: the same pair measured in other cell lines, beside the target's rate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.model.class_weights import Weights, learn_weights
from aroma.model.labels import CLASSES, COLUMN_OF_LABEL, Probabilities
from aroma.model.plugin import Plugin, Progress, Reason, Training, column_of
from aroma.model.predictors.core_voting import log_loss, unseen_rates
from aroma.model.predictors.gene_frequency import rate_reasons
from aroma.model.predictors.rates import Rates, key_of

_FILE: Final = "pairs.parquet"
_COUNTS: Final = ("down", "not_significant", "up")
_POWERS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_PSEUDO: Final = 1.0


class LineTransfer(Plugin):
    """What the same perturbation did to the same target elsewhere, as evidence on top of the target's rate.

    How much an outcome elsewhere says is learned from the pairs that training has in two lines: with the rate of the
    class in ``class``'s place, ``P(class) ~ rate * (P(elsewhere | class) / P(elsewhere)) ** power`` for each outcome.
    """

    name: ClassVar[str] = "line-transfer"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "What the same perturbation did to the same target in other cell lines."

    _rates: Rates
    _pairs: pl.DataFrame
    _ratios: npt.NDArray[np.float64]
    _power: float
    _weights: Mapping[str, Weights]

    def _fit(self, training: Training, progress: Progress) -> None:
        rows = training.rows
        self._rates, self._pairs = Rates.of(rows), _pairs_of(rows)
        progress("pairs in other lines", 0.3)
        elsewhere = self._elsewhere(rows)
        columns = column_of(rows["label"].to_numpy())
        self._ratios = _ratios(elsewhere, columns)
        rates = unseen_rates(self._rates, rows, training.seed)
        seen = elsewhere.sum(axis=1) > 0
        self._power = (
            min(_POWERS, key=lambda power: log_loss(self._joined(elsewhere, rates, power)[seen], columns[seen]))
            if seen.any()
            else 0.0
        )
        progress("thresholds", 0.8)
        self._weights = learn_weights(rows["cell_line"], self._joined(elsewhere, rates, self._power), columns)

    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        return self._joined(self._elsewhere(rows), self._rates.probabilities(rows), self._power)

    def _joined(self, elsewhere: npt.NDArray[np.float64], rates: Probabilities, power: float) -> Probabilities:
        # No matrix product: its order of adding depends on how many rows are asked.
        evidence = (elsewhere[:, None, :] * np.log(self._ratios)[None]).sum(axis=2)
        logits = np.log(rates) + power * evidence
        found: Probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        found /= found.sum(axis=1, keepdims=True)
        return found

    def _elsewhere(self, rows: pl.DataFrame) -> npt.NDArray[np.float64]:
        """Return (rows, 3) counts of the outcomes of each row's pair in lines other than its own."""
        keyed = rows.select("cell_line", p=key_of("perturbation"), t=key_of("target")).with_row_index("row")
        other = keyed.join(self._pairs, on=["p", "t"], how="inner", suffix="_other").filter(
            pl.col("cell_line") != pl.col("cell_line_other")
        )
        found = np.zeros((rows.height, len(CLASSES)))
        np.add.at(found, (other["row"].to_numpy(), other["column"].to_numpy()), 1.0)
        return found

    def _save(self, directory: Path) -> None:
        self._rates.save(directory)
        self._pairs.write_parquet(directory / _FILE)

    def _load(self, directory: Path) -> None:
        self._rates = Rates.load(directory)
        self._pairs = pl.read_parquet(directory / _FILE)
        self._power = float(self.card.parameters["power"])
        self._ratios = np.asarray(self.card.parameters["ratios"], dtype=np.float64)

    def _class_weights(self) -> Mapping[str, Weights]:
        return self._weights

    def _parameters(self) -> Mapping[str, Any]:
        return {"power": self._power, "ratios": self._ratios.tolist()}

    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        asked = pl.DataFrame([dict(row)], schema=dict.fromkeys(row, pl.String))
        keyed = asked.select(p=key_of("perturbation"), t=key_of("target"))
        cases = self._pairs.join(keyed, on=["p", "t"], how="semi").filter(pl.col("cell_line") != row["cell_line"])
        reasons = []
        for line, column in cases.select("cell_line", "column").iter_rows():
            weight = self._power * float(np.ptp(np.log(self._ratios[:, column])))
            did = {0: "went down", 1: "did not change", 2: "went up"}[column]
            text = f"{row['target']} {did} when {row['perturbation']} was perturbed in {line}"
            reasons.append(Reason("other lines", text, weight, CLASSES[column]))
        rated = rate_reasons(self._rates, row)
        whole = sum(reason.share for reason in rated) or 1.0
        rate = self._rates.probabilities(asked)[0]
        pull = float(np.ptp(np.log(rate)))
        return reasons + [Reason(r.kind, r.text, pull * r.share / whole, r.towards, r.sources) for r in rated]


def _pairs_of(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        "cell_line",
        p=key_of("perturbation"),
        t=key_of("target"),
        column=pl.Series(COLUMN_OF_LABEL[rows["label"].to_numpy()], dtype=pl.Int8),
    ).sort("p", "t", "cell_line", "column")


def _ratios(elsewhere: npt.NDArray[np.float64], columns: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """Return (class, outcome elsewhere) ratios ``P(elsewhere | class) / P(elsewhere)``; ones without any pair."""
    table = np.stack([elsewhere[columns == column].sum(axis=0) for column in range(len(CLASSES))])
    if table.sum() == 0:
        return np.ones_like(table)
    overall = (table.sum(axis=0) + _PSEUDO) / (table.sum() + _PSEUDO * len(CLASSES))
    given = (table + _PSEUDO * overall) / (table.sum(axis=1, keepdims=True) + _PSEUDO)
    ratios: npt.NDArray[np.float64] = given / overall
    return ratios
