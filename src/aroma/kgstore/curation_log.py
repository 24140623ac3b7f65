"""The curation log: a file of JSON lines that only grows, each line chained to the one before by its sha256.

A line that was changed, and a line that is missing, are found. A line that a crash cut off is no entry yet: it is
set aside when the log is next written, and every line before it stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import filelock
import msgspec

from aroma.errors import CurationLogError, LockHeldError, UsageError
from aroma.kgstore.curation import Entry, content, identify
from aroma.kgstore.home import Home
from aroma.kgstore.publications import flush_to_disk, write_durably

REVIEW_VARIABLE: Final = "AROMA_CURATION_REVIEW"
_WAIT_SECONDS: Final = 20.0
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``curation/settings.json`` of a home.

    Attributes:
        review: An entry counts only after a second person approved it.
        licence: Of what the curators of this home assert.
        commercial_use: Whether that licence allows it.
    """

    review: bool = False
    licence: str = "LicenseRef-curation"
    commercial_use: bool = True


class _Head(msgspec.Struct, frozen=True):
    """How far the log went when it was last written, so that lines cut off its end are missed."""

    entries: int
    sha256: str


@dataclass
class CurationLog:
    """The log, opened for writing; its lock is held.

    Attributes:
        path: The file.
        entries: All entries, oldest first; ``append`` adds to them.
        repaired: The half line that a crash left and that was set aside, or None.
    """

    path: Path
    entries: list[Entry]
    repaired: str | None = None
    _head: Path = field(default=Path("head.json"))

    def append(self, drafts: Sequence[Entry]) -> list[Entry]:
        """Write entries, on the disk before this returns.

        Raises:
            CurationLogError: The disk is full or the place cannot be written; nothing was entered.
        """
        made: list[Entry] = []
        for numbered in number(drafts, self.entries):
            made.append(_sealed(numbered, (made or self.entries)[-1] if made or self.entries else None))
        text = b"".join(encode(entry) + b"\n" for entry in made)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            end = _append_bytes(self.path, text)
            if made:
                self._write_head(len(self.entries) + len(made), made[-1].sha256, end)
            self.entries += made
        except OSError as error:
            raise CurationLogError(f"{self.path}: cannot be written ({error.strerror}); nothing was entered") from error
        return made

    def _write_head(self, entries: int, sha256: str, end: int) -> None:
        """Write down how many entries there are; where that fails, the log is cut back to ``end`` bytes."""
        said = json.dumps({"entries": entries, "sha256": sha256})
        try:
            write_durably(self._head, said)
        except OSError:
            if not self._head.exists() or self._head.read_text() != said:  # else it is in place, though not flushed
                os.truncate(self.path, end)
                raise


@contextlib.contextmanager
def open_log(home: Home) -> Iterator[CurationLog]:
    """Open the log for writing; other writers wait.

    Raises:
        CurationLogError: The log was changed by hand, or lines of it are missing.
        LockHeldError: Another process has been writing for 20 seconds.
    """
    home.locks.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(home.locks / "curation.lock")
    try:
        lock.acquire(timeout=_WAIT_SECONDS)
    except filelock.Timeout as error:
        raise LockHeldError(f"another process writes the curation log of {home.path}; try again") from error
    try:
        path = _log_of(home)
        entries, half = _read(path)
        repaired = _repair(path, half) if half else None
        yield CurationLog(path, entries, repaired, home.curation / "head.json")
    finally:
        lock.release()


def read_log(home: Home) -> list[Entry]:
    """Return all entries, oldest first; a line that is being written, or was cut off by a crash, is none.

    Raises:
        CurationLogError: The log was changed by hand, or lines of it are missing.
    """
    return _read(_log_of(home))[0]


def read_settings(home: Home) -> Settings:
    """Return the home's settings; ``AROMA_CURATION_REVIEW`` (1 or 0) wins over the file.

    Raises:
        UsageError: The file or the variable is not understood.
    """
    path = home.curation / "settings.json"
    try:
        said = msgspec.json.decode(path.read_bytes(), type=Settings)
    except FileNotFoundError:
        said = Settings()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        example = msgspec.json.encode(Settings(review=True)).decode()
        raise UsageError(f"{path}: not understood ({error}); an example: {example}") from error
    given = os.environ.get(REVIEW_VARIABLE, "").strip().lower()
    if given and given not in _YES | _NO:
        raise UsageError(f"{REVIEW_VARIABLE}={given!r} is not understood; set it to 1 or 0")
    return msgspec.structs.replace(said, review=given in _YES) if given else said


