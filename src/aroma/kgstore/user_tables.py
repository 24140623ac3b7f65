"""The one reader of tables that users bring: pairs, outcomes, predictions, descriptions.

CSV, tab- or semicolon-separated text (RFC 4180 quoting), or Parquet; text may be gzip-compressed. What is wrong with a
file is said with its line and column, so that a person can mend it.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
from polars.datatypes import DataTypeClass

from aroma.errors import InputFileError

ColumnType = pl.DataType | DataTypeClass
Names = Mapping[str, tuple[str, ...]]
"""A column's name here to other names that users' files give it."""

_GZIP: Final = b"\x1f\x8b"
_PARQUET: Final = b"PAR1"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_BOM: Final = b"\xef\xbb\xbf"
_SEPARATORS: Final = (",", "\t", ";")
_LONGEST_HEADER: Final = 2**20
_TAB_SUFFIXES: Final = frozenset({".tsv", ".tab"})


@dataclass(frozen=True, slots=True)
class _Text:
    """A text table's bytes (UTF-8, without a byte order mark) and how it is separated."""

    file: Path
    data: bytes
    separator: str
    header_line: int

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the first line and the fields of each row below the header; a blank line is a row of no fields."""
        reader = csv.reader(io.StringIO(self.data.decode(), newline=""), delimiter=self.separator)
        line = self.header_line
        for number, fields in enumerate(reader):
            if number:
                yield line, fields
            line = self.header_line + reader.line_num


def read_user_table(
    path: Path,
    *,
    required: Names,
    optional: Names | None = None,
    dtypes: Mapping[str, ColumnType] | None = None,
    line: str | None = None,
) -> pl.DataFrame:
    """Read the columns that are asked for, under the names they have here; other columns are left out.

    Where a file has a column's own name and another of its names, its own name counts; otherwise the first in order.
    Blanks around a value go; an empty value is null. A blank line is no row; a row of only empty values, with its
    separators, is one, so that no row of a user's file is dropped. A row that is shorter than the header has nulls at
    its end. Whether a null is allowed is the caller's to judge.

    Args:
        path: The file; its content, not its suffix, tells Parquet and gzip.
        required: Columns that the file must have, with the other names accepted for each.
        optional: Columns that are returned where the file has them.
        dtypes: Types other than String, by column. Ask String and judge yourself where one bad value must not stop
            the whole file.
        line: Name of a further column (Int64): the one-based line of the decompressed text on which a row begins; in
            Parquet the one-based row.

    Returns:
        Required columns in order, then the optional ones that are there, then ``line``; rows in the file's order.

    Raises:
        InputFileError: The file is missing, empty, damaged, not UTF-8, has a NUL byte, a row longer than the header,
            a needed column missing (the nearest is named) or doubled, or a value not of its column's type.
    """
    table, text = _open(path)
    chosen = _choose(path, table.columns, required, optional or {}, text)
    numbered = table.select(pl.col(had).alias(name) for name, had in chosen.items()).with_row_index("_row")
    numbered = numbered.with_columns(
        pl.col(name).str.strip_chars().replace("", None) for name in chosen if numbered.schema[name] == pl.String
    )
    if text is not None:
        numbered = numbered.filter(~_blank_lines(table, text))
    numbered = _typed(path, numbered, {name: (dtypes or {}).get(name, pl.String()) for name in chosen}, text)
    if line is None:
        return numbered.drop("_row")
    return numbered.with_columns(_lines(numbered["_row"], text).alias(line)).drop("_row")


def read_every_column(path: Path) -> pl.DataFrame:
    """Read all columns as the file names them, those of a text file as String (null where empty).

    Raises:
        InputFileError: As ``read_user_table``, but for columns.
    """
    return _open(path)[0]


def _open(path: Path) -> tuple[pl.DataFrame, _Text | None]:
    """Return all columns, and the text where the file is no Parquet."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
        if head == _PARQUET or path.suffix == ".parquet":
            return pl.read_parquet(path), None
        data = path.read_bytes()
    except (OSError, pl.exceptions.PolarsError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else _first_line(error)
        raise _unreadable(path, said) from error
    text = _text(path, _unzipped(path, data))
    _check_header(text)
    if len(_header(text)) == 1:
        return _one_column(text), text
    try:
        return pl.read_csv(text.data, separator=text.separator, infer_schema=False), text
    except pl.exceptions.PolarsError as error:
        raise _ragged(text, _first_line(error)) from error


def _blank_lines(table: pl.DataFrame, text: _Text) -> pl.Series:
    """Return which rows are blank lines, without so much as a separator."""
    filled = pl.any_horizontal(pl.all().str.strip_chars().str.len_bytes().fill_null(0) > 0)
    empty = table.select(~filled).to_series()
    if not empty.any():
        return empty
    bare = pl.Series([len(fields) < 2 for _, fields in text.records()])  # noqa: PLR2004 - no separator, one field
    return empty & bare


def _one_column(text: _Text) -> pl.DataFrame:
    """Read a table of one column, where polars passes over some blank lines and not over others."""
    try:
        rows = [(line, fields) for line, fields in text.records()]
    except csv.Error as error:
        raise _ragged(text, _first_line(error)) from error
    if any(len(fields) > 1 for _, fields in rows):
        raise _ragged(text, "a row is longer than the header")
    values = [fields[0] or None if fields else None for _, fields in rows]
    return pl.DataFrame({_header(text)[0]: pl.Series(values, dtype=pl.String)})


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _unreadable(path: Path, said: str, line: int | None = None) -> InputFileError:
    return InputFileError(f"cannot be read as a table ({said})", file=path, line=line, expected="CSV, TSV or Parquet")


def _unzipped(path: Path, data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, f"its gzip is damaged: {_first_line(error)}") from error


def _text(path: Path, data: bytes) -> _Text:
    """Check that the bytes are text and find the separator."""
    if data.startswith(_UTF16):
        raise _unreadable(path, "it is UTF-16; save it as UTF-8", line=1)
    data = data.removeprefix(_BOM)
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    if (place := data.find(b"\0")) >= 0:
        raise _unreadable(path, "it has a NUL byte, so it is no text", line=data.count(b"\n", 0, place) + 1)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        before = data.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, f"byte 0x{data[error.start]:02x} is not UTF-8; save it as UTF-8", before) from error
    body = data.lstrip(b"\r\n")
    if not body.strip():
        raise InputFileError("the file is empty", file=path, expected="a header line and rows")
    header = body.partition(b"\n")[0].decode()
    skipped = data.count(b"\n", 0, len(data) - len(body))
    suffixes = set(path.suffixes)
    separator = "\t" if suffixes & _TAB_SUFFIXES else max(_SEPARATORS, key=header.count)
    return _Text(path, body, separator, skipped + 1)


