"""The first steps of a refresh: which files there are, what providers have, and what to do where one is down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aroma.errors import AromaError, DownloadError, UsageError
from aroma.importers.discover import discover
from aroma.importers.download import download, known_providers, plan
from aroma.importers.fetch import Fetcher, FetchSettings
from aroma.jobs.refresh.files import Files, KeptFile, keep_files, last_good, refresh_directory
from aroma.jobs.refresh.options import RefreshOptions
from aroma.kgstore.home import Home
from aroma.kgstore.publications import published
from aroma.kgstore.tables import read_table


@dataclass
class Looked:
    """Which files a build is to read.

    Attributes:
        files: By provider.
        notes: By provider: why its last good files are used.
        downloaded: By provider: files that are new.
        broken: Providers whose new files were given up.
    """

    files: dict[str, tuple[KeptFile, ...]]
    notes: dict[str, str] = field(default_factory=dict)
    downloaded: dict[str, list[str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def said(self, good: Files) -> dict[str, Any]:
        """Return by provider whether its files are new, for the report."""
        return {
            name: {
                "versions": sorted({one.version for one in kept}),
                "files": {one.name: one.sha256 for one in kept},
                "new": good.get(name) != kept,
                "note": self.notes.get(name, ""),
            }
            for name, kept in self.files.items()
        }


def wanted_providers(home: Home, options: RefreshOptions) -> tuple[str, ...]:
    """Return the providers to download: those asked for, else those of the published release, else all."""
    if options.providers:
        return options.providers
    current = published(home)
    if current is None:
        return known_providers()
    used = set(read_table(home.release(current.release), "sources", ["provider"])["provider"])
    return tuple(name for name in known_providers() if name in used)


def look(home: Home, options: RefreshOptions, say: Callable[[str], None]) -> Looked:
    """Return the files to build from; a provider that is down, or was found broken, stands with its last good ones.

    Raises:
        UsageError: There is no file at all.
        DownloadError: No provider could be had, and no earlier refresh left files.
    """
    directory, failed = _directory(home, options, say)
    good = last_good(home)
    try:
        files: dict[str, tuple[KeptFile, ...]] = keep_files(home, discover(directory))
    except UsageError:
        if options.source is not None or not good:
            raise
        files = {}
    looked = Looked(files)
    if options.source is None:
        for name, kept in good.items():  # a provider that this refresh did not ask, or that has nothing here
            files.setdefault(name, kept)
    for name, why in failed.items():
        if name in good:
            files[name] = good[name]
            looked.notes[name] = f"its last good files are used: {why}"
        elif name in files:
            looked.notes[name] = f"the files that are here are used: {why}"
        else:
            looked.notes[name] = f"it is left out: {why}"
    if not files:
        raise DownloadError(
            "; ".join(f"{name}: {why}" for name, why in failed.items()) or "there is no file to build from"
        )
    return looked


def _directory(home: Home, options: RefreshOptions, say: Callable[[str], None]) -> tuple[Path, dict[str, str]]:
    """Return where files are, after downloading, and the providers that could not be had with the reason."""
    if options.source is not None:
        return Path(options.source), {}
    directory = refresh_directory(home) / "downloads"
    failed: dict[str, str] = {}
    for name in wanted_providers(home, options):
        try:
            with Fetcher(FetchSettings(tries=3), progress=say) as fetcher:
                download(plan((name,)), directory, fetcher)
        except DownloadError as error:
            say(f"{name} cannot be had: {error}")
            failed[name] = str(error)
    return directory, failed


def give_up_broken(home: Home, looked: Looked, source: Path, error: AromaError, file: str) -> str:
    """Replace the files of the provider whose file is broken by its last good ones; return its name.

    Raises:
        AromaError: The same error, where the provider has no other files.
    """
    name = next((one for one in looked.files if Path(file).is_relative_to(source / one)), None)
    good = last_good(home)
    if name is None or name in looked.broken or name not in good or good[name] == looked.files[name]:
        raise error
    looked.broken.add(name)
    looked.files[name] = good[name]
    looked.notes[name] = f"its last good files are used: {error}"
    return name
