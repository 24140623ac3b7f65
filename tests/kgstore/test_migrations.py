"""Migrations: numbered, checksummed, recorded in the graph, safe when two start at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aroma.errors import MigrationError
from aroma.kgstore.graph import Address, Graph
from aroma.kgstore.migrations import GraphStore, Migration, load_migrations, migrate, migration_states


def _write(directory: Path, **texts: str) -> tuple[Migration, ...]:
    directory.mkdir(exist_ok=True)
    for file in directory.iterdir():
        file.unlink()
    for name, text in texts.items():
        (directory / f"{name}.cypher").write_text(text)
    return load_migrations(directory)


def test_bundled_migrations_have_a_script_for_each_engine() -> None:
    migrations = load_migrations()
    assert [migration.version for migration in migrations] == list(range(1, len(migrations) + 1))
    for migration in migrations:
        for engine in ("neo4j", "arcadedb"):
            assert migration.script(engine).statements
            for statement in migration.script(engine).statements:
                assert "IF NOT EXISTS" in statement


def test_a_missing_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="V002 is missing"):
        _write(tmp_path, V001__a="RETURN 1;", V003__c="RETURN 1;")


def test_a_number_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="V001 is there twice"):
        _write(tmp_path, V001__a="RETURN 1;", V001__b="RETURN 1;")


def test_a_strange_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="not named like"):
        _write(tmp_path, first="RETURN 1;")


def test_statements_are_split_at_line_ends_and_comments_left_out(tmp_path: Path) -> None:
    (migration,) = _write(tmp_path, V001__a="// why; because\nRETURN 'a;b' AS x;\n\nRETURN\n  2;\n")
    assert migration.script("neo4j").statements == ["RETURN 'a;b' AS x", "RETURN\n  2"]


def test_the_checksum_does_not_depend_on_line_ends(tmp_path: Path) -> None:
    (unix,) = _write(tmp_path / "a", V001__a="RETURN 1;\nRETURN 2;\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "V001__a.cypher").write_bytes(b"RETURN 1;\r\nRETURN 2;\r\n")
    (windows,) = load_migrations(tmp_path / "b")
    assert unix.script("neo4j").checksum == windows.script("neo4j").checksum


@pytest.fixture
def graph(empty_neo4j: str) -> Any:
    with Graph.open(Address(empty_neo4j)) as opened:
        yield opened


def _schema(graph: Graph) -> set[object]:
    constraints = graph.read("SHOW CONSTRAINTS YIELD name").rows
    indexes = graph.read("SHOW INDEXES YIELD name WHERE name <> ''").rows
    return {row[0] for row in (*constraints, *indexes)}


@pytest.mark.neo4j
def test_applied_once_and_recorded(graph: Graph) -> None:
    store = GraphStore(graph)
    applied = migrate(store)
    assert [state.version for state in applied] == [migration.version for migration in load_migrations()]
    assert {"gene_id", "gene_symbol", "GOTerm[name]"} <= _schema(graph)
    before = graph.read("MATCH (m:Migration) RETURN m.version, m.checksum, m.applied_at ORDER BY m.version").rows
    assert migrate(store) == ()
    after = graph.read("MATCH (m:Migration) RETURN m.version, m.checksum, m.applied_at ORDER BY m.version").rows
    assert before == after
    assert all(state.applied_at for state in migration_states(store))
    assert graph.read("MATCH (l:MigrationLock) RETURN count(l)").rows == [(0,)]


@pytest.mark.neo4j
def test_unique_keys_hold(graph: Graph) -> None:
    migrate(GraphStore(graph))
    graph.write("CREATE (:Gene {id: 'HGNC:1'})")
    with pytest.raises(Exception, match="HGNC:1"):
        graph.write("CREATE (:Gene {id: 'HGNC:1'})")


@pytest.mark.neo4j
def test_an_edited_file_is_refused(graph: Graph, tmp_path: Path) -> None:
    store = GraphStore(graph)
    migrate(store, _write(tmp_path, V001__a="CREATE INDEX a IF NOT EXISTS FOR (n:A) ON (n.x);"))
    edited = _write(tmp_path, V001__a="CREATE INDEX b IF NOT EXISTS FOR (n:B) ON (n.x);")
    with pytest.raises(MigrationError, match="V001__a was applied at .* and its file was edited"):
        migrate(store, edited)
    assert "b" not in _schema(graph)


@pytest.mark.neo4j
def test_a_file_that_went_is_refused(graph: Graph, tmp_path: Path) -> None:
    store = GraphStore(graph)
    two = {"V001__a": "RETURN 1;", "V002__b": "RETURN 2;"}
    migrate(store, _write(tmp_path, **two))
    with pytest.raises(MigrationError, match="V002__b was applied at .* its file is missing"):
        migrate(store, _write(tmp_path, V001__a="RETURN 1;"))


@pytest.mark.neo4j
def test_a_failing_statement_names_itself_and_keeps_the_earlier_ones(graph: Graph, tmp_path: Path) -> None:
    store = GraphStore(graph)
    broken = _write(tmp_path, V001__a="RETURN 1;", V002__b="CREATE NONSENSE;")
    with pytest.raises(MigrationError, match="V002__b: CREATE NONSENSE"):
        migrate(store, broken)
    assert [state.applied_at is not None for state in migration_states(store, broken)] == [True, False]
    mended = _write(tmp_path, V001__a="RETURN 1;", V002__b="RETURN 2;")
    assert [state.version for state in migrate(store, mended)] == [2]


@pytest.mark.neo4j
def test_a_lock_left_behind_is_taken_over(graph: Graph, tmp_path: Path) -> None:
    graph.write("CREATE (:MigrationLock {name: 'migrations', holder: 'a process that ended', taken_at: 0})")
    assert len(migrate(GraphStore(graph), _write(tmp_path, V001__a="RETURN 1;"))) == 1


_PROGRAM = """
import sys
from aroma.kgstore.graph import Address, Graph
from aroma.kgstore.migrations import GraphStore, migrate
with Graph.open(Address(sys.argv[1])) as graph:
    sys.stdin.readline()
    print(len(migrate(GraphStore(graph))))
"""


@pytest.mark.neo4j
def test_two_processes_at_once_apply_each_migration_once(graph: Graph) -> None:
    """Both are ready before either starts; what one applies the other does not."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, graph.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    counts = []
    for process in started:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        counts.append(int(out))
    total = len(load_migrations())
    assert sum(counts) == total
    assert graph.read("MATCH (m:Migration) RETURN count(m)").rows == [(total,)]
    assert graph.read("MATCH (l:MigrationLock) RETURN count(l)").rows == [(0,)]


class _Record:
    """A store that has a record and nothing else, for what is decided before any statement runs."""

    engine = "neo4j"

    def __init__(self, rows: list[tuple[object, ...]]) -> None:
        self.rows = rows

    def run(self, text: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[object, ...]]:
        assert "MATCH (m:Migration)" in text
        assert parameters is None
        return self.rows

    def run_sql(self, text: str) -> None:
        raise AssertionError(text)


def test_a_hole_in_the_record_is_refused(tmp_path: Path) -> None:
    migrations = _write(tmp_path, V001__a="RETURN 1;", V002__b="RETURN 2;")
    record = _Record([(2, "b", migrations[1].script("neo4j").checksum, "2026-01-01")])
    with pytest.raises(MigrationError, match="records V002 and not V001"):
        migrate(record, migrations)
