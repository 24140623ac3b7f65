"""A release of many small random graphs that have no node in common, to ask two ways the same question."""

from __future__ import annotations

import numpy as np
import polars as pl

from aroma.kgstore import schema
from aroma.kgstore.tables import ReleaseTables
from tests.support.tables import Statement, nodes, release, statements

GRAPHS = 24
GENES, TERMS, PATHWAYS, COMPLEXES = 6, 7, 3, 2
DROPPED = "GO:0005515"
_GO_RELATIONS = ("IS_A", "PART_OF", "REGULATES", "POSITIVELY_REGULATES", "NEGATIVELY_REGULATES")


def gene(graph: int, number: int) -> str:
    """Return the id of a gene of one of the graphs."""
    return f"HGNC:{100 * (graph + 1) + number}"


def term(graph: int, number: int) -> str:
    """Return the id of a term of one of the graphs."""
    return f"GO:{1000 + 100 * graph + number:07d}"


def has_dropped(graph: int) -> bool:
    """Whether genes of the graph are annotated to the term that path-kg leaves out."""
    return graph % 2 == 1


def _graph(rng: np.random.Generator, graph: int) -> dict[str, list[Statement]]:
    """Return statements by provider; each graph has a density of its own."""
    genes = [gene(graph, number) for number in range(GENES)]
    terms = [term(graph, number) for number in range(TERMS)]
    pathways = [f"REACTOME:R-HSA-{100 * (graph + 1) + number}" for number in range(PATHWAYS)]
    complexes = [f"CORUM:{100 * (graph + 1) + number}" for number in range(COMPLEXES)]
    density = rng.uniform(0.1, 0.4)

    def some(ones: list[str], others: list[str], share: float = 1.0) -> list[tuple[str, str]]:
        return [(one, other) for one in ones for other in others if rng.random() < density * share]

    hierarchy = [
        (terms[one], str(rng.choice(_GO_RELATIONS)), terms[other])
        for one in range(1, TERMS)
        for other in range(one)
        if rng.random() < density
    ]
    annotated = [(one, "ANNOTATED_TO", other) for one, other in some(genes, terms)]
    if has_dropped(graph):
        annotated += [(one, "ANNOTATED_TO", DROPPED) for one in genes if rng.random() < 0.7]
    members = [(one, "MEMBER_OF", other) for one, other in some(genes, complexes)]
    return {
        "gene_ontology": hierarchy + annotated,
        "negative": [(one, "NOT_ANNOTATED_TO", other) for one, other in some(genes, terms, 0.5)],
        "reactome": [(one, "PARTICIPATES_IN", other) for one, other in some(genes, pathways)]
        + [(one, "CHILD_OF", other) for one, other in some(pathways[1:], pathways[:1])],
        "corum": members,
        "complex_portal": [row for row in members if rng.random() < 0.5],
        "string": [(one, "INTERACTS_WITH", other) for one, other in some(genes, genes) if one < other],
    }


def random_release(seed: int = 0) -> ReleaseTables:
    """Return the tables."""
    rng = np.random.default_rng(seed)
    graphs = [_graph(rng, number) for number in range(GRAPHS)]
    parts = []
    for provider in graphs[0]:
        rows = [row for graph in graphs for row in graph[provider]]
        name = "gene_ontology" if provider == "negative" else provider
        score = {"score": 700} if provider == "string" else {}
        parts.append(statements(rows, provider=name, run=f"{provider}.made.aaaaaaaaaaaa", **score))
    genes = [gene(graph, number) for graph in range(GRAPHS) for number in range(GENES)]
    others = {row[side] for graph in graphs for rows in graph.values() for row in rows for side in (0, 2)} - set(genes)
    labels = {"GO": "GOTerm", "REACTOME": "Pathway", "CORUM": "Complex"}
    made = [
        nodes(*[(id_, "Gene") for id_ in genes]),
        nodes(*[(id_, labels[id_.partition(":")[0]]) for id_ in sorted(others)], provider="x"),
    ]
    names = pl.DataFrame({"name": genes, "tier": ["HGNC id"] * len(genes), "gene": genes})
    named = schema.conform("gene_names", names.with_columns(pl.lit("hgnc").alias("provider")))
    return release(made, parts, gene_names=named)
