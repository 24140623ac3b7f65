"""The Neo4j engine: large changes in batches, what a killed one leaves, and servers that cannot be used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from aroma.errors import StoreUnavailableError
from aroma.kgstore.engines.neo4j_server import Neo4jEngine
from aroma.kgstore.graph import Address, Graph, check_version
from aroma.kgstore.home import GraphTarget
from tests.kgstore.release_samples import publication, sample_tables
from tests.support.neo4j_server import Neo4jServer

pytestmark = pytest.mark.neo4j


class StoppedError(Exception):
    """Stands for the end of the process in the middle of a publication."""


def _stop_at(step: str) -> Callable[[str], None]:
    def progress(said: str) -> None:
        if step in said:
            raise StoppedError

    return progress


def _engine(uri: str, *, one_transaction: int = 50_000) -> Neo4jEngine:
    return Neo4jEngine(GraphTarget(uri), one_transaction=one_transaction)


def test_a_large_change_is_never_seen_half_made(empty_neo4j: str) -> None:
    old, new = sample_tables(), sample_tables(score=100, pairs=4)
    engine = _engine(empty_neo4j)
    engine.project(old, publication(), previous=None)
    with engine.connect() as early:
        with pytest.raises(StoppedError):
            _engine(empty_neo4j, one_transaction=0).project(
                new, publication("r2", 2, "r1"), previous=old, progress=_stop_at("INTERACTS_WITH edges go")
            )
        held = engine.holds()
        assert held is not None
        assert (held.release, held.state, held.target) == ("r1", "publishing", "r2")
        with pytest.raises(StoreUnavailableError, match="publishing release r2, try again"):
            early.read("RETURN 1")
        with pytest.raises(StoreUnavailableError, match="publishing release r2, try again"):
            engine.connect()
        _engine(empty_neo4j, one_transaction=0).project(new, publication("r2", 2, "r1"), previous=None)
        assert early.read("MATCH (r:Release) RETURN r.id").rows == [("r2",)]
    assert engine.verify(new) == []


def test_a_publication_during_a_query_is_told(empty_neo4j: str) -> None:
    engine = _engine(empty_neo4j)
    engine.project(sample_tables(), publication(), previous=None)
    with engine.connect() as graph:
        pin = graph.pin
        assert pin is not None

        def pin_and_publish(asked: Graph) -> object:
            said = pin(asked)
            engine.project(sample_tables(pairs=4), publication("r2", 2, "r1"), previous=sample_tables())
            graph.pin = pin
            return said

        graph.pin = pin_and_publish
        with pytest.raises(StoreUnavailableError, match="another release during the query"):
            graph.read("RETURN 1")
        assert graph.read("MATCH (r:Release) RETURN r.id").rows == [("r2",)]


_PROJECT = """
import sys
from tests.kgstore.release_samples import publication, sample_tables
from aroma.kgstore.engines.neo4j_server import Neo4jEngine
from aroma.kgstore.home import GraphTarget
engine = Neo4jEngine(GraphTarget(sys.argv[1]), one_transaction=int(sys.argv[2]))
engine.project(sample_tables(pairs=2_000), publication("r2", 2, "r1"), previous=sample_tables(),
               progress=lambda step: print(step, flush=True))
