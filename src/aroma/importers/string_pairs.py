"""STRING's files of protein pairs: ``protein.links`` and its detailed, full and physical kin.

Format: one header line, then ``protein1 protein2 … combined_score`` separated by single blanks; scores are whole
numbers from 0 to 1000 (https://string-db.org/cgi/download, "interaction data").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.lines import TextFile, reject_where, split_columns
from aroma.kgstore import schema

SCORE_REASON: Final = "score is not a whole number from 0 to 1000"
_MAXIMUM: Final = 1000
_SPELLINGS: Final = {"experimental": "experiments", "cooccurrence": "cooccurence"}
_PLAIN: Final = ("links", "physical")


@dataclass(frozen=True, slots=True)
class PairRows:
    """The well-formed lines of one file of pairs.

    Attributes:
        rows: ``line`` (Int64), ``protein1``, ``protein2`` (String), ``score`` and, in detailed and full files,
            ``score_<channel>`` (Int16).
        rejects: ``line``, ``reason``, ``text``.
        channels: The channel columns that the file has.
    """

    rows: pl.DataFrame
    rejects: pl.DataFrame
    channels: tuple[str, ...]


def read_pairs(text: TextFile, kind: str) -> PairRows:
    """Read one file of pairs.

    Raises:
        InputFileError: The header is not that of the file's kind, or no line follows it.
    """
    columns = _columns(text, kind)
    scores = columns[2:]
    rows = _read_fast(text, columns)
    rejects = []
    if rows is None:
        rows, rejected = _read_line_by_line(text, columns)
        rejects.append(rejected)
    in_range = pl.all_horizontal(pl.col(name).is_between(0, _MAXIMUM) for name in scores)
    if not rows.select(in_range.all()).item():
        rows, rejected = reject_where(rows, [(~in_range, SCORE_REASON)])
        rejects.append(rejected)
    if rows.is_empty() and not rejects:
        raise InputFileError("the file has a header and no rows", file=text.path, line=2, expected="protein pairs")
    empty = pl.DataFrame(schema={"line": pl.Int64, "reason": pl.String, "text": pl.String})
    return PairRows(rows, pl.concat([empty, *rejects]).sort("line"), tuple(scores[:-1]))


def _columns(text: TextFile, kind: str) -> list[str]:
    """Return our names of the file's columns, from its header."""
    header = text.head(1)[0].rstrip("\r").split(" ")
    middle = [f"score_{_SPELLINGS.get(name, name)}" for name in header[2:-1]]
    good_ends = header[:2] == ["protein1", "protein2"] and header[-1:] == ["combined_score"] and len(header) > 2  # noqa: PLR2004
    good_middle = set(middle) <= set(schema.CHANNEL_COLUMNS) and len(set(middle)) == len(middle)
    if not (good_ends and good_middle and bool(middle) == (kind not in _PLAIN)):
        between = "" if kind in _PLAIN else "the channel columns, "
        raise InputFileError(
            f"the header does not fit a STRING {kind} file",
            file=text.path,
            line=1,
            expected=f"'protein1 protein2', {between}'combined_score', separated by single blanks",
        )
    return ["protein1", "protein2", *middle, "score"]


def _read_fast(text: TextFile, columns: list[str]) -> pl.DataFrame | None:
    """Read a file without any malformed line; None where something needs the line-by-line reader.

    Polars drops or pads lines that do not fit, so the result counts only if every line of the file is there and
    no field is empty.
    """
    data = text.data
    if b"\r" in data or b"+" in data or b"\x00" in data:
        return None
    expected = data.count(b"\n") + (not data.endswith(b"\n")) - 1
    types = {name: pl.String if name.startswith("protein") else pl.Int16 for name in columns}
    try:
        frame = pl.read_csv(data, separator=" ", has_header=False, skip_lines=1, schema=types, quote_char=None)
    except pl.exceptions.PolarsError:
        return None
    if frame.height != expected or sum(frame.null_count().row(0)):
        return None
    return frame.with_row_index("line", offset=2).with_columns(pl.col("line").cast(pl.Int64))


def _read_line_by_line(text: TextFile, columns: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    split = split_columns(text.lines.slice(1), columns, separator=" ")
    whole_number = pl.all_horizontal(pl.col(name).str.contains(r"^[0-9]{1,4}$") for name in columns[2:])
    blank = pl.any_horizontal(pl.col(name).str.len_bytes() == 0 for name in columns[:2])
    rows, rejected = reject_where(split.rows, [(blank, "a protein id is missing"), (~whole_number, SCORE_REASON)])
    typed = rows.with_columns(pl.col(name).cast(pl.Int16) for name in columns[2:])
    return typed, pl.concat([split.rejects, rejected])
