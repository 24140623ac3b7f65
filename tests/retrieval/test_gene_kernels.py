"""Kernels against brute force, and the rules of GO: NOT is never positive, regulation only weighs."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aroma.errors import UsageError
from aroma.kgstore.publications import require_published
from aroma.retrieval.gene_kernels import (
    KERNELS,
    LARGEST_SET,
    SMALLEST_SET,
    TERM_SETS,
    GeneKernels,
    Kernel,
    gene_sets,
    unit_rows,
)
from aroma.retrieval.snapshot import open_snapshot

SETS = st.lists(st.sets(st.integers(0, 5), max_size=6), min_size=1, max_size=8)


def kernel_of(sets: list[set[int]]) -> Kernel:
    """A kernel over genes numbered 10, 12, … with the given features, numbered 100, 103, …"""
    genes = np.arange(10, 10 + 2 * len(sets), 2, dtype=np.int32)
    features = np.arange(100, 118, 3, dtype=np.int32)
    df = [sum(feature in one for one in sets) for feature in range(6)]
    weights = np.array([math.log((len(sets) + 1) / max(count, 1)) for count in df], dtype=np.float32)
    rows = [place for place, one in enumerate(sets) for _ in one]
    columns = [feature for one in sets for feature in sorted(one)]
    matrix = unit_rows(rows, columns, weights[columns] if columns else [], (len(sets), 6))
    return Kernel("go", genes, features, weights, matrix)


def cosine(one: set[int], other: set[int], weights: np.ndarray) -> float:
    dot = sum(float(weights[feature]) ** 2 for feature in one & other)
    lengths = [math.sqrt(sum(float(weights[feature]) ** 2 for feature in features)) for features in (one, other)]
    return dot / (lengths[0] * lengths[1]) if all(lengths) else 0.0


@given(SETS)
@settings(max_examples=60, deadline=None)
def test_similarity_equals_brute_force(sets):
    kernel = kernel_of(sets)
    others = np.array([*kernel.genes, 11, 5, 999], dtype=np.int32)
    for place, gene in enumerate(kernel.genes.tolist()):
        expected = [cosine(sets[place], other, kernel.weights) for other in sets] + [0.0, 0.0, 0.0]
        np.testing.assert_allclose(kernel.similarity(gene, others), expected, atol=1e-5)
        np.testing.assert_allclose(kernel.among(others).similarity(gene), expected, atol=1e-5)
        np.testing.assert_allclose(kernel.matrix(others)[place], expected, atol=1e-5)
    assert not kernel.similarity(11, others).any()
    assert kernel.row_of(11) is None
    assert kernel.weights_of(11) == {}


@given(SETS)
@settings(max_examples=60, deadline=None)
def test_what_two_genes_share_equals_brute_force(sets):
    kernel = kernel_of(sets)
    numbers = kernel.genes.tolist()
    for one, first in zip(numbers, sets, strict=True):
        assert set(kernel.weights_of(one)) == {100 + 3 * feature for feature in first}
        for other, second in zip(numbers, sets, strict=True):
            both = sorted(first & second, key=lambda feature: (-kernel.weights[feature], feature))
            assert [node for node, _ in kernel.common(one, other)] == [100 + 3 * feature for feature in both]
            shared = kernel.shared(one, other, limit=10)
            assert {node for node, _ in shared} == {100 + 3 * feature for feature in both}
            total = sum(part for _, part in shared)
            assert total == pytest.approx(cosine(first, second, kernel.weights), abs=1e-5)
            assert [part for _, part in shared] == sorted((part for _, part in shared), reverse=True)
            assert kernel.shared(one, other, limit=1) == shared[:1]
        assert kernel.common(one, 11) == kernel.shared(11, one) == []


def sets_of(home, name) -> dict[str, set[str]]:
    rows = gene_sets(home, require_published(home).release, name)
    return {gene: set(features) for gene, features in rows.group_by("gene").agg("feature").iter_rows()}


def test_terms_hold_for_ancestors_and_not_takes_descendants_away(small_home):
    held = sets_of(small_home, TERM_SETS)
    assert held["HGNC:1"] == {"GO:0000002", "GO:0000001"}
    assert held["HGNC:5"] == {"GO:0000003", "GO:0000001"}  # NOT GO:0000002 leaves what other terms support
    assert held["HGNC:3"] == {"GO:0000004"}  # regulation carries no annotation


def test_regulation_weighs_in_the_kernel_alone(small_home):
    weighed = sets_of(small_home, "go")
    assert weighed["HGNC:3"] == {"GO:0000004", "GO:0000002", "GO:0000001"}
    assert weighed["HGNC:1"] == {"GO:0000002", "GO:0000001"}
    kernels = GeneKernels(open_snapshot(small_home))
    nodes = open_snapshot(small_home).nodes.ids
    one, three = nodes.find("HGNC:1"), nodes.find("HGNC:3")
    assert kernels["go"].similarity(one, np.array([three], dtype=np.int32))[0] > 0
    assert kernels[TERM_SETS].similarity(one, np.array([three], dtype=np.int32))[0] == 0


def test_pathways_hold_for_their_parents_and_complexes_as_they_are(small_home):
    assert sets_of(small_home, "pathway") == {
        **{gene: {"REACTOME:R-HSA-1", "REACTOME:R-HSA-2"} for gene in ("HGNC:1", "HGNC:4")},
        "HGNC:6": {"REACTOME:R-HSA-3"},
    }
    assert sets_of(small_home, "complex") == {
        **{f"HGNC:{number}": {"CORUM:1"} for number in (1, 2, 3)},
        **{f"HGNC:{number}": {"CORUM:2"} for number in (8, 9)},
    }


@pytest.mark.parametrize("name", [*KERNELS, TERM_SETS])
def test_laid_out_kernels_have_unit_rows_and_the_stated_weights(sample_home, name):
    snapshot = open_snapshot(sample_home)
    kernel = GeneKernels(snapshot)[name]
    lengths = np.sqrt(np.asarray(kernel.rows.multiply(kernel.rows).sum(axis=1))).ravel()
    assert np.all(np.isclose(lengths, 1, atol=1e-5) | (lengths == 0))
    assert kernel.rows.has_sorted_indices
    if name != "string":
        sets = gene_sets(sample_home, snapshot.release, name)
        df = dict(sets.group_by("feature").len().iter_rows())
        for place, feature in enumerate(kernel.features.tolist()):
            count = df[snapshot.nodes.ids[feature]]
            assert (1 if name == TERM_SETS else SMALLEST_SET) <= count <= LARGEST_SET
            assert kernel.weights[place] == pytest.approx(math.log(sets["gene"].n_unique() / count), abs=1e-5)


def test_the_string_kernel_equals_brute_force(small_home):
    snapshot = open_snapshot(small_home)
    kernel = GeneKernels(snapshot)["string"]
    edges = pl.read_parquet(small_home.release(snapshot.release) / "edges.parquet")
    rows = edges.filter(pl.col("relation") == "INTERACTS_WITH").select("subject", "object", "score").rows()
    genes = sorted({gene for one, other, _ in rows for gene in (one, other)})
    partners = {gene: {} for gene in genes}
    for one, other, score in rows:
        partners[one][other] = partners[other][one] = score / 1000
    rarity = {gene: math.log(len(genes) / len(partners[gene])) for gene in genes}

    def vector(gene: str) -> np.ndarray:
        found = {other: score * rarity[other] for other, score in partners[gene].items()} | {gene: rarity[gene]}
        raw = np.array([found.get(other, 0.0) for other in genes])
        return raw / np.linalg.norm(raw) if raw.any() else raw

    numbers = np.array([snapshot.nodes.ids.find(gene) for gene in genes], dtype=np.int32)
    expected = np.array([[vector(one) @ vector(other) for other in genes] for one in genes])
    np.testing.assert_allclose(kernel.matrix(numbers), expected, atol=1e-5)


def test_an_unknown_kernel_is_named(small_home):
    with pytest.raises(UsageError, match="'wikipathways'; there are go, complex"):
        GeneKernels(open_snapshot(small_home))["wikipathways"]
