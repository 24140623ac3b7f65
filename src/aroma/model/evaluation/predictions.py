"""Predictions that a user brings: read, judged row by row, and laid beside the outcomes they answer.

A row that cannot be used is counted with its reason and its first lines are named; the good rows go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.user_tables import read_user_table
from aroma.model.ground import Ground
from aroma.model.labels import LABEL_OF_COLUMN, PROBABILITY_COLUMNS
from aroma.model.predictors.rates import key_of
from aroma.retrieval.withhold import line_key

KEY: Final = ("cell_line", "perturbation", "target")
NAMES: Final = {
    "cell_line": ("cell_type", "line"),
    "perturbation": ("pert",),
    "target": ("gene",),
    **dict.fromkeys(PROBABILITY_COLUMNS, ()),
}
_PARQUET: Final = b"PAR1"
_TOLERANCE: Final = 1e-3
_SHOWN: Final = 3
_LABELS: Final = ("0", "1", "2")


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows that are not used, or not used as they stand.

    Attributes:
        file: Where they stand.
        what: What is the matter.
        rows: How many.
        examples: The first of them.
    """

    file: str
    what: str
    rows: int
    examples: tuple[str, ...]

    def sentence(self) -> str:
        """Return it for a person."""
        shown = f" ({'; '.join(self.examples)})" if self.examples else ""
        return f"{self.file}: {self.rows:,} rows: {self.what}{shown}"


@dataclass(frozen=True, slots=True)
class Predictions:
    """One model's answers.

    Attributes:
        name: What tables call it.
        rows: ``cell_line, perturbation, target``, the three probabilities, ``label`` (Int8), one row a key.
        problems: What was found on reading.
    """

    name: str
    rows: pl.DataFrame
    problems: tuple[Problem, ...]


def read_predictions(path: Path, name: str | None = None) -> Predictions:
    """Read a predictions file (CSV, TSV, Parquet; gzip): ``cell_line, perturbation, target, p_down, p_not_significant,
    p_up[, label]``.

    Without a ``label`` column the largest probability is the label. Of rows that say the same pair twice the first
    counts.

    Raises:
        InputFileError: The file cannot be read or lacks a column.
        UsageError: Not one row is good.
    """  # noqa: D205 - the columns belong to the first sentence
    dtypes = dict.fromkeys(PROBABILITY_COLUMNS, pl.Float64()) if _is_parquet(path) else {}
    read = read_user_table(path, required=NAMES, optional={"label": ("prediction",)}, dtypes=dtypes, line="line")
    return judge(read, path.name, name or path.name.partition(".")[0])


