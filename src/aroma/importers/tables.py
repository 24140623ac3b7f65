"""Tables that several importers fill alike."""

from __future__ import annotations

import polars as pl

from aroma.kgstore import schema

LOST = {"line": pl.Int64(), "identifier": pl.String(), "reason": pl.String(), "candidates": schema.TEXTS}
"""Columns of a frame of rows whose gene does not resolve."""


def unresolved_table(lost: pl.DataFrame, *, provider: str, import_run: str) -> pl.DataFrame:
    """Fold rows that lost their gene (columns of ``LOST``): one row an identifier and reason."""
    grouped = (
        lost.group_by("identifier", "reason")
        .agg(
            pl.col("candidates").first(),
            pl.col("line").n_unique().alias("rows"),
            pl.col("line").min().alias("first_line"),
        )
        .sort("identifier", "reason")
    )
    return schema.conform("unresolved", grouped.with_columns(provider=pl.lit(provider), import_run=pl.lit(import_run)))
