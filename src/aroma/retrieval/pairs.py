"""Reading files of pairs: the questions of a bulk run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from aroma.errors import InputFileError

COLUMNS: Final = ("perturbation", "target", "cell_line")
_OTHER_NAMES: Final = {"pert": "perturbation", "gene": "target"}


def read_table_file(path: Path) -> pl.DataFrame:
    """Read a CSV or Parquet file, every column as text where it is CSV.

    Raises:
        InputFileError: The file is missing, empty or not of its kind.
    """
    try:
        return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except pl.exceptions.NoDataError as error:
        raise InputFileError("the file is empty", file=path, expected="a header line and rows") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputFileError(f"cannot be read ({said})", file=path, expected="CSV or Parquet") from error


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
    frame = read_table_file(path).rename(_OTHER_NAMES, strict=False)
    if missing := {"perturbation", "target"} - set(frame.columns):
        raise InputFileError(
            f"has no column {', '.join(sorted(missing))}",
            file=path,
            line=1,
            expected="columns perturbation,target[,cell_line] or PerturbQA's pert,gene",
        )
    if "cell_line" not in frame.columns:
        frame = frame.with_columns(pl.lit(path.name.split(".")[0]).alias("cell_line"))
    texts = frame.select(pl.col(name).cast(pl.String).fill_null("") for name in COLUMNS)
    return texts.with_row_index("row")
