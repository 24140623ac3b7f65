"""The embedded engine: ArcadeDB, one database a release, served by an owner process; see ``embedded_owner``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO, ClassVar, Final

from aroma.errors import StoreUnavailableError
from aroma.kgstore import projection
from aroma.kgstore.engines import compare
from aroma.kgstore.engines.base import PUBLISHED, Difference, Engine, Progress, Projection, silent
from aroma.kgstore.engines.embedded_loader import CARD, write_card
from aroma.kgstore.engines.embedded_owner import attach, remove_files, running_owner
from aroma.kgstore.graph import Address, Graph
from aroma.kgstore.home import Home
from aroma.kgstore.publications import Publication, published
from aroma.kgstore.tables import ReleaseTables

_LOG_LINE: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:|WARNING")
_LOADER: Final = "aroma.kgstore.engines.embedded_loader"


class EmbeddedEngine(Engine):
    """Holds any number of releases side by side; which one is served is what ``published.json`` says."""

    name: ClassVar[str] = "embedded"

    def __init__(self, home: Home) -> None:
        self._home = home

    def holds(self) -> Projection | None:
        """Return the published release if its database is there; starts nothing."""
        publication = published(self._home)
        return self.copy_of(publication.release) if publication else None

    def copy_of(self, release: str) -> Projection | None:
        """Return what the database of a release says of itself, or None when there is none that is complete."""
        try:
            card = json.loads((self._home.embedded(release) / CARD).read_text())
            return Projection(card["release"], card["sequence"], PUBLISHED)
        except (OSError, ValueError, KeyError):
            return None

    def project(
        self,
        tables: ReleaseTables,
        publication: Publication,
        *,
        previous: ReleaseTables | None,
        progress: Progress = silent,
    ) -> None:
        """Fill a database of its own for the release; serving it is the caller's switch of ``published.json``."""
        if self.copy_of(publication.release) is None:
            self._fill(tables, publication, progress)
        held = self.copy_of(publication.release)
        if held is None or held.sequence != publication.sequence:
            self._renumber(tables, publication)

    def _renumber(self, tables: ReleaseTables, publication: Publication) -> None:
        """Give a database that is there already the number of a new publication (a roll-back)."""
        said = projection.release_properties(publication, tables.counts(), PUBLISHED)
        with self._open(publication.release) as graph:
            graph.write("MATCH (r:Release) SET r = $said", {"said": said})
        write_card(self._home.embedded(publication.release), publication)

    def _fill(self, tables: ReleaseTables, publication: Publication, progress: Progress) -> None:
        for directory in (self._home.locks, self._home.path / "logs", self._home.path / "embedded"):
            directory.mkdir(parents=True, exist_ok=True)
        saved = self._home.release(publication.release)
        with tempfile.TemporaryDirectory(dir=self._home.path) as beside:
            if not (saved / "manifest.json").exists():
                saved = Path(beside)
                tables.write(saved)
            self._run_loader(saved, publication, progress)

    def _run_loader(self, saved: Path, publication: Publication, progress: Progress) -> None:
        given = {
            "tables": str(saved),
            "target": str(self._home.embedded(publication.release)),
            "lock": str(self._home.locks / "embedded-loader.lock"),
            "publication": asdict(publication),
        }
        log = self._home.path / "logs" / "embedded-loader.log"
        with log.open("wb") as errors:
            loader = subprocess.Popen(
                [sys.executable, "-m", _LOADER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=log.parent,  # the engine keeps a directory "log" in the working directory
                start_new_session=True,
                text=True,
            )
        if loader.stdin is None or loader.stdout is None:
            raise AssertionError("pipes were asked for")
        with loader.stdin, loader.stdout:
            loader.stdin.write(f"{json.dumps(given)}\n")
            loader.stdin.flush()  # and left open: the loader ends when this end closes
            _forward(loader.stdout, progress)
            code = loader.wait()
        if code:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            said = lines[-1][:500] if lines else f"it ended with {code}"
            raise StoreUnavailableError(f"the embedded database could not be filled: {said} (log: {log})")

    def connect(self, release: str | None = None) -> Graph:
        """Open a client on the published release, or on the copy of another one.

        Raises:
            StoreUnavailableError: Nothing is published, or there is no database of that release here.
        """
        if release is None:
            publication = published(self._home)
            if publication is None:
                raise StoreUnavailableError(
                    f"no release is published in {self._home.path}; run: aroma build --from DIR"
                )
            release = publication.release
        if self.copy_of(release) is None:
            raise StoreUnavailableError(
                f"release {release} has no embedded database in {self._home.path}; run: aroma releases open {release}"
            )
        return self._open(release)

    def _open(self, release: str) -> Graph:
        owner = attach(self._home)
        return Graph.open(owner.address(release), writer=owner.address(release, writing=True))

    def address(self, release: str) -> Address:
        """Return where a release's database answers, for a user that can only read."""
        return attach(self._home).address(release)

    def discard(self, release: str) -> None:
        """Remove the database of a release."""
        directory = self._home.embedded(release)
        if not directory.exists():
            return
        (directory / CARD).unlink(missing_ok=True)
        owner = running_owner(self._home)
        if owner is not None:
            owner.drop(release)
        remove_files(directory)

    def verify(self, tables: ReleaseTables) -> list[Difference]:
        """Compare the published release's database with the tables."""
        publication = published(self._home)
        if publication is None or self.copy_of(publication.release) is None:
            return [Difference("database", "Release", "missing", publication.release if publication else "none")]
        with self._open(publication.release) as graph:
            return compare.differences(graph, tables, publication.release)

    def repair(self, tables: ReleaseTables, publication: Publication, *, progress: Progress = silent) -> None:
        """Fill the database anew: that takes seconds, and leaves nothing of what was altered."""
        self.discard(publication.release)
        self.project(tables, publication, previous=None, progress=progress)


def _forward(lines: IO[str], progress: Progress) -> None:
    """Pass the loader's steps on, without the engine's own log lines."""
    for line in lines:
        if (step := line.strip()) and not _LOG_LINE.match(step):
            progress(step)


def ensure_copy(home: Home, release: str, tables: ReleaseTables, progress: Progress = silent) -> None:
    """Make an embedded database of any release, if there is none; it keeps the number it has or had.

    Raises:
        StoreUnavailableError: It could not be filled.
    """
    from aroma.kgstore.publications import read_publications

    entries = [entry for entry in read_publications(home) if entry.release == release]
    publication = entries[-1] if entries else Publication(0, release, None, "", action="copy")
    engine = EmbeddedEngine(home)
    if engine.copy_of(release) is None:
        engine.project(tables, publication, previous=None, progress=progress)


def open_copy(home: Home, release: str, tables: ReleaseTables, progress: Progress = silent) -> Address:
    """Make an embedded database of any release, start the owner and return where it answers.

    Raises:
        StoreUnavailableError: It could not be filled or the owner does not start.
    """
    ensure_copy(home, release, tables, progress)
    return EmbeddedEngine(home).address(release)
