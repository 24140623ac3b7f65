"""Fixtures that start real engines."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from aroma.kgstore.home import Home
from tests.support.neo4j_server import Neo4jServer, missing_tools


@pytest.fixture(scope="session")
def neo4j_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neo4jServer]:
    """One real Neo4j server a test process, without password; under pytest-xdist each worker has its own."""
    if problem := missing_tools():
        pytest.skip(problem)
    with Neo4jServer(tmp_path_factory.mktemp("neo4j"), heap="1g", page_cache="128m") as server:
        yield server


@pytest.fixture(scope="session")
def neo4j_uri(neo4j_server: Neo4jServer) -> str:
    """Bolt address of the session's server; what an earlier test wrote is still there, see ``empty_neo4j``."""
    return neo4j_server.uri


@pytest.fixture
def empty_neo4j(neo4j_uri: str) -> str:
    """Bolt address of the session's server, emptied: no nodes, no constraints, no indexes."""
    empty_database(neo4j_uri)
    return neo4j_uri


def empty_database(uri: str) -> None:
    """Remove all nodes, constraints and indexes."""
    import neo4j

    with neo4j.GraphDatabase.driver(uri) as driver:
        driver.execute_query("MATCH (n) DETACH DELETE n")
        for record in driver.execute_query("SHOW CONSTRAINTS YIELD name").records:
            driver.execute_query(f"DROP CONSTRAINT `{record['name']}`")
        for record in driver.execute_query("SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP'").records:
            driver.execute_query(f"DROP INDEX `{record['name']}`")


@pytest.fixture
def embedded_home(tmp_path: Path) -> Iterator[Home]:
    """A home whose embedded engine, if a test starts it, is ended with the test."""
    from aroma.kgstore.engines.embedded_owner import stop_owner

    home = Home(tmp_path / "home")
    yield home
    stop_owner(home)


@pytest.fixture(scope="session")
def sample_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a release of the bundled samples, published without a database; do not write to it."""
    from tests.support.homes import home_of_files

    return home_of_files(tmp_path_factory.mktemp("sample") / "home")


@pytest.fixture(scope="session")
def home_with_vectors(sample_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The sample home with small graph embeddings of both views, trained a few epochs; do not write to it."""
    from aroma.model.embeddings.gat_model import GatOptions
    from aroma.model.embeddings.gat_runs import plan_gat, work_on_gat
    from aroma.model.embeddings.runs import embeddings_ledger

    home = Home(tmp_path_factory.mktemp("vectors") / "home")
    shutil.copytree(sample_home.path, home.path)
    ledger = embeddings_ledger(home)
    for view in ("gene-kg", "path-kg"):
        small = GatOptions(view=view, input_dim=16, hidden=8, heads=2, dim=16, decoder=16, epochs=3, patience=3)
        work_on_gat(home, ledger, plan_gat(home, ledger, None, small).id)
    return home
