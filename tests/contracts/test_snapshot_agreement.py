"""Cypher is the reference: the snapshot gives the same paths and neighbourhoods as both engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aroma.importers.base import ImportOptions
from aroma.importers.build import read_all
from aroma.importers.discover import discover
from aroma.kgstore.home import Home
from aroma.kgstore.views import PRESETS, adjusted
from aroma.retrieval.neighbourhoods import neighbourhood
from aroma.retrieval.paths import PathFinder, PathOptions
from aroma.retrieval.snapshot import Snapshot, open_snapshot
from tests.conftest import empty_database
from tests.support import random_release
from tests.support.both_engines import Published, publish_tables
from tests.support.samples import BUNDLED

pytestmark = [pytest.mark.neo4j, pytest.mark.embedded]

RELATIONS = [str(relation) for relation in PRESETS["path-kg"].relations]
asked_often = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True, slots=True)
class Both:
    """One release on both engines, its snapshot, and groups of genes that can be joined."""

    engines: tuple[Published, Published]
    snapshot: Snapshot
    groups: list[list[str]]
    without_dropped: list[list[str]]


@pytest.fixture(scope="module", params=["random graphs", "samples"])
def both(request, neo4j_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    from aroma.kgstore.engines.embedded_owner import stop_owner

    random = request.param == "random graphs"
    if random:
        tables = random_release.random_release()
    else:
        tables = read_all(discover(BUNDLED, pins={}), ImportOptions(), lambda _: None).tables
    empty_database(neo4j_uri)
    homes = [Home(tmp_path_factory.mktemp(name)) for name in ("embedded", "neo4j")]
    try:
        engines = publish_tables(homes[0], "embedded:", tables), publish_tables(homes[1], neo4j_uri, tables)
        snapshot = open_snapshot(homes[0])
        if random:
            numbers = range(random_release.GRAPHS)
            groups = [[random_release.gene(graph, n) for n in range(random_release.GENES)] for graph in numbers]
            whole = [groups[graph] for graph in numbers if not random_release.has_dropped(graph)]
        else:
            ids = snapshot.nodes.ids
            groups = [[ids[row] for row, label in enumerate(snapshot.nodes.labels) if label == "Gene"]]
            whole = []
        yield Both(engines, snapshot, groups, whole)
    finally:
        stop_owner(homes[0])


def found_paths(both: Both, one: str, other: str, **options: int) -> list[tuple[int, list[str], int]]:
    finder = PathFinder(both.snapshot, PathOptions("path-kg", **options))
    paths = finder.one(both.snapshot.nodes.ids.find(one), both.snapshot.nodes.ids.find(other))
    return [(path.hops, [node.id for node in path.nodes], path.cost) for path in paths]


@asked_often
@given(data=st.data(), k=st.integers(1, 8), slack=st.integers(0, 1), max_hops=st.integers(1, 6))
def test_ranked_paths(both: Both, data: st.DataObject, k: int, slack: int, max_hops: int) -> None:
    genes = data.draw(st.sampled_from(both.groups))
    one, other = data.draw(st.lists(st.sampled_from(genes), min_size=2, max_size=2, unique=True))
    expected = found_paths(both, one, other, k=k, slack=slack, max_hops=max_hops)
    for engine in both.engines:
        rows = engine.saved(
            "shortest-paths", perturbation=one, target=other, k=str(k), slack=str(slack), max_hops=str(max_hops)
        )
        assert [(row[1], row[3], row[6]) for row in rows] == expected
        assert [row[0] for row in rows] == list(range(1, len(rows) + 1))


def test_all_shortest_paths(both: Both) -> None:
    """Every pair of a graph, slack 0, against the engines' own ``allShortestPaths``."""
    text = (
        "MATCH (a:Gene {id: $one}) MATCH (b:Gene) WHERE b.id IN split($others, ' ') AND a.id < b.id "
        f"MATCH p = allShortestPaths((a)-[:{'|'.join(RELATIONS)}*..6]-(b)) RETURN b.id, [n IN nodes(p) | n.id]"
    )
    seen = 0
    for genes in both.without_dropped:
        for one in genes[:3]:
            expected = {
                (other, *nodes)
                for other in genes
                if one < other
                for _, nodes, _ in found_paths(both, one, other, k=100, slack=0, max_hops=6)
            }
            for engine in both.engines:
                rows = engine.cypher(text, one=one, others=" ".join(genes))
                assert {(row[0], *row[1]) for row in rows} == expected  # type: ignore[misc]
            seen += len(expected)
    assert seen or not both.without_dropped


def view_edges_by_hop(both: Both, gene: str, hops: int, relations: list[str]) -> set[tuple[int, str, str, str]]:
    """Return the edges that a walk of some hops takes, with the hop at which each is first taken."""
    snapshot, view = both.snapshot, adjusted(PRESETS["path-kg"], relations=relations)
    shown = snapshot.view(view)
    number = snapshot.nodes.ids.find(gene)
    if number is None or shown.local(number) is None:
        return set()
    found = neighbourhood(snapshot.home, gene, view=view, hops=hops, limit=10_000)
    local = [shown.local(snapshot.nodes.ids.find(item.node.id)) for item in found.nodes]
    edges = set()
    for link in found.links:
        hop = 1 + min(found.nodes[link.start].hops, found.nodes[link.end].hops)
        for number in shown.edges_between(local[link.start], local[link.end]):
            row = snapshot.edges.row(number)
            edges.add((hop, row["subject"], row["relation"], row["object"]))
    return edges


@asked_often
@given(data=st.data(), hops=st.integers(1, 3), chosen=st.lists(st.sampled_from(RELATIONS), min_size=1, unique=True))
def test_neighbourhoods(both: Both, data: st.DataObject, hops: int, chosen: list[str]) -> None:
    """The walk's edges of each hop; and, one hop more asked, the edges among the nodes that it reaches."""
    gene = data.draw(st.sampled_from(data.draw(st.sampled_from(both.groups))))
    induced = view_edges_by_hop(both, gene, hops, chosen)
    inside = set(view_nodes(both, "path-kg"))
    reached = {end for _, one, _, other in induced for end in (one, other)} | {gene}
    for engine in both.engines:
        rows = asked(engine, gene, hops, chosen, inside)
        assert rows == {edge for edge in induced if edge[0] <= hops}
        if hops < 3:
            more = asked(engine, gene, hops + 1, chosen, inside)
            assert {edge for edge in more if edge[1] in reached and edge[3] in reached} == induced


def asked(
    engine: Published, gene: str, hops: int, relations: list[str], inside: set[str]
) -> set[tuple[object, object, object, object]]:
    """Return the saved query's edges without those to nodes that path-kg has not, which it shows and does not walk."""
    rows = engine.saved("k-hop-subgraph", gene=gene, hops=str(hops), relations=";".join(relations))
    return {(row[0], row[1], row[2], row[3]) for row in rows if row[1] in inside and row[3] in inside}


def view_nodes(both: Both, view: str) -> list[str]:
    return [both.snapshot.nodes.ids[node] for node in both.snapshot.view(view).to_release.tolist()]
