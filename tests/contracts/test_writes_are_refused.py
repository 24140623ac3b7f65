"""Every spelling of a write is sent as ``aroma query --cypher`` sends it, to both engines; nothing changes there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aroma.cli.app import run
from aroma.errors import EXIT_WRONG_USE
from aroma.kgstore.engines import open_engine
from aroma.kgstore.home import Home
from tests.support.both_engines import Published, publish_small
from tests.support.write_spellings import WRITES

pytestmark = [pytest.mark.neo4j, pytest.mark.embedded]


@pytest.fixture(scope="module", params=["embedded", "neo4j"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """The small release on one engine."""
    import neo4j

    from aroma.kgstore.engines.embedded_owner import stop_owner

    home = Home(tmp_path_factory.mktemp("home"))
    uri = "embedded:"
    if request.param == "neo4j":
        uri = request.getfixturevalue("neo4j_uri")
        with neo4j.GraphDatabase.driver(uri) as driver:
            driver.execute_query("MATCH (n) DETACH DELETE n")
    try:
        yield publish_small(home, uri)
    finally:
        stop_owner(home)


def _state(published: Published) -> list[object]:
    """Return everything that a write could change: all nodes and edges with their properties, and the schema."""
    with open_engine(published.home, published.target).connect() as graph:
        nodes = graph.read("MATCH (n) RETURN labels(n) AS l, properties(n) AS p", limit=None).rows
        edges = graph.read("MATCH (a)-[r]->(b) RETURN a.id, type(r), b.id, properties(r) AS p", limit=None).rows
        indexes = graph.read("SHOW INDEXES", limit=None).records()
        labels = graph.read("CALL db.labels() YIELD label RETURN label", limit=None).rows
        types = graph.read("CALL db.relationshipTypes() YIELD relationshipType AS t RETURN t", limit=None).rows
    named = [(index["name"], index["type"], index["labelsOrTypes"], index["properties"]) for index in indexes]
    return [sorted(map(repr, rows)) for rows in (nodes, edges, named, labels, types)]


def test_no_spelling_writes(published: Published, capsys: pytest.CaptureFixture[str]) -> None:
    before = _state(published)
    common = ["--home", str(published.home.path), "--uri", published.target.uri]
    passed = [name for name, text in WRITES.items() if run(["query", "--cypher", text, *common]) != EXIT_WRONG_USE]
    assert passed == []
    assert capsys.readouterr().err.count("query refused at line") == len(WRITES)
    assert _state(published) == before
