"""An engine that keeps a release in memory: for tests of the release logic; real engines have tests of their own."""

from __future__ import annotations

from collections.abc import Callable

from aroma.errors import StoreUnavailableError
from aroma.kgstore.engines.base import Difference, Engine, Progress, Projection, silent
from aroma.kgstore.graph import Graph
from aroma.kgstore.publications import Publication
from aroma.kgstore.tables import ReleaseTables


class MemoryEngine(Engine):
    """Holds the tables it was given; ``before`` is called at each projection, to fail at that moment."""

    name = "memory"

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.held: Projection | None = None
        self.tables: ReleaseTables | None = None
        self.projections = 0
        self._before = before

    def holds(self) -> Projection | None:
        return self.held

    def project(
        self,
        tables: ReleaseTables,
        publication: Publication,
        *,
        previous: ReleaseTables | None,
        progress: Progress = silent,
    ) -> None:
        del previous, progress
        self._before()
        self.projections += 1
        self.tables, self.held = tables, Projection(publication.release, publication.sequence)

    def connect(self, release: str | None = None) -> Graph:
        raise StoreUnavailableError(f"the engine in memory answers no query (asked for {release})")

    def discard(self, release: str) -> None:
        del release

    def verify(self, tables: ReleaseTables) -> list[Difference]:
        same = self.tables is not None and self.tables.digests() == tables.digests()
        return [] if same else [Difference("edge", "any", "altered", "")]

    def repair(self, tables: ReleaseTables, publication: Publication, *, progress: Progress = silent) -> None:
        self.project(tables, publication, previous=None, progress=progress)
