"""A directory that is there whole or not at all: filled beside its place, flushed to disk, put there by one rename."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from aroma.kgstore.publications import flush_to_disk

UNFINISHED: Final = ".new-"
_OLD_SECONDS: Final = 3600.0


@contextmanager
def beside(parent: Path) -> Iterator[Path]:
    """Give an empty directory in ``parent``, which is made where it is missing; the directory is gone afterwards.

    Raises:
        OSError: The place cannot be written.
    """
    parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def whole_directory(place: Path, *, or_theirs: bool = True) -> Iterator[Path]:
    """Give an empty directory that becomes ``place`` when the block ends well, and is gone when it does not.

    Args:
        place: Where it is to be; its parents are made where they are missing.
        or_theirs: Whether one that another process put there meanwhile may stand instead; else it is an error.

    Raises:
        OSError: The place cannot be written, or another's is there and may not stand.
    """
    with beside(place.parent) as made:
        yield made
        for path in made.rglob("*"):
            flush_to_disk(path)
        made.chmod(0o755)  # mkdtemp makes it private
        try:
            made.rename(place)
        except OSError:
            if not (or_theirs and place.is_dir()):
                raise
        flush_to_disk(place.parent)


def sweep(parent: Path) -> None:
    """Remove what processes that were killed left in ``parent`` an hour ago; younger ones may be another's at work."""
    for left in parent.glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError):  # gone meanwhile: another process has finished
            if time.time() - left.stat().st_mtime > _OLD_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