"""


@pytest.mark.parametrize(("limit", "step"), [(0, "Gene nodes"), (0, "INTERACTS_WITH edges"), (50_000, "rows change")])
def test_a_killed_client_costs_a_rerun(empty_neo4j: str, limit: int, step: str) -> None:
    _engine(empty_neo4j).project(sample_tables(), publication(), previous=None)
    client = subprocess.Popen(
        [sys.executable, "-c", _PROJECT, empty_neo4j, str(limit)], stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    for line in client.stdout:
        if step in line:
            client.kill()
            break
    else:
        pytest.fail(f"it never came to {step!r}")
    client.wait()
    client.stdout.close()
    engine = _engine(empty_neo4j)
    held = engine.holds()
    assert held is not None
    previous = sample_tables() if held.state == "published" and held.release == "r1" else None
    if held.release == "r1" and held.state == "published":
        assert engine.verify(sample_tables()) == [], "one transaction: all or nothing"
    engine.project(sample_tables(pairs=2_000), publication("r2", 2, "r1"), previous=previous)
    assert engine.verify(sample_tables(pairs=2_000)) == []
    with engine.connect("r2") as graph:
        assert graph.read("MATCH (r:Release) RETURN r.id, r.state").rows == [("r2", "published")]


def test_other_labels_stay_and_an_unknown_content_is_compared(empty_neo4j: str) -> None:
    """The database has nodes of ours but no release, and nodes that are not ours."""
    engine = _engine(empty_neo4j)
    assert engine.holds() is None
    with Graph.open(Address(empty_neo4j)) as graph:
        graph.write("CREATE (:Mine {id: 'HGNC:1'})-[:INTERACTS_WITH]->(:Mine {id: 'HGNC:2'}), (:Gene {id: 'HGNC:7'})")
        graph.write("CREATE (:Gene {id: 'HGNC:1', symbol: 'wrong'}), (:Pathway)")
    with pytest.raises(StoreUnavailableError, match="holds no release"):
        engine.connect()
    engine.project(sample_tables(), publication(), previous=None)
    assert engine.verify(sample_tables()) == []
    engine.discard("other")
    assert engine.holds() is not None
    engine.discard("r1")
    with Graph.open(Address(empty_neo4j)) as graph:
        assert graph.read("MATCH (n) WHERE NOT n:Migration RETURN DISTINCT labels(n), count(n)").rows == [(["Mine"], 2)]
        assert graph.read("MATCH ()-[r]->() RETURN count(r)").rows == [(1,)]


def test_another_release_is_not_answered_for(empty_neo4j: str) -> None:
    engine = _engine(empty_neo4j)
    engine.project(sample_tables(), publication(), previous=None)
    with pytest.raises(StoreUnavailableError, match="holds release r1, not r9; .*aroma releases open r9"):
        engine.connect("r9")


def test_a_wrong_password_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, neo4j_server: Neo4jServer) -> None:
    del neo4j_server  # only so that this is skipped where no server can run
    home = tmp_path_factory.mktemp("neo4j_auth")
    with Neo4jServer(home, password="right password", heap="512m", page_cache="64m") as server:
        with Graph.open(Address(server.uri, None, "neo4j", "right password")) as graph:
            assert graph.read("RETURN 1 AS one").records() == [{"one": 1}]
        with pytest.raises(StoreUnavailableError, match="refuses user neo4j; set GRAPH_USER and GRAPH_PASSWORD"):
            Graph.open(Address(server.uri, None, "neo4j", "wrong"))
        with pytest.raises(StoreUnavailableError, match="refuses a login without password"):
            Graph.open(Address(server.uri))


def test_nothing_there_is_one_sentence() -> None:
    with pytest.raises(StoreUnavailableError, match=r"no database answers at bolt://127\.0\.0\.1:1 .*start it"):
        Graph.open(Address("bolt://127.0.0.1:1"))
    with pytest.raises(StoreUnavailableError, match="no database answers"):
        _engine("bolt://127.0.0.1:1").holds()


@pytest.mark.parametrize("agent", ["Neo4j/4.4.30", "Neo4j/5.25.1", "Neo4j/3.5", "Memgraph/2.18", "", "Neo4j/dev"])
def test_an_old_or_other_server_is_refused_by_version(agent: str) -> None:
    with pytest.raises(StoreUnavailableError, match=r"5\.26"):
        check_version(agent, "bolt://host")


@pytest.mark.parametrize("agent", ["Neo4j/5.26.0", "Neo4j/5.26.12", "Neo4j/2025.04.0", "Neo4j/5.26-aura"])
def test_a_new_enough_server_is_taken(agent: str) -> None:
    check_version(agent, "bolt://host")
