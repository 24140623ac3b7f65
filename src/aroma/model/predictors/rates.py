"""Rates of outcomes by target gene and cell line, smoothed: what ``gene-frequency`` is and what others start from.

A rate is shrunk in steps: the target's own rows in the line towards its rows in other lines, these towards the rate
over all targets of the line. A target that no training row has gets the line's rate; a line that none has, the rate
over all lines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.model.labels import COLUMN_OF_LABEL, Probabilities

OWN_PSEUDO: Final = 3.0
"""Rows that the rate in other lines counts for beside the target's own rows."""
OTHER_PSEUDO: Final = 5.0
"""Rows that the line's overall rate counts for beside the target's rows in other lines."""
_COUNTS: Final = ("down", "not_significant", "up")
_FILE: Final = "rates.parquet"
Counts = npt.NDArray[np.float64]


def key_of(side: str) -> pl.Expr:
    """Return a gene's id or, where the name stands for none, the name, marked so that it never looks like an id."""
    return pl.coalesce(f"{side}_gene", pl.format("name {}", pl.col(side).fill_null("")))


class Rates:
    """Counts of the three classes by target and cell line.

    Args:
        counts: ``cell_line``, ``target_key`` and the counts ``down``, ``not_significant``, ``up`` (Float64).
    """

    def __init__(self, counts: pl.DataFrame) -> None:
        self.counts = counts.sort("cell_line", "target_key")
        names = list(_COUNTS)
        self._by_target = self.counts.group_by("target_key").agg(pl.col(names).sum()).sort("target_key")
        lines = self.counts.group_by("cell_line").agg(pl.col(names).sum()).sort("cell_line")
        self._lines = dict(
            zip(lines["cell_line"].to_list(), lines.select(names).to_numpy().astype(np.float64), strict=True)
        )
        whole = np.sum(list(self._lines.values()), axis=0) if self._lines else np.ones(3)
        self.overall: Counts = (whole + 1.0) / (whole + 1.0).sum()

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Rates:
        """Return the rates of training rows (columns of ``TRAINING``)."""
        columns = pl.Series("column", COLUMN_OF_LABEL[rows["label"].to_numpy()])
        counted = (
            rows.with_columns(columns, key_of("target").alias("target_key"))
            .group_by("cell_line", "target_key")
            .agg(
                *((pl.col("column") == place).sum().cast(pl.Float64).alias(name) for place, name in enumerate(_COUNTS))
            )
        )
        return cls(counted)

    def without(self, rows: pl.DataFrame) -> Rates:
        """Return the rates less some of the rows that they were counted from."""
        less = Rates.of(rows).counts
        joined = self.counts.join(less, on=["cell_line", "target_key"], how="left", suffix="_less")
        left = joined.select(
            "cell_line", "target_key", *(pl.col(name) - pl.col(f"{name}_less").fill_null(0.0) for name in _COUNTS)
        )
        return Rates(left)

    def line_rate(self, cell_line: str | None) -> Counts:
        """Return the three rates over all targets of a line; over all lines where it is unknown."""
        found = self._lines.get(cell_line or "")
        if found is None or found.sum() == 0:
            return self.overall
        rate: Counts = (found + 3.0 * self.overall) / (found.sum() + 3.0)
        return rate

    def counts_of(self, rows: pl.DataFrame) -> tuple[Counts, Counts]:
        """Return (rows, 3) counts of each row's target in its own line, and in all other lines."""
        keyed = rows.select("cell_line", key_of("target").alias("target_key"))
        names = list(_COUNTS)
        own = keyed.join(self.counts, on=["cell_line", "target_key"], how="left", maintain_order="left")
        whole = keyed.join(self._by_target, on="target_key", how="left", maintain_order="left")
        inside = own.select(pl.col(names).fill_null(0.0)).to_numpy()
        return inside, whole.select(pl.col(names).fill_null(0.0)).to_numpy() - inside

    def probabilities(self, rows: pl.DataFrame) -> Probabilities:
        """Return float64 (rows, 3) shrunk rates of each row's target and line."""
        own, other = self.counts_of(rows)
        names = rows["cell_line"].fill_null("").unique().to_list()
        table = np.stack([self.line_rate(name) for name in names]) if names else np.zeros((0, 3))
        codes = rows["cell_line"].fill_null("").replace_strict(names, range(len(names)), return_dtype=pl.Int64)
        base = table[codes.to_numpy()]
        prior = (other + OTHER_PSEUDO * base) / (other.sum(axis=1, keepdims=True) + OTHER_PSEUDO)
        shrunk: Probabilities = (own + OWN_PSEUDO * prior) / (own.sum(axis=1, keepdims=True) + OWN_PSEUDO)
        shrunk /= shrunk.sum(axis=1, keepdims=True)
        return shrunk

    def save(self, directory: Path) -> None:
        """Write the counts as ``rates.parquet``."""
        self.counts.write_parquet(directory / _FILE)

    @classmethod
    def load(cls, directory: Path) -> Rates:
        """Read what ``save`` wrote."""
        return cls(pl.read_parquet(directory / _FILE))
