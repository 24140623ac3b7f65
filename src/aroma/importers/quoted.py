"""Tab-separated files with a header and quoted fields, read so that every bad row keeps its line number."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.lines import TextFile


def read_quoted(text: TextFile, needed: Sequence[str], optional: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read a tab-separated file with a header and quoted fields; a quoted field does not span lines.

    Args:
        text: The file.
        needed: Columns that must be there.
        optional: Columns that may be; a column whose name starts so counts, a missing one becomes null.

    Returns:
        Rows (``line`` and the columns, empty fields null) and rejects (``line``, ``reason``, ``text``).

    Raises:
        InputFileError: A needed column is missing, or there is no row below the header.
    """
    lines = text.lines
    header = _header(text.path, lines["text"][0])
    places = {name: header.index(name) for name in needed if name in header}
    if missing := [name for name in needed if name not in places]:
        raise InputFileError(
            f"the header has no column {', '.join(missing)}",
            file=text.path,
            line=1,
            expected=f"a tab-separated header with the columns {', '.join(needed)}",
        )
    if lines.height < 2:  # noqa: PLR2004 - a header and a row
        raise InputFileError("there is no row below the header", file=text.path, line=2, expected="rows")
    for name in optional:
        place = next((at for at, column in enumerate(header) if column == name or column.startswith(f"{name}(")), None)
        if place is not None:
            places[name] = place
    good: list[list[str | int | None]] = []
    bad: list[tuple[int, str, str]] = []
    for line, row in lines.slice(1).iter_rows():
        fields, reason = _fields(row, len(header))
        if reason is None:
            good.append([line, *(fields[place].strip() or None for place in places.values())])
        else:
            bad.append((line, reason, row[:300]))
    frame = pl.DataFrame(good, schema={"line": pl.Int64, **dict.fromkeys(places, pl.String)}, orient="row")
    absent = [pl.lit(None, dtype=pl.String).alias(name) for name in optional if name not in places]
    rejects = pl.DataFrame(bad, schema={"line": pl.Int64, "reason": pl.String, "text": pl.String}, orient="row")
    return frame.with_columns(absent), rejects


def _header(path: Path, row: str) -> list[str]:
    try:
        return next(csv.reader([row.removeprefix("\ufeff")], delimiter="\t"), [])
    except csv.Error as error:
        raise InputFileError(f"the header cannot be read ({error})", file=path, line=1) from error


def _fields(row: str, wanted: int) -> tuple[list[str], str | None]:
    if "\ufffd" in row or "\x00" in row:
        return [], "bytes that are not UTF-8 text"
    if not row.strip():
        return [], "empty line"
    try:
        fields = next(csv.reader([row], delimiter="\t", strict=True))
    except csv.Error:
        return [], "quotes that do not match"
    return fields, None if len(fields) == wanted else f"{len(fields)} columns instead of {wanted}"
