"""Publications: which release is served, since when, and which came before. One file, replaced in one rename."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from aroma.errors import ReleaseError
from aroma.kgstore.home import LAYOUT, Home


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication of a release; the last one is what is served.

    Attributes:
        sequence: 1, 2, 3, …; a roll-back publishes older tables under the next number.
        release: Release id.
        parent: Release id that was served before, or None for the first.
        published_at: ISO 8601, UTC.
        action: ``build``, ``curate`` or ``rollback``.
        accepted: Gates that were let pass by name.
        note: Why, where somebody said so.
    """

    sequence: int
    release: str
    parent: str | None
    published_at: str
    action: str = "build"
    accepted: tuple[str, ...] = ()
    note: str = ""


def read_publications(home: Home) -> tuple[Publication, ...]:
    """Return all publications, oldest first; empty for a new home.

    Raises:
        ReleaseError: The file is damaged.
    """
    try:
        rows = json.loads(home.published.read_text())
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise ReleaseError(f"{home.published}: not readable as JSON ({error}); restore it from a backup") from error
    return tuple(Publication(**{**row, "accepted": tuple(row["accepted"])}) for row in rows)


def published(home: Home) -> Publication | None:
    """Return what is served, or None."""
    publications = read_publications(home)
    return publications[-1] if publications else None


def require_published(home: Home) -> Publication:
    """Return what is served.

    Raises:
        ReleaseError: Nothing was published in this home.
    """
    publication = published(home)
    if publication is None:
        raise ReleaseError(f"no release is published in {home.path}; run: aroma build --from DIR")
    return publication


def append(home: Home, publication: Publication) -> None:
    """Publish: add one entry and replace the file, durable before it returns."""
    rows = [asdict(entry) for entry in (*read_publications(home), publication)]
    if not (home.path / "layout.json").exists():
        write_layout(home)
    write_durably(home.published, json.dumps(rows, indent=1))


def write_layout(home: Home) -> None:
    """Write down that a home has the layout of this program."""
    write_durably(home.path / "layout.json", json.dumps({"layout": LAYOUT}))


def write_durably(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write ``text`` beside ``path``, flush it to the disk, and rename it into place.

    Args:
        path: What is replaced.
        text: Its new content.
        mode: Who may read it, before the process's umask is taken off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)  # left by a killed process of the same number; its mode would stay
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as stream:  # noqa: PTH123 - a mode
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)  # a full disk keeps no half of it
        raise
    flush_to_disk(path.parent)


def flush_to_disk(path: Path) -> None:
    """Have the disk hold a file's content, or which names a directory has, before this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