def _is_parquet(path: Path) -> bool:
    """Tell whether a file's numbers have types; of one that cannot be opened the reader says why."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_PARQUET)) == _PARQUET
    except OSError:
        return False


def judge(read: pl.DataFrame, file: str, name: str) -> Predictions:
    """Sort rows into good ones and problems.

    Args:
        read: ``KEY``, the three probabilities (numbers or text), ``line`` and perhaps ``label``.
        file: What messages call it.
        name: What tables call it.

    Raises:
        UsageError: Not one row is good.
    """
    problems = []
    if "label" not in read.columns:
        said = "no label column; the largest probability counts as the label"
        problems.append(Problem(file, said, read.height, ()))
    good = _numbers(read)
    for bad, what in _faults("label" in read.columns):
        wrong = good.filter(bad.fill_null(value=True))
        if wrong.height:
            problems.append(Problem(file, what, wrong.height, _examples(wrong)))
            good = good.filter(~bad.fill_null(value=True))
    good, repeated = _once(good, file)
    problems += repeated
    if good.is_empty():
        why = "; ".join(problem.sentence() for problem in problems) or "there are no rows"
        raise UsageError(f"{file} has no usable prediction: {why}")
    total = pl.sum_horizontal(PROBABILITY_COLUMNS)
    scaled = good.with_columns((pl.col(column) / total).alias(column) for column in PROBABILITY_COLUMNS)
    if "label" not in read.columns:
        largest = scaled.select(PROBABILITY_COLUMNS).to_numpy().argmax(axis=1)
        scaled = scaled.with_columns(label=pl.Series(LABEL_OF_COLUMN[largest]))
    rows = scaled.select(*KEY, *PROBABILITY_COLUMNS, pl.col("label").cast(pl.Int8))
    return Predictions(name, rows, tuple(problems))


def _numbers(read: pl.DataFrame) -> pl.DataFrame:
    columns = [pl.col(column).cast(pl.Float64, strict=False).alias(column) for column in PROBABILITY_COLUMNS]
    if "label" in read.columns:
        columns.append(pl.col("label").cast(pl.String).str.strip_chars().str.replace(r"\.0+$", "").alias("label"))
    return read.with_columns(columns)


def _faults(labelled: bool) -> list[tuple[pl.Expr, str]]:
    each = [pl.col(column) for column in PROBABILITY_COLUMNS]
    total = pl.sum_horizontal(PROBABILITY_COLUMNS)
    faults = [(pl.col(column).is_null() | (pl.col(column) == ""), f"no {column.replace('_', ' ')}") for column in KEY]
    faults += [
        (pl.any_horizontal(*(~column.is_finite().fill_null(value=False) for column in each)),
         "a probability is missing or no number"),
        (pl.any_horizontal(*((column < 0) | (column > 1 + _TOLERANCE) for column in each)),
         "a probability is not between 0 and 1"),
        ((total - 1).abs() > _TOLERANCE, "the probabilities do not sum to one"),
    ]  # fmt: skip
    if labelled:
        faults.append((~pl.col("label").is_in(_LABELS), "label is not 0 (not significant), 1 (down) or 2 (up)"))
    return faults


def _once(good: pl.DataFrame, file: str) -> tuple[pl.DataFrame, list[Problem]]:
    """Keep the first row of each key; say how many repeat it, with the same answer or another."""
    again = good.filter(~pl.struct(KEY).is_first_distinct())
    if again.is_empty():
        return good, []
    answer = [*PROBABILITY_COLUMNS, *(["label"] if "label" in good.columns else [])]
    kept = good.filter(pl.struct(KEY).is_first_distinct())
    other = again.join(kept, on=[*KEY, *answer], how="anti")
    same = again.height - other.height
    said = []
    if same:
        said.append(Problem(file, "repeat an earlier row", same, ()))
    if other.height:
        what = "repeat an earlier row with another answer; the first counts"
        said.append(Problem(file, what, other.height, _examples(other)))
    return kept, said


def _examples(rows: pl.DataFrame) -> tuple[str, ...]:
    shown = rows.head(_SHOWN).select("line", *KEY, *PROBABILITY_COLUMNS, *(c for c in ("label",) if c in rows.columns))
    return tuple(f"line {row[0]}: {', '.join(_text(value) for value in row[1:])}" for row in shown.iter_rows())


def _text(value: object) -> str:
    return "(empty)" if value is None else str(value)[:40]


@dataclass(frozen=True, slots=True)
class Answered:
    """Predictions beside the rows that were asked.

    Attributes:
        rows: One row for each asked row, in their order: the three probabilities and ``label``, null where there is no
            usable prediction.
        problems: What does not fit.
    """

    rows: pl.DataFrame
    problems: tuple[Problem, ...]


def answers(ground: Ground, predictions: Predictions, asked: pl.DataFrame, measured: pl.DataFrame) -> Answered:
    """Find the prediction for each asked row: by the names as written, else by the genes they stand for.

    Args:
        ground: The release, which knows older names of a gene.
        predictions: What was read.
        asked: ``KEY`` and the resolved genes, the rows that are evaluated.
        measured: The same of all outcomes, to tell a row that is kept out from one that was never measured.
    """
    known = _keyed(ground.rows(predictions.rows), predictions.rows)
    wanted = _keyed(asked)
    values = [*PROBABILITY_COLUMNS, "label"]
    named = wanted.join(
        known.unique(["line", *KEY[1:]], keep="first", maintain_order=True).select("line", *KEY[1:], *values),
        on=["line", *KEY[1:]],
        how="left",
        maintain_order="left",
    )
    by_gene = wanted.join(
        known.unique(["line", "p", "t"], keep="first", maintain_order=True).select("line", "p", "t", *values),
        on=["line", "p", "t"],
        how="left",
        maintain_order="left",
    )
    found = pl.select(
        pl.when(named["label"].is_null()).then(by_gene[column]).otherwise(named[column]).alias(column)
        for column in values
    )
    return Answered(found, _fit(predictions.name, known, wanted, _keyed(measured), found["label"]))


def _fit(
    name: str, known: pl.DataFrame, wanted: pl.DataFrame, measured: pl.DataFrame, label: pl.Series
) -> tuple[Problem, ...]:
    """Say which predictions nothing is asked of, and which questions have no answer."""
    problems = []
    strange = known.filter(~pl.col("line").is_in(measured["line"].unique().implode()))
    if strange.height:
        lines = ", ".join(strange["cell_line"].unique().sort().head(5).to_list())
        problems.append(Problem(name, f"no outcome is of the cell line ({lines})", strange.height, ()))
    rest = known.join(strange, on=["line", "p", "t"], how="anti") if strange.height else known
    rest = rest.join(wanted, on=["line", "p", "t"], how="anti")
    kept_out = rest.join(measured, on=["line", "p", "t"], how="semi").height
    if kept_out:
        problems.append(Problem(name, "answer a row that is not evaluated here (a training row)", kept_out, ()))
    if rest.height > kept_out:
        problems.append(Problem(name, "answer a pair that was not measured", rest.height - kept_out, ()))
    missing = wanted.filter(label.is_null())
    if missing.height:
        examples = tuple(" ".join(map(_text, row)) for row in missing.select(KEY).head(_SHOWN).iter_rows())
        problems.append(Problem(name, "are asked and have no usable prediction", missing.height, examples))
    return tuple(problems)


def _keyed(rows: pl.DataFrame, answer: pl.DataFrame | None = None) -> pl.DataFrame:
    lines = {name: line_key(name) for name in rows["cell_line"].drop_nulls().unique()}
    keyed = rows.select(
        *KEY,
        pl.col("cell_line").replace_strict(lines, default="", return_dtype=pl.String).alias("line"),
        key_of("perturbation").alias("p"),
        key_of("target").alias("t"),
    )
    return keyed if answer is None else keyed.with_columns(answer.select(*PROBABILITY_COLUMNS, "label"))


def laid_out(label: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which asked rows have an answer: bool (rows)."""
    return label.is_not_null().to_numpy()
