"""What both engines must do alike, on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aroma.errors import QueryError
from aroma.kgstore import projection
from aroma.kgstore.engines.base import Engine
from aroma.kgstore.engines.embedded import EmbeddedEngine
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.engines.neo4j_server import Neo4jEngine
from aroma.kgstore.graph import Graph
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.publications import append
from tests.conftest import empty_database
from tests.kgstore.release_samples import RUN, publication, sample_tables


@pytest.fixture(
    scope="module",
    params=[pytest.param("embedded", marks=pytest.mark.embedded), pytest.param("neo4j", marks=pytest.mark.neo4j)],
)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that holds the sample release as the first publication; each test leaves it like that."""
    home = Home(tmp_path_factory.mktemp("engines") / "home")
    made: Engine
    if request.param == "embedded":
        made = EmbeddedEngine(home)
    else:
        uri = request.getfixturevalue("neo4j_uri")
        empty_database(uri)
        made = Neo4jEngine(GraphTarget(uri))
    made.project(sample_tables(), publication(), previous=None)
    append(home, publication())
    yield made
    stop_owner(home)


def _read(engine: Engine, text: str, **parameters: object) -> list[tuple[object, ...]]:
    with engine.connect() as graph:
        return graph.read(text, parameters).rows


def test_everything_written_is_read_back_the_same(engine: Engine) -> None:
    """Properties, parallel lists (left out where all are empty), odd characters, no nulls; comparing sees it so."""
    assert engine.verify(sample_tables()) == []
    (edge,) = _read(engine, "MATCH (a {id: 'HGNC:1'})-[r:INTERACTS_WITH]->(b {id: 'HGNC:2'}) RETURN properties(r)")[0]
    assert edge == {
        "import_runs": [RUN], "licence": "CC0", "original_subject": "9606.ENSP1",
        "provider": "string", "provider_release": "1", "references": ["PMID:1", ""],
        "score": 900, "score_experiments": 7, "since": 1, "statements": [f"{RUN}:2", f"{RUN}:92"],
    }  # fmt: skip
    (gene,) = _read(engine, "MATCH (g:Gene {id: 'HGNC:1'}) RETURN properties(g)")[0]
    assert isinstance(gene, dict)
    assert None not in gene.values()
    assert gene | {
        "id": "HGNC:1", "symbol": "G1", "synonyms": ["a", 'quote " \\ back'], "provider": "hgnc",
        "description": "what it does", "description_source": "string", "path_degree": 1,
    } == gene  # fmt: skip
    assert _read(engine, "MATCH (t:GOTerm {id: 'GO:0000001'}) RETURN t.name, t.obsolete") == [
        ('an "odd"\tname: é 漢 "score":null,', False)
    ]


def test_the_release_stands_in_the_database_with_its_runs_and_sources(engine: Engine) -> None:
    held = engine.holds()
    assert held is not None
    assert (held.release, held.sequence, held.state) == ("r1", 1, "published")
    rows = _read(
        engine,
        "MATCH (r:Release)-[:INCLUDES]->(i:ImportRun)-[:READ_FROM]->(s:Source) "
        "RETURN r.id, r.sequence, r.edges_rows, i.id, s.provider",
    )
    assert rows == [("r1", 1, 7, RUN, "string")]
    assert _read(engine, "MATCH (u:UnresolvedIdentifier) RETURN u.identifier, u.rows") == [("X", 2)]
    assert _read(engine, "MATCH (c:NameConflict) RETURN c.name, c.other_genes") == [("TAZ", ["HGNC:2"])]


def test_projecting_again_changes_nothing(engine: Engine) -> None:
    before = _read(engine, "MATCH (n) RETURN count(n)"), _read(engine, "MATCH ()-[r]->() RETURN count(r)")
    engine.project(sample_tables(), publication(), previous=sample_tables())
    assert (_read(engine, "MATCH (n) RETURN count(n)"), _read(engine, "MATCH ()-[r]->() RETURN count(r)")) == before


