"""Backups of a home: one archive, or a directory of them in which unchanged files are hard links.

A backup is consistent while builds, servers and workers run: releases, outcomes and models are never changed once they
are there, other files are replaced in one rename or only added to, SQLite copies its own databases, and pruning waits.
It is complete when it has its name; until then it is called ``.….partial``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import IO, Final, Protocol

import pyarrow as pa

from aroma.errors import ReleaseError, UsageError
from aroma.kgstore.backup_files import (
    ARCHIVE_SUFFIX,
    FILES,
    MANIFEST,
    BackupManifest,
    Kept,
    copied,
    files_of,
    read_manifest,
)
from aroma.kgstore.home import Home
from aroma.kgstore.locks import exclusive
from aroma.kgstore.publications import flush_to_disk, published, write_durably
from aroma.kgstore.releases import known_releases
from aroma.kgstore.retention import BACKUP_LOCK

Progress = Callable[[str], None]
_SQLITE: Final = b"SQLite format 3\0"
_STAMP: Final = "aroma-%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made.

    Attributes:
        path: The archive, or the directory of this backup.
        manifest: What it holds.
        linked: Files that are hard links to those of the backup before.
    """

    path: Path
    manifest: BackupManifest
    linked: int = 0


class _Target(Protocol):
    """Where files of a backup go."""

    linked: int

    def put(self, name: str, source: IO[bytes], length: int) -> Kept: ...

    def finish(self, manifest: BackupManifest) -> Path: ...


def back_up(home: Home, to: Path, progress: Progress = lambda _: None) -> Backup:
    """Make a backup of a home.

    Args:
        home: What is kept.
        to: ``….tar.zst`` for one archive, else a directory that gets one directory a backup.
        progress: Told each step.

    Raises:
        UsageError: No home is there, or the target is inside it, or is there already.
        LockHeldError: Another backup, or a pruning, is under way.
        ReleaseError: A file of a release went away meanwhile.
    """
    if not home.path.is_dir():
        raise UsageError(f"there is no home at {home.path}; nothing to back up")
    if to.resolve().is_relative_to(home.path):
        raise UsageError(f"{to} is inside the home {home.path}; a backup belongs elsewhere, best on another disk")
    skipped: dict[str, str] = {}
    with exclusive(home.locks / BACKUP_LOCK, "a backup"), _target(to) as target:
        current, whole = published(home), known_releases(home)
        files: dict[str, Kept] = {}
        for name in files_of(home, skipped):
            with _opened(home.path / name) as source:
                if source is None:
                    continue  # replaced or ended by another process; what must not go is looked for below
                files[name] = target.put(name, source, os.fstat(source.fileno()).st_size)
            if name.endswith("/manifest.json"):
                progress(f"copied {name.removesuffix('/manifest.json')}")
        if lost := [one for one in whole if f"releases/{one}/manifest.json" not in files]:
            raise ReleaseError(f"release {', '.join(lost)} went away during the backup; run it again")
        made_at = datetime.now(tz=UTC).isoformat(timespec="seconds")
        release, sequence = (current.release, current.sequence) if current else (None, None)
        manifest = BackupManifest(made_at, version("aroma-evidence"), release, sequence, files, skipped)
        return Backup(target.finish(manifest), manifest, target.linked)


def latest_backup(directory: Path) -> Path | None:
    """Return the newest complete backup in a directory of backups."""
    found = sorted(path.parent for path in directory.glob(f"aroma-*/{MANIFEST}"))
    return found[-1] if found else None


@contextmanager
def _target(to: Path) -> Iterator[_Target]:
    """Yield the place for a new backup; what is left of one that failed is deleted."""
    if to.name.endswith(ARCHIVE_SUFFIX):
        if to.exists():
            raise UsageError(f"{to} is there already; choose another name")
        partial = to.with_name(f".{to.name}.{os.getpid()}.partial")
    elif to.is_file():
        raise UsageError(f"{to} is a file; give a directory, or a name that ends with {ARCHIVE_SUFFIX}")
    else:
        stamp = datetime.now(tz=UTC).strftime(_STAMP)
        to, before = to / stamp, latest_backup(to)
        partial = to.with_name(f".{stamp}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        if to.name.endswith(ARCHIVE_SUFFIX):
            with _Archive(partial, to) as archive:
                yield archive
        else:
            yield _Directory(partial, to, before)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


class _Directory:
    """A directory; a file that the backup before has with the same content is linked and takes no room."""

    def __init__(self, partial: Path, final: Path, before: Path | None) -> None:
        self._partial, self._final, self._before = partial, final, before
        self._known = read_manifest((before / MANIFEST).read_bytes(), before / MANIFEST).files if before else {}
        self.linked = 0
        partial.mkdir(mode=0o700)

    def put(self, name: str, source: IO[bytes], length: int) -> Kept:
        """Take one file."""
        target = self._partial / FILES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        known = self._known.get(name)
        if known is not None and known.bytes == length and self._before is not None:
            found = copied(source, None, length)
            source.seek(0)
            old = self._before / FILES / name
            if found == known and old.is_file() and old.stat().st_size == length:
                os.link(old, target)
                self.linked += 1
                return known
        with target.open("xb") as stream:
            kept = copied(source, stream, length)
            stream.flush()
            os.fsync(stream.fileno())
        return kept

    def finish(self, manifest: BackupManifest) -> Path:
        """Write the manifest, and give the backup its name."""
        write_durably(self._partial / MANIFEST, manifest.to_text(), mode=0o600)
        self._partial.rename(self._final)
        flush_to_disk(self._final.parent)
        return self._final


class _Archive:
    """A tar archive, compressed by Zstandard; its manifest is the last member, as checksums are known then."""

    def __init__(self, partial: Path, final: Path) -> None:
        self._partial, self._final = partial, final
        self.linked = 0
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(handle, "wb")
        self._packed = pa.CompressedOutputStream(self._file, "zstd")
        self._tar = tarfile.open(fileobj=self._packed, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - finish closes it

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._packed.closed:
            self._packed.close()
        self._file.close()

    def put(self, name: str, source: IO[bytes], length: int) -> Kept:
        """Take one file."""
        reader = _Reader(source)
        self._tar.addfile(_member(f"{FILES}/{name}", length), reader)
        return reader.kept()

    def finish(self, manifest: BackupManifest) -> Path:
        """Write the manifest, and give the archive its name."""
        text = manifest.to_text().encode()
        self._tar.addfile(_member(MANIFEST, len(text)), BytesIO(text))
        self._tar.close()
        self._packed.flush()
        self._packed.close()
        with self._partial.open("rb") as written:
            os.fsync(written.fileno())
        self._partial.rename(self._final)
        flush_to_disk(self._final.parent)
        return self._final


class _Reader:
    """Passes bytes on to the archive and hashes them."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self._hash, self._bytes = source, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        part = self._source.read(size)
        self._hash.update(part)
        self._bytes += len(part)
        return part

    def kept(self) -> Kept:
        return Kept(self._bytes, self._hash.hexdigest())


def _member(name: str, length: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = length, 0o600
    return member


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | None]:
    """Open a file of the home for copying, an SQLite database as a copy that SQLite made; None where it is gone."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with stream:
        is_database = stream.read(len(_SQLITE)) == _SQLITE
        stream.seek(0)
        if not is_database:
            yield stream
            return
    with tempfile.TemporaryDirectory(prefix="aroma-backup-") as beside:
        copy = Path(beside) / "database"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as old, closing(sqlite3.connect(copy)) as new:
            old.backup(new)
        with copy.open("rb") as made:
            yield made
