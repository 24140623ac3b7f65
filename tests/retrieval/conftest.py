"""Homes and stores that the tests of retrieval share."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from aroma.kgstore import schema
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import load_outcomes
from aroma.retrieval.evidence import EvidenceStore
from tests.support.homes import home_of_tables
from tests.support.tables import nodes, release, statements

GO = {"provider": "gene_ontology", "run": "gene_ontology.gaf.aaaaaaaaaaaa"}
OBO = {"provider": "gene_ontology", "run": "gene_ontology.obo.bbbbbbbbbbbb"}


def gene(number: int) -> str:
    return f"HGNC:{number}"


def small_tables():
    """Twelve genes; GO:0000001 is the parent of 2 and 3, 4 regulates 2; gene 5 is said not to have 2."""
    genes = nodes(*[(gene(number), "Gene") for number in range(1, 13)], namespace="protein-coding gene")
    terms = nodes(*[(f"GO:000000{n}", "GOTerm") for n in range(1, 6)], provider="x", namespace="biological_process")
    others = nodes(
        ("CORUM:1", "Complex"), ("CORUM:2", "Complex"), ("REACTOME:R-HSA-1", "Pathway"),
        ("REACTOME:R-HSA-2", "Pathway"), ("REACTOME:R-HSA-3", "Pathway"), provider="y",
    )  # fmt: skip
    annotated = {1: [2], 2: [2, 3], 3: [4], 4: [4], 5: [3], 6: [5], 7: [5, 2]}
    said = [(gene(one), "ANNOTATED_TO", f"GO:000000{term}") for one, terms_ in annotated.items() for term in terms_]
    members = [(gene(n), "MEMBER_OF", "CORUM:1") for n in (1, 2, 3)] + [
        (gene(n), "MEMBER_OF", "CORUM:2") for n in (8, 9)
    ]
    joined = [(1, 2, 900), (2, 3, 700), (3, 4, 450), (4, 5, 300), (5, 6, 990), (6, 7, 150), (7, 8, 800), (9, 10, 500)]
    parts = [
        statements(said, evidence="IDA", date="2020-02-02", **GO),
        statements([(gene(10), "ANNOTATED_TO", "GO:0000002")], first_line=40, evidence="IEA", date="2024-01-01", **GO),
        statements([(gene(5), "NOT_ANNOTATED_TO", "GO:0000002")], first_line=50, evidence="IDA", **GO),
        statements(
            [("GO:0000002", "IS_A", "GO:0000001"), ("GO:0000003", "PART_OF", "GO:0000001"),
             ("GO:0000004", "REGULATES", "GO:0000002")],
            **OBO,
        ),
        statements(members, provider="corum", run="corum.core.cccccccccccc"),
        statements([(gene(n), "PARTICIPATES_IN", f"REACTOME:R-HSA-{p}") for p, n in ((2, 1), (2, 4), (3, 6))],
                   provider="reactome",
                   run="reactome.lowest.dddddddddddd"),
        statements([("REACTOME:R-HSA-2", "CHILD_OF", "REACTOME:R-HSA-1")], provider="reactome",
                   run="reactome.hierarchy.eeeeeeeeeeee"),
    ]  # fmt: skip
    parts += [
        statements([(gene(one), "INTERACTS_WITH", gene(other))], first_line=line, score=score)
        if gene(one) < gene(other)
        else statements([(gene(other), "INTERACTS_WITH", gene(one))], first_line=line, score=score)
        for line, (one, other, score) in enumerate(joined, start=2)
    ]
    names = pl.DataFrame({"name": [str(n) for n in range(1, 13)], "gene": [gene(n) for n in range(1, 13)]})
    more = pl.DataFrame({"name": ["OLD", "BOTH", "BOTH"], "gene": [gene(1), gene(2), gene(3)]})
    tiers = [*["approved symbol"] * 12, "previous symbol", "alias symbol", "alias symbol"]
    named = pl.concat([names, more]).with_columns(pl.Series("tier", tiers), pl.lit("hgnc").alias("provider"))
    return release([genes, terms, others], parts, gene_names=schema.conform("gene_names", named))


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the release of ``small_tables``; do not write to it."""
    return home_of_tables(tmp_path_factory.mktemp("small") / "home", small_tables())


@pytest.fixture
def own_home(tmp_path: Path) -> Home:
    """A small home that a test may damage."""
    return home_of_tables(tmp_path / "home", small_tables())


@pytest.fixture(scope="session")
def outcomes(sample_home: Home) -> pl.DataFrame:
    """The samples' measured outcomes."""
    return load_outcomes(sample_home)


@pytest.fixture(scope="session")
def store(sample_home: Home, outcomes: pl.DataFrame) -> EvidenceStore:
    """A store over the samples that sees every outcome."""
    return EvidenceStore(sample_home, outcomes=outcomes)


@pytest.fixture(scope="session")
def small_store(small_home: Home) -> EvidenceStore:
    """A store over the small release, without outcomes."""
    return EvidenceStore(small_home)
