"""What STRING's files say about themselves: unequal directions, and where two files disagree."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

_EXAMPLES: Final = 10
_SHIFT: Final = 2**32


def pair_key(first: str, second: str) -> pl.Expr:
    """Return one UInt64 for an unordered pair of two UInt32 columns."""
    smaller = pl.min_horizontal(first, second).cast(pl.UInt64)
    larger = pl.max_horizontal(first, second).cast(pl.UInt64)
    return smaller * _SHIFT + larger


def fold_pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """Fold rows (``pair``, ``score``, ``line``) to one a protein pair: ``lines``, ``low``, ``high``, ``first``."""
    return rows.group_by("pair").agg(
        pl.len().alias("lines"),
        pl.col("score").min().alias("low"),
        pl.col("score").max().alias("high"),
        pl.col("line").min().alias("first"),
    )


def directions(pairs: pl.DataFrame, proteins: pl.DataFrame) -> dict[str, Any]:
    """Count pairs with unequal scores of their directions and pairs given in one direction only.

    Args:
        pairs: As ``fold_pairs`` gives them.
        proteins: ``protein`` and its ``code`` (UInt32), to name the examples.
    """
    unequal = pairs.filter(pl.col("low") != pl.col("high"))
    names = proteins.select("code", "protein")
    shown = (
        unequal.sort("first")
        .head(_EXAMPLES)
        .with_columns(
            (pl.col("pair") // _SHIFT).cast(pl.UInt32).alias("a"), (pl.col("pair") % _SHIFT).cast(pl.UInt32).alias("b")
        )
        .join(names.rename({"protein": "protein1"}), left_on="a", right_on="code", how="left", maintain_order="left")
        .join(names.rename({"protein": "protein2"}), left_on="b", right_on="code", how="left", maintain_order="left")
        .select("protein1", "protein2", "low", "high", "first")
    )
    return {
        "pairs": pairs.height,
        "pairs with unequal scores": unequal.height,
        "pairs in one direction only": pairs.filter(pl.col("lines") == 1).height,
        "pairs on more than two lines": pairs.filter(pl.col("lines") > 2).height,  # noqa: PLR2004
        "examples of unequal scores": [
            f"{row['protein1']} {row['protein2']}: {row['low']} and {row['high']}, first at line {row['first']}"
            for row in shown.iter_rows(named=True)
        ],
    }


def agreement(plain: pl.DataFrame, full: pl.DataFrame) -> dict[str, Any]:
    """Compare the combined scores of two files over the protein pairs that both have (``fold_pairs`` frames)."""
    both = plain.select("pair", "high").join(full.select("pair", pl.col("high").alias("other")), on="pair")
    difference = both["high"].cast(pl.Int32) - both["other"].cast(pl.Int32)
    differing = difference.filter(difference != 0)
    return {
        "protein pairs in both": both.height,
        "protein pairs only in the first": plain.height - both.height,
        "protein pairs only in the second": full.height - both.height,
        "with another combined score": len(differing),
        "mean difference of those (first - second)": round(float(differing.mean() or 0.0), 1),  # type: ignore[arg-type]
        "largest difference": int(differing.abs().max() or 0),  # type: ignore[arg-type]
    }
