"""Measured outcomes for models, from wherever a user has them, in one shape.

Three sources: PerturbQA's files (``pert,gene,label,split``, the cell line from the file's name), any outcomes table
(``cell_line,perturbation,target,label[,split]``, CSV or Parquet), and the outcomes stored in the home. A bad row is
kept as a reject with its line and reason; the good rows go on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from aroma.errors import InputFileError, UsageError
from aroma.importers.base import ImportContext, ProviderFile
from aroma.importers.lines import open_text, reject_where
from aroma.importers.perturbqa import CELL_LINES, NEEDED, REPEATED, PerturbQAImporter, cell_line_of
from aroma.importers.runs import count_reasons
from aroma.kgstore.outcomes import LABELS, OUTCOMES, list_outcomes, load_outcomes
from aroma.kgstore.user_tables import read_every_column, read_user_table
from aroma.model.ground import Ground
from aroma.retrieval.withhold import line_key

REJECTS: Final[dict[str, pl.DataType]] = {
    "file": pl.String(),
    "line": pl.Int64(),
    "reason": pl.String(),
    "text": pl.String(),
}
STORED: Final = "stored"
_REQUIRED: Final = {"perturbation": ("pert",), "target": ("gene",), "label": ()}
_OPTIONAL: Final = {"cell_line": (), "split": (), "difference": ()}
_EXPECTED: Final = "columns cell_line,perturbation,target,label[,split] or PerturbQA's pert,gene,label,split"
_PERTURBQA_NAME: Final = re.compile(rf"(?:{'|'.join(CELL_LINES)}|.+\.outcomes)\.csv(\.gz)?", re.IGNORECASE)
_SUFFIXES: Final = (".csv", ".tsv", ".parquet")
_KEY: Final = ("cell_line", "perturbation", "target")
CONTRADICTED: Final = "another label for the same pair in an earlier line"


@dataclass(frozen=True, slots=True)
class DataSet:
    """Outcomes that were read, and what became of every other row.

    Attributes:
        name: Where they come from, for messages and cards.
        outcomes: Columns of ``OUTCOMES``, one row a (cell line, perturbation, target); genes as this release has them.
        rejects: Columns of ``REJECTS``.
        repeated: Rows that say again what an earlier one says.
        skipped: Files of a directory that hold no outcomes, with the reason.
        magnitudes: ``cell_line``, ``perturbation``, ``target``, ``difference`` (Float64) where the source has a column
            ``difference`` (of mean log expression), or None.
    """

    name: str
    outcomes: pl.DataFrame
    rejects: pl.DataFrame
    repeated: int
    skipped: dict[str, str]
    magnitudes: pl.DataFrame | None = None

    @property
    def reasons(self) -> dict[str, int]:
        """Rejected rows by reason."""
        return count_reasons(self.rejects)

    @property
    def unresolved(self) -> list[str]:
        """Return the names of genes that this release has not, sorted."""
        sides = [
            self.outcomes.filter(pl.col(f"{side}_gene").is_null())[side].rename("name")
            for side in ("perturbation", "target")
        ]
        names: list[str] = pl.concat(sides).unique().sort().to_list()
        return names

    @property
    def contradictions(self) -> pl.DataFrame:
        """Return the rows of pairs that have two labels under two names of one gene (columns of ``OUTCOMES``)."""
        genes = [pl.coalesce(f"{side}_gene", side).alias(f"_{side}") for side in ("perturbation", "target")]
        key = ["cell_line", "_perturbation", "_target"]
        several = self.outcomes.with_columns(genes).filter(pl.col("label").n_unique().over(key) > 1)
        return several.sort(*key, "perturbation", "target").drop("_perturbation", "_target")

    def problems(self, limit: int = 3) -> list[str]:
        """Return sentences on rows that are not used or not known, the first of each kind named; none: all is well."""
        said = [f"{name} is not read: {reason}" for name, reason in self.skipped.items()]
        for reason, count in self.reasons.items():
            shown = self.rejects.filter(pl.col("reason") == reason).head(limit)
            places = "; ".join(
                f"{row['file']}, line {row['line']}: {row['text']!r}" for row in shown.iter_rows(named=True)
            )
            said.append(f"{count:,} rows rejected, {reason} ({places})")
        if self.repeated:
            said.append(f"{self.repeated:,} rows repeat an earlier one")
        if (double := self.contradictions).height:
            pairs = "; ".join(" ".join(row) for row in double.select(_KEY).head(2 * limit).iter_rows())
            said.append(f"{double.height:,} rows have another label under another name of the same gene ({pairs})")
        if names := self.unresolved:
            more = f" and {len(names) - 3 * limit:,} more" if len(names) > 3 * limit else ""
            said.append(f"without a gene in this release: {', '.join(names[: 3 * limit])}{more}")
        return said


def read_data_set(ground: Ground, source: str | Path | None = None) -> DataSet:
    """Return outcomes, their genes as the ground's release has them.

    Args:
        ground: The release.
        source: A file, a directory of files, ``stored`` (the latest that the home has), or the first digits of a
            stored version; None means ``stored``.

    Raises:
        InputFileError: A file that cannot be read or has other columns.
        UsageError: Nothing is there, two files have the same rows, or not one row is good.
    """
    path = Path(source) if source is not None else None
    if path is not None and path.is_dir():
        found = _directory(ground, path)
    elif path is not None and path.is_file():
        found = _file(ground, path)
    elif source is None or _is_stored(ground, str(source)):
        found = _stored(ground, None if source in {None, STORED} else str(source))
    else:
        raise UsageError(
            f"--outcomes {source}: no such file or directory, and no stored outcomes begin so; "
            "give a file, a directory, or 'stored'"
        )
    if found.outcomes.is_empty():
        why = "; ".join(found.problems()) or "there are no rows"
        raise UsageError(f"{found.name} has no usable outcome: {why}")
    return found


def data_set_of(ground: Ground, frame: pl.DataFrame, name: str) -> DataSet:
    """Return outcomes from a frame (``cell_line, perturbation, target, label[, split]``), checked as a file is.

    Raises:
        UsageError: A column is missing.
    """
    if missing := [column for column in _KEY if column not in frame.columns] + (
        [] if "label" in frame.columns else ["label"]
    ):
        raise UsageError(f"{name} lacks the column {', '.join(missing)}; expected {_EXPECTED}")
    return _checked(ground, frame, name, name)


def read_expression(ground: Ground, path: Path) -> pl.DataFrame:
    """Return a table of baseline expression: ``gene`` (id, or the name where none), one Float64 column a cell line.

    Args:
        ground: The release.
        path: CSV, TSV or Parquet with a column ``gene`` and one a cell line, log counts.

    Raises:
        InputFileError: It cannot be read, has no column ``gene``, no other one, or a value that is no number.
    """
    table = read_every_column(path)
    lines = [name for name in table.columns if name != "gene"]
    if len(lines) == len(table.columns) or not lines:
        raise InputFileError("lacks the column gene or any cell line", file=path, line=1, expected="gene,K562,…")
    numbers = table.with_columns(pl.col(lines).cast(pl.Float64, strict=False))
    for name in lines:
        bad = table[name].is_not_null() & (numbers[name].is_null() | ~numbers[name].is_finite())
        if bad.any():
            place = int(bad.arg_max() or 0)
            raise InputFileError(f"{name} of {table['gene'][place]} is {table[name][place]!r}, no number", file=path)
    found = ground.resolver.resolve_column(table["gene"]).select(
        pl.col("query").alias("gene"), pl.col("gene").alias("id")
    )
    joined = numbers.join(found, on="gene", how="left", maintain_order="left")
    return joined.select(pl.coalesce("id", "gene").alias("gene"), *lines).drop_nulls("gene")


def one_spelling(names: pl.Series) -> dict[str, str]:
    """Return for each cell line its spelling: PerturbQA's where it is one of its lines, else the first by sort order.

    Args:
        names: Names as written; ``K-562`` and ``k562`` are one line.
    """
    known = {line_key(name): name for name in CELL_LINES}
    for name in names.drop_nulls().unique().sort():
        known.setdefault(line_key(name), name)
    return {name: known[line_key(name)] for name in names.drop_nulls().unique()}


def _is_stored(ground: Ground, name: str) -> bool:
    return name == STORED or any(version.sha256.startswith(name) for version in list_outcomes(ground.home))


def _stored(ground: Ground, version: str | None) -> DataSet:
    outcomes = load_outcomes(ground.home, version)
    name = f"stored outcomes {version or list_outcomes(ground.home)[-1].sha256[:12]}"
    return DataSet(name, _resolved(ground, outcomes), pl.DataFrame(schema=REJECTS), 0, {})


def _directory(ground: Ground, directory: Path) -> DataSet:
    files = [path for path in sorted(directory.iterdir()) if path.name.removesuffix(".gz").endswith(_SUFFIXES)]
    parts: list[DataSet] = []
    skipped: dict[str, str] = {}
    for path in files:
        try:
            parts.append(_file(ground, path))
        except InputFileError as error:
            if _PERTURBQA_NAME.fullmatch(path.name):
                raise
            skipped[path.name] = error.problem
    if not parts:
        why = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise UsageError(f"{directory} has no file of outcomes" + (f" ({why})" if why else f"; expected {_EXPECTED}"))
    outcomes = pl.concat([part.outcomes for part in parts])
    outcomes = outcomes.with_columns(pl.col("cell_line").replace(one_spelling(outcomes["cell_line"])))
    twice = outcomes.filter(pl.struct(_KEY).is_duplicated())
    if twice.height:
        line, perturbation, target = twice.select(_KEY).row(0)
        raise UsageError(
            f"{directory}: two files have {line}, {perturbation}, {target} ({twice.height:,} rows in all); "
            "move one of them out of the directory"
        )
    rejects = pl.concat([part.rejects for part in parts])
    sizes = [part.magnitudes for part in parts if part.magnitudes is not None]
    magnitudes = pl.concat(sizes) if sizes else None
    return DataSet(str(directory), outcomes, rejects, sum(part.repeated for part in parts), skipped, magnitudes)


def _file(ground: Ground, path: Path) -> DataSet:
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv") and _first_line(path) >= set(NEEDED):
        return _perturbqa(ground, path)
    frame = read_user_table(path, required=_REQUIRED, optional=_OPTIONAL, line="line")
    if "cell_line" not in frame.columns:
        frame = frame.with_columns(pl.lit(cell_line_of(path.name)).alias("cell_line"))
    return _checked(ground, frame, str(path), path.name)


def _first_line(path: Path) -> set[str]:
    """Return the column names of a CSV; none where it is no text, which the reader then says."""
    head = open_text(path).head(1)
    return {name.strip().strip('"') for name in head[0].rstrip("\r").split(",")} if head else set()


def _perturbqa(ground: Ground, path: Path) -> DataSet:
    file = ProviderFile(path, "outcomes", "undated", "file name")
    batch = PerturbQAImporter().read((file,), ImportContext(ground.resolver))
    assert batch.outcomes is not None
    repeated = _set_aside(batch.runs)
    rejects = batch.rejects.select(pl.col(name).cast(dtype) for name, dtype in REJECTS.items())
    return DataSet(str(path), batch.outcomes, rejects, repeated, {})


def _set_aside(runs: pl.DataFrame) -> int:
    return sum(int(json.loads(reasons)["set_aside"].get(REPEATED, 0)) for reasons in runs["reasons"])


def _checked(ground: Ground, frame: pl.DataFrame, name: str, file: str) -> DataSet:
    """Sort the rows of a table into outcomes, repeats and rejects."""
    numbered = frame if "line" in frame.columns else frame.with_row_index("line", offset=1)
    texts = numbered.select(
        pl.col("line").cast(pl.Int64),
        *(pl.col(column).cast(pl.String).str.strip_chars() for column in _KEY),
        pl.col("label").cast(pl.String).str.strip_chars().str.replace(r"\.0+$", ""),
        *(
            (pl.col(column) if column in frame.columns else pl.lit(None)).cast(pl.String).alias(column)
            for column in ("split", "difference")
        ),
    )
    rows, bad = reject_where(
        texts,
        [
            (pl.col("cell_line") == "", "no cell line"),
            (pl.col("perturbation") == "", "no perturbation"),
            (pl.col("target") == "", "no target gene"),
            (~pl.col("label").is_in([str(label) for label in LABELS]), "label is not 0, 1 or 2"),
        ],
    )
    rows = rows.with_columns(pl.col("cell_line").replace(one_spelling(rows["cell_line"])))
    first = pl.col("label").first().over(_KEY)
    rows, contradicted = reject_where(rows, [(pl.col("label") != first, CONTRADICTED)])
    once = rows.filter(pl.struct(_KEY).is_first_distinct())
    sizes = once.select(*_KEY, pl.col("difference").cast(pl.Float64, strict=False)).drop_nulls()
    made = once.with_columns(
        pl.col("label").cast(pl.Int8),
        pl.lit(file).alias("data_set"),
        *(pl.lit(None, dtype=pl.String).alias(f"{side}_gene") for side in ("perturbation", "target")),
    )
    return DataSet(
        name,
        _resolved(ground, made),
        _rejects([bad, contradicted], file),
        rows.height - once.height,
        {},
        sizes if sizes.height else None,
    )


def _rejects(parts: Iterable[pl.DataFrame], file: str) -> pl.DataFrame:
    whole = pl.concat([part.select("line", "reason", "text") for part in parts])
    return whole.with_columns(pl.lit(file).alias("file")).select(
        pl.col(name).cast(dtype) for name, dtype in REJECTS.items()
    )


def _resolved(ground: Ground, outcomes: pl.DataFrame) -> pl.DataFrame:
    genes = ground.rows(outcomes).select("perturbation_gene", "target_gene")
    return outcomes.with_columns(genes).select(pl.col(name).cast(dtype) for name, dtype in OUTCOMES.items())
