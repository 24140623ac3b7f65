"""Which database answers: Neo4j where it holds the release, else an embedded copy of the tables."""

from __future__ import annotations

import pytest

from aroma.kgstore.engines import open_engine
from aroma.kgstore.engines.base import PUBLISHING
from aroma.kgstore.engines.neo4j_server import Neo4jEngine
from aroma.kgstore.graph import Graph
from aroma.kgstore.home import GraphTarget
from aroma.kgstore.publications import append, read_publications
from aroma.kgstore.query_service import Question, run_query
from aroma.kgstore.releases import publish, save_release
from tests.support.tables import nodes, release, run_rows, statements

GENES = nodes(*[(f"HGNC:{n}", "Gene") for n in range(1, 4)])
COUNT = Question(cypher="MATCH ()-[r:INTERACTS_WITH]->() RETURN count(r)")
pytestmark = [pytest.mark.neo4j, pytest.mark.embedded]


def tables(*pairs):
    rows = [(one, "INTERACTS_WITH", other) for one, other in pairs]
    return release([GENES], [statements(rows, score=500)], runs=run_rows(("string", "links", len(rows))))


@pytest.fixture
def lab(embedded_home, empty_neo4j):
    """A home served by Neo4j, with one edge in the first release and two in the second."""
    target = GraphTarget(empty_neo4j)
    engine = open_engine(embedded_home, target)
    for made in (tables(("HGNC:1", "HGNC:2")), tables(("HGNC:1", "HGNC:2"), ("HGNC:2", "HGNC:3"))):
        publish(embedded_home, save_release(embedded_home, made), engine)
    return embedded_home, target


def test_neo4j_answers_what_it_holds_and_a_copy_answers_for_older_releases(lab):
    home, target = lab
    now = run_query(home, target, COUNT)
    assert (now.engine, now.result.rows) == ("neo4j", [(2,)])
    older = run_query(home, target, Question(cypher=COUNT.cypher, as_of="1"))
    assert (older.engine, older.result.rows) == ("arcadedb", [(1,)])
    assert older.release == read_publications(home)[0].release


def test_while_neo4j_is_being_changed_a_copy_of_the_old_release_answers_and_says_so(lab):
    home, target = lab
    with Graph.open(Neo4jEngine(target)._address) as graph:
        graph.write("MATCH (r:Release) SET r.state = $state, r.target = 'rnext'", {"state": PUBLISHING})
    answer = run_query(home, target, COUNT)
    assert (answer.engine, answer.result.rows) == ("arcadedb", [(2,)])
    assert "is being changed to release rnext" in answer.notes[0]


def test_a_database_one_step_ahead_of_the_switch_does_not_answer_for_the_old_release(lab):
    """A build killed between the database's commit and the switch: what is served is what published.json says."""
    home, target = lab
    entries = read_publications(home)
    home.published.unlink()
    append(home, entries[0])
    answer = run_query(home, target, COUNT)
    assert (answer.release, answer.result.rows) == (entries[0].release, [(1,)])
