"""Contrastive cases against brute force over the outcomes table."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aroma.retrieval.contrastive import Contrast, OutcomeIndex
from aroma.retrieval.evidence import EvidenceOptions, EvidenceStore
from aroma.retrieval.gene_kernels import KERNELS
from aroma.retrieval.withhold import Withhold


def node(store: EvidenceStore, gene: str) -> int:
    found = store.snapshot.nodes.ids.find(gene)
    assert found is not None
    return found


def known(outcomes: pl.DataFrame) -> pl.DataFrame:
    return outcomes.drop_nulls(["perturbation_gene", "target_gene"])


def similarities(store: EvidenceStore, one: str, other: str) -> list[float]:
    ends = node(store, one), np.array([node(store, other)], dtype=np.int32)
    return [float(store.kernels[name].similarity(*ends)[0]) for name in KERNELS]


def expected_cases(store, outcomes, perturbation: str, target: str, line: str):
    rows = []
    for case in known(outcomes).filter(pl.col("target_gene") == target).iter_rows(named=True):
        if case["perturbation_gene"] == perturbation and case["cell_line"] == line:
            continue
        by_kernel = similarities(store, perturbation, case["perturbation_gene"])
        same = case["perturbation_gene"] == perturbation
        rows.append((case, 1.0 if same else float(np.mean(by_kernel, dtype=np.float32)), by_kernel))
    return rows


QUERIES = [
    ("TULP1", "ITCH", "RPE1"),
    ("AAMP", "AGPAT1", "Jurkat"),
    ("RPL11", "TP53", "K562"),
    ("AARS", "MDM2", "HepG2"),
]


@pytest.mark.parametrize("query", QUERIES, ids="-".join)
def test_cases_equal_brute_force(store, outcomes, query):
    perturbation, target = (store.resolve(name).gene for name in query[:2])
    expected = expected_cases(store, outcomes, perturbation, target, query[2])
    assert expected
    index = OutcomeIndex(outcomes, store.snapshot.nodes)
    contrast = Contrast(index, store.kernels)
    cases = contrast.cases(node(store, perturbation), node(store, target), query[2])
    assert len(cases.labels) == len(expected)
    found = {
        (store.snapshot.nodes.ids[int(p)], index.cell_lines[int(line)], int(label)): column
        for p, line, label, column in zip(
            cases.perturbations, cases.lines, cases.labels, cases.similarities.T, strict=True
        )
    }
    for case, _, by_kernel in expected:
        column = found[case["perturbation_gene"], case["cell_line"], case["label"]]
        np.testing.assert_allclose(column, by_kernel, atol=1e-6)


@pytest.mark.parametrize("limit", [1, 3, None])
@pytest.mark.parametrize("query", QUERIES, ids="-".join)
def test_listed_cases_are_the_most_similar_of_each_side(sample_home, store, outcomes, query, limit):
    lister = store.variant(options=EvidenceOptions(cases=limit), outcomes=outcomes, withhold=Withhold())
    perturbation, target = (store.resolve(name).gene for name in query[:2])
    contrast = lister.evidence(*query).contrast
    expected = expected_cases(store, outcomes, perturbation, target, query[2])
    for listed, total, changed in (
        (contrast.positives, contrast.positives_total, True),
        (contrast.negatives, contrast.negatives_total, False),
    ):
        side = [item for item in expected if (item[0]["label"] != 0) == changed]
        assert total == len(side)
        similar = sorted((round(mean, 4) for _, mean, _ in side if mean > 0), reverse=True)
        assert [case.similarity for case in listed] == pytest.approx(similar[:limit], abs=1e-4)
        for case in listed:
            assert (case.label != "not significant") == changed
            assert case.same_perturbation == (case.perturbation.id == perturbation)
            assert not case.same_perturbation or case.cell_line != query[2]
            assert case.similarity == 1 or case.similarity == pytest.approx(
                np.mean(list(case.by_kernel.values())), abs=2e-4
            )


def test_the_queried_triple_is_never_its_own_evidence(store, outcomes):
    for row in known(outcomes).sample(60, seed=3).iter_rows(named=True):
        contrast = store.evidence(row["perturbation"], row["target"], row["cell_line"]).contrast
        listed = [*contrast.positives, *contrast.negatives]
        own = (row["perturbation_gene"], row["cell_line"])
        assert own not in {(case.perturbation.id, case.cell_line) for case in listed}


def test_a_cell_line_is_known_by_any_spelling(store):
    one = store.evidence("RPL11", "TP53", "K562").contrast
    for spelling in ("K-562", "k562", "k 562"):
        assert store.evidence("RPL11", "TP53", spelling).contrast == one


def test_reasons_are_features_that_both_genes_have(store):
    seen = 0
    for query in QUERIES:
        contrast = store.evidence(*query).contrast
        own = store.snapshot.nodes.ids.find(store.resolve(query[0]).gene)
        for case in (*contrast.positives, *contrast.negatives):
            other = store.snapshot.nodes.ids.find(case.perturbation.id)
            shared = {
                store.snapshot.nodes.ids[feature]
                for name in ("go-terms", "complex", "pathway", "string")
                for feature, _ in store.kernels[name].common(own, other)
            }
            assert {reason.id for reason in case.shared} <= shared
            seen += len(case.shared)
    assert seen


def test_outcomes_of_unknown_genes_are_left_out_and_an_empty_index_answers(store, outcomes):
    index = OutcomeIndex(outcomes, store.snapshot.nodes)
    assert index.rows(node(store, store.resolve("TP53").gene)).stop > 0
    empty = OutcomeIndex(outcomes.clear(), store.snapshot.nodes)
    contrast = Contrast(empty, store.kernels)
    assert contrast.closest(0, 1, "K562") == ([], [])
    assert empty.digest != index.digest


def test_old_similarities_make_room_and_answers_stay(store, outcomes):
    index = OutcomeIndex(outcomes, store.snapshot.nodes)
    small, large = (Contrast(index, store.kernels, kept=kept) for kept in (1, 512))
    genes = index.perturbed.tolist()
    target = node(store, store.resolve("TP53").gene)
    for gene in [*genes, *genes]:
        assert small.closest(gene, target, "K562") == large.closest(gene, target, "K562")
    assert len(small._recent) == 1