def encode(entry: Entry) -> bytes:
    """Return an entry as it stands in the log, without the line end."""
    return msgspec.json.encode(entry)


def _log_of(home: Home) -> Path:
    return home.curation / "log.jsonl"


def number(drafts: Sequence[Entry], before: Sequence[Entry]) -> list[Entry]:
    """Return drafts with the lines and ids that they get behind the entries before."""
    seen = Counter(content(entry) for entry in before)
    made = []
    for line, draft in enumerate(drafts, start=len(before) + 1):
        said = content(draft)
        made.append(msgspec.structs.replace(draft, line=line, id=identify(draft, seen[said])))
        seen[said] += 1
    return made


def _sealed(numbered: Entry, before: Entry | None) -> Entry:
    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    whole = msgspec.structs.replace(numbered, at=now, previous=before.sha256 if before else "", sha256="")
    return msgspec.structs.replace(whole, sha256=hashlib.sha256(encode(whole)).hexdigest())


def _append_bytes(path: Path, text: bytes) -> int:
    """Add text to a file, durable before this returns, and return where it begins; where that fails nothing stays."""
    is_new = not path.exists()
    with path.open("ab") as stream:
        end = stream.tell()
        try:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            os.ftruncate(stream.fileno(), end)
            raise
    if is_new:
        flush_to_disk(path.parent)
    return end


def _read(path: Path) -> tuple[list[Entry], bytes]:
    """Return the entries, and what stands behind the last line end.

    A last line that is whole but for its line end is among the entries as well; ``_repair`` gives it one.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        text = b""
    except OSError as error:
        raise CurationLogError(f"{path}: cannot be read ({error.strerror})") from error
    *lines, half = text.split(b"\n")
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        entries.append(_checked(path, number, line, entries))
    if half and _is_whole(path, half, entries):
        entries.append(_checked(path, len(entries) + 1, half, entries))
    _check_end(path, entries)
    return entries, half


def _checked(path: Path, number: int, line: bytes, before: Sequence[Entry]) -> Entry:
    try:
        entry = msgspec.json.decode(line, type=Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CurationLogError(f"{path}, line {number}: no entry ({error}); restore the log from a backup") from error
    bare = msgspec.structs.replace(entry, sha256="")
    if hashlib.sha256(encode(bare)).hexdigest() != entry.sha256 or encode(entry) != line:
        raise CurationLogError(f"{path}, line {number}: it was changed since it was written; restore the log")
    if entry.line != number or entry.previous != (before[-1].sha256 if before else ""):
        raise CurationLogError(
            f"{path}, line {number}: it does not follow the line before; lines were removed, added or moved; "
            "restore the log from a backup"
        )
    return entry


def _is_whole(path: Path, half: bytes, before: Sequence[Entry]) -> bool:
    try:
        _checked(path, len(before) + 1, half, before)
    except CurationLogError:
        return False
    return True


def _check_end(path: Path, entries: Sequence[Entry]) -> None:
    try:
        head = msgspec.json.decode((path.parent / "head.json").read_bytes(), type=_Head)
    except FileNotFoundError:
        return
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CurationLogError(f"{path.parent / 'head.json'}: not readable ({error}); restore it") from error
    if len(entries) < head.entries or entries[head.entries - 1].sha256 != head.sha256:
        raise CurationLogError(
            f"{path}: it had {head.entries} entries and now has {len(entries)}, or the last ones were replaced; "
            "restore the log from a backup"
        )


def _repair(path: Path, half: bytes) -> str | None:
    """End a whole last line, or set a cut one aside in ``log.cut``; return what was set aside."""
    with path.open("r+b") as stream:
        text = stream.read()
        before = [msgspec.json.decode(line, type=Entry) for line in text.split(b"\n")[:-1]]
        if _is_whole(path, half, before):
            stream.write(b"\n")
            said = None
        else:
            with path.with_name("log.cut").open("ab") as aside:
                aside.write(half + b"\n")
                aside.flush()
                os.fsync(aside.fileno())
            stream.truncate(len(text) - len(half))
            said = half.decode(errors="replace")
        stream.flush()
        os.fsync(stream.fileno())
    return said
