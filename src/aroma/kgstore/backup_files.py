"""What a backup holds and how its files are named, for those who write and who read one.

A backup has every file of a home that cannot be made again from others: releases, outcomes, curation, models, vector
sets, ledgers, tokens, logs of writes. Databases and snapshots are projections of the tables and are made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from aroma.errors import InputFileError
from aroma.kgstore.home import Home

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
FILES: Final = "files"
ARCHIVE_SUFFIX: Final = ".tar.zst"
CHUNK: Final = 2**20
_DERIVED: Final = frozenset({"locks", "staging", "embedded", "snapshots", "logs"})
_LATE: Final = ("curation", "audit")
_SIDE_FILES: Final = (".lock", ".holder", "-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Kept:
    """One file of a backup: its length and SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """What a backup says of itself.

    Attributes:
        made_at: ISO 8601, UTC.
        program: Version of the program that made it.
        release: Release that was published, or None.
        sequence: Its number.
        files: By path below the home, with ``/``.
        skipped: Paths that were left out, with the reason.
        format: Of the backup.
    """

    made_at: str
    program: str
    release: str | None
    sequence: int | None
    files: Mapping[str, Kept]
    skipped: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(kept.bytes for kept in self.files.values())

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def read_manifest(text: bytes | str, place: Path) -> BackupManifest:
    """Read the manifest of a backup.

    Raises:
        InputFileError: It is none, of another format, or names a path that leads out of a home.
    """
    try:
        said: dict[str, Any] = json.loads(text)
        number = said["format"]
        files = {safe_path(name, place): Kept(**kept) for name, kept in said["files"].items()}
        if number == FORMAT:
            return BackupManifest(**{**said, "files": files})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputFileError(f"not the manifest of a backup ({error})", file=place) from error
    raise InputFileError(f"a backup of format {number}, this program reads {FORMAT}; upgrade aroma", file=place)


def safe_path(name: str, place: Path) -> str:
    """Return the name of a file in a backup where it leads below the home.

    Raises:
        InputFileError: It is absolute, has ``..``, or is spelt in a way that a backup never is.
    """
    path = PurePosixPath(name)
    odd = "\\" in name or "\0" in name or ":" in path.parts[:1] or str(path) != name or name in {"", "."}
    if odd or path.is_absolute() or ".." in path.parts:
        raise InputFileError(f"the path {name!r} does not lead below a home", file=place, expected="relative paths")
    return name


def files_of(home: Home, skipped: dict[str, str]) -> Iterator[str]:
    """Yield the paths of the files to be kept, below the home, in the order in which they must be copied.

    What points to others (``published.json``, ``models/served.json``) comes before what it points to: releases and
    models are never changed, so what a pointer names is there when it was read. What curators said comes last, so that
    the copy of no release knows more than the copy of their log.

    Args:
        home: The home.
        skipped: Gets what is left out though it is no projection.
    """
    pointers: list[str] = []
    content: list[str] = []
    late: list[str] = []
    for directory, names, files in os.walk(home.path):
        place = Path(directory).relative_to(home.path)
        top = place.parts[0] if place.parts else ""
        for name in sorted(names):
            if (Path(directory) / name).is_symlink():
                skipped[(place / name).as_posix()] = "a link to a directory: back up what it leads to by itself"
        names[:] = sorted(name for name in names if not name.startswith(".") and (top or name not in _DERIVED))
        for name in sorted(files):
            path = (place / name).as_posix()
            if name.startswith(".") or name.endswith(_SIDE_FILES):
                continue
            if (Path(directory) / name).is_symlink():
                skipped[path] = "a link: back up what it leads to by itself"
                continue
            is_pointer = len(place.parts) <= 1 and name.endswith(".json")
            (late if top in _LATE else pointers if is_pointer else content).append(path)
    pointers.sort(key=lambda path: path != "published.json")
    yield from (*pointers, *content, *late)


def copied(source: IO[bytes], target: IO[bytes] | None, length: int) -> Kept:
    """Copy ``length`` bytes (into nothing, where there is no target) and return what was copied."""
    whole, left = hashlib.sha256(), length
    while left:
        part = source.read(min(CHUNK, left))
        if not part:
            break
        whole.update(part)
        left -= len(part)
        if target is not None:
            target.write(part)
    return Kept(length - left, whole.hexdigest())
