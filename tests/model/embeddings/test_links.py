"""No edge that is asked about is a message, in either direction; non-edges are none."""

import numpy as np
import pytest

from aroma.errors import UsageError
from aroma.model.embeddings.links import Links, undirected
from aroma.retrieval.csr import Csr


def random_graph(nodes=80, edges=600, seed=0):
    generator = np.random.default_rng(seed)
    pairs = np.unique(np.sort(generator.integers(0, nodes, size=(2, edges)), axis=0), axis=1)
    pairs = pairs[:, pairs[0] != pairs[1]]
    both = np.concatenate([pairs, pairs[::-1]], axis=1)
    both = both[:, np.lexsort(both[::-1])]
    starts = np.concatenate([[0], np.cumsum(np.bincount(both[0], minlength=nodes))])
    return Csr(starts.astype(np.int64), both[1].astype(np.int32))


def as_set(pairs):
    return {(int(one), int(other)) for one, other in pairs.T}


def heard(graph):
    return {(min(pair), max(pair)) for pair in zip(graph.indices.tolist(), graph.destinations.tolist(), strict=True)}


@pytest.fixture(scope="module")
def links():
    return Links.of(random_graph(), seed=3)


def test_parts_are_disjoint_and_whole(links):
    parts = [as_set(part) for part in (*links.folds, links.validation, links.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == links.every.shape[1]
    assert set.union(*parts) == as_set(undirected(random_graph()))


def test_what_is_asked_about_is_never_a_message(links):
    held_out = as_set(links.validation) | as_set(links.test)
    for fold, graph in zip(links.folds, links.training_graphs, strict=True):
        assert not heard(graph) & (as_set(fold) | held_out)
    assert not heard(links.validation_graph()) & held_out
    assert not heard(links.test_graph()) & as_set(links.test)


@pytest.mark.parametrize("by_degree", [False, True])
def test_non_edges_are_none_and_follow_the_degrees_where_asked(links, by_degree):
    drawn = links.non_edges(20_000, np.random.default_rng(1), by_degree=by_degree)
    assert drawn.shape == (2, 20_000)
    assert not as_set(drawn) & as_set(links.every)
    assert (drawn[0] < drawn[1]).all()
    degrees = np.bincount(links.every.ravel(), minlength=links.nodes)
    met = np.bincount(drawn.ravel(), minlength=links.nodes)
    assert (np.corrcoef(degrees, met)[0, 1] > 0.5) == by_degree


def test_the_same_seed_parts_alike_and_another_does_not(links):
    assert np.array_equal(Links.of(random_graph(), seed=3).test, links.test)
    assert not np.array_equal(Links.of(random_graph(), seed=4).test, links.test)


def test_a_view_that_is_too_small_or_too_dense_is_refused():
    with pytest.raises(UsageError, match="too small"):
        Links.of(random_graph(4, 4), seed=0)
    full = Links.of(random_graph(8, 4000), seed=0)
    with pytest.raises(UsageError, match="so dense"):
        full.non_edges(10, np.random.default_rng(0))
