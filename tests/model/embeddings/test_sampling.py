"""Neighbour sampling: what a batch hears is drawn from the graph, and training on it learns."""

import numpy as np
import pytest

from aroma.model.embeddings.edge_softmax import MessageGraph
from aroma.model.embeddings.sampling import NeighbourSampler, batches


@pytest.fixture(scope="module")
def graph():
    generator = np.random.default_rng(0)
    ends = generator.integers(0, 80, size=(2, 300))
    return MessageGraph.of(80, np.concatenate([ends[0], ends[1]]), np.concatenate([ends[1], ends[0]]))


def edges_of(sample):
    """Sources and destinations in the whole graph's numbers, self-loops left out."""
    there = np.stack([sample.nodes[sample.graph.indices], sample.nodes[sample.graph.destinations]])
    return set(map(tuple, there[:, there[0] != there[1]].T.tolist()))


def every_edge(graph):
    return {(s, d) for s, d in zip(graph.indices.tolist(), graph.destinations.tolist(), strict=True) if s != d}


def test_pairs_keep_their_order_and_their_ends(graph):
    pairs = np.array([[7, 3, 7, 50], [3, 9, 2, 7]], dtype=np.int32)
    sampler = NeighbourSampler(graph, 2, 3)
    for seed in range(3):  # the sampler's own array is clean again after each
        sample = sampler.sample(pairs, np.random.default_rng(seed))
        assert np.array_equal(sample.nodes[sample.pairs], pairs)
        assert len(np.unique(sample.nodes)) == len(sample.nodes)
        assert edges_of(sample) <= every_edge(graph)


def test_a_fan_as_wide_as_the_graph_hears_all_within_reach(graph):
    pairs = np.array([[0], [1]], dtype=np.int32)
    sample = NeighbourSampler(graph, 10_000, 1).sample(pairs, np.random.default_rng(0))
    assert edges_of(sample) == {edge for edge in every_edge(graph) if edge[1] in {0, 1}}


def test_a_node_hears_at_most_its_fan_and_itself(graph):
    pairs = np.arange(80, dtype=np.int32).reshape(2, 40)
    sample = NeighbourSampler(graph, 3, 2).sample(pairs, np.random.default_rng(1))
    assert np.diff(sample.graph.indptr).max() <= 3 + 1
    assert np.diff(graph.indptr).max() > 4


def test_samples_are_seeded(graph):
    pairs = np.array([[0, 5], [1, 6]], dtype=np.int32)
    one, same, other = (NeighbourSampler(graph, 2, 3).sample(pairs, np.random.default_rng(s)) for s in (1, 1, 2))
    assert edges_of(one) == edges_of(same) != edges_of(other)


def test_batches_hold_every_edge_once_beside_as_many_others():
    edges, others = np.arange(20, dtype=np.int32).reshape(2, 10), -np.arange(20, dtype=np.int32).reshape(2, 10)
    found = list(batches(edges, others, 4, np.random.default_rng(0)))
    assert [some.shape[1] for some, _ in found] == [4, 4, 2]
    assert all(np.array_equal(some, -other) for some, other in found)
    assert sorted(np.concatenate([some[0] for some, _ in found]).tolist()) == list(range(10))
