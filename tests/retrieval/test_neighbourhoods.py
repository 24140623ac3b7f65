"""Neighbourhoods against networkx, and what is said where there is none."""

from __future__ import annotations

import networkx as nx
import pytest

from aroma.errors import IdentifierError, UsageError
from aroma.kgstore.views import PRESETS, adjusted
from aroma.retrieval.neighbourhoods import neighbourhood
from aroma.retrieval.snapshot import open_snapshot

PLACES = [
    *((view, name) for view in ("gene-kg", "path-kg") for name in ("TULP1", "TP53", "AARS")),
    ("path-kg", "GO:0005737"),
]


@pytest.mark.parametrize("hops", [0, 1, 2, 3])
@pytest.mark.parametrize(("view", "name"), PLACES)
def test_they_equal_networkx(sample_home, view, hops, name):
    snapshot = open_snapshot(sample_home)
    shown = snapshot.view(view)
    ids = [snapshot.nodes.ids[node] for node in shown.to_release]
    graph = nx.Graph([(ids[one], ids[other]) for one, other in shown.csr.edge_list()])
    found = neighbourhood(sample_home, name, view=view, hops=hops, limit=10_000)
    expected = nx.single_source_shortest_path_length(graph, found.centre.id, cutoff=hops)
    assert {item.node.id: item.hops for item in found.nodes} == expected
    assert all(item.degree == graph.degree[item.node.id] for item in found.nodes)
    joined = {frozenset((found.nodes[link.start].node.id, found.nodes[link.end].node.id)) for link in found.links}
    assert joined == {frozenset(edge) for edge in graph.subgraph(expected).edges}
    assert len(joined) == len(found.links)
    assert (found.total, found.cut) == (len(expected), False)
    assert found.release == snapshot.release


def test_a_limit_keeps_the_nearest_and_says_how_many_there_are(sample_home):
    whole = neighbourhood(sample_home, "TP53", view="path-kg", hops=2, limit=10_000)
    cut = neighbourhood(sample_home, "TP53", view="path-kg", hops=2, limit=5)
    assert cut.cut
    assert len(cut.nodes) == 5
    assert cut.total == whole.total > 5
    assert cut.nodes[0].node == cut.centre
    assert {item.hops for item in cut.nodes} <= {0, 1}
    assert all(max(link.start, link.end) < 5 for link in cut.links)


def test_views_for_the_occasion(small_home):
    strong = adjusted(PRESETS["gene-kg-string"], minimum_score=800)
    assert [item.node.name for item in neighbourhood(small_home, "1", view=strong).nodes] == ["1", "2"]


def test_unknown_nodes_and_limits_are_refused(sample_home):
    with pytest.raises(IdentifierError, match="did you mean TULP1"):
        neighbourhood(sample_home, "TULP9")
    with pytest.raises(IdentifierError, match="has no edge in view gene-kg"):
        neighbourhood(sample_home, "GO:0005737", view="gene-kg")
    with pytest.raises(UsageError, match="limit is 0"):
        neighbourhood(sample_home, "TP53", limit=0)
    with pytest.raises(UsageError, match="hops is -1"):
        neighbourhood(sample_home, "TP53", hops=-1)
