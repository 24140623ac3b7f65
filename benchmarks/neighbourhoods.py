"""Induced subgraphs within one and two hops of all genes, against PyG and networkx on a sample of the same genes.

    python benchmarks/neighbourhoods.py --home HOME      both served views of the published release
    python benchmarks/neighbourhoods.py                  a random graph about as dense as the real gene view

Ours: every gene, each subgraph made as arrays (nodes, hops, edges in both directions) and dropped. Peers: the loop that
a user writes, ``k_hop_subgraph`` of PyG with relabelled nodes and ``ego_graph`` of networkx, over a sample, the time a
gene taken for all. The node and edge sets of the sample are compared, and a difference is an error. Ratios are of wall
time: ours with a thread a core, PyG with one thread or a thread a core, whichever is faster. CPU seconds stand beside.
Progress goes to standard error, a table and then one line of JSON to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aroma.retrieval.csr import Csr
from aroma.retrieval.subgraphs import neighbourhood_parts, neighbourhoods

Genes = npt.NDArray[np.int64]
Sets = tuple[set[int], set[tuple[int, int]]]


@dataclass(frozen=True)
class Spent:
    """Seconds for one gene."""

    wall: float
    cpu: float


def spent_on(work: Callable[[], object], genes: int) -> Spent:
    """Return the time of one run, by gene."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent((time.perf_counter() - wall) / genes, (time.process_time() - cpu) / genes)


def random_view(seed: int = 1) -> tuple[Csr, Genes]:
    """Make a graph whose degrees are skewed as those of interactions are."""
    rng = np.random.default_rng(seed)
    genes, edges = 19_000, 700_000
    weights = rng.pareto(1.6, genes) + 0.2
    ends = rng.choice(genes, (edges, 2), p=weights / weights.sum())
    return Csr.from_edges(genes, ends), np.arange(genes)


def released_views(home: Path, names: list[str]) -> Iterator[tuple[str, Csr, Genes]]:
    """Yield name, graph and genes of views of the published release."""
    from aroma.kgstore.home import Home
    from aroma.retrieval.snapshot import open_snapshot

    snapshot = open_snapshot(Home.locate(home))
    for name in names:
        view = snapshot.view(name)
        labels = snapshot.nodes.labels.series().gather(view.to_release).to_numpy()
        yield name, view.csr, np.flatnonzero(labels == "Gene")


def pyg_loop(graph: Csr, hops: int) -> Callable[[int], tuple[Any, Any]]:
    """Return a function that gives PyG's subgraph of a gene."""
    import torch
    from torch_geometric.utils import k_hop_subgraph

    tails = np.repeat(np.arange(graph.nodes), graph.degrees)
    edges = torch.from_numpy(np.stack([tails, graph.indices]).astype(np.int64))

    def ask(gene: int) -> tuple[Any, Any]:
        nodes, among, _, _ = k_hop_subgraph(gene, hops, edges, relabel_nodes=True, num_nodes=graph.nodes)
        return nodes, among

    return ask


def networkx_loop(graph: Csr, hops: int) -> Callable[[int], Any]:
    """Return a function that gives networkx's subgraph of a gene."""
    import networkx as nx

    made = nx.Graph()
    made.add_nodes_from(range(graph.nodes))
    made.add_edges_from(graph.edge_list().tolist())
    return lambda gene: nx.ego_graph(made, gene, radius=hops)


def our_sets(graph: Csr, gene: int, hops: int) -> Sets:
    """Return nodes, and edges in both directions, of our subgraph."""
    nodes, _, edges = neighbourhoods(graph, [gene], hops, threads=1).of(0)
    return set(nodes.tolist()), set(zip(*nodes[edges].tolist(), strict=True))


def pyg_sets(found: tuple[Any, Any]) -> Sets:
    """Return the same of PyG's."""
    nodes, edges = found
    return set(nodes.tolist()), set(zip(*nodes[edges].tolist(), strict=True))


def networkx_sets(found: Any) -> Sets:
    """Return the same of networkx's."""
    return set(found.nodes), {pair for one, other in found.edges for pair in ((one, other), (other, one))}


