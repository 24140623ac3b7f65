"""A PyG sampler over a snapshot's typed edges: for loaders where ``pyg-lib`` and ``torch-sparse`` are not installed.

PyG's loaders take it as ``neighbor_sampler=``; what they return is as with PyG's own sampler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch_geometric.sampler.base import (
    BaseSampler,
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)
from torch_geometric.sampler.neighbor_sampler import edge_sample, node_sample

from aroma.errors import UsageError
from aroma.retrieval.csr import Int64
from aroma.retrieval.pyg.draw import among, draw, number
from aroma.retrieval.pyg.stores import SnapshotGraphStore
from aroma.retrieval.typed_edges import EdgeType, TypedView

SUBGRAPHS: Final = ("directional", "bidirectional", "induced")
_MOST_SEED: Final = 2**32


class SnapshotSampler(BaseSampler):
    """Samples neighbours hop by hop, uniformly, for each edge type by itself, as PyG's ``NeighborSampler`` does.

    ``torch.manual_seed`` makes the samples the same again.

    Args:
        graph_store: The stores' edges.
        num_neighbors: Edges to draw for each node, a number a hop; -1 for all. For all edge types alike, or by type:
            types that are not named are not walked.
        replace: Whether an edge may be drawn more than once.
        subgraph_type: ``directional``: the drawn edges; ``bidirectional``: also the same edges turned round;
            ``induced``: all edges among the drawn nodes.

    Raises:
        UsageError: An edge type that the view has not, hops that differ between types, or another subgraph type.
    """

    def __init__(
        self,
        graph_store: SnapshotGraphStore,
        num_neighbors: Sequence[int] | Mapping[EdgeType, Sequence[int]],
        *,
        replace: bool = False,
        subgraph_type: str = "directional",
    ) -> None:
        self._store = graph_store
        self._fans = _fans(graph_store.typed, num_neighbors)
        self._replace, self._subgraph_type = replace, subgraph_type
        if subgraph_type not in SUBGRAPHS:
            raise UsageError(f"subgraph_type is {subgraph_type!r}; it must be one of {', '.join(SUBGRAPHS)}")

    def sample_from_nodes(self, index: NodeSamplerInput, **_: Any) -> HeteroSamplerOutput:
        """Sample around nodes."""
        return self._finished(node_sample(index, self._sample))

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> HeteroSamplerOutput:
        """Sample around the ends of edges, with negative edges where asked for."""
        sizes = {label: len(nodes) for label, nodes in self._store.typed.nodes.items()}
        return self._finished(edge_sample(index, self._sample, sizes, False, None, neg_sampling))

    def _finished(self, sampled: SamplerOutput | HeteroSamplerOutput) -> HeteroSamplerOutput:
        found = sampled.to_bidirectional() if self._subgraph_type == "bidirectional" else sampled
        assert isinstance(found, HeteroSamplerOutput)  # seeds are always given with their label
        return found

    def _sample(self, seeds: dict[str, torch.Tensor], seed_time: object = None) -> HeteroSamplerOutput:
        if seed_time is not None:
            raise UsageError("a release has no times on its nodes; leave input_time and edge_label_time out")
        drawn = _Drawn(self._store.typed, {label: nodes.numpy() for label, nodes in seeds.items()})
        for hop in range(len(next(iter(self._fans.values()), ()))):
            drawn.go_on({kind: fans[hop] for kind, fans in self._fans.items()}, self._replace)
        if self._subgraph_type == "induced":
            drawn.take_all_among()
        return drawn.output()


def _fans(
    typed: TypedView, wanted: Sequence[int] | Mapping[EdgeType, Sequence[int]]
) -> dict[EdgeType, tuple[int, ...]]:
    by_type = wanted if isinstance(wanted, Mapping) else dict.fromkeys(typed.edge_types, wanted)
    for kind in by_type:
        if kind not in typed.edges:
            known = ", ".join("(" + ", ".join(one) + ")" for one in typed.edge_types)
            raise UsageError(f"{kind} is no edge type of view {typed.view.definition.name}; there are {known}")
    fans = {kind: tuple(int(fan) for fan in numbers) for kind, numbers in by_type.items()}
    if len({len(numbers) for numbers in fans.values()}) > 1:
        raise UsageError("num_neighbors has more hops for some edge types than for others; give each the same number")
    return fans


class _Drawn:
    """What was sampled so far: nodes by label in the order found, and edges by type."""

    def __init__(self, typed: TypedView, seeds: dict[str, Int64]) -> None:
        none = np.empty(0, dtype=np.int64)
        self._typed = typed
        self._nodes = {label: seeds.get(label, none) for label in typed.labels}
        self._place = {label: np.full(len(nodes), -1, dtype=np.int64) for label, nodes in typed.nodes.items()}
        for label, nodes in self._nodes.items():  # a seed given twice has two places; edges go to the first
            self._place[label][nodes[::-1]] = np.arange(len(nodes))[::-1]
        self._begin = dict.fromkeys(typed.labels, 0)
        self._hops: dict[str, list[int]] = {label: [len(nodes)] for label, nodes in self._nodes.items()}
        self._edges: dict[EdgeType, list[tuple[Int64, Int64, Int64]]] = {kind: [] for kind in typed.edges}

    def go_on(self, fans: dict[EdgeType, int], replace: bool) -> None:
        """Draw edges that end at the nodes found in the last hop."""
        last = dict(self._nodes)
        for kind, fan in fans.items():
            sources, starts = self._typed.edges[kind]
            seed = int(torch.randint(_MOST_SEED, ()))
            edges, columns = draw(sources, starts, last[kind[2]], self._begin[kind[2]], fan, replace, seed)
            label = kind[0]
            self._nodes[label], rows = number(sources[edges], self._nodes[label], self._place[label])
            self._edges[kind].append((rows, columns, edges))
        self._begin = {label: len(nodes) for label, nodes in last.items()}
        for label, nodes in self._nodes.items():
            self._hops[label].append(len(nodes) - self._begin[label])

    def take_all_among(self) -> None:
        """Replace the edges by all among the nodes."""
        for kind, (sources, starts) in self._typed.edges.items():
            self._edges[kind] = [among(sources, starts, self._nodes[kind[2]], self._place[kind[0]])]

    def output(self) -> HeteroSamplerOutput:
        """Return PyG's record of a sample."""
        joined = {
            kind: [torch.from_numpy(np.concatenate([part[side] for part in parts])) for side in range(3)]
            for kind, parts in self._edges.items()
            if parts
        }
        return HeteroSamplerOutput(
            node={label: torch.from_numpy(nodes) for label, nodes in self._nodes.items()},
            row={kind: sides[0] for kind, sides in joined.items()},
            col={kind: sides[1] for kind, sides in joined.items()},
            edge={kind: sides[2] for kind, sides in joined.items()},
            batch=None,
            num_sampled_nodes=dict(self._hops),
            num_sampled_edges={kind: [len(part[0]) for part in parts] for kind, parts in self._edges.items() if parts},
        )
