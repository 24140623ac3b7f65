"""The providers' files of refreshes: kept by content, so that the last good ones are there when new ones are not.

Layout::

    HOME/refresh/downloads/<provider>/     what ``aroma refresh`` downloads
    HOME/refresh/files/<sha256>/<name>     every file that a refresh built from, with its receipt
    HOME/refresh/sources/<key>/<provider>/ one build's files, linked from there
    HOME/refresh/good.json                 the files of the last refresh that was published, by provider
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aroma.errors import DownloadError
from aroma.importers.discover import Discovery
from aroma.importers.download import sha256_of
from aroma.importers.receipts import receipt_path
from aroma.kgstore.home import Home
from aroma.kgstore.publications import flush_to_disk, write_durably
from aroma.kgstore.whole import beside, whole_directory


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A provider's file that is kept by content.

    Attributes:
        name: File name, as the provider has it.
        sha256: Of its bytes.
        version: As it was found.
    """

    name: str
    sha256: str
    version: str


Files = Mapping[str, tuple[KeptFile, ...]]
"""By provider."""


def refresh_directory(home: Home) -> Path:
    """Return where refreshes keep their files and reports."""
    return home.path / "refresh"


def keep_files(home: Home, discovery: Discovery) -> dict[str, tuple[KeptFile, ...]]:
    """Keep the chosen files of a directory by content; those that are kept already are left as they are.

    Raises:
        DownloadError: A file cannot be read, or the place cannot be written.
    """
    found: dict[str, tuple[KeptFile, ...]] = {}
    for provider, files in discovery.selected.items():
        kept = []
        for file in files:
            try:
                sha256 = sha256_of(file.path)
                _keep(file.path, refresh_directory(home) / "files" / sha256)
            except OSError as error:
                raise DownloadError(
                    f"{error.filename or file.path}: {error.strerror}; free some space and try again"
                ) from error
            kept.append(KeptFile(file.path.name, sha256, file.version))
        found[provider] = tuple(sorted(kept, key=lambda one: one.name))
    return found


def _keep(path: Path, place: Path) -> None:
    """Copy a file and its receipt into a directory that is there whole or not at all."""
    if (place / path.name).is_file():
        return
    with beside(place.parent) as made:
        for one in (path, receipt_path(path)):
            if one.is_file():
                shutil.copy2(one, made / one.name)
                flush_to_disk(made / one.name)
        if place.is_dir():  # the same bytes under another name
            for one in made.iterdir():
                one.replace(place / one.name)
        else:
            made.rename(place)


def compose(home: Home, files: Files) -> Path:
    """Return a directory that holds these files and no others, linked from where they are kept."""
    place = refresh_directory(home) / "sources" / source_key(files)
    if place.is_dir():
        return place
    try:
        with whole_directory(place) as made:
            for provider, kept in files.items():
                (made / provider).mkdir()
                for one in kept:
                    origin = refresh_directory(home) / "files" / one.sha256 / one.name
                    for path in (origin, receipt_path(origin)):
                        if path.is_file():
                            os.link(path, made / provider / path.name)
    except OSError as error:
        raise DownloadError(f"{place}: cannot be made ({error.strerror}); free some space and try again") from error
    return place


def source_key(files: Files) -> str:
    """Return a hash of which files these are."""
    said = json.dumps({name: [asdict(one) for one in kept] for name, kept in sorted(files.items())}, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def last_good(home: Home) -> dict[str, tuple[KeptFile, ...]]:
    """Return the files of the last refresh that was published and are still kept, by provider."""
    try:
        said: dict[str, Any] = json.loads((refresh_directory(home) / "good.json").read_text())
        found = {name: tuple(KeptFile(**one) for one in kept) for name, kept in said.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    files = refresh_directory(home) / "files"
    return {name: kept for name, kept in found.items() if all((files / k.sha256 / k.name).is_file() for k in kept)}


def remember_good(home: Home, files: Files) -> None:
    """Write down that a release was published from these files; earlier composed directories go."""
    said = {name: [asdict(one) for one in kept] for name, kept in sorted(files.items())}
    write_durably(refresh_directory(home) / "good.json", json.dumps(said, indent=1))
    _clear(home, files)


def _clear(home: Home, files: Files) -> None:
    """Remove what no refresh needs: other composed directories, and kept files that are neither these nor served."""
    sources = refresh_directory(home) / "sources"
    for path in sources.glob("*"):
        if path.name != source_key(files):
            shutil.rmtree(path, ignore_errors=True)
    wanted = {one.sha256 for kept in files.values() for one in kept}
    for path in (refresh_directory(home) / "files").glob("*"):
        if path.name not in wanted:
            shutil.rmtree(path, ignore_errors=True)