def _check_header(text: _Text) -> None:
    """Refuse a doubled column, which polars would rename."""
    header = _header(text)
    doubled = [name for name in header if name and header.count(name) > 1]
    if doubled:
        raise InputFileError(f"the header has column {doubled[0]!r} twice", file=text.file, line=text.header_line)


def _header(text: _Text) -> list[str]:
    first = io.StringIO(text.data[:_LONGEST_HEADER].decode(errors="ignore"), newline="")
    try:
        return [name.strip() for name in next(csv.reader(first, delimiter=text.separator))]
    except (csv.Error, StopIteration) as error:
        raise _unreadable(text.file, f"its header: {_first_line(error)}", text.header_line) from error


def _ragged(text: _Text, said: str) -> InputFileError:
    """Return the error for a text that polars refuses: the first row that is too long, else what polars said."""
    width = len(_header(text))
    try:
        for line, fields in text.records():
            if len(fields) > width:
                problem = f"cannot be read as a table ({len(fields)} values under {width} columns)"
                return InputFileError(problem, file=text.file, line=line, expected=f"{width} values")
            if any("\n" in field or '"' in field for field in fields):
                said = 'the quote that opens here, or one below, never ends or stands within a value; write it ""'
                return _unreadable(text.file, said, line)
    except csv.Error as error:
        said = _first_line(error)
    return _unreadable(text.file, said)


def _choose(path: Path, columns: Sequence[str], required: Names, optional: Names, text: _Text | None) -> dict[str, str]:
    """Return the file's column for each name, and refuse a file without a required one."""
    has = {column.strip(): column for column in reversed(columns)}
    chosen = {}
    for name, others in {**required, **optional}.items():
        found = next((has[known] for known in (name, *others) if known in has), None)
        if found is not None:
            chosen[name] = found
    missing = [name for name in required if name not in chosen]
    if not missing:
        return chosen
    free = [column for column in has if has[column] not in chosen.values()]
    near = difflib.get_close_matches(missing[0].lower(), free, n=1, cutoff=0.7)
    hint = f"; is {near[0]!r} meant as {missing[0]!r}?" if near else ""
    wanted = [" or ".join((name, *others)) for name, others in required.items()]
    further = f" (and optionally {', '.join(optional)})" if optional else ""
    raise InputFileError(
        f"has no column {', '.join(missing)}; the header has the columns {', '.join(columns[:20])}{hint}",
        file=path,
        line=text.header_line if text is not None else 1,
        expected=f"columns {', '.join(wanted)}{further}",
    )


def _typed(path: Path, frame: pl.DataFrame, dtypes: Mapping[str, ColumnType], text: _Text | None) -> pl.DataFrame:
    """Cast, and name the first value that is not of its column's type."""
    try:
        made = frame.with_columns(pl.col(name).cast(dtype, strict=False) for name, dtype in dtypes.items())
    except pl.exceptions.PolarsError as error:
        raise InputFileError(f"a column has another type ({_first_line(error)})", file=path) from error
    for name, dtype in dtypes.items():
        lost = made[name].is_null() & frame[name].is_not_null()
        if lost.any():
            row = frame.filter(lost).head(1)
            raise InputFileError(
                f"column {name}: {row[name][0]!r}",
                file=path,
                line=int(_lines(row["_row"], text)[0]),
                expected=str(dtype),
            )
    return made


def _lines(rows: pl.Series, text: _Text | None) -> pl.Series:
    """Return the line on which each row (by index) begins."""
    if text is None:
        return rows.cast(pl.Int64) + 1
    if b'"' not in text.data and len(_header(text)) > 1:
        return rows.cast(pl.Int64) + text.header_line + 1
    try:
        lines = pl.Series([line for line, _ in text.records()], dtype=pl.Int64)
    except csv.Error as error:
        raise _ragged(text, _first_line(error)) from error
    if len(rows) and int(rows.max()) >= lines.len():  # type: ignore[arg-type]
        raise _ragged(text, "a quote stands within a value")
    return lines.gather(rows)
