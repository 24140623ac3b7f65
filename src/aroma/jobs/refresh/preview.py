"""What a refresh would do, as far as it can be told without downloading, building or training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aroma.importers.discover import discover
from aroma.importers.download import newer, plan, sha256_of
from aroma.importers.fetch import Fetcher, FetchSettings
from aroma.jobs.refresh.dependence import plan_retraining
from aroma.jobs.refresh.files import last_good, refresh_directory
from aroma.jobs.refresh.looking import wanted_providers
from aroma.jobs.refresh.options import RefreshOptions
from aroma.kgstore.home import Home
from aroma.kgstore.publications import published


def preview(home: Home, options: RefreshOptions, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the files that are here and there, and which plug-ins would be retrained; nothing is written.

    Raises:
        UsageError: There is no such directory, or nothing in it.
    """
    files = _offline(home, Path(options.source)) if options.source else _online(home, options, say)
    current = published(home)
    models: list[dict[str, Any]] = []
    if current is not None:
        models = [
            {"plugin": one.plugin, "retrained": one.inputs is not None, "reason": one.reason}
            for one in plan_retraining(home, current.release, options.plugins, options.split)
        ]
    return {"files": files, "models": models, "release": current.release if current else None}


def _offline(home: Home, source: Path) -> list[dict[str, str]]:
    good = {one.sha256: one for kept in last_good(home).values() for one in kept}
    versions = {name: ", ".join(sorted({one.version for one in kept})) for name, kept in last_good(home).items()}
    return [
        {
            "provider": name,
            "file": file.path.name,
            "here": versions.get(name, ""),
            "there": file.version,
            "what": "as before" if sha256_of(file.path) in good else "new",
        }
        for name, files in discover(source).selected.items()
        for file in files
    ]


def _online(home: Home, options: RefreshOptions, say: Callable[[str], None]) -> list[dict[str, str]]:
    directory = refresh_directory(home) / "downloads"
    found = []
    with Fetcher(FetchSettings(tries=2), progress=say) as fetcher:
        for order in plan(wanted_providers(home, options)):
            one = newer(order, directory, fetcher)
            found.append(
                {"provider": one.provider, "file": one.file, "here": one.here, "there": one.there, "what": one.what}
            )
    return found
