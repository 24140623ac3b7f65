"""Programs written with py2neo can read the Neo4j store."""

from __future__ import annotations

import pytest

from aroma.kgstore.home import Home
from tests.support.both_engines import publish_small

pytestmark = pytest.mark.neo4j


def test_py2neo_reads_the_store(empty_neo4j: str, tmp_path: object) -> None:
    py2neo = pytest.importorskip("py2neo")
    publish_small(Home(tmp_path / "home"), empty_neo4j)  # type: ignore[operator]
    graph = py2neo.Graph(empty_neo4j, auth=None)
    assert graph.nodes.match("Gene").count() == 5
    gene = graph.nodes.match("Gene", symbol="TULP1").first()
    assert gene["id"] == "HGNC:12426"
    edge = graph.relationships.match((gene, None), "ANNOTATED_TO").order_by("_.original_object").first()
    assert edge["provider"] == "gene_ontology"
    assert edge["evidence"] == ["IDA", "IEA"]
    rows = graph.run("MATCH (c:Complex)<-[r:MEMBER_OF]-(g) RETURN g.symbol AS s, r.provider AS p ORDER BY s, p").data()
    assert rows == [
        {"s": "AAMP", "p": "complex_portal"},
        {"s": "AAMP", "p": "corum"},
        {"s": "ITCH", "p": "corum"},
    ]
