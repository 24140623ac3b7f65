"""Turtle, loaded by rdflib and asked with SPARQL."""

from __future__ import annotations

import gzip

import polars as pl
import pytest
import rdflib

from aroma.retrieval.exports.rdf import PREFIXES
from tests.support.homes import home_of_tables
from tests.support.small_release import small_release

WHERE_FROM = """
SELECT ?provider ?title ?sha256 ?line ?licence ?run WHERE {
  ?edge rdf:subject HGNC:12426 ; rdf:predicate biolink:interacts_with ; rdf:object HGNC:13890 ;
        prov:wasDerivedFrom ?file ; prov:wasGeneratedBy ?run ; prov:wasAttributedTo ?provider ;
        aroma:line ?line ; dcterms:license ?licence .
  ?file dcterms:title ?title ; aroma:sha256 ?sha256 .
  ?run prov:used ?file .
} ORDER BY ?line
"""


@pytest.fixture(scope="module")
def hard_home(tmp_path_factory):
    """The small release with texts and identifiers that Turtle cannot take as they are."""
    tables = small_release()
    hard = 'a "quoted" \\ one\twith a tab\nand a second line; café \x01.'
    odd = "CORUM:a/b c"
    nodes = tables["nodes"].with_columns(
        pl.when(pl.col("id") == "GO:0000422").then(pl.lit(hard)).otherwise(pl.col("description")).alias("description"),
        pl.when(pl.col("id") == "CORUM:783").then(pl.lit(odd)).otherwise(pl.col("id")).alias("id"),
    )
    edges = tables["edges"].with_columns(
        pl.when(pl.col("object") == "CORUM:783").then(pl.lit(odd)).otherwise(pl.col("object")).alias("object")
    )
    frames = {**tables.frames, "nodes": nodes, "edges": edges}
    return home_of_tables(tmp_path_factory.mktemp("rdf") / "home", tables.of(frames))


@pytest.fixture
def graph(export, hard_home) -> rdflib.Graph:
    return rdflib.Graph().parse(export("rdf", "graph.ttl", hard_home).out, format="turtle")


def iri(curie: str) -> rdflib.URIRef:
    prefix, _, local = curie.partition(":")
    return rdflib.URIRef(PREFIXES[prefix] + local)


def test_sparql_says_where_an_edge_comes_from(graph):
    rows = [tuple(map(str, row)) for row in graph.query(WHERE_FROM)]
    run = "string.links.2123456789ab"
    (sha256,) = small_release()["import_runs"].filter(pl.col("id") == run)["sha256"]
    assert rows == [
        (
            "urn:aroma:provider:string",
            "string.txt.gz",
            sha256,
            f"{run}:{line}",
            "https://creativecommons.org/licenses/by/4.0/",
            f"urn:aroma:run:{run}",
        )
        for line in (3, 4)
    ]


def test_every_edge_is_a_fact_and_a_statement_and_what_is_negated_is_no_fact(graph):
    edges = small_release()["edges"]
    statements = set(graph.subjects(rdflib.RDF.type, rdflib.RDF.Statement))
    assert len(statements) == edges.height
    negated = [one for one in statements if (one, iri("biolink:negated"), rdflib.Literal(True)) in graph]
    assert len(negated) == 1
    for one in statements:
        fact = tuple(graph.value(one, term) for term in (rdflib.RDF.subject, rdflib.RDF.predicate, rdflib.RDF.object))
        assert (fact in graph) == (one not in negated)
    assert (iri("HGNC:18"), None, iri("GO:0006914")) not in graph


def test_texts_and_odd_identifiers_arrive(graph):
    description = str(graph.value(iri("GO:0000422"), iri("dcterms:description")))
    assert description == 'a "quoted" \\ one\twith a tab\nand a second line; café  .'
    assert graph.value(rdflib.URIRef("urn:aroma:node:CORUM:a/b_c"), rdflib.RDFS.label) == rdflib.Literal("ITCH complex")


def test_every_edge_names_a_file_a_run_and_a_licence(graph):
    for one in graph.subjects(rdflib.RDF.type, rdflib.RDF.Statement):
        for predicate in ("prov:wasDerivedFrom", "prov:wasGeneratedBy", "prov:wasAttributedTo", "dcterms:license"):
            assert graph.value(one, iri(predicate)) is not None
        assert (graph.value(one, iri("prov:wasDerivedFrom")), rdflib.RDF.type, iri("prov:Entity")) in graph


def test_a_compressed_file_holds_the_same(export):
    plain, packed = export("rdf", "graph.ttl"), export("rdf", "graph.ttl.gz")
    assert gzip.decompress(packed.out.read_bytes()) == plain.out.read_bytes()
