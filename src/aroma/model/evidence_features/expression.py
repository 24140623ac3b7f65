"""Baseline expression of cell lines, where it is given: what a line that was never perturbed says of its genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import UsageError
from aroma.model.evidence_features.layers import Float32
from aroma.retrieval.withhold import line_key

FILE: Final = "expression.parquet"
NAMES: Final = tuple(
    f"{side}_expression{ending}" for side in ("target", "perturbation") for ending in ("", "_against_trained")
)
"""Names of the columns: log counts in the line, and the difference from the mean of the trained lines."""


def checked(table: pl.DataFrame | None) -> pl.DataFrame | None:
    """Return the table with Float64 columns, one row a gene.

    Raises:
        UsageError: No column ``gene``, or a column that is no number.
    """
    if table is None:
        return None
    if "gene" not in table.columns or len(table.columns) == 1:
        raise UsageError("baseline expression lacks the column gene or has no cell line; give gene and one a line")
    words = [name for name in table.columns if name != "gene" and not table[name].dtype.is_numeric()]
    if words:
        raise UsageError(f"baseline expression of {words[0]} is {table[words[0]].dtype}, no number; give log counts")
    lines = [name for name in table.columns if name != "gene"]
    return table.group_by("gene").agg(pl.col(lines).cast(pl.Float64).mean()).sort("gene")


def columns(
    table: pl.DataFrame | None,
    trained: Sequence[str],
    line: npt.NDArray[Any],
    perturbation: npt.NDArray[Any],
    target: npt.NDArray[Any],
) -> Float32:
    """Return float32 (rows, 4) expression columns; NaN where nothing is known.

    Args:
        table: As ``checked`` returns it, or None.
        trained: Lines that were trained on.
        line: Names of cell lines (rows).
        perturbation: Gene ids (rows).
        target: Gene ids (rows).
    """
    found = np.full((len(line), len(NAMES)), np.nan, dtype=np.float32)
    if table is None:
        return found
    by_key = {line_key(name): place for place, name in enumerate(table.columns[1:])}
    values = table.select(table.columns[1:]).to_numpy()
    of_line = {name: by_key.get(line_key(str(name)), -1) for name in set(line.tolist())}
    places = np.array([of_line[name] for name in line.tolist()])
    for side, names in enumerate((target, perturbation)):
        genes = pl.DataFrame({"gene": names}, schema={"gene": pl.String})
        row = genes.join(table.select("gene").with_row_index("row"), on="gene", how="left", maintain_order="left")[
            "row"
        ]
        rows = row.cast(pl.Int64).fill_null(-1).to_numpy()
        known = (rows >= 0) & (places >= 0)
        own = values[rows[known], places[known]]
        others = [by_key[line_key(name)] for name in trained if line_key(name) in by_key]
        found[known, 2 * side] = own
        if others:
            found[known, 2 * side + 1] = own - values[rows[known]][:, others].mean(axis=1)
    return found
