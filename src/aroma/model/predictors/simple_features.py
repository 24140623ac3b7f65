"""Simple features of a pair: rates, votes under each kernel, the pair elsewhere, how much the perturbation does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.model.ground import Ground
from aroma.model.labels import COLUMN_OF_LABEL, Probabilities
from aroma.model.predictors.cases import MEAN, CaseTable, Voting
from aroma.model.predictors.rates import Rates, key_of
from aroma.retrieval.gene_kernels import KERNELS

Float64 = npt.NDArray[np.float64]
_VOTERS: Final = (MEAN, *KERNELS)
_VOTING: Final = {name: Voting(kernel=name, temperature=0.6, other_lines=0.5, same=0.0) for name in _VOTERS}
_RATE_WEIGHT: Final = 1.0
_ACTIVITY_FILE: Final = "activity.parquet"
_SMALLEST: Final = 1e-6

KINDS: Final[dict[str, str]] = {
    "rate: changed": "rates",
    "rate: up": "rates",
    "rate: rows": "rates",
    **{f"{name} votes: {what}": "related perturbations" for name in _VOTERS for what in ("changed", "up", "weight")},
    "elsewhere: changed": "other lines",
    "elsewhere: up": "other lines",
    "elsewhere: not significant": "other lines",
    "perturbation: activity elsewhere": "perturbation",
    "perturbation: rows elsewhere": "perturbation",
}
"""Each feature, in the order of the columns, and the kind of evidence that it is."""


@dataclass(frozen=True)
class SimpleFeatures:
    """What features are computed from; nothing of a row's own outcome goes into its features but for its rate.

    Attributes:
        rates: Of targets.
        cases: Training rows.
        activity: ``cell_line``, ``p`` (key), ``excess`` (sum of changed minus expected) and ``rows``.
    """

    rates: Rates
    cases: CaseTable
    activity: pl.DataFrame

    @classmethod
    def of(cls, rows: pl.DataFrame, ground: Ground) -> SimpleFeatures:
        """Return what training rows (columns of ``TRAINING``) say."""
        rates = Rates.of(rows)
        expected = rates.probabilities(rows)[:, [0, 2]].sum(axis=1)
        changed = COLUMN_OF_LABEL[rows["label"].to_numpy()] != 1
        activity = (
            rows.select("cell_line", p=key_of("perturbation"), excess=pl.Series(changed - expected))
            .sort("cell_line", "p", "excess")
            .group_by("cell_line", "p", maintain_order=True)
            .agg(pl.col("excess").sum(), pl.len().cast(pl.Float64).alias("rows"))
        )
        return cls(rates, CaseTable.of(rows, ground), activity)

    def values(self, rows: pl.DataFrame, rates: Probabilities | None = None) -> Float64:
        """Return float64 (rows, features), columns in the order of ``KINDS``.

        Args:
            rows: Columns of ``ROWS``.
            rates: Rates to use instead, for training rows: those that have not seen them.
        """
        rated = self.rates.probabilities(rows) if rates is None else rates
        own, _ = self.rates.counts_of(rows)
        base = _logits(rated)
        columns = [*base, np.log1p(own.sum(axis=1))]
        for name in _VOTERS:
            votes = self.cases.votes(rows, _VOTING[name])
            total = votes.sum(axis=1)
            shares = (votes + _RATE_WEIGHT * rated) / (total + _RATE_WEIGHT)[:, None]
            columns += [one - start for one, start in zip(_logits(shares), base, strict=True)]
            columns.append(np.log1p(total))
        columns += self._elsewhere(rows) + self._perturbation(rows)
        return np.stack(columns, axis=1)

    def _elsewhere(self, rows: pl.DataFrame) -> list[Float64]:
        cases = self.cases.cases.select("cell_line", "column", p="perturbation_key", t="target_key")
        keyed = rows.select("cell_line", p=key_of("perturbation"), t=key_of("target")).with_row_index("row")
        other = keyed.join(cases, on=["p", "t"], how="inner", suffix="_other").filter(
            pl.col("cell_line") != pl.col("cell_line_other")
        )
        counts = np.zeros((rows.height, 3))
        np.add.at(counts, (other["row"].to_numpy(), other["column"].to_numpy()), 1.0)
        return [counts[:, 0] + counts[:, 2], counts[:, 2] - counts[:, 0], counts[:, 1]]

    def _perturbation(self, rows: pl.DataFrame) -> list[Float64]:
        """Return how much more than expected the perturbation changes in other lines, and on how many rows."""
        whole = self.activity.group_by("p").agg(pl.col("excess", "rows").sum()).sort("p")
        keyed = rows.select("cell_line", p=key_of("perturbation"))
        joined = keyed.join(whole, on="p", how="left", maintain_order="left").join(
            self.activity, on=["cell_line", "p"], how="left", suffix="_own", maintain_order="left"
        )
        left = joined.select(
            (pl.col("excess").fill_null(0.0) - pl.col("excess_own").fill_null(0.0)).alias("excess"),
            (pl.col("rows").fill_null(0.0) - pl.col("rows_own").fill_null(0.0)).alias("rows"),
        )
        excess, count = left["excess"].to_numpy(), left["rows"].to_numpy()
        return [excess / (count + 20.0), np.log1p(count)]

    def save(self, directory: Path) -> None:
        """Write all tables."""
        self.rates.save(directory)
        self.cases.save(directory)
        self.activity.write_parquet(directory / _ACTIVITY_FILE)

    @classmethod
    def load(cls, directory: Path, ground: Ground) -> SimpleFeatures:
        """Read what ``save`` wrote."""
        return cls(
            Rates.load(directory), CaseTable.load(directory, ground), pl.read_parquet(directory / _ACTIVITY_FILE)
        )


def _logits(probabilities: Probabilities) -> list[Float64]:
    """Return the log odds of changed against not, and of up against down."""
    down, same, up = np.maximum(probabilities, _SMALLEST).T
    return [np.log((down + up) / same), np.log(up / down)]
