"""Views: what they take, how the degree cap counts, and ids that are hashes of the definition."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.errors import UsageError
from aroma.kgstore.schema import Relation
from aroma.kgstore.views import CO_MEMBERSHIP, PRESETS, ViewDefinition, preset, simple_pairs, view_edges, view_size
from tests.support.tables import nodes, release, statements

GO = {"provider": "gene_ontology", "run": "gene_ontology.gaf.aaaaaaaaaaaa"}


@pytest.fixture
def tables():
    genes = nodes(*[(f"HGNC:{n}", "Gene") for n in range(1, 5)])
    others = nodes(("GO:0005515", "GOTerm"), ("GO:0000001", "GOTerm"), ("CORUM:1", "Complex"), provider="x")
    return release(
        [genes, others],
        [
            statements([("HGNC:1", "INTERACTS_WITH", "HGNC:2")], score=900),
            statements([("HGNC:2", "INTERACTS_WITH", "HGNC:3")], first_line=3, score=150),
            statements(
                [(f"HGNC:{n}", "ANNOTATED_TO", "GO:0005515") for n in (1, 2, 3)],
                evidence="IPI",
                date="2020-01-01",
                **GO,
            ),
            statements(
                [("HGNC:1", "ANNOTATED_TO", "GO:0000001")], first_line=9, evidence="IDA", date="2024-05-05", **GO
            ),
            statements(
                [("HGNC:2", "ANNOTATED_TO", "GO:0000001")], first_line=10, evidence="IEA", date="2019-01-01", **GO
            ),
            statements(
                [(f"HGNC:{n}", "MEMBER_OF", "CORUM:1") for n in (1, 2, 4)],
                provider="corum",
                run="corum.all.aaaaaaaaaaaa",
            ),
        ],
    )


def pairs(tables, view):
    return sorted(simple_pairs(view_edges(tables, view)).rows())


def test_gene_view_joins_members_of_a_complex_and_counts_parallel_edges_once(tables):
    found = pairs(tables, PRESETS["gene-kg"])
    assert found == [("HGNC:1", "HGNC:2"), ("HGNC:1", "HGNC:4"), ("HGNC:2", "HGNC:3"), ("HGNC:2", "HGNC:4")]
    derived = view_edges(tables, PRESETS["gene-kg"]).filter(pl.col("relation") == CO_MEMBERSHIP)
    assert derived["edge"].null_count() == 3
    size = view_size(tables, PRESETS["gene-kg"])
    assert (size.nodes, size.edges) == (4, 4)


def test_string_only_view_and_its_score_floor(tables):
    assert pairs(tables, PRESETS["gene-kg-string"]) == [("HGNC:1", "HGNC:2"), ("HGNC:2", "HGNC:3")]
    strict = PRESETS["gene-kg-string"].model_copy(update={"minimum_score": 400})
    assert pairs(tables, strict) == [("HGNC:1", "HGNC:2")]


def test_path_view_drops_uninformative_terms(tables):
    ends = {end for pair in pairs(tables, PRESETS["path-kg"]) for end in pair}
    assert "GO:0005515" not in ends
    assert {"GO:0000001", "CORUM:1"} <= ends
    assert "CORUM:1" not in {end for pair in pairs(tables, PRESETS["path-kg-paper"]) for end in pair}


def test_the_degree_cap_counts_once_after_the_dropped_nodes(tables):
    view = ViewDefinition(
        name="x", relations=(Relation.ANNOTATED_TO, Relation.MEMBER_OF), dropped_nodes=("GO:0005515",), degree_cap=3
    )
    assert pairs(tables, view) == [("GO:0000001", "HGNC:1"), ("GO:0000001", "HGNC:2")]


def test_evidence_codes_and_dates_are_left_out_statement_by_statement(tables):
    annotated = ViewDefinition(name="x", relations=(Relation.ANNOTATED_TO,), dropped_nodes=("GO:0005515",))
    manual = annotated.model_copy(update={"excluded_evidence": ("IEA",)})
    assert pairs(tables, manual) == [("GO:0000001", "HGNC:1")]
    before = annotated.model_copy(update={"annotated_until": "2021-12-31"})
    assert pairs(tables, before) == [("GO:0000001", "HGNC:2")]


def test_providers_can_be_chosen(tables):
    only = PRESETS["gene-kg"].model_copy(update={"providers": ("corum",)})
    assert ("HGNC:2", "HGNC:3") not in pairs(tables, only)


def test_the_id_follows_the_definition_and_not_the_name():
    view = PRESETS["path-kg"]
    assert view.id == view.model_copy(update={"name": "other"}).id
    assert view.id != view.model_copy(update={"degree_cap": 999}).id
    assert len({preset_view.id for preset_view in PRESETS.values()}) == len(PRESETS)


def test_a_mistyped_preset_gets_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'path-kg'"):
        preset("path-kgg")
