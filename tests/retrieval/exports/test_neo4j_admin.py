"""CSVs for ``neo4j-admin``: imported by the real one into a database that is compared with the release's tables."""

from __future__ import annotations

import csv
import os
import subprocess

import polars as pl
import pytest

from aroma.kgstore.engines import compare
from aroma.kgstore.graph import Address, Graph
from aroma.kgstore.releases import load_tables
from tests.support.homes import home_of_tables
from tests.support.neo4j_server import Neo4jServer, jar_directory, missing_tools
from tests.support.small_release import small_release

_ADMIN = """#!/bin/sh
exec java -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "{jars}/*" org.neo4j.cli.AdminTool "$@"
"""


@pytest.fixture(scope="module")
def hard_home(tmp_path_factory):
    """The small release with texts that are hard to put into CSV: quotes, line ends, the usual array delimiter."""
    tables = small_release()
    hard = 'a "quoted" one, with a comma;\nand a second line'

    def at(node: str, value: object, column: str) -> pl.Expr:
        return pl.when(pl.col("id") == node).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)

    nodes = tables["nodes"].with_columns(
        at("GO:0000422", hard, "description"),
        at("HGNC:20", ["a;b", "c, d"], "synonyms"),
    )
    key = (pl.col("subject") == "HGNC:12426") & (pl.col("object") == "GO:0000422")
    edges = tables["edges"].with_columns(
        pl.when(key).then(pl.lit(["", "PMID:9"])).otherwise(pl.col("references")).alias("references")
    )
    frames = {**tables.frames, "nodes": nodes, "edges": edges}
    return home_of_tables(tmp_path_factory.mktemp("neo4j-csv") / "home", tables.of(frames))


def read(path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_headers_are_as_the_import_wants_them(export):
    made = export("neo4j-admin")
    gene = (made.out / "nodes-Gene.csv").read_text().splitlines()[0].split(",")
    assert gene[:2] == ["id:ID", ":LABEL"]
    assert {"symbol:string", "previous:string[]", "path_degree:long"} <= set(gene)
    edge = (made.out / "relationships-ANNOTATED_TO.csv").read_text().splitlines()[0].split(",")
    assert edge[:3] == [":START_ID", ":TYPE", ":END_ID"]
    assert "evidence:string[]" in edge
    rows = [row for path in sorted(made.out.glob("relationships-*.csv")) for row in read(path)]
    assert len(rows) == made.card["rows"]["relationships"]
    arguments = (made.out / "import.args").read_text().split()
    named = {option.partition("=")[2] for option in arguments if option.startswith(("--nodes=", "--relationships="))}
    assert named == {path.name for path in made.out.glob("*.csv")}


def test_a_view_has_its_derived_edges(export):
    made = export("neo4j-admin", view="gene-kg")
    (row,) = read(made.out / "relationships-SHARES_COMPLEX.csv")
    assert (row[":START_ID"], row[":TYPE"], row[":END_ID"]) == ("HGNC:13890", "SHARES_COMPLEX", "HGNC:18")


@pytest.mark.neo4j
def test_the_imported_database_is_the_published_one(export, hard_home, tmp_path):
    if problem := missing_tools():
        pytest.skip(problem)
    made = export("neo4j-admin", home=hard_home)
    server_home, admin = tmp_path / "neo4j", tmp_path / "neo4j-admin"
    (server_home / "conf").mkdir(parents=True)
    admin.write_text(_ADMIN.format(jars=jar_directory()))
    admin.chmod(0o755)
    environment = {"NEO4J_HOME": str(server_home), "NEO4J_CONF": str(server_home / "conf"), "NEO4J_ADMIN": str(admin)}
    done = subprocess.run(
        [str(made.out / "import.sh"), "--threads=2", f"--report-file={tmp_path / 'report'}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    release = made.card["release"]
    with Neo4jServer(server_home, heap="512m", page_cache="64m") as server, Graph.open(Address(server.uri)) as graph:
        assert compare.differences(graph, load_tables(hard_home, release), release) == []
        counted = graph.read("MATCH (n) WITH count(n) AS n MATCH ()-[r]->() RETURN n, count(r)").rows
    assert counted == [(made.card["rows"]["nodes"], made.card["rows"]["relationships"])]
