"""Graph attention: one training step, and the subgraph embeddings of all genes, against PyG as AROMA's script runs it.

    python benchmarks/gat.py --home HOME                              both, on both views of the published release
    python benchmarks/gat.py --home HOME --peer-edges-share 0.1       the peer on a tenth of messages and pairs

Step: forward, backward and optimiser with the paper's sizes on the whole view, all edges as messages and asked about,
one non-edge an edge. The peer is three ``GATConv`` layers and a perceptron on the concatenated ends of all pairs, full
batch; whole, it needs about 16 GiB. With ``--peer-edges-share`` it gets that share of the edges and its time and memory
are of that share: they are reported as such and not multiplied out. Each side runs in a process of its own; memory is
that process's peak. The first step, which compiles and warms up, is not counted.

Subgraphs: ours encodes the one-hop subgraph of every gene; the peer is the loop over genes of ``k_hop_subgraph`` and a
forward pass, on a sample, the time a gene taken for all. The sample's vectors are compared; a difference is an error.

Ratios are of wall time, CPU seconds stand beside. A table and then one line of JSON go to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aroma.kgstore.home import Home
from aroma.model.embeddings.gat_model import GatLinkModel, GatOptions
from aroma.model.embeddings.links import both_ways, undirected
from aroma.model.embeddings.pair_scores import PairList
from aroma.model.embeddings.subgraph_vectors import encode_subgraphs
from aroma.retrieval.csr import Csr
from aroma.retrieval.snapshot import open_snapshot

PAPER = GatOptions()
Step = Callable[[], float]


class Peer(nn.Module):
    """The published encoder and decoder, written with PyG's layers."""

    def __init__(self) -> None:
        super().__init__()
        from torch_geometric.nn import GATConv

        inner = PAPER.heads * PAPER.hidden
        self.layers = nn.ModuleList(
            [
                GATConv(PAPER.input_dim, PAPER.hidden, heads=PAPER.heads),  # type: ignore[abstract]
                GATConv(inner, PAPER.hidden, heads=PAPER.heads),  # type: ignore[abstract]
                GATConv(inner, PAPER.dim, heads=1, concat=False),  # type: ignore[abstract]
            ]
        )
        self.decoder = nn.Sequential(nn.Linear(2 * PAPER.dim, PAPER.decoder), nn.ReLU(), nn.Linear(PAPER.decoder, 1))

    def encode(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Return (nodes, dim)."""
        for place, layer in enumerate(self.layers):
            nodes = layer(nn.functional.dropout(nodes, PAPER.dropout, self.training), edges)
            if place < len(self.layers) - 1:
                nodes = nn.functional.elu(nodes)
        return nodes

    def forward(self, nodes: Tensor, edges: Tensor, pairs: Tensor) -> Tensor:
        """Return (pairs) logits."""
        encoded = self.encode(nodes, edges)
        scores: Tensor = self.decoder(torch.cat([encoded[pairs[0]], encoded[pairs[1]]], dim=1)).squeeze(1)
        return scores


def view_of(home: Path, name: str) -> tuple[Csr, np.ndarray[Any, Any]]:
    """Return a view's graph and the numbers of its genes."""
    snapshot = open_snapshot(Home(home))
    view = snapshot.view(name)
    labels = snapshot.nodes.labels.series().gather(view.to_release).to_numpy()
    return view.csr, np.flatnonzero(labels == "Gene")


def questions(graph: Csr, share: float) -> tuple[Any, Any, Any]:
    """Return a share of the edges, as many random pairs, and the labels of both."""
    generator = np.random.default_rng(0)
    edges = undirected(graph)
    edges = edges[:, np.sort(generator.permutation(edges.shape[1])[: max(1, int(share * edges.shape[1]))])]
    others = generator.integers(0, graph.nodes, size=edges.shape, dtype=np.int32)
    labels = torch.cat([torch.ones(edges.shape[1]), torch.zeros(edges.shape[1])])
    return edges, np.concatenate([edges, others], axis=1), labels


def our_step(graph: Csr) -> Step:
    """Return one training step of ours."""
    edges, pairs, labels = questions(graph, 1)
    model, listed = GatLinkModel(PAPER, PAPER.input_dim), PairList.of(graph.nodes, *pairs)
    messages = both_ways(graph.nodes, edges)
    nodes = torch.randn(graph.nodes, PAPER.input_dim)
    return stepping(model, lambda: model(nodes, messages, listed), labels)


def peer_step(graph: Csr, share: float) -> Step:
    """Return one training step of the peer, with a share of the edges."""
    edges, pairs, labels = questions(graph, share)
    model = Peer()
    messages = torch.from_numpy(np.concatenate([edges, edges[::-1]], axis=1)).long()
    nodes, asked = torch.randn(graph.nodes, PAPER.input_dim), torch.from_numpy(pairs).long()
    return stepping(model, lambda: model(nodes, messages, asked), labels)


def stepping(model: nn.Module, scores: Callable[[], Tensor], labels: Tensor) -> Step:
    """Return a step: forward, backward, AdamW."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=PAPER.rate)

    def step() -> float:
        optimiser.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(scores(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return float(loss.item())

    return step


def time_steps(step: Step, repeats: int) -> dict[str, float]:
    """Return wall and CPU seconds of the fastest step after a first one, and this process's peak memory."""
    first = step()
    spent = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        loss = step()
        spent.append((time.perf_counter() - wall, time.process_time() - cpu))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": min(spent)[0], "cpu_seconds": min(cpu for _, cpu in spent), "peak_gib": peak,
            "first_loss": first, "loss": loss}  # fmt: skip


