"""Ranked shortest paths of many pairs and of one, against networkx and igraph on a sample of the same pairs.

    python benchmarks/paths.py --home HOME --pairs DIR      a release's view; all distinct pairs of the CSV files in DIR
    python benchmarks/paths.py --graph FILE.npz             arrays indptr, indices, pairs
    python benchmarks/paths.py                              a random graph of about the size of the real path view

The peers list all shortest paths of a pair and rank them as the search does; their answers are compared, and a
difference is an error. Progress goes to standard error, a table and then one line of JSON to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aroma.retrieval.csr import Csr
from aroma.retrieval.search import PairSearch, hub_costs, k_shortest_paths

Pairs = npt.NDArray[np.int64]
PAIRS_IN_ALL = 465_000


def random_view(seed: int = 1) -> tuple[Csr, Pairs]:
    """Make genes, terms in a hierarchy and gene to term edges, skewed as annotations are."""
    rng = np.random.default_rng(seed)
    terms, genes = 50_000, 19_000
    parents = (rng.random((terms - 1, 2)) ** 2 * np.arange(1, terms)[:, None]).astype(np.int64)
    hierarchy = np.stack([np.repeat(np.arange(1, terms), 2), parents.ravel()], axis=1)
    each = np.minimum(rng.lognormal(2.1, 0.9, genes).astype(np.int64) + 1, 300)
    term = np.minimum(rng.pareto(0.55, each.sum()) * 12, terms - 1).astype(np.int64)
    shuffled = rng.permutation(terms)[term]
    annotations = np.stack([terms + np.repeat(np.arange(genes), each), shuffled], axis=1)
    edges = np.concatenate([hierarchy, annotations])
    degrees = np.bincount(edges.ravel(), minlength=terms + genes)
    graph = Csr.from_edges(terms + genes, edges[(degrees[edges] < 1000).all(axis=1)])
    starts = terms + rng.choice(genes, 2500, replace=False)
    ends = terms + rng.choice(genes, 10_000, replace=False)
    pairs = np.stack([rng.choice(starts, PAIRS_IN_ALL), rng.choice(ends, PAIRS_IN_ALL)], axis=1)
    return graph, np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def released_view(home: Path, view: str, directory: Path) -> tuple[Csr, Pairs]:
    """Open a release's view and number the distinct pairs of all CSV files of a directory."""
    import polars as pl

    from aroma.kgstore.home import Home
    from aroma.kgstore.node_names import resolver_of
    from aroma.retrieval.pairs import read_pairs
    from aroma.retrieval.snapshot import open_snapshot

    opened = Home.locate(home)
    snapshot = open_snapshot(opened)
    shown = snapshot.view(view)
    files = sorted(directory.glob("*.csv"))
    pairs = pl.concat([read_pairs(file).select("perturbation", "target") for file in files]).unique()
    names = pl.concat([pairs["perturbation"], pairs["target"]]).unique()
    found = resolver_of(opened, snapshot.release).resolve_column(names)
    numbers = snapshot.nodes.by_id.select(pl.col("id"), pl.col("node").cast(pl.Int64))
    local = pl.DataFrame({"node": shown.to_release, "local": np.arange(len(shown.to_release))}).cast(pl.Int64)
    known = found.select("query", "gene").join(numbers, left_on="gene", right_on="id").join(local, on="node")
    known = known.select("query", "local")
    both = pairs.join(known.rename({"query": "perturbation", "local": "source"}), on="perturbation")
    both = both.join(known.rename({"query": "target", "local": "sink"}), on="target")
    return shown.csr, both.select("source", "sink").unique().sort("source", "sink").to_numpy().astype(np.int64)


def best_of(repeats: int, work: Callable[[], object]) -> float:
    """Return the shortest of some runs, in seconds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def ranked(paths: list[tuple[int, ...]], hub: npt.NDArray[np.int64], k: int) -> list[tuple[int, ...]]:
    """Rank paths of one length as the search does."""
    return sorted(paths, key=lambda path: (sum(int(hub[node]) for node in path[1:-1]), path))[:k]


def networkx_paths(graph: Csr) -> Callable[[int, int], list[tuple[int, ...]]]:
    """Return a function that lists all shortest paths of a pair with networkx."""
    import networkx as nx

    made = nx.Graph()
    made.add_nodes_from(range(graph.nodes))
    made.add_edges_from(graph.edge_list().tolist())
    return lambda source, target: [tuple(path) for path in nx.all_shortest_paths(made, source, target)]


def check(name: str, graph: Csr, pair: tuple[int, int], found: list[tuple[int, ...]], k: int) -> None:
    """Stop where a peer's answer, ranked, is not that of the search."""
    ours = PairSearch(graph, k=k, slack=0, max_hops=32).search(*pair)
    if found != [path.nodes for path in ours.paths(0)]:
        raise SystemExit(f"{name} answers pair {pair} otherwise: {found}")


def time_networkx(graph: Csr, pairs: Pairs, k: int) -> float:
    """Return seconds a pair of networkx, which is asked pair by pair."""
    list_paths, hub, spent = networkx_paths(graph), hub_costs(graph.degrees), 0.0
    for source, target in pairs.tolist():
        begin = time.perf_counter()
        found = ranked(list_paths(source, target), hub, k)
        spent += time.perf_counter() - begin
        check("networkx", graph, (source, target), found, k)
    return spent / len(pairs)


