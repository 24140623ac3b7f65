"""Reading files of pairs: the questions of a bulk run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from aroma.kgstore.user_tables import read_every_column, read_user_table

COLUMNS: Final = ("perturbation", "target", "cell_line")
NAMES: Final = {"perturbation": ("pert",), "target": ("gene",)}
"""The two genes of a pair, with PerturbQA's names for them."""
read_table_file = read_every_column


def read_pairs(path: Path) -> pl.DataFrame:
    """Read pairs: ``perturbation,target[,cell_line]``, or PerturbQA's ``pert,gene``.

    Where there is no ``cell_line`` column it is the file's name without suffix (``K562.csv``), which is how PerturbQA
    names its lines.

    Returns:
        ``row`` (UInt32, from 0, the input's order), ``perturbation``, ``target``, ``cell_line`` (String; a missing
        value is the empty string, so that the row is answered as unknown and not dropped).

    Raises:
        InputFileError: The file cannot be read or lacks a column.
    """
    frame = read_user_table(path, required=NAMES, optional={"cell_line": ()})
    if "cell_line" not in frame.columns:
        frame = frame.with_columns(pl.lit(path.name.split(".")[0]).alias("cell_line"))
    return frame.select(pl.col(name).fill_null("") for name in COLUMNS).with_row_index("row")
