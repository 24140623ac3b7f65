"""Paths of the store: the search's, with the release's provenance on every hop."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import load_tables
from aroma.kgstore.views import PRESETS, adjusted
from aroma.retrieval import search
from aroma.retrieval.paths import PathFinder, PathOptions
from aroma.retrieval.snapshot import open_snapshot


@pytest.fixture(scope="module")
def snapshot(sample_home):
    return open_snapshot(sample_home)


def genes(snapshot) -> list[int]:
    return [row for row, label in enumerate(snapshot.nodes.labels) if label == "Gene"]


@pytest.mark.parametrize("view", ["gene-kg", "path-kg"])
@pytest.mark.parametrize("slack", [0, 1])
def test_one_and_many_and_the_search_agree(snapshot, view, slack):
    finder = PathFinder(snapshot, PathOptions(view, slack=slack))
    asked = [(one, other) for one in genes(snapshot) for other in genes(snapshot)]
    many = finder.many([*asked, (None, 0)])
    assert many.pop() == []
    graph = finder.view.csr
    cost = search.hub_costs(graph.degrees)
    for (one, other), found in zip(asked, many, strict=True):
        assert finder.one(one, other) == found
        ends = finder.view.local(one), finder.view.local(other)
        if None in ends:
            assert found == []
            continue
        table = search.k_shortest_paths(graph, [ends[0]], [ends[1]], k=3, slack=slack, max_hops=6, cost=cost)
        ids = [[snapshot.nodes.ids[finder.view.to_release[n]] for n in path.nodes] for path in table.paths(0)]
        assert [[node.id for node in path.nodes] for path in found] == ids
        assert [(path.rank, path.hops, path.cost) for path in found] == [
            (rank, path.hops, path.cost) for rank, path in enumerate(table.paths(0), start=1)
        ]


@pytest.mark.parametrize("view", ["gene-kg", "path-kg"])
def test_every_hop_has_edges_of_the_release_that_join_its_ends(sample_home, snapshot, view):
    edges = load_tables(sample_home, require_published(sample_home).release)["edges"]
    known = {
        row[:4]: row[4:]
        for row in edges.select(
            "subject", "relation", "object", "provider", "statements", "evidence", "references"
        ).iter_rows()
    }
    finder = PathFinder(snapshot, PathOptions(view))
    seen = 0
    for one in genes(snapshot):
        for other in genes(snapshot)[::3]:
            for path in finder.one(one, other):
                assert [step.start for step in path.steps] == [node.id for node in path.nodes[:-1]]
                assert [step.end for step in path.steps] == [node.id for node in path.nodes[1:]]
                for step in path.steps:
                    assert step.edges
                    complexes = {edge.object for edge in step.edges if edge.relation == "MEMBER_OF"}
                    for edge in step.edges:
                        said = known[edge.subject, edge.relation, edge.object, edge.provider]
                        assert (edge.statements, edge.evidence, edge.references) == (
                            said[0],
                            [code or "" for code in said[1]],
                            [code or "" for code in said[2]],
                        )
                        assert {edge.subject, edge.object} & {step.start, step.end}
                        seen += 1
                    if view == "gene-kg":
                        for complex_ in complexes:
                            members = {edge.subject for edge in step.edges if edge.object == complex_}
                            assert members == {step.start, step.end}
    assert seen


def test_the_papers_paths_are_among_those_of_the_samples(store):
    evidence = store.evidence("AAMP", "AGPAT1", "Jurkat")
    chains = [[node.name for node in path.nodes] for path in evidence.paths]
    assert all(chain[0] == "AAMP" and chain[-1] == "AGPAT1" for chain in chains)
    assert chains


def test_left_out_nodes_and_scores_are_not_walked(small_home):
    snapshot = open_snapshot(small_home)
    number = {n: snapshot.nodes.ids.find(f"HGNC:{n}") for n in range(1, 13)}

    def chains(view, **changes):
        options = PathOptions(adjusted(PRESETS[view], **changes), slack=0)
        return [[node.id for node in path.nodes] for path in PathFinder(snapshot, options).one(number[5], number[6])]

    assert chains("gene-kg") == [["HGNC:5", "HGNC:6"]]
    assert chains("gene-kg", minimum_score=995) == []
    through = chains("path-kg")
    assert through
    inner = {node for chain in through for node in chain[1:-1]}
    without = chains("path-kg", dropped_nodes=tuple(sorted(inner)))
    assert not inner & {node for chain in without for node in chain}


def test_steps_of_a_permuted_view_are_nobodys_statement(small_home):
    snapshot = open_snapshot(small_home)
    options = PathOptions(adjusted(PRESETS["gene-kg"], permutation_seed=4))
    finder = PathFinder(snapshot, options)
    numbers = [int(node) for node in finder.view.to_release]
    found = [path for one in numbers for other in numbers for path in finder.one(one, other)]
    assert found
    assert all(step.edges == [] for path in found for step in path.steps)


def test_slack_zero_equals_networkx(snapshot):
    finder = PathFinder(snapshot, PathOptions("path-kg", k=100, slack=0, max_hops=6))
    graph = nx.Graph(finder.view.csr.edge_list().tolist())
    local = np.flatnonzero(np.isin(finder.view.to_release, genes(snapshot)))
    for one in local[::4].tolist():
        for other in local[::5].tolist():
            if one == other:
                continue
            ends = int(finder.view.to_release[one]), int(finder.view.to_release[other])
            found = {tuple(node.id for node in path.nodes) for path in finder.one(*ends)}
            if not nx.has_path(graph, one, other) or nx.shortest_path_length(graph, one, other) > 6:
                assert found == set()
                continue
            expected = {
                tuple(snapshot.nodes.ids[finder.view.to_release[n]] for n in path)
                for path in nx.all_shortest_paths(graph, one, other)
            }
            assert found == expected if len(expected) <= 100 else found <= expected