def time_subgraphs(graph: Csr, genes: np.ndarray[Any, Any], sample: int) -> dict[str, Any]:
    """Encode every gene's subgraph, and a sample by the published loop; compare."""
    from torch_geometric.utils import k_hop_subgraph

    torch.manual_seed(0)
    ours, inputs = GatLinkModel(PAPER, PAPER.input_dim), torch.randn(graph.nodes, PAPER.input_dim)
    peer = Peer().eval()
    for our_layer, layer in zip(ours.encoder.layers, peer.layers, strict=True):
        our_layer.load_state_dict(layer.state_dict())
    encode_subgraphs(ours, inputs.numpy(), graph, genes[:64], 1)
    wall, cpu = time.perf_counter(), time.process_time()
    found = encode_subgraphs(ours, inputs.numpy(), graph, genes, 1)
    spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    tails = np.repeat(np.arange(graph.nodes), graph.degrees)
    edges = torch.from_numpy(np.stack([tails, graph.indices]).astype(np.int64))
    chosen = np.random.default_rng(0).permutation(len(genes))[:sample]
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.no_grad():
        means = []
        for gene in genes[chosen].tolist():
            nodes, among, _, _ = k_hop_subgraph(gene, 1, edges, relabel_nodes=True, num_nodes=graph.nodes)
            means.append(peer.encode(inputs[nodes], among).mean(0).numpy())
    scale = len(genes) / len(chosen)
    peer_wall, peer_cpu = (time.perf_counter() - wall) * scale, (time.process_time() - cpu) * scale
    worst = float(np.abs(np.stack(means) - found[chosen]).max() / np.abs(found[chosen]).max())
    if worst > 1e-3:
        raise SystemExit(f"the peer's vectors differ from ours by {worst:.1e} of the largest number")
    return {"genes": len(genes), **spent, "peer_genes": len(chosen), "peer_seconds": peer_wall,
            "peer_cpu_seconds": peer_cpu, "times_faster": peer_wall / spent["seconds"],
            "times_less_cpu": peer_cpu / spent["cpu_seconds"], "largest_difference": worst}  # fmt: skip


def in_own_process(what: str, view: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one measurement in a process of its own, and return what it says."""
    print(f"{view}: {what}", file=sys.stderr)
    command = [sys.executable, __file__, "--home", str(arguments.home), "--views", view, "--only", what]
    command += ["--peer-edges-share", str(arguments.peer_edges_share), "--genes", str(arguments.genes)]
    command += ["--repeats", str(arguments.repeats)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"failed": done.returncode}  # killed for memory, as the whole peer is on a machine of 16 GiB
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def measure_one(what: str, view: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Do one measurement in this process."""
    graph, genes = view_of(arguments.home, view)
    if what == "subgraphs":
        return time_subgraphs(graph, genes, arguments.genes)
    step = our_step(graph) if what == "step" else peer_step(graph, arguments.peer_edges_share)
    return {"nodes": graph.nodes, "edges": graph.edges, **time_steps(step, arguments.repeats)}


def print_tables(rows: list[dict[str, Any]], share: float) -> None:
    """Print what was measured for a person."""
    whole = "" if share == 1 else f", on {share:.0%} of the edges"
    print(f"| view | step, s (CPU) | peak GiB | PyG{whole}: s (CPU) | peak GiB | ratio |\n|---|---|---|---|---|---|")
    for row in rows:
        ours, peer = row["step"], row["peer-step"]
        shown = "failed | | " if "failed" in peer else (
            f"{peer['seconds']:.1f} ({peer['cpu_seconds']:.1f}) | {peer['peak_gib']:.1f} | "
            + (f"{peer['seconds'] / ours['seconds']:.1f}" if share == 1 else "not of one size")
        )  # fmt: skip
        said = f"{ours['seconds']:.1f} ({ours['cpu_seconds']:.1f}) | {ours['peak_gib']:.1f}"
        print(f"| {row['view']} | {said} | {shown} |")
    print("\n| view, one hop | genes | s (CPU) | PyG's loop, s (CPU) | ratio (CPU) |\n|---|---|---|---|---|")
    for row in rows:
        one = row["subgraphs"]
        print(
            f"| {row['view']} | {one['genes']:,} | {one['seconds']:.1f} ({one['cpu_seconds']:.1f}) | "
            f"{one['peer_seconds']:.0f} ({one['peer_cpu_seconds']:.0f}) | "
            f"{one['times_faster']:.0f} ({one['times_less_cpu']:.0f}) |"
        )


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="AROMA_HOME with a published release")
    parser.add_argument("--views", nargs="+", default=["gene-kg", "path-kg"])
    parser.add_argument("--repeats", type=int, default=2, help="steps that are timed")
    parser.add_argument("--genes", type=int, default=200, help="genes that the peer's loop is asked")
    parser.add_argument("--peer-edges-share", type=float, default=1.0, help="share of the edges that the peer gets")
    parser.add_argument("--only", choices=("step", "peer-step", "subgraphs"), help="one measurement, in this process")
    parser.add_argument("--json", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure_one(arguments.only, arguments.views[0], arguments)))
        return
    rows = [
        {"view": view, **{what: in_own_process(what, view, arguments) for what in ("step", "peer-step", "subgraphs")}}
        for view in arguments.views
    ]
    result = {"threads": len(os.sched_getaffinity(0)), "load_at_end": os.getloadavg()[0],
              "peer_edges_share": arguments.peer_edges_share, "rows": rows}  # fmt: skip
    print_tables(rows, arguments.peer_edges_share)
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