def time_igraph(graph: Csr, pairs: Pairs, k: int) -> float:
    """Return seconds a pair of igraph, which is asked all targets of a source in one call, as it does best."""
    import igraph

    made, hub = igraph.Graph(n=graph.nodes, edges=graph.edge_list()), hub_costs(graph.degrees)
    spent = 0.0
    for source in np.unique(pairs[:, 0]).tolist():
        targets = np.unique(pairs[pairs[:, 0] == source, 1]).tolist()
        begin = time.perf_counter()
        listed: dict[int, list[tuple[int, ...]]] = {target: [] for target in targets}
        for path in made.get_all_shortest_paths(source, targets):
            listed[path[-1]].append(tuple(path))
        found = {target: ranked(paths, hub, k) for target, paths in listed.items()}
        spent += time.perf_counter() - begin
        check("igraph", graph, (source, targets[0]), found[targets[0]], k)
    return spent / len(pairs)


def time_single(graph: Csr, pairs: Pairs, k: int, slack: int) -> dict[str, float]:
    """Return the median and tail of one pair at a time, in milliseconds."""
    one = PairSearch(graph, k=k, slack=slack)
    one.search(*pairs[0].tolist())
    times = [best_of(1, partial(one.search, *pair)) * 1e3 for pair in pairs.tolist()]
    return {f"p{part}": float(np.percentile(times, part)) for part in (50, 99)}


def measure(graph: Csr, pairs: Pairs, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run everything."""
    k, sample = arguments.k, np.random.default_rng(0).permutation(len(pairs))
    bulk, single = {}, {}
    k_shortest_paths(graph, pairs[:1, 0], pairs[:1, 1])
    for slack in arguments.slack:
        print(f"slack {slack}", file=sys.stderr)
        work = partial(k_shortest_paths, graph, pairs[:, 0], pairs[:, 1], k=k, slack=slack)
        bulk[slack] = best_of(3, work)
        single[slack] = time_single(graph, pairs[sample[:3000]], k, slack)
    print("igraph", file=sys.stderr)
    chosen = np.random.default_rng(1).choice(np.unique(pairs[:, 0]), arguments.igraph_sources, replace=False)
    peers = {"igraph": time_igraph(graph, pairs[np.isin(pairs[:, 0], chosen)], k)}
    print("networkx", file=sys.stderr)
    joined = sample[graph.components[pairs[sample, 0]] == graph.components[pairs[sample, 1]]]
    peers["networkx"] = time_networkx(graph, pairs[joined[: arguments.networkx_pairs]], k)
    return {
        "nodes": graph.nodes,
        "edges": graph.edges,
        "pairs": len(pairs),
        "sources": len(np.unique(pairs[:, 0])),
        "threads": len(os.sched_getaffinity(0)),
        "load_at_end": os.getloadavg()[0],
        "k": k,
        "bulk_seconds": bulk,
        "single_milliseconds": single,
        "peer_seconds_a_pair": peers,
        "times_faster": {name: spent / (bulk[0] / len(pairs)) for name, spent in peers.items() if 0 in bulk},
    }


def print_table(result: dict[str, Any]) -> None:
    """Print what was measured for a person."""
    print(f"{result['pairs']:,} pairs of {result['sources']:,} sources")
    print(f"{result['nodes']:,} nodes, {result['edges']:,} edges")
    print(f"{result['threads']} threads; load {result['load_at_end']:.1f}\n")
    print("| work | seconds | pairs a second | one pair, p50 / p99 ms |\n|---|---|---|---|")
    for slack, seconds in result["bulk_seconds"].items():
        alone = result["single_milliseconds"][slack]
        rate = result["pairs"] / seconds
        print(f"| slack {slack} | {seconds:.2f} | {rate:,.0f} | {alone['p50']:.3f} / {alone['p99']:.3f} |")
    print("\n| peer, shortest paths only | ms a pair | this search is faster by |\n|---|---|---|")
    for name, spent in result["peer_seconds_a_pair"].items():
        print(f"| {name} | {spent * 1e3:.2f} | {result['times_faster'].get(name, float('nan')):,.0f} |")


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="AROMA_HOME with a published release")
    parser.add_argument("--view", default="path-kg")
    parser.add_argument("--pairs", type=Path, help="directory of CSV files with pert,gene")
    parser.add_argument("--graph", type=Path, help="npz file with indptr, indices, pairs")
    parser.add_argument("-k", type=int, default=3)
    parser.add_argument("--slack", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--igraph-sources", type=int, default=10, help="sources of which igraph is asked all pairs")
    parser.add_argument("--networkx-pairs", type=int, default=40)
    parser.add_argument("--json", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    if arguments.home:
        if not arguments.pairs:
            parser.error("--home needs --pairs, the directory of the pair files")
        graph, pairs = released_view(arguments.home, arguments.view, arguments.pairs)
    elif arguments.graph:
        arrays = np.load(arguments.graph)
        graph, pairs = Csr.of(arrays["indptr"], arrays["indices"]), arrays["pairs"].astype(np.int64)
    else:
        graph, pairs = random_view()
    result = measure(graph, pairs, arguments)
    print_table(result)
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
