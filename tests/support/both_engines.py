"""Releases published on both engines, for tests that compare their answers."""

from __future__ import annotations

from dataclasses import dataclass

from aroma.kgstore.engines import open_engine
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.query_service import Answer, Question, run_query
from aroma.kgstore.releases import publish, save_release
from aroma.kgstore.tables import ReleaseTables
from tests.support.small_release import small_release


@dataclass(frozen=True, slots=True)
class Published:
    """A home with the small release, and the database that holds it."""

    home: Home
    target: GraphTarget

    def ask(self, question: Question) -> Answer:
        """Ask as ``aroma query`` does."""
        return run_query(self.home, self.target, question)

    def saved(self, name: str, **parameters: str) -> list[tuple[object, ...]]:
        """Return the rows of a saved query."""
        return self.ask(Question(name=name, parameters=parameters)).result.rows

    def cypher(self, text: str, **parameters: str) -> list[tuple[object, ...]]:
        """Return the rows of free Cypher."""
        return self.ask(Question(cypher=text, parameters=parameters)).result.rows


def publish_small(home: Home, uri: str) -> Published:
    """Publish the small release in ``home`` on the database at ``uri``."""
    return publish_tables(home, uri, small_release())


def publish_tables(home: Home, uri: str, tables: ReleaseTables) -> Published:
    """Publish a release in ``home`` on the database at ``uri``."""
    target = GraphTarget.locate(uri)
    publish(home, save_release(home, tables), open_engine(home, target))
    return Published(home, target)
