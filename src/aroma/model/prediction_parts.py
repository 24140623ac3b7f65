"""Predictions of a long file in parts on disk, so that a run that was killed goes on where it stopped.

Parts lie in ``<out>.parts-<hash of model, rows and size of a part>``. A row that failed is never done: when the same
file is asked for again, only such rows and the parts that are missing are asked. The parts go when no row failed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import polars as pl

from aroma.kgstore.outcomes import content_hash
from aroma.kgstore.tables import write_parquet
from aroma.model.plugin import FAILED, Plugin

_DIGITS: Final = 12
Answerer = Callable[[pl.DataFrame], pl.DataFrame]


def failed_rows(found: pl.DataFrame) -> pl.Series:
    """Return which rows of predictions say in their flags that they failed."""
    return found.select(pl.col("flags").list.eval(pl.element().str.starts_with(FAILED)).list.any())["flags"].fill_null(
        value=False
    )


def answer_in_parts(model: Plugin, asked: pl.DataFrame, out: Path, answer: Answerer) -> Iterator[pl.DataFrame]:
    """Yield the answers to rows part by part, in their order; parts that lie there are read.

    Args:
        model: The model; ``rows_a_part`` of them are asked at a time.
        asked: ``cell_line``, ``perturbation``, ``target``.
        out: Where the predictions are going to be; parts stand beside it.
        answer: Answers some of the rows.
    """
    size = model.rows_a_part
    if asked.height <= size:
        yield answer(asked)
        return
    place = _place(model, asked, out)
    place.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, asked.height, size)):
        yield _part(place / f"{number:06d}.parquet", asked[start : start + size], answer)


def remove_parts(model: Plugin, asked: pl.DataFrame, out: Path) -> None:
    """Remove the parts of a file whose predictions are written, and of which no row failed."""
    if asked.height > model.rows_a_part:
        shutil.rmtree(_place(model, asked, out), ignore_errors=True)


def _place(model: Plugin, asked: pl.DataFrame, out: Path) -> Path:
    return out.with_name(f"{out.name}.parts-{_hash(model, asked)}")


def _part(path: Path, asked: pl.DataFrame, answer: Answerer) -> pl.DataFrame:
    before = _read(path, asked)
    if before is None:
        found = answer(asked)
    else:
        failed = failed_rows(before)
        if not failed.any():
            return before
        numbered = before.with_row_index("_row")
        again = answer(asked.filter(failed)).with_columns(numbered.filter(failed)["_row"])
        found = pl.concat([numbered.filter(~failed), again.select(numbered.columns)]).sort("_row").drop("_row")
    write_parquet(found, path)
    return found


def _read(path: Path, asked: pl.DataFrame) -> pl.DataFrame | None:
    """Return a part that was written, or None where there is none, or not a whole one of these rows."""
    try:
        found = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        return None
    names = ["cell_line", "perturbation", "target"]
    return (
        found if {*names, "flags"} <= set(found.columns) and found.select(names).equals(asked.select(names)) else None
    )


def _hash(model: Plugin, asked: pl.DataFrame) -> str:
    said = [asdict(model.card), content_hash(asked.with_row_index("row")), model.rows_a_part]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:_DIGITS]
