"""Traces as a table: one row a trace, kept or dropped with the reason; Parquet, read and written in one place."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import InputFileError
from aroma.kgstore.tables import write_parquet
from aroma.model.traces.answers import completion
from aroma.retrieval.evidence_model import Evidence, to_json

TRACES: Final[dict[str, pl.DataType]] = {
    "cell_line": pl.String(),
    "perturbation": pl.String(),  # names as written in the outcomes
    "target": pl.String(),
    "label": pl.Int8(),  # the measured outcome: 0 not significant, 1 down, 2 up
    "prompt": pl.String(),  # what a model is asked, with placeholders
    "reasoning": pl.String(),
    "answer": pl.String(),  # as the writer gave it
    "kind": pl.String(),  # template, informed or blind
    "writer": pl.String(),  # the model's name, or template
    "evidence_id": pl.String(),  # sha256 of the evidence as JSON
    "split": pl.String(),  # sft, grpo
    "kept": pl.Boolean(),
    "reason": pl.String(),  # why it was dropped, null where it was kept
}
KINDS: Final = ("template", "informed", "blind")
TEMPLATE: Final = "template"
STAGE_1: Final = "sft"
STAGE_2: Final = "grpo"
SPLITS: Final = (STAGE_1, STAGE_2)
_EXPECTED: Final = f"a trace table (Parquet with the columns {', '.join(TRACES)})"


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One trace; see ``TRACES`` for the columns."""

    cell_line: str
    perturbation: str
    target: str
    label: int
    prompt: str
    reasoning: str
    answer: str
    kind: str
    writer: str
    evidence_id: str
    split: str
    kept: bool = True
    reason: str | None = None

    @property
    def name(self) -> str:
        """The row as messages name it."""
        return f"{self.perturbation} → {self.target} in {self.cell_line}"

    @property
    def completion(self) -> str:
        """What a model learns to write for the row."""
        return completion(self.reasoning, self.label)


def evidence_id(evidence: Evidence) -> str:
    """Return the sha256 of the evidence as JSON, hex; equal evidence has an equal id."""
    return hashlib.sha256(to_json(evidence)).hexdigest()


def frame_of(rows: list[TraceRow]) -> pl.DataFrame:
    """Return rows as a table with the columns of ``TRACES``."""
    names = [field.name for field in fields(TraceRow)]
    data = {name: [getattr(row, name) for row in rows] for name in names}
    return pl.DataFrame(data, schema=TRACES)


def rows_of(frame: pl.DataFrame) -> list[TraceRow]:
    """Return the rows of a table with the columns of ``TRACES``."""
    return [TraceRow(**row) for row in frame.select(*TRACES).iter_rows(named=True)]


def write_traces(path: Path, frame: pl.DataFrame) -> None:
    """Write a trace table in one rename.

    Raises:
        InputFileError: A column is missing or has another type, or a row breaks a rule of ``read_traces``.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    write_parquet(conform(frame, path), beside)
    beside.replace(path)


def read_traces(path: Path, *, kept: bool | None = None) -> pl.DataFrame:
    """Read a trace table (columns of ``TRACES``, in the file's order).

    Args:
        path: Parquet, or a directory of a trace data set, whose ``traces.parquet`` is read.
        kept: Only rows that were kept, or dropped; None for all.

    Raises:
        InputFileError: Unreadable, a column missing or of another type, a null where none may be, a label that is not
            0, 1 or 2, an unknown kind, or a dropped row without a reason.
    """
    file = path / "traces.parquet" if path.is_dir() else path
    try:
        frame = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputFileError(f"cannot be read ({said})", file=file, expected=_EXPECTED) from error
    table = conform(frame, file)
    return table if kept is None else table.filter(pl.col("kept") == kept)


def conform(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Return the frame with the columns of ``TRACES`` in their order and types, checked."""
    if missing := [name for name in TRACES if name not in frame.columns]:
        raise InputFileError(f"has no column {', '.join(missing)}", file=file, expected=_EXPECTED)
    try:
        table = frame.select(pl.col(name).cast(dtype) for name, dtype in TRACES.items())
    except pl.exceptions.PolarsError as error:
        raise InputFileError(f"a column has another type ({str(error).splitlines()[0]})", file=file) from error
    for name in TRACES:
        if name != "reason":
            _refuse(table, pl.col(name).is_null(), file, f"no {name}")
    _refuse(table, ~pl.col("label").is_in([0, 1, 2]), file, "a label that is not 0, 1 or 2")
    _refuse(table, ~pl.col("kind").is_in(KINDS), file, f"a kind that is not {', '.join(KINDS)}")
    _refuse(
        table, pl.col("kept") == pl.col("reason").is_not_null(), file, "a dropped row has a reason, a kept one none"
    )
    return table


def _refuse(table: pl.DataFrame, wrong: pl.Expr, file: Path, what: str) -> None:
    found = table.with_row_index("row", 1).filter(wrong)
    if found.height:
        row: dict[str, Any] = found.row(0, named=True)
        place = f"{row['perturbation']} → {row['target']} in {row['cell_line']}"
        raise InputFileError(f"{what} ({place}; {found.height:,} rows)", file=file, line=row["row"])
