"""Withholding: which measured outcomes may not be seen, so that no answer leaks into its own evidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aroma.errors import InputFileError, UsageError


@dataclass(frozen=True)
class Withhold:
    """Outcomes that are withheld; a row is withheld when any part of this names it.

    Attributes:
        splits: Values of the outcomes' ``split`` column.
        perturbations: Gene ids or names as written, withheld in every cell line.
        cell_lines: Names of cell lines.
        pairs: Columns ``perturbation``, ``target`` and, where it is one line only, ``cell_line`` (String, ids or
            names as written; a null or missing line means every line), or None.
    """

    splits: frozenset[str] = frozenset()
    perturbations: frozenset[str] = frozenset()
    cell_lines: frozenset[str] = frozenset()
    pairs: pl.DataFrame | None = None

    def mask(self, outcomes: pl.DataFrame) -> pl.Series:
        """Return a Boolean for each outcome row: True where it is withheld."""
        named = (
            pl.col("split").is_in(sorted(self.splits))
            | pl.col("cell_line").is_in(sorted(self.cell_lines))
            | pl.col("perturbation").is_in(sorted(self.perturbations))
            | pl.col("perturbation_gene").is_in(sorted(self.perturbations))
        )
        mask = outcomes.select(named.fill_null(value=False).alias("withheld"))["withheld"]
        for line_given in (True, False):
            mask = mask | self._pair_mask(outcomes, line_given=line_given)
        return mask.alias("withheld")

    def _pair_mask(self, outcomes: pl.DataFrame, *, line_given: bool) -> pl.Series:
        nothing = pl.Series("withheld", [False], dtype=pl.Boolean).new_from_index(0, outcomes.height)
        if self.pairs is None:
            return nothing
        pairs = self.pairs
        if "cell_line" not in pairs.columns:
            pairs = pairs.with_columns(pl.lit(None, dtype=pl.String).alias("cell_line"))
        pairs = pairs.filter(pl.col("cell_line").is_not_null() == line_given)
        line = ["cell_line"] if line_given else []
        mask = nothing
        for perturbation in ("perturbation", "perturbation_gene"):
            for target in ("target", "target_gene"):
                keys = pairs.select(
                    *line, pl.col("perturbation").alias(perturbation), pl.col("target").alias(target)
                ).unique()
                found = outcomes.select(*line, perturbation, target).join(
                    keys.with_columns(pl.lit(value=True).alias("withheld")),
                    on=[*line, perturbation, target],
                    how="left",
                    maintain_order="left",
                )
                mask = mask | found["withheld"].fill_null(value=False)
        return mask

    def describe(self) -> dict[str, Any]:
        """Return what is withheld, short, as answers carry it."""
        return {
            "splits": sorted(self.splits),
            "perturbations": sorted(self.perturbations),
            "cell_lines": sorted(self.cell_lines),
            "pairs": 0 if self.pairs is None else self.pairs.height,
        }


NOTHING = Withhold()


def read_withhold(asked: Iterable[str]) -> Withhold:
    """Read what a command was told to withhold.

    Args:
        asked: Each ``split:NAME``, ``perturbation:GENE``, ``cell-line:NAME``, or a CSV or Parquet file of pairs
            (``perturbation,target[,cell_line]``, or PerturbQA's ``pert,gene``); a bare word is a split.

    Raises:
        InputFileError: A file that cannot be read or lacks a column.
        UsageError: An unknown kind.
    """
    splits: set[str] = set()
    perturbations: set[str] = set()
    lines: set[str] = set()
    pairs: list[pl.DataFrame] = []
    places = {"split": splits, "perturbation": perturbations, "cell-line": lines}
    for item in asked:
        kind, separator, name = item.partition(":")
        if Path(item).suffix in {".csv", ".parquet"}:
            pairs.append(_read_pairs(Path(item)))
        elif separator and kind in places:
            places[kind].add(name)
        elif separator:
            raise UsageError(f"--withhold {item}: expected split:NAME, perturbation:GENE, cell-line:NAME or a file")
        else:
            splits.add(item)
    together = pl.concat(pairs, how="diagonal") if pairs else None
    return Withhold(frozenset(splits), frozenset(perturbations), frozenset(lines), together)


def _read_pairs(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputFileError(f"cannot be read ({error})", file=path) from error
    frame = frame.rename(
        {old: new for old, new in (("pert", "perturbation"), ("gene", "target")) if old in frame.columns}
    )
    if missing := {"perturbation", "target"} - set(frame.columns):
        raise InputFileError(f"has no column {', '.join(sorted(missing))}", file=path, line=1)
    wanted = [name for name in ("perturbation", "target", "cell_line") if name in frame.columns]
    return frame.select(pl.col(name).cast(pl.String) for name in wanted)
