"""What an engine does: hold one release, be asked, be compared with the tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from aroma.kgstore.graph import Graph
from aroma.kgstore.publications import Publication
from aroma.kgstore.tables import ReleaseTables

Progress = Callable[[str], None]
PUBLISHED: Final = "published"
PUBLISHING: Final = "publishing"


def silent(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Which release a database holds.

    Attributes:
        release: Release id; while ``state`` is ``publishing``, the one that it is changed from.
        sequence: Number of the publication.
        state: ``published``, or ``publishing`` while a large change is under way.
        target: Release id that a change under way leads to.
    """

    release: str
    sequence: int
    state: str = PUBLISHED
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a database is not what the tables say.

    Attributes:
        kind: ``node`` or ``edge``.
        thing: Label or relationship type.
        problem: ``missing``, ``extra`` or ``altered``, with the number of rows.
        example: Key of one such row.
    """

    kind: str
    thing: str
    problem: str
    example: str


class Engine(ABC):
    """A database that is made to hold one release at a time."""

    name: ClassVar[str]

    @abstractmethod
    def holds(self) -> Projection | None:
        """Return which release the database holds, or None when it holds none (or what is not ours to read).

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """

    @abstractmethod
    def project(
        self,
        tables: ReleaseTables,
        publication: Publication,
        *,
        previous: ReleaseTables | None,
        progress: Progress = silent,
    ) -> None:
        """Make the database hold a release. Twice changes nothing; killed at any moment, a rerun completes it.

        Args:
            tables: The release.
            publication: Its number, parent and time, kept in the ``Release`` node.
            previous: Tables of the release that the database holds now, where they are known.
            progress: Told each step.

        Raises:
            StoreUnavailableError: The database cannot be reached, or refuses.
        """

    @abstractmethod
    def connect(self, release: str | None = None) -> Graph:
        """Open a client on the published release, or on the copy of another one.

        Raises:
            StoreUnavailableError: The database cannot be reached, is publishing, or holds another release.
        """

    @abstractmethod
    def discard(self, release: str) -> None:
        """Remove what the engine holds of a release; nothing happens when there is nothing."""

    @abstractmethod
    def verify(self, tables: ReleaseTables) -> list[Difference]:
        """Compare the database with the tables, by key and by content."""

    @abstractmethod
    def repair(self, tables: ReleaseTables, publication: Publication, *, progress: Progress = silent) -> None:
        """Make the database say what the tables say."""
