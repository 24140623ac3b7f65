"""Parts of a snapshot: a directory of mapped files with a manifest, made beside and renamed into place.

Opening a part compares layout, release and file sizes, which finds what is missing, old or cut off and costs a
millisecond. The checksums are compared by ``check_part`` (``aroma releases verify``).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from aroma.errors import SnapshotError
from aroma.kgstore.publications import write_durably
from aroma.retrieval.columns import file_sha256

LAYOUT: Final = 4
"""Raised when the files of a part change their meaning; older parts are then made anew."""
_MANIFEST: Final = "manifest.json"


def make_part(directory: Path, release: str, facts: dict[str, Any], fill: Callable[[Path], None]) -> None:
    """Make a part: ``fill`` writes the files into an empty directory, which then takes its place in one rename.

    One process at a time makes a part; who waited for it takes what the other made.

    Raises:
        SnapshotError: The part cannot be put in place.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(directory.with_name(f".{directory.name}.lock")):
            if not _is_sound(directory, release):
                _replace(directory, release, facts, fill)
    except OSError as error:
        raise SnapshotError(f"{directory}: cannot be put in place ({error.strerror or error})") from error


def _replace(directory: Path, release: str, facts: dict[str, Any], fill: Callable[[Path], None]) -> None:
    partial, old = (directory.with_name(f".{directory.name}.{os.getpid()}.{what}") for what in ("partial", "old"))
    for path in (partial, old):
        shutil.rmtree(path, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        fill(partial)
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in sorted(partial.iterdir())
        }
        manifest = {"layout": LAYOUT, "release": release, **facts, "files": files}
        write_durably(partial / _MANIFEST, json.dumps(manifest, indent=1))
        if directory.exists():
            directory.rename(old)
        partial.rename(directory)
    finally:
        for path in (partial, old):
            shutil.rmtree(path, ignore_errors=True)


def _is_sound(directory: Path, release: str) -> bool:
    try:
        open_part(directory, release)
    except SnapshotError:
        return False
    return True


def open_part(directory: Path, release: str) -> dict[str, Any]:
    """Return the manifest of a part after comparing layout, release and file sizes.

    Raises:
        SnapshotError: Missing, of another layout or release, or a file is cut off; the message says which.
    """
    path = directory / _MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise SnapshotError(f"{directory}: there is no snapshot part here") from error
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{path}: not readable as JSON ({error})") from error
    if manifest.get("layout") != LAYOUT:
        raise SnapshotError(f"{directory}: layout {manifest.get('layout')}, this program reads {LAYOUT}")
    if manifest.get("release") != release:
        raise SnapshotError(f"{directory}: made from release {manifest.get('release')}, not {release}")
    for name, said in manifest["files"].items():
        file = directory / name
        if not file.exists() or file.stat().st_size != said["bytes"]:
            raise SnapshotError(f"{file}: missing or cut off (should have {said['bytes']:,} bytes)")
    return manifest


def check_part(directory: Path) -> list[str]:
    """Return the files of a part whose checksum is not what its manifest says."""
    try:
        manifest = json.loads((directory / _MANIFEST).read_text())
    except (OSError, ValueError):
        return [f"{directory.name}/{_MANIFEST}"]
    return [
        f"{directory.name}/{name}"
        for name, said in manifest["files"].items()
        if not (directory / name).exists() or file_sha256(directory / name) != said["sha256"]
    ]
