"""Restoring a home from a backup: nothing is put in place before all of it is there and has its checksums."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import pyarrow as pa

from aroma.errors import InputFileError, UsageError
from aroma.kgstore.backup import latest_backup
from aroma.kgstore.backup_files import FILES, MANIFEST, BackupManifest, Kept, copied, read_manifest, safe_path
from aroma.kgstore.home import Home
from aroma.kgstore.publications import flush_to_disk

Progress = Callable[[str], None]
_LARGEST_MANIFEST: Final = 2**28


def restore(source: Path, home: Home, progress: Progress = lambda _: None) -> BackupManifest:
    """Put a backup's files into a new home; databases and snapshots are made from them afterwards.

    Args:
        source: An archive, a backup's directory, or a directory of backups (its newest is taken).
        home: The place; it must not be there yet, or be empty.
        progress: Told each step.

    Returns:
        The backup's manifest.

    Raises:
        UsageError: The home is not empty, or the source is not there.
        InputFileError: The source is no whole, sound backup, or has paths or links that lead out of a home.
    """
    if home.path.exists() and any(home.path.iterdir()):
        raise UsageError(f"{home.path} is not empty; restore into a new directory (--home), then put it in its place")
    if not source.exists():
        raise UsageError(f"there is no backup at {source}")
    home.path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{home.path.name}.restore-", dir=home.path.parent))
    try:
        if source.is_dir():
            manifest = _from_directory(source, beside, progress)
        else:
            manifest = _from_archive(source, beside, progress)
        _flush_all(beside)
        beside.chmod(0o755)
        beside.rename(home.path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return manifest


def _from_directory(source: Path, beside: Path, progress: Progress) -> BackupManifest:
    if not (source / MANIFEST).exists():
        newest = latest_backup(source)
        if newest is None:
            raise InputFileError("there is no complete backup here", file=source, expected=f"a {MANIFEST}")
        source = newest
    progress(f"reading {source}")
    manifest = read_manifest((source / MANIFEST).read_bytes(), source / MANIFEST)
    _check_room(beside, manifest.bytes, source)
    root = (source / FILES).resolve()
    for name, kept in manifest.files.items():
        file = source / FILES / name
        _check_plain(file, root)
        with file.open("rb") as stream:
            found = _write(beside / name, stream, os.fstat(stream.fileno()).st_size)
        _compare(name, found, kept, source)
    return manifest


def _from_archive(source: Path, beside: Path, progress: Progress) -> BackupManifest:
    progress(f"reading {source}")
    try:
        with pa.input_stream(str(source), compression="zstd") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
            manifest, found = _unpack(tar, source, beside)
    except (tarfile.TarError, pa.ArrowException, EOFError) as error:
        raise InputFileError(f"damaged or no archive of a backup ({error})", file=source) from error
    except OSError as error:
        if error.errno is not None:  # the disk's own errors; those of the decompressor have no number
            raise
        raise InputFileError(f"damaged or no archive of a backup ({error})", file=source) from error
    for name, kept in manifest.files.items():
        _compare(name, found.get(name), kept, source)
    if extra := sorted(found.keys() - manifest.files.keys()):
        raise InputFileError(f"its manifest does not know {extra[0]!r}", file=source)
    return manifest


def _unpack(tar: tarfile.TarFile, source: Path, beside: Path) -> tuple[BackupManifest, dict[str, Kept]]:
    """Unpack member by member: regular files with safe names only, no more bytes than the disk has."""
    found: dict[str, Kept] = {}
    for member in tar:
        stream = tar.extractfile(member) if member.isreg() else None
        if stream is None:
            raise InputFileError(f"{member.name!r} is no plain file", file=source, expected="files alone")
        if member.name == MANIFEST:
            return read_manifest(stream.read(_LARGEST_MANIFEST), source), found  # what follows is never read
        name = safe_path(member.name.removeprefix(f"{FILES}/"), source)
        if name in found or not member.name.startswith(f"{FILES}/"):
            raise InputFileError(f"{member.name!r} does not belong here, or is there twice", file=source)
        _check_room(beside, member.size, source)
        found[name] = _write(beside / name, stream, member.size)
    raise InputFileError("cut off: it ends before its manifest", file=source)


def _write(target: Path, stream: IO[bytes], length: int) -> Kept:
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o600 if target.name in {"tokens.json", "writes.jsonl"} else 0o666
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as written:  # noqa: PTH123 - with a mode
        return copied(stream, written, length)


def _compare(name: str, found: Kept | None, kept: Kept, source: Path) -> None:
    if found != kept:
        how = "is missing" if found is None else "is not what the manifest says"
        raise InputFileError(f"{name} {how}; take another backup", file=source)


def _check_plain(file: Path, root: Path) -> None:
    """Refuse links and what is no file: a backup's directory may have passed through other hands."""
    try:
        mode = file.lstat().st_mode
    except OSError as error:
        raise InputFileError(f"cannot be read ({error.strerror}); take another backup", file=file) from error
    if not stat.S_ISREG(mode) or not file.resolve().is_relative_to(root):
        raise InputFileError("a link or no plain file; a backup has none", file=file)


def _check_room(place: Path, wanted: int, source: Path) -> None:
    free = shutil.disk_usage(place).free
    if wanted > free:
        raise InputFileError(f"unpacked it takes {wanted:,} bytes more; {place.parent} has {free:,} free", file=source)


def _flush_all(directory: Path) -> None:
    for path in (*directory.rglob("*"), directory):
        flush_to_disk(path)