def time_peer(ask: Callable[[int], Any], sets: Callable[[Any], Sets], graph: Csr, genes: Genes, hops: int) -> Spent:
    """Return a peer's time a gene; stop where one of its answers is not ours."""
    for gene in genes[:5].tolist():
        if sets(ask(gene)) != our_sets(graph, gene, hops):
            raise SystemExit(f"node {gene}, {hops} hops: the peer has another subgraph")

    def loop() -> None:
        for gene in genes.tolist():
            ask(gene)

    return spent_on(loop, len(genes))


def time_pyg(graph: Csr, genes: Genes, hops: int) -> Spent:
    """Return the better of PyG's times with one thread and with as many as torch takes; on a busy machine it is one."""
    import torch

    spent, threads = [], torch.get_num_threads()
    for number in sorted({1, threads}):
        torch.set_num_threads(number)
        spent.append(time_peer(pyg_loop(graph, hops), pyg_sets, graph, genes, hops))
    return min(spent, key=lambda one: one.wall)


def consume(graph: Csr, genes: Genes, hops: int) -> dict[str, int]:
    """Make all subgraphs, one part after the other, and count what is in them."""
    nodes = edges = 0
    for part in neighbourhood_parts(graph, genes, hops):
        nodes += len(part.nodes)
        edges += part.edges.shape[1] // 2
    return {"nodes": nodes, "edges": edges}


def measure(name: str, graph: Csr, genes: Genes, hops: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time all genes of one view, and the peers."""
    print(f"{name}, {hops} hops", file=sys.stderr)
    sample = np.random.default_rng(0).permutation(genes)
    consume(graph, genes[:64], hops)
    counted: dict[str, int] = {}
    ours = min((spent_on(lambda: counted.update(consume(graph, genes, hops)), len(genes)) for _ in range(2)),
               key=lambda spent: spent.wall)  # fmt: skip
    peers = {
        "PyG": time_pyg(graph, sample[: arguments.pyg_genes], hops),
        "networkx": time_peer(
            networkx_loop(graph, hops), networkx_sets, graph, sample[: arguments.networkx_genes], hops
        ),
    }
    return {
        "view": name,
        "hops": hops,
        "genes": len(genes),
        "nodes_a_gene": counted["nodes"] / len(genes),
        "edges_a_gene": counted["edges"] / len(genes),
        "seconds": ours.wall * len(genes),
        "cpu_seconds": ours.cpu * len(genes),
        "peer_seconds": {peer: spent.wall * len(genes) for peer, spent in peers.items()},
        "peer_cpu_seconds": {peer: spent.cpu * len(genes) for peer, spent in peers.items()},
        "times_faster": {peer: spent.wall / ours.wall for peer, spent in peers.items()},
        "times_less_cpu": {peer: spent.cpu / ours.cpu for peer, spent in peers.items()},
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print what was measured for a person."""
    print("| view, hops | genes | nodes; edges a gene | seconds (CPU) | PyG: seconds, times faster | networkx |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        peers = " | ".join(
            f"{row['peer_seconds'][peer]:,.0f} s, {row['times_faster'][peer]:,.0f} times "
            f"({row['times_less_cpu'][peer]:,.0f} times in CPU)"
            for peer in ("PyG", "networkx")
        )
        print(
            f"| {row['view']}, {row['hops']} | {row['genes']:,} | {row['nodes_a_gene']:,.0f}; "
            f"{row['edges_a_gene']:,.0f} | {row['seconds']:.2f} ({row['cpu_seconds']:.2f}) | {peers} |"
        )


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="AROMA_HOME with a published release")
    parser.add_argument("--views", nargs="+", default=["gene-kg", "path-kg"])
    parser.add_argument("--hops", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--pyg-genes", type=int, default=200, help="genes that PyG is asked")
    parser.add_argument("--networkx-genes", type=int, default=20, help="genes that networkx is asked")
    parser.add_argument("--json", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    views = released_views(arguments.home, arguments.views) if arguments.home else [("random", *random_view())]
    rows = [
        measure(name, graph, genes, hops, arguments) for name, graph, genes in views for hops in sorted(arguments.hops)
    ]
    result = {"threads": len(os.sched_getaffinity(0)), "load_at_end": os.getloadavg()[0], "rows": rows}
    print_table(rows)
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
