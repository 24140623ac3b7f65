"""The path search against brute force and networkx."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as FilePath

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aroma.errors import UsageError
from aroma.retrieval import csr
from aroma.retrieval.csr import Csr
from aroma.retrieval.search import PairSearch, Path, PathTable, Status, hub_costs, k_shortest_paths


@st.composite
def graphs(draw: st.DrawFn, most_nodes: int = 9) -> Csr:
    nodes = draw(st.integers(2, most_nodes))
    possible = list(itertools.combinations(range(nodes), 2))
    chosen = draw(st.lists(st.sampled_from(possible), unique=True, max_size=len(possible)))
    return Csr.from_edges(nodes, chosen)


@st.composite
def sparse_graphs(draw: st.DrawFn) -> Csr:
    """A tree with a few more edges: long distances, dead ends and few detours, where loops crowd out paths."""
    nodes = draw(st.integers(5, 14))
    tree = [(draw(st.integers(max(0, node - 3), node - 1)), node) for node in range(1, nodes)]
    possible = list(itertools.combinations(range(nodes), 2))
    more = draw(st.lists(st.sampled_from(possible), max_size=4))
    return Csr.from_edges(nodes, tree + more)


def network(graph: Csr) -> nx.Graph:
    made = nx.Graph()
    made.add_nodes_from(range(graph.nodes))
    made.add_edges_from(graph.edge_list().tolist())
    return made


def brute_force(graph: Csr, source: int, target: int, k: int, slack: int, most: int, cost: np.ndarray) -> list[Path]:
    """Rank every loopless path that networkx lists."""
    made = network(graph)
    if source == target or not nx.has_path(made, source, target):
        return []
    longest = min(nx.shortest_path_length(made, source, target) + slack, most)
    paths = [
        Path(tuple(p), sum(int(cost[n]) for n in p[1:-1])) for p in nx.all_simple_paths(made, source, target, longest)
    ]
    return sorted(paths, key=lambda path: (path.hops, path.cost, path.nodes))[:k]


def all_pairs(graph: Csr) -> tuple[np.ndarray, np.ndarray]:
    sources, targets = np.divmod(np.arange(graph.nodes**2), graph.nodes)
    return sources, targets


def assert_right(graph: Csr, k: int, slack: int, max_hops: int, cost: np.ndarray | None) -> None:
    sources, targets = all_pairs(graph)
    table = k_shortest_paths(graph, sources, targets, k=k, slack=slack, max_hops=max_hops, cost=cost, threads=1)
    one = PairSearch(graph, k=k, slack=slack, max_hops=max_hops, cost=cost)
    hub = hub_costs(graph.degrees) if cost is None else cost
    made = network(graph)
    for pair, (source, target) in enumerate(zip(sources.tolist(), targets.tolist(), strict=True)):
        expected = brute_force(graph, source, target, k, slack, max_hops, hub)
        assert table.paths(pair) == expected, (source, target)
        single = one.search(source, target)
        assert single.paths(0) == expected, (source, target)
        assert single.status[0] == table.status[pair]
        assert single.shortest[0] == table.shortest[pair]
        if expected:
            assert table.status[pair] == Status.FOUND
            assert table.shortest[pair] == len(list(nx.all_shortest_paths(made, source, target)))
        elif source == target:
            assert table.status[pair] == Status.SAME_NODE
        else:
            assert table.status[pair] == (Status.TOO_FAR if nx.has_path(made, source, target) else Status.UNREACHABLE)


limits = {"k": st.integers(1, 5), "slack": st.integers(0, 4), "max_hops": st.integers(1, 8)}


@settings(max_examples=150, deadline=None)
@given(graph=graphs(), **limits)
def test_ranked_paths_are_those_of_brute_force(graph: Csr, k: int, slack: int, max_hops: int) -> None:
    assert_right(graph, k, slack, max_hops, None)


@settings(max_examples=150, deadline=None)
@given(graph=sparse_graphs(), **limits)
def test_sparse_graphs_with_dead_ends(graph: Csr, k: int, slack: int, max_hops: int) -> None:
    assert_right(graph, k, slack, max_hops, None)


@settings(max_examples=100, deadline=None)
@given(graph=st.one_of(graphs(), sparse_graphs()), data=st.data(), **limits)
def test_any_costs_and_their_ties(graph: Csr, data: st.DataObject, k: int, slack: int, max_hops: int) -> None:
    cost = np.array(data.draw(st.lists(st.integers(0, 2), min_size=graph.nodes, max_size=graph.nodes)))
    assert_right(graph, k, slack, max_hops, cost)


@settings(max_examples=60, deadline=None)
@given(graph=graphs(), slack=st.integers(0, 4), k=st.integers(1, 12))
def test_hops_are_those_of_networkx_shortest_simple_paths(graph: Csr, slack: int, k: int) -> None:
    made = network(graph)
    for source, target in itertools.combinations(range(graph.nodes), 2):
        found = PairSearch(graph, k=k, slack=slack, max_hops=10).search(source, target).paths(0)
        if not nx.has_path(made, source, target):
            assert found == []
            continue
        ranked = [len(path) - 1 for path in itertools.islice(nx.shortest_simple_paths(made, source, target), k)]
        assert [path.hops for path in found] == [hops for hops in ranked if hops <= ranked[0] + slack]


def layered(widths: list[int], seed: int) -> Csr:
    """Full layers: the product of the widths is the number of shortest paths between first and last."""
    starts = np.cumsum([0, *widths])
    order = np.random.default_rng(seed).permutation(starts[-1])
    edges = [
        (order[a], order[b])
        for layer in range(len(widths) - 1)
        for a in range(starts[layer], starts[layer + 1])
        for b in range(starts[layer + 1], starts[layer + 2])
    ]
    return Csr.from_edges(int(starts[-1]), edges), int(order[0]), int(order[-1])  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("equal_costs", [True, False])
def test_exact_among_a_hundred_thousand_candidates(seed: int, equal_costs: bool) -> None:
    graph, source, target = layered([1, 18, 18, 18, 18, 1], seed)  # type: ignore[misc]
    rng = np.random.default_rng(seed)
    cost = np.zeros(graph.nodes, dtype=np.int64) if equal_costs else rng.integers(0, 5, graph.nodes)
    every = [
        Path(tuple(p), sum(int(cost[n]) for n in p[1:-1]))
        for p in nx.all_shortest_paths(network(graph), source, target)
    ]
    expected = sorted(every, key=lambda path: (path.cost, path.nodes))[:7]
    table = k_shortest_paths(graph, [source], [target], k=7, slack=0, cost=cost)
    assert table.paths(0) == expected
    assert table.shortest.tolist() == [18**4]
    assert table.truncated.tolist() == [True]
    assert PairSearch(graph, k=7, slack=0, cost=cost).search(source, target).paths(0) == expected


def test_direct_neighbours_and_detours() -> None:
    graph = Csr.from_edges(4, [(0, 1), (0, 2), (1, 2), (2, 3)])
    table = k_shortest_paths(graph, [0, 0], [1, 3], slack=1)
    assert table.paths(0) == [Path((0, 1), 0), Path((0, 2, 1), 1585)]
    assert table.paths(1) == [Path((0, 2, 3), 1585), Path((0, 1, 2, 3), 1585 + 1000)]
    assert not table.truncated.any()


def test_a_loop_never_crowds_out_a_path() -> None:
    # 0-1-2 has a hundred cheap two-hop loops at 1; the only loopless path of length 4 goes by 103-104-105.
    leaves = [(1, leaf) for leaf in range(3, 103)]
    graph = Csr.from_edges(106, [(0, 1), (1, 2), *leaves, (0, 103), (103, 104), (104, 105), (105, 2)])
    cost = np.zeros(106, dtype=np.int64)
    cost[103:] = 1000
    table = k_shortest_paths(graph, [0], [2], k=3, slack=2, cost=cost)
    assert [path.nodes for path in table.paths(0)] == [(0, 1, 2), (0, 103, 104, 105, 2)]
    assert PairSearch(graph, k=3, slack=2, cost=cost).search(0, 2).paths(0) == table.paths(0)


def random_graph(seed: int, nodes: int = 400, edges: int = 1100) -> Csr:
    return Csr.from_edges(nodes, np.random.default_rng(seed).integers(0, nodes, (edges, 2)))


def assert_same(one: PathTable, two: PathTable) -> None:
    for name in PathTable.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


@pytest.mark.parametrize("slack", [0, 1, 2])
def test_threads_and_order_of_pairs_change_nothing(slack: int) -> None:
    graph = random_graph(1)
    pairs = np.random.default_rng(2).integers(0, graph.nodes, (3000, 2))
    one = k_shortest_paths(graph, pairs[:, 0], pairs[:, 1], slack=slack, threads=1)
    assert_same(one, k_shortest_paths(graph, pairs[:, 0], pairs[:, 1], slack=slack, threads=2))
    shuffle = np.random.default_rng(3).permutation(len(pairs))
    other = k_shortest_paths(graph, pairs[shuffle, 0], pairs[shuffle, 1], slack=slack, threads=2)
    assert all(other.paths(place) == one.paths(pair) for place, pair in enumerate(shuffle.tolist()))


@pytest.mark.parametrize("slack", [0, 1, 2, 3])
def test_one_pair_agrees_with_many_on_a_larger_graph(slack: int) -> None:
    graph = random_graph(4)
    pairs = np.random.default_rng(5).integers(0, graph.nodes, (1500, 2))
    many = k_shortest_paths(graph, pairs[:, 0], pairs[:, 1], slack=slack, max_hops=7)
    one = PairSearch(graph, slack=slack, max_hops=7)
    for pair, (source, target) in enumerate(pairs.tolist()):
        single = one.search(source, target)
        assert single.paths(0) == many.paths(pair)
        assert (single.status[0], single.shortest[0]) == (many.status[pair], many.shortest[pair])


def test_one_searcher_serves_several_threads() -> None:
    graph = random_graph(6)
    pairs = np.random.default_rng(7).integers(0, graph.nodes, (800, 2)).tolist()
    search = PairSearch(graph)
    expected = [search.search(*pair).paths(0) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda pair: search.search(*pair).paths(0), pairs)) == expected


def test_answers_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(8)
    pairs = np.random.default_rng(9).integers(0, graph.nodes, (500, 2))
    whole = k_shortest_paths(graph, pairs[:, 0], pairs[:, 1])
    monkeypatch.setattr("aroma.retrieval.search._ANSWER_BYTES", 20_000)
    assert_same(whole, k_shortest_paths(graph, pairs[:, 0], pairs[:, 1]))


def test_no_pairs_and_read_only_arrays() -> None:
    graph = Csr.from_edges(3, [(0, 1), (1, 2)])
    assert len(k_shortest_paths(graph, [], [])) == 0
    frozen = np.array([0, 2])
    frozen.flags.writeable = False
    assert k_shortest_paths(graph, frozen, frozen[::-1]).hops.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 101}, "k is 101"),
        ({"slack": -1}, "slack is -1"),
        ({"max_hops": 0}, "max_hops is 0"),
        ({"max_hops": 33}, "max_hops is 33"),
        ({"cost": [1, 2]}, "2 node costs for 3"),
        ({"cost": [1, -2, 3]}, "negative"),
    ],
)
def test_limits_out_of_range_are_refused(arguments: dict[str, object], named: str) -> None:
    graph = Csr.from_edges(3, [(0, 1), (1, 2)])
    with pytest.raises(UsageError, match=named):
        k_shortest_paths(graph, [0], [1], **arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=named):
        PairSearch(graph, **arguments)  # type: ignore[arg-type]


def test_unknown_nodes_are_refused() -> None:
    graph = Csr.from_edges(3, [(0, 1), (1, 2)])
    with pytest.raises(UsageError, match="target 3 is no node"):
        k_shortest_paths(graph, [0], [3])
    with pytest.raises(UsageError, match="source -1 is no node"):
        PairSearch(graph).search(-1, 2)
    with pytest.raises(UsageError, match="2 sources but 1 targets"):
        k_shortest_paths(graph, [0, 1], [2])
    with pytest.raises(UsageError, match="node numbers"):
        k_shortest_paths(graph, [0.5], [2])


def test_hub_costs_are_integers_of_log_degree() -> None:
    assert hub_costs([0, 1, 2, 3, 1000]).tolist() == [0, 0, 1000, 1585, 9966]


@pytest.mark.parametrize(
    ("indptr", "indices", "named"),
    [
        ([0, 1], [1, 0], "row starts"),
        ([0, 1, 2], [5, 0], "outside 0 to 1"),
        ([0, 1, 2], [0, 1], "node 0 is joined to itself"),
        ([0, 2, 3, 4], [2, 1, 0, 0], "not ascending"),
        ([0, 1, 1], [1], "one direction"),
    ],
)
def test_arrays_that_are_no_undirected_simple_graph_are_refused(
    indptr: list[int], indices: list[int], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        Csr.of(indptr, indices)


def test_edges_in_either_direction_and_repeats_are_one() -> None:
    graph = Csr.from_edges(3, [(1, 0), (0, 1), (2, 2), (1, 2)])
    assert graph.edge_list().tolist() == [[0, 1], [1, 2]]
    assert (graph.nodes, graph.edges, graph.degrees.tolist()) == (3, 2, [1, 2, 1])
    with pytest.raises(UsageError, match="ends at node 3"):
        Csr.from_edges(3, [(0, 3)])


def test_stored_machine_code_is_named_by_all_kernel_files(tmp_path: FilePath) -> None:
    """A change in one kernel file must not leave the stored code of its callers in use."""
    package = tmp_path / "aroma" / "retrieval"
    shutil.copytree(FilePath(csr.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from aroma.retrieval.serve import serve_pair; print(serve_pair.py_func.__qualname__)"

    def stored_name() -> str:
        script = f"import aroma; aroma.__path__.insert(0, {str(package.parent)!r}); {code}"
        return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout

    before = stored_name()
    assert stored_name() == before
    (package / "reach.py").write_text((package / "reach.py").read_text() + "\n# changed\n")
    assert stored_name() != before
