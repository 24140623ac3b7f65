"""Which measured outcomes become traces, and which of them wait for the second stage.

Only training rows of a split become traces; a test row among them is refused by name. Every choice depends on the seed
and on what is chosen among, never on the order of rows.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import LABELS
from aroma.model.ground import TRAINING
from aroma.model.splits import TEST, Fold, make_folds
from aroma.model.traces.rows import STAGE_1, STAGE_2

RESERVE: Final = 5_000
"""Rows of each cell line for the second stage, as in the paper (appendix D)."""
_KEY: Final = ("cell_line", "perturbation", "target")
_STRATA: Final = ("cell_line", "label")


@dataclass(frozen=True, slots=True)
class Choice:
    """Rows to be told as traces.

    Attributes:
        rows: Columns of ``TRAINING`` and ``split`` (``sft`` or ``grpo``), sorted by line, perturbation and target.
        fold: The fold whose training rows they are.
        seed: Of the choice.
        notes: Sentences on what was done otherwise than asked.
        split: The split as asked, for ``splits.make_folds``.
        number: Which of its folds, from 1.
    """

    rows: pl.DataFrame
    fold: Fold
    seed: int
    notes: tuple[str, ...] = ()
    split: str = "all"
    number: int = 1


def choose_rows(
    outcomes: pl.DataFrame,
    *,
    split: str | None = None,
    fold: int = 1,
    seed: int = 0,
    reserve: int = RESERVE,
    most: int | None = None,
    home: Home | None = None,
) -> Choice:
    """Choose rows for traces and reserve some of each line for the second stage.

    Args:
        outcomes: Columns of ``OUTCOMES``.
        split: See ``splits.make_folds``; None is ``official`` where there are test rows, else ``all``.
        fold: Which fold, from 1, where the split has several.
        seed: Of the split, the reserve and the sample.
        reserve: Rows of each cell line for the second stage, its labels in the line's proportions; at most half of a
            line's rows, and a note says so.
        most: At most so many rows in all, in the proportions of line, label and stage; None for all.
        home: Where stored splits are.

    Raises:
        UsageError: No such split or fold, or a number that is no number of rows.
    """
    if reserve < 0 or (most is not None and most < 1):
        raise UsageError(f"reserve {reserve}, rows {most}: expected a reserve of 0 or more and 1 row or more")
    chosen = split or ("official" if (outcomes["split"] == TEST).any() else "all")
    folds = make_folds(outcomes, chosen, seed=seed, home=home)
    if not 1 <= fold <= len(folds):
        raise UsageError(f"fold {fold}: split {chosen} has {len(folds)}")
    rows = folds[fold - 1].training.select(pl.col(name).cast(dtype) for name, dtype in TRAINING.items()).sort(_KEY)
    notes = []
    quotas = {}
    for line, count in rows.group_by("cell_line").len().sort("cell_line").iter_rows():
        quotas[line] = min(reserve, count // 2)
        if quotas[line] < reserve:
            notes.append(f"{line} has {count:,} rows, so {quotas[line]:,} instead of {reserve:,} are reserved")
    parts = [
        _staged(part, quotas[str(line)], seed)
        for (line,), part in rows.group_by("cell_line", maintain_order=True)
    ]  # fmt: skip
    staged = pl.concat(parts)
    if most is not None and most < staged.height:
        staged = _sample(staged, most, seed)
    return Choice(staged.sort(_KEY), folds[fold - 1], seed, tuple(notes), chosen, fold)


def _staged(line: pl.DataFrame, quota: int, seed: int) -> pl.DataFrame:
    """Mark ``quota`` rows of one cell line as the second stage's."""
    drawn = _drawn(line, quota, ("label",), seed, f"reserve of {line['cell_line'][0]}")
    stage = np.where(drawn, STAGE_2, STAGE_1)
    return line.with_columns(pl.Series("split", stage, dtype=pl.String))


def _sample(rows: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    return rows.filter(pl.Series(_drawn(rows, most, (*_STRATA, "split"), seed, "sample")))


def _drawn(rows: pl.DataFrame, count: int, strata: tuple[str, ...], seed: int, purpose: str) -> npt.NDArray[np.bool_]:
    """Return which rows (sorted by key) are drawn: each stratum in its proportion, ties to the largest remainder."""
    sizes = rows.group_by(strata).len().sort(strata)
    exact = sizes["len"].to_numpy() * (count / max(rows.height, 1))
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: count - int(quota.sum())]] += 1
    quotas = sizes.select(strata).with_columns(pl.Series("_quota", quota))
    chance = np.random.default_rng([seed, zlib.crc32(purpose.encode())]).random(rows.height)
    ranked = rows.select(strata).with_columns(pl.Series("_chance", chance))
    ranked = ranked.with_columns(pl.col("_chance").rank("ordinal").over(strata).alias("_rank"))
    ranked = ranked.join(quotas, on=strata, how="left", maintain_order="left")
    taken: npt.NDArray[np.bool_] = (ranked["_rank"] <= ranked["_quota"]).to_numpy()
    return taken


def refuse_leaks(traces: pl.DataFrame, fold: Fold, place: Path | str) -> None:
    """Refuse traces that are no training rows of a fold, or whose label is not the measured one.

    Args:
        traces: With ``cell_line``, ``perturbation``, ``target`` and ``label``.
        fold: What may be trained on; its ``training`` has genes, by which other names of a gene are found too.
        place: What to call the traces in messages.

    Raises:
        UsageError: The first row at fault is named, with the number of such rows.
    """
    training = fold.training.select(*_KEY, *_genes(), pl.col("label").alias("measured")).unique(_KEY, keep="first")
    joined = traces.join(training, on=list(_KEY), how="left", maintain_order="left")
    tested = pl.concat(
        [
            joined.join(fold.test.select(_KEY), on=list(_KEY), how="semi"),
            joined.join(fold.test.select("cell_line", *_genes()), on=["cell_line", "_p", "_t"], how="semi"),
        ]
    )
    if tested.height:
        raise UsageError(
            f"{place}: {tested.unique(_KEY).height:,} traces are test rows of split {fold.name}, the first "
            f"{_name(tested)}; take them out, or make the traces with this split"
        )
    other = joined.filter(pl.col("measured").is_null())
    if other.height:
        raise UsageError(
            f"{place}: {other.height:,} traces are no training rows of split {fold.name}, the first {_name(other)}; "
            "make the traces with this split and these outcomes"
        )
    wrong = joined.filter(pl.col("measured") != pl.col("label"))
    if wrong.height:
        row: dict[str, Any] = wrong.row(0, named=True)
        raise UsageError(
            f"{place}: {wrong.height:,} traces have another label than was measured, the first {_name(wrong)} "
            f"({LABELS[row['label']]}, measured {LABELS[row['measured']]})"
        )


def _genes() -> list[pl.Expr]:
    return [pl.coalesce(f"{side}_gene", side).alias(f"_{side[0]}") for side in ("perturbation", "target")]


def _name(rows: pl.DataFrame) -> str:
    line, perturbation, target = rows.select(_KEY).row(0)
    return f"{perturbation} → {target} in {line}"
