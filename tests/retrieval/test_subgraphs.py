"""Neighbourhoods and induced subgraphs against networkx."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aroma.errors import UsageError
from aroma.retrieval.csr import Csr
from aroma.retrieval.subgraphs import Neighbourhoods, bfs_hops, induced_subgraph, k_hop_nodes, neighbourhoods

edge_lists = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=40)


def network(graph: Csr) -> nx.Graph:
    made = nx.Graph()
    made.add_nodes_from(range(graph.nodes))
    made.add_edges_from(graph.edge_list().tolist())
    return made


@settings(max_examples=150, deadline=None)
@given(ends=edge_lists, source=st.integers(0, 11), hops=st.integers(0, 5))
def test_hops_are_those_of_networkx(ends: list[tuple[int, int]], source: int, hops: int) -> None:
    graph = Csr.from_edges(12, ends)
    expected = nx.single_source_shortest_path_length(network(graph), source, cutoff=hops)
    found = bfs_hops(graph, source, hops)
    assert {node: int(hop) for node, hop in enumerate(found) if hop >= 0} == expected


@settings(max_examples=200, deadline=None)
@given(ends=edge_lists, hops=st.integers(0, 4), cap=st.one_of(st.none(), st.integers(1, 13)))
def test_all_neighbourhoods_are_those_of_networkx(ends: list[tuple[int, int]], hops: int, cap: int | None) -> None:
    graph = Csr.from_edges(12, ends)
    made = network(graph)
    found = neighbourhoods(graph, range(12), hops, cap=cap)
    for centre in range(12):
        within = nx.single_source_shortest_path_length(made, centre, cutoff=hops)
        kept = sorted(within, key=lambda node: (within[node], graph.degrees[node], node))[:cap]
        kept.sort(key=lambda node: (within[node], node))
        nodes, distances, edges = found.of(centre)
        assert nodes.tolist() == kept
        assert distances.tolist() == [within[node] for node in kept]
        assert found.total[centre] == len(within)
        expected = {(a, b) for a, b in made.subgraph(kept).to_directed().edges}
        assert sorted(zip(nodes[edges[0]].tolist(), nodes[edges[1]].tolist(), strict=True)) == sorted(expected)


@settings(max_examples=100, deadline=None)
@given(ends=edge_lists, nodes=st.lists(st.integers(0, 11), unique=True))
def test_induced_subgraph_is_that_of_networkx(ends: list[tuple[int, int]], nodes: list[int]) -> None:
    graph = Csr.from_edges(12, ends)
    found = induced_subgraph(graph, nodes)
    Csr.of(found.indptr, found.indices)  # still an undirected simple graph
    edges = {frozenset((nodes[a], nodes[b])) for a, b in found.edge_list().tolist()}
    assert edges == {frozenset(edge) for edge in network(graph).subgraph(nodes).edges}


def test_the_nearest_stay_then_the_least_connected() -> None:
    # 0 joins 1, 2, 3; behind them 4 (degree 3), 5 and 6 (degree 1).
    graph = Csr.from_edges(7, [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4), (1, 5), (2, 6)])
    nodes, hops = k_hop_nodes(graph, 0, 2, cap=6)
    assert nodes.tolist() == [0, 1, 2, 3, 5, 6]
    assert hops.tolist() == [0, 1, 1, 1, 2, 2]
    assert k_hop_nodes(graph, 0, 2, cap=5)[0].tolist() == [0, 1, 2, 3, 5]
    assert k_hop_nodes(graph, 0, 2)[0].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_threads_change_nothing() -> None:
    graph = Csr.from_edges(300, np.random.default_rng(1).integers(0, 300, (900, 2)))
    one = neighbourhoods(graph, range(300), 2, cap=20, threads=1)
    two = neighbourhoods(graph, range(300), 2, cap=20, threads=2)
    for name in Neighbourhoods.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_no_centres_is_an_empty_answer() -> None:
    found = neighbourhoods(Csr.from_edges(3, [(0, 1)]), [], 2)
    assert (len(found), found.nodes.size, found.edges.shape) == (0, 0, (2, 0))


def test_numbers_out_of_range_are_refused() -> None:
    graph = Csr.from_edges(3, [(0, 1)])
    with pytest.raises(UsageError, match="3 is no node"):
        bfs_hops(graph, 3)
    with pytest.raises(UsageError, match="hops is -1"):
        k_hop_nodes(graph, 0, -1)
    with pytest.raises(UsageError, match="cap is 0"):
        k_hop_nodes(graph, 0, 1, cap=0)
    with pytest.raises(UsageError, match="given twice"):
        induced_subgraph(graph, [1, 1])
    with pytest.raises(UsageError, match="by number"):
        neighbourhoods(graph, ["HGNC:1"], 1)
