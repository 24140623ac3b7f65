"""Memory-mapped columns: text and numbers that several processes share, opened without reading them."""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from aroma.errors import SnapshotError

_NONE: Final = np.zeros(1, dtype=np.int64)


class TextColumn(Sequence[str]):
    """A column of strings over two mapped arrays: ``offsets`` (int64, rows + 1) and ``data`` (uint8, UTF-8)."""

    def __init__(self, offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]) -> None:
        self._offsets, self._data = offsets, data
        self._starts, self._bytes = offsets.data, data.data  # memory views: an item is a plain int, at once

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            start, stop, step = row.indices(len(self))
            return self._run(start, stop) if step == 1 else [self[number] for number in range(start, stop, step)]
        if row < 0:
            raise IndexError(f"row {row} of {len(self)}")
        return str(self._bytes[self._starts[row] : self._starts[row + 1]], "utf-8")

    def _run(self, start: int, stop: int) -> list[str]:
        if stop <= start:
            return []
        begins = self._starts[start : stop + 1].tolist()
        first = begins[0]
        whole = bytes(self._bytes[first : begins[-1]])
        return [whole[begin - first : end - first].decode() for begin, end in itertools.pairwise(begins)]

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def find(self, text: str) -> int | None:
        """Return the row of ``text`` in a sorted column, or None."""
        row = bisect_left(self, text)
        return row if row < len(self) and self[row] == text else None

    def series(self) -> pl.Series:
        """Return a copy as a polars column."""
        series = pl.from_arrow(
            pa.LargeStringArray.from_buffers(len(self), pa.py_buffer(self._offsets), pa.py_buffer(self._data))
        )
        assert isinstance(series, pl.Series)
        return series


def write_texts(directory: Path, name: str, values: pl.Series) -> None:
    """Write a column as ``<name>.offsets.npy`` and ``<name>.data.npy``; null becomes the empty string."""
    texts = values.fill_null("").rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_string())
    _, offsets, data = texts.buffers()
    first = (
        np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1] if len(texts) else _NONE
    )
    whole = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8)
    np.save(directory / f"{name}.offsets.npy", first - first[0])
    np.save(directory / f"{name}.data.npy", whole[first[0] : first[-1]])


def open_texts(directory: Path, name: str) -> TextColumn:
    """Map a column written by ``write_texts``."""
    return TextColumn(open_array(directory / f"{name}.offsets.npy"), open_array(directory / f"{name}.data.npy"))


def open_array(path: Path, *, writable: bool = False) -> npt.NDArray[Any]:
    """Map an array.

    Args:
        path: A file of ``numpy.save``.
        writable: For libraries that refuse read-only memory: pages are still shared, and one that is written to
            becomes this process's own; the file never changes.

    Raises:
        SnapshotError: The file is missing or is no array.
    """
    try:
        mapped: npt.NDArray[Any] = np.load(path, mmap_mode="c" if writable else "r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{path}: cannot be mapped ({error}); rebuild it: aroma releases snapshot") from error
    return mapped.view(np.ndarray)  # the same memory; memmap's own indexing takes microseconds


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
