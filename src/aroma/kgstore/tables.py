"""Release tables: a release as typed frames, their Parquet files, and the hash that names it.

The digest of a table is taken over its sorted rows, column by column, from Arrow's own buffers (validity, offsets,
values): it depends on the values alone, never on chunking, row order, file format or machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from aroma.errors import ReleaseError
from aroma.kgstore import schema

ID_PREFIX: Final = "r"
_ID_DIGITS: Final = 16
_SLICE: Final = 1 << 18
"""Rows whose text is laid out at a time for hashing, so that a digest takes little memory."""


@dataclass(frozen=True, slots=True)
class ReleaseTables:
    """The tables of one release, each with exactly the columns of ``schema.TABLES`` and sorted by its key.

    Attributes:
        frames: By name.
        unread: Rows of the tables that were left out when only some were read.
    """

    frames: Mapping[str, pl.DataFrame]
    unread: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, frames: Mapping[str, pl.DataFrame]) -> ReleaseTables:
        """Conform and sort ``frames``; tables that are not given are empty."""
        return cls({name: tidy(name, frames.get(name)) for name in schema.TABLES})

    def __getitem__(self, table: str) -> pl.DataFrame:
        return self.frames[table]

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        counted = {name: frame.height for name, frame in self.frames.items()}
        rows = {name: counted.get(name, self.unread.get(name, 0)) for name in schema.TABLES}
        return {name: count for name, count in rows.items() if count or not schema.TABLES[name].optional}

    def digests(self) -> dict[str, str]:
        """sha256 of each table's hashed columns, hex."""
        return {name: table_digest(name, self.frames[name]) for name in self.present}

    @property
    def present(self) -> list[str]:
        """Names of the tables that were read and have a file: an optional one has none where it is empty."""
        return [name for name, frame in self.frames.items() if frame.height or not schema.TABLES[name].optional]

    def write(self, directory: Path) -> None:
        """Write one Parquet file a table into ``directory``.

        Raises:
            ReleaseError: The disk is full or the place cannot be written.
        """
        for name in self.present:
            write_parquet(self.frames[name], directory / f"{name}.parquet")

    @classmethod
    def read(cls, directory: Path, only: Iterable[str] = tuple(schema.TABLES)) -> ReleaseTables:
        """Read the tables of a release directory, or some of them: statements alone are a third of the memory.

        Raises:
            ReleaseError: A table is missing or is not Parquet with the columns of this schema.
        """
        wanted = set(only)
        unread = {name: _count_rows(directory, name) for name in schema.TABLES if name not in wanted}
        return cls({name: read_table(directory, name) for name in schema.TABLES if name in wanted}, unread)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as Parquet; the directory is made.

    Raises:
        ReleaseError: The disk is full or the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path, compression="zstd", compression_level=1)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ReleaseError(
            f"{path}: cannot be written ({error}); free space or choose another place, and run it again"
        ) from error


def tidy(table: str, frame: pl.DataFrame | None) -> pl.DataFrame:
    """Return a frame with exactly the columns of ``table``, sorted by its key; None gives an empty one."""
    if frame is None:
        return schema.empty(table)
    return schema.conform(table, frame).sort(schema.TABLES[table].key, maintain_order=True, nulls_last=False).rechunk()


def read_table(directory: Path, name: str, columns: list[str] | None = None) -> pl.DataFrame:
    """Read one table of a release directory.

    Raises:
        ReleaseError: The file is missing, damaged, or of another schema.
    """
    path = directory / f"{name}.parquet"
    spec = schema.TABLES[name]
    if spec.optional and not path.exists():
        return schema.empty(name).select(columns or pl.all())
    try:
        if spec.later:
            whole = schema.conform(name, pl.read_parquet(path))
            return whole.select(columns or pl.all())
        return pl.read_parquet(path, columns=columns)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ReleaseError(
            f"{path}: cannot be read as a release table ({error}); build again, or restore it from a backup"
        ) from error


def _count_rows(directory: Path, name: str) -> int:
    """Return the rows of a table from its file's footer."""
    return int(scan_table(directory, name).select(pl.len()).collect().item())


def scan_table(directory: Path, name: str) -> pl.LazyFrame:
    """Open one table lazily, for queries that need a few rows or columns."""
    if schema.TABLES[name].optional or schema.TABLES[name].later:  # small, and older releases lack parts of it
        return read_table(directory, name).lazy()
    return pl.scan_parquet(directory / f"{name}.parquet")


def release_id(digests: Mapping[str, str]) -> str:
    """Return the release id for the digests of all tables."""
    whole = hashlib.sha256(f"schema {schema.SCHEMA_VERSION}\n".encode())
    for name in sorted(digests):
        whole.update(f"{name} {digests[name]}\n".encode())
    return ID_PREFIX + whole.hexdigest()[:_ID_DIGITS]


def table_digest(name: str, frame: pl.DataFrame) -> str:
    """Return the sha256 of a table's hashed columns; ``frame`` is conformed and sorted by key."""
    spec = schema.TABLES[name]
    whole = hashlib.sha256(f"{frame.height}\n".encode())
    for column in spec.columns:
        if column in spec.unhashed or (column in spec.later and _says_nothing(frame[column])):
            continue
        whole.update(f"{column}\n".encode())
        for part in _canonical(frame[column]):
            whole.update(part)
    return whole.hexdigest()


def _says_nothing(column: pl.Series) -> bool:
    """Tell whether no row of a column has a value."""
    if column.dtype == schema.TEXTS:
        return not column.list.len().fill_null(0).sum()
    return column.null_count() == len(column)


def _canonical(column: pl.Series) -> Iterator[bytes | memoryview]:
    """Yield bytes that depend only on the values of ``column``."""
    yield column.is_null().to_numpy().tobytes()
    if column.dtype == schema.TEXTS:
        yield column.list.len().fill_null(0).cast(pl.Int64).to_numpy().data
        yield from _canonical(column.explode(empty_as_null=False, keep_nulls=False))
    elif column.dtype == pl.String:
        filled = column.fill_null("")
        yield filled.str.len_bytes().cast(pl.Int64).to_numpy().data
        yield from _text_bytes(filled)
    elif column.dtype == pl.Boolean:
        yield column.fill_null(value=False).cast(pl.UInt8).to_numpy().data
    else:
        yield column.fill_null(0).cast(pl.Int64).to_numpy().data


def _text_bytes(filled: pl.Series) -> Iterator[memoryview]:
    """Yield the UTF-8 of all values, one after the other, from Arrow's data buffer, a slice at a time."""
    for start in range(0, len(filled), _SLICE):
        array = filled.slice(start, _SLICE).to_arrow(compat_level=pl.CompatLevel.oldest())
        _, offsets, data = array.buffers()
        ends = memoryview(offsets).cast("q")
        first, last = ends[array.offset], ends[array.offset + len(array)]
        if data is not None:
            yield memoryview(data)[first:last]
