"""The degree-preserving permutation."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aroma.errors import UsageError
from aroma.retrieval.csr import Csr
from aroma.retrieval.permutation import degree_preserving_permutation, permute_steps

seeds = st.integers(-(2**63), 2**63 - 1)


def edges_of(graph: Csr) -> set[tuple[int, int]]:
    return {(a, b) for a, b in graph.edge_list().tolist()}


@settings(max_examples=100, deadline=None)
@given(ends=st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=60), seed=seeds)
def test_degrees_stay_and_the_graph_stays_simple(ends: list[tuple[int, int]], seed: int) -> None:
    graph = Csr.from_edges(15, ends)
    permuted = degree_preserving_permutation(graph, seed)
    Csr.of(permuted.indptr, permuted.indices)
    assert permuted.edges == graph.edges
    assert permuted.degrees.tolist() == graph.degrees.tolist()


@settings(max_examples=100, deadline=None)
@given(
    ends=st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=60),
    kinds=st.lists(st.integers(0, 2), min_size=15, max_size=15),
    seed=seeds,
    data=st.data(),
)
def test_degrees_stay_within_type_and_kind(
    ends: list[tuple[int, int]], kinds: list[int], seed: int, data: st.DataObject
) -> None:
    graph = Csr.from_edges(15, ends)
    rows = graph.edge_list()
    types = data.draw(st.lists(st.integers(0, 1), min_size=len(rows), max_size=len(rows)))
    relation = pl.Series(["IS_A" if kind else "PART_OF" for kind in types], dtype=pl.String)
    low, high = permute_steps(rows[:, 0], rows[:, 1], relation, 15, seed, pl.Series(kinds))
    permuted = degree_preserving_permutation(graph, seed, edge_types=1 - np.array(types), node_kinds=kinds)
    assert {(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)} == edges_of(permuted)

    def joined(pairs: set[tuple[int, int]]) -> Counter[tuple[int, int]]:
        return Counter((node, kinds[other]) for a, b in pairs for node, other in ((a, b), (b, a)))

    assert joined(edges_of(permuted)) == joined(edges_of(graph))


def test_each_type_is_permuted_on_its_own() -> None:
    # A complete bipartite type cannot change: every swap would repeat an edge. The other type can.
    fixed = [(a, b) for a in range(3) for b in range(3, 6)]
    ring = [(6 + place, 6 + (place + 1) % 12) for place in range(12)]
    graph = Csr.from_edges(18, fixed + ring)
    types = (graph.edge_list()[:, 0] >= 6).astype(int)
    permuted = degree_preserving_permutation(graph, 3, edge_types=types)
    assert {edge for edge in edges_of(permuted) if edge[0] < 6} == set(fixed)
    assert edges_of(permuted) != edges_of(graph)


def test_the_seed_decides() -> None:
    graph = Csr.from_edges(200, np.random.default_rng(0).integers(0, 200, (800, 2)))
    one, again, other = (degree_preserving_permutation(graph, seed) for seed in (5, 5, 6))
    assert edges_of(one) == edges_of(again) != edges_of(other)
    kept = edges_of(one) & edges_of(graph)
    assert len(kept) < graph.edges / 5  # hardly an edge is where it was
    assert edges_of(degree_preserving_permutation(graph, 5, swaps_per_edge=0)) == edges_of(graph)


def test_a_known_permutation_stays_the_same_on_every_machine() -> None:
    graph = Csr.from_edges(8, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 0)])
    known = [
        (0, 2),
        (0, 3),
        (1, 6),
        (1, 7),
        (2, 5),
        (3, 7),
        (4, 5),
        (4, 6),
    ]
    assert sorted(edges_of(degree_preserving_permutation(graph, 1))) == known


def test_wrong_arguments_are_refused() -> None:
    graph = Csr.from_edges(3, [(0, 1), (1, 2)])
    with pytest.raises(UsageError, match="3 edge types for 2 edges"):
        degree_preserving_permutation(graph, 1, edge_types=[0, 0, 0])
    with pytest.raises(UsageError, match="2 node kinds for 3 nodes"):
        degree_preserving_permutation(graph, 1, node_kinds=[0, 0])
    with pytest.raises(UsageError, match="swaps_per_edge is -1"):
        degree_preserving_permutation(graph, 1, swaps_per_edge=-1)
