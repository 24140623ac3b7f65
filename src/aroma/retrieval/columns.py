"""Memory-mapped columns: text and numbers that several processes share, opened without reading them."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import SnapshotError


class TextColumn(Sequence[str]):
    """A column of strings over two mapped arrays: ``offsets`` (int64, rows + 1) and ``data`` (uint8, UTF-8)."""

    def __init__(self, offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]) -> None:
        self._offsets, self._data = offsets, data

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self._data[self._offsets[row] : self._offsets[row + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def find(self, text: str) -> int | None:
        """Return the row of ``text`` in a sorted column, or None."""
        row = bisect_left(self, text)
        return row if row < len(self) and self[row] == text else None

    def series(self) -> pl.Series:
        """Return a copy as a polars column."""
        return pl.Series(list(self), dtype=pl.String)


def write_texts(directory: Path, name: str, values: pl.Series) -> None:
    """Write a column as ``<name>.offsets.npy`` and ``<name>.data.npy``; null becomes the empty string."""
    filled = values.fill_null("")
    offsets = np.zeros(len(filled) + 1, dtype=np.int64)
    np.cumsum(filled.str.len_bytes().cast(pl.Int64).to_numpy(), out=offsets[1:])
    np.save(directory / f"{name}.offsets.npy", offsets)
    np.save(directory / f"{name}.data.npy", np.frombuffer("".join(filled.to_list()).encode(), dtype=np.uint8))


def open_texts(directory: Path, name: str) -> TextColumn:
    """Map a column written by ``write_texts``."""
    return TextColumn(open_array(directory / f"{name}.offsets.npy"), open_array(directory / f"{name}.data.npy"))


def open_array(path: Path) -> npt.NDArray[Any]:
    """Map an array read-only.

    Raises:
        SnapshotError: The file is missing or is no array.
    """
    try:
        mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{path}: cannot be mapped ({error}); rebuild it: aroma releases snapshot") from error
    return mapped


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
