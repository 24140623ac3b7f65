"""``AROMA_HOME``: where releases, projections, snapshots and models live, and which database is meant.

Layout::

    layout.json               number of this layout
    published.json            the publications so far, the last one is served; replaced in one rename
    builds.json               build key → release id, so that the same files again do nothing
    releases/<id>/            tables as Parquet, manifest.json, audit.json, audit.html
    staging/<build key>/      a build under way
    embedded/<id>/            the embedded database that holds release <id>
    snapshots/<id>/           memory-mapped views of release <id>
    outcomes/<sha256>/        measured outcomes, versioned apart from releases
    models/                   models by content, served.json (which serves, since when, why), reports
    refresh/                  providers' files of refreshes, the last good ones, reports
    curation/                 log.jsonl, what curators asserted and retracted; settings.json
    audit/                    writes.jsonl, who changed what
    tokens.json               who may use the API
    locks/                    lock files; each names its holder
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aroma.errors import ReleaseError, UsageError

HOME_VARIABLE: Final = "AROMA_HOME"
URI_VARIABLE: Final = "GRAPH_URI"
USER_VARIABLE: Final = "GRAPH_USER"
PASSWORD_VARIABLE: Final = "GRAPH_PASSWORD"  # noqa: S105 - a variable's name
LAYOUT: Final = 1
"""Raised when files of a home move or change their meaning; a home without ``layout.json`` is of the first."""
EMBEDDED_URI: Final = "embedded:"
_BOLT_SCHEMES: Final = ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc")


@dataclass(frozen=True, slots=True)
class Home:
    """The directory that holds everything; created when first written to."""

    path: Path

    @classmethod
    def locate(cls, given: Path | None = None, *, any_layout: bool = False) -> Home:
        """Return the given directory, else ``AROMA_HOME``, else ``.aroma`` in the working directory.

        Args:
            given: The directory.
            any_layout: Also one of a layout that this program does not read, for those who tell about it.

        Raises:
            UsageError: The place exists and is not a directory.
            ReleaseError: It is a home of another layout; the message says what to run.
        """
        path = Path(given or os.environ.get(HOME_VARIABLE) or ".aroma").expanduser().resolve()
        if path.exists() and not path.is_dir():
            raise UsageError(f"home {path} is a file; give a directory by --home or {HOME_VARIABLE}")
        home = cls(path)
        if not any_layout and (problem := home.layout_problem()):
            raise ReleaseError(problem)
        return home

    def layout(self) -> int:
        """Return the number of this home's layout.

        Raises:
            ReleaseError: ``layout.json`` is damaged.
        """
        file = self.path / "layout.json"
        try:
            return int(json.loads(file.read_text())["layout"])
        except FileNotFoundError:
            return 1
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReleaseError(f"{file}: cannot be read ({error}); restore it from a backup") from error

    def layout_problem(self) -> str | None:
        """Return why this program cannot use the home, and what to run; None where it can."""
        found = self.layout()
        if found < LAYOUT:
            return f"home {self.path} has layout {found}, this program {LAYOUT}; run: aroma doctor --upgrade"
        if found > LAYOUT:
            return (
                f"home {self.path} has layout {found}, this program reads {LAYOUT}: a newer program made it; install "
                "that one (pip install --upgrade aroma-evidence), or restore a backup made by this one"
            )
        return None

    @property
    def published(self) -> Path:
        """The list of publications."""
        return self.path / "published.json"

    @property
    def builds(self) -> Path:
        """Build keys and the releases they gave."""
        return self.path / "builds.json"

    @property
    def staging(self) -> Path:
        """Builds under way."""
        return self.path / "staging"

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.path / "locks"

    @property
    def outcomes(self) -> Path:
        """Measured outcomes."""
        return self.path / "outcomes"

    @property
    def curation(self) -> Path:
        """What curators said."""
        return self.path / "curation"

    def release(self, release_id: str) -> Path:
        """Directory of one release's tables."""
        return self.path / "releases" / release_id

    def embedded(self, release_id: str) -> Path:
        """Directory of the embedded database of one release."""
        return self.path / "embedded" / release_id

    def snapshot(self, release_id: str) -> Path:
        """Directory of one release's snapshot."""
        return self.path / "snapshots" / release_id


@dataclass(frozen=True, slots=True)
class GraphTarget:
    """The database that a command speaks to: ``embedded:`` or a Bolt address."""

    uri: str
    user: str | None = None
    password: str | None = None

    @property
    def is_embedded(self) -> bool:
        """True for the embedded engine."""
        return self.uri == EMBEDDED_URI

    @classmethod
    def locate(cls, given: str | None = None) -> GraphTarget:
        """Return the given URI, else ``GRAPH_URI``, else the embedded engine.

        User and password come from ``GRAPH_USER`` (default ``neo4j``) and ``GRAPH_PASSWORD``; without a password
        no authentication is tried.

        Raises:
            UsageError: The URI is neither ``embedded:`` nor a Bolt address.
        """
        uri = given or os.environ.get(URI_VARIABLE) or EMBEDDED_URI
        if uri.rstrip("/") in {"embedded", "embedded:"}:
            return cls(EMBEDDED_URI)
        scheme, separator, rest = uri.partition("://")
        if not separator or scheme not in _BOLT_SCHEMES or not rest:
            raise UsageError(
                f"graph address {uri!r} is not understood; use 'embedded:' or one like 'bolt://localhost:7687' "
                f"(--uri or {URI_VARIABLE})"
            )
        password = os.environ.get(PASSWORD_VARIABLE)
        user = os.environ.get(USER_VARIABLE, "neo4j") if password else None
        return cls(uri, user, password)