@pytest.mark.parametrize(
    ("tamper", "thing", "problem"),
    [
        ("MATCH ()-[r:INTERACTS_WITH {score_experiments: 7}]->() SET r.score = 1", "INTERACTS_WITH", "altered: 1"),
        ("MATCH ()-[r:ANNOTATED_TO {provider: 'goa'}]->() DELETE r", "ANNOTATED_TO", "missing: 1"),
        (
            "MATCH (a:Gene {id: 'HGNC:2'}), (b:Gene {id: 'HGNC:3'}) CREATE (a)-[:IS_A {provider: 'me'}]->(b)",
            "IS_A",
            "extra: 1",
        ),
        (
            "MATCH (a {id: 'HGNC:1'}), (b:GOTerm {name: 'second'}) CREATE (a)-[:ANNOTATED_TO {provider: 'go'}]->(b)",
            "ANNOTATED_TO",
            "extra: 1",
        ),
        (
            "MATCH (a:Gene)-[r:ANNOTATED_TO {provider: 'goa'}]->(b) CREATE (a)-[:ANNOTATED_TO {provider: 'goa'}]->(b)",
            "ANNOTATED_TO",
            "altered: 1",
        ),
        ("CREATE (:Gene {id: 'HGNC:999'})", "Gene", "extra: 1"),
        ("MATCH (g:Gene {id: 'HGNC:1'}) SET g.symbol = 'other'", "Gene", "altered: 1"),
    ],
)
def test_a_hand_in_the_database_is_found_and_repaired(engine: Engine, tamper: str, thing: str, problem: str) -> None:
    with engine.connect() as graph:
        graph.write(tamper)
    assert [(found.thing, found.problem) for found in engine.verify(sample_tables())] == [(thing, problem)]
    engine.repair(sample_tables(), publication())
    assert engine.verify(sample_tables()) == []


def test_reading_cannot_write_and_says_when_it_cut_or_took_too_long(engine: Engine) -> None:
    with engine.connect() as graph:
        for text in ("CREATE (:Gene {id: 'x'})", "MATCH (n:Gene) SET n.symbol = 'x'", "MATCH (n) DETACH DELETE n"):
            with pytest.raises(QueryError, match="would write"):
                graph.read(text)
        cut = graph.read("UNWIND range(1, 100) AS x RETURN x", limit=10)
        assert (len(cut.rows), cut.truncated, cut.columns) == (10, True, ("x",))
        assert not graph.read("UNWIND range(1, 10) AS x RETURN x", limit=10).truncated
        with pytest.raises(QueryError, match="RETRN"):
            graph.read("RETRN 1")
        _slow(graph)
    assert engine.verify(sample_tables()) == []


def _slow(graph: Graph) -> None:
    text = "UNWIND range(1, 100000) AS x UNWIND range(1, 100000) AS y WITH x, y WHERE x * y = 7 RETURN count(*)"
    with pytest.raises(QueryError, match="longer than its limit of 0.5 s"):
        graph.read(text, timeout=0.5)


def test_a_transaction_is_kept_whole_or_not_at_all(engine: Engine) -> None:
    with engine.connect() as graph:

        def fails(transaction: object) -> None:
            transaction.run("CREATE (:CellLine {id: $id})", {"id": "one"})  # type: ignore[attr-defined]
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            graph.write_transaction(fails)
        assert graph.read("MATCH (c:CellLine) RETURN c.id").rows == []
        graph.write_transaction(lambda transaction: transaction.run("CREATE (:CellLine {id: 'two'})"))
        assert graph.read("MATCH (c:CellLine) RETURN c").rows == [
            ({"labels": ["CellLine"], "properties": {"id": "two"}},)
        ]
        graph.write("MATCH (c:CellLine) DELETE c")


def test_an_older_release_is_served_again_under_a_new_number(engine: Engine) -> None:
    changed = sample_tables(score=100, pairs=5)
    engine.project(changed, publication("r2", 2, "r1"), previous=sample_tables())
    home_engine = engine.connect("r2")
    with home_engine as graph:
        assert graph.read("MATCH (:Gene)-[r:INTERACTS_WITH]->() RETURN DISTINCT r.score").rows == [(100,)]
    engine.project(sample_tables(), publication("r1", 3, "r2"), previous=changed)
    with engine.connect("r1") as graph:
        assert graph.read("MATCH (r:Release) RETURN r.id, r.sequence").rows == [("r1", 3)]
        assert graph.read("MATCH ()-[r:INTERACTS_WITH]->() RETURN count(r)").rows == [(3,)]
    engine.project(sample_tables(), publication(), previous=sample_tables())


def test_labels_have_unique_keys(engine: Engine) -> None:
    with engine.connect() as graph:
        for label in (*projection.LABELS, projection.RELEASE):
            if label == "Source":
                continue
            graph.write(f"CREATE (:{label} {{id: 'twice'}})")
            with pytest.raises(QueryError):
                graph.write(f"CREATE (:{label} {{id: 'twice'}})")
            graph.write(f"MATCH (n:{label} {{id: 'twice'}}) DELETE n")
