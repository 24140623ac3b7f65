"""Node-link JSON, loaded by networkx."""

from __future__ import annotations

import json

import networkx
import polars as pl

from tests.support.homes import home_of_tables
from tests.support.small_release import small_release


def test_networkx_reads_every_node_and_edge(export):
    made = export("networkx", "graph.json")
    graph = networkx.node_link_graph(json.loads(made.out.read_text()))
    tables = small_release()
    assert isinstance(graph, networkx.MultiDiGraph)
    assert set(graph.nodes) == set(tables["nodes"]["id"])
    edges = tables["edges"].select("subject", "object", pl.concat_str("relation", "provider", separator="/"))
    keys = set(edges.rows())
    assert set(graph.edges(keys=True)) == keys
    assert graph.graph["release"] == made.card["release"]
    assert graph.nodes["HGNC:12426"]["symbol"] == "TULP1"
    edge = graph.edges["HGNC:12426", "GO:0000422", "ANNOTATED_TO/gene_ontology"]
    assert edge["evidence"] == ["IDA", "IEA"]
    assert len(edge["statements"]) == 2


def test_a_view_without_edges_is_still_a_graph(export, tmp_path):
    tables = small_release()
    edges = tables["edges"].clear()
    home = home_of_tables(tmp_path / "home", tables.of({**tables.frames, "edges": edges}))
    graph = networkx.node_link_graph(json.loads(export("networkx", home=home).out.read_text()))
    assert (len(graph.nodes), len(graph.edges)) == (15, 0)
