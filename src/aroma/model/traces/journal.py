"""The journal of requests: one JSON line an answer, on the disk before it counts.

A run that was killed in the middle of a line leaves half of it; the half is cut off when the journal is opened again,
and its question is asked anew. What is counted is the last line of each question, so nothing is counted twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from aroma.errors import InputFileError, LockHeldError


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one question.

    Attributes:
        cell_line: The row, like the next two.
        perturbation: Name.
        target: Name.
        sample: Which of the row's samples, from 0.
        text: The trace as written.
        problem: Why there is no good trace, or None.
        answered: False where the endpoint gave no answer; such a question is asked again by the next run.
        tokens_in: As counted by the endpoint, else estimated.
        tokens_out: As counted by the endpoint, else estimated.
        attempts: Times sent.
    """

    cell_line: str
    perturbation: str
    target: str
    sample: int
    text: str
    problem: str | None
    answered: bool
    tokens_in: int
    tokens_out: int
    attempts: int

    @property
    def key(self) -> Key:
        """What tells one question from another."""
        return self.cell_line, self.perturbation, self.target, self.sample


Key = tuple[str, str, str, int]


class Journal:
    """An open journal; one process at a time.

    Args:
        path: The file; made where it is missing.

    Raises:
        LockHeldError: Another process has it open.
        InputFileError: A line that is not the last cannot be read.
    """

    def __init__(self, path: Path) -> None:
        from filelock import FileLock, Timeout

        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise LockHeldError(f"{path}: another process is asking for these traces; wait for it") from error
        self.entries: dict[Key, Entry] = {}
        self.spent_in = self.spent_out = 0
        good = 0
        for end, entry in _read(path):
            self._count(entry)
            good = end
        self._stream = path.open("ab")
        self._stream.truncate(good)

    def append(self, entry: Entry) -> None:
        """Write an entry down; it is on the disk when this returns."""
        self._stream.write(msgspec.json.encode(entry) + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._count(entry)

    def _count(self, entry: Entry) -> None:
        self.entries[entry.key] = entry
        self.spent_in += entry.tokens_in
        self.spent_out += entry.tokens_out

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._lock.release()


def _read(path: Path) -> Iterator[tuple[int, Entry]]:
    """Yield each whole line's entry and where the line ends."""
    if not path.exists():
        return
    end = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except msgspec.DecodeError as error:
                raise InputFileError(
                    f"cannot be read ({error})", file=path, line=number, expected="an answer as this command writes it"
                ) from error
            end += len(line)
            yield end, entry
