"""Neighbour sampling (Hamilton et al. 2017): the part of a graph that a batch of pairs hears, drawn hop by hop.

For graphs whose activations do not fit in memory: a step then costs what its batch reaches, whatever the graph's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aroma.model.embeddings.edge_softmax import MessageGraph
from aroma.model.embeddings.links import Pairs
from aroma.retrieval.pyg.draw import draw, number


@dataclass(frozen=True)
class Sample:
    """What a batch of pairs hears.

    Attributes:
        nodes: int64: numbers in the whole graph, by place in the sample; ends of pairs come first.
        graph: Drawn edges among them, with a self-loop a node.
        pairs: int32 (2, pairs): the batch, as places in the sample, in the order given.
    """

    nodes: npt.NDArray[np.int64]
    graph: MessageGraph
    pairs: Pairs


class NeighbourSampler:
    """Draws samples from one graph; keeps an array of its nodes between calls, so one thread at a time.

    Args:
        graph: Who hears whom.
        fan: At most so many sources a node and hop, each subset equally likely.
        hops: Layers of the encoder.
    """

    def __init__(self, graph: MessageGraph, fan: int, hops: int) -> None:
        self._graph, self._fan, self._hops = graph, fan, hops
        self._place = np.full(graph.nodes, -1, dtype=np.int64)

    def sample(self, pairs: Pairs, generator: np.random.Generator) -> Sample:
        """Return the sample of a batch of pairs, int32 (2, pairs) node numbers."""
        nodes = np.unique(pairs).astype(np.int64)
        self._place[nodes] = np.arange(len(nodes))
        sources, destinations, begin = [], [], 0
        for _ in range(self._hops):
            last = nodes
            seed = int(generator.integers(2**32))
            edges, columns = draw(self._graph.indices, self._graph.indptr, last, begin, self._fan, False, seed)  # type: ignore[arg-type]
            nodes, rows = number(self._graph.indices[edges].astype(np.int64), last, self._place)
            sources.append(rows)
            destinations.append(columns)
            begin = len(last)
        local = self._place[pairs].astype(np.int32)
        self._place[nodes] = -1
        graph = MessageGraph.of(len(nodes), np.concatenate(sources), np.concatenate(destinations))
        return Sample(nodes, graph, local)


def batches(edges: Pairs, others: Pairs, size: int, generator: np.random.Generator) -> Iterator[tuple[Pairs, Pairs]]:
    """Yield edges and as many non-edges in batches of ``size`` edges, in a new order."""
    order = generator.permutation(edges.shape[1])
    for begin in range(0, len(order), size):
        chosen = order[begin : begin + size]
        yield edges[:, chosen], others[:, chosen]
