"""Compiled attention over a graph's edges: softmax of edge scores and the weighted sum, forward and backward.

No message is ever laid out: each row of the result is summed from the rows of its neighbours as they stand, so memory
is that of the nodes plus one number an edge and head. Rows are split between threads; the kernels hold no lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from aroma.model.embeddings.rows import Float32, Int32, Int64, Parts, on_parts, parts_of, starts_of, vectorised


@dataclass(frozen=True)
class MessageGraph:
    """Which node hears which: for each destination its sources, and the other way round.

    Attributes:
        indptr: int64, (nodes + 1): where the sources of a destination begin.
        indices: int32, (edges): sources, by destination, ascending.
        out_indptr: int64, (nodes + 1): where the destinations of a source begin.
        out_indices: int32, (edges): destinations, by source.
        out_edges: int64, (edges): place in ``indices`` of each edge of ``out_indices``.
    """

    indptr: Int64
    indices: Int32
    out_indptr: Int64
    out_indices: Int32
    out_edges: Int64

    @classmethod
    def of(cls, nodes: int, sources: npt.ArrayLike, destinations: npt.ArrayLike, *, loops: bool = True) -> MessageGraph:
        """Lay out directed edges; with ``loops`` every node hears itself as well, once (as ``GATConv`` has it).

        Args:
            nodes: Number of nodes.
            sources: Integers, (edges).
            destinations: Integers, (edges).
            loops: Drop the self-loops that are there and add one a node.
        """
        source, destination = np.asarray(sources, dtype=np.int32), np.asarray(destinations, dtype=np.int32)
        if loops:
            other, every = source != destination, np.arange(nodes, dtype=np.int32)
            source, destination = np.concatenate([source[other], every]), np.concatenate([destination[other], every])
        order = np.lexsort((source, destination))
        source, destination = source[order], destination[order]
        back = np.lexsort((destination, source))
        return cls(starts_of(destination, nodes), source, starts_of(source, nodes), destination[back], back)

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.indptr) - 1

    @property
    def edges(self) -> int:
        """Number of directed edges, self-loops among them."""
        return len(self.indices)

    @cached_property
    def destinations(self) -> Int32:
        """int32, (edges): the destination of each edge of ``indices``."""
        return np.repeat(np.arange(self.nodes, dtype=np.int32), np.diff(self.indptr))

    @cached_property
    def parts(self) -> Parts:
        """Ranges of destinations with about the same number of edges, one a thread."""
        return parts_of(self.indptr)

    @cached_property
    def out_parts(self) -> Parts:
        """Ranges of sources with about the same number of edges, one a thread."""
        return parts_of(self.out_indptr)


def attend_forward(
    graph: MessageGraph, from_scores: Float32, to_scores: Float32, values: Float32, slope: float
) -> tuple[Float32, Float32]:
    """Return the weighted sums and the weights.

    Args:
        graph: Who hears whom.
        from_scores: float32, (nodes, heads): what a node's score adds as source.
        to_scores: float32, (nodes, heads): what it adds as destination.
        values: float32, (nodes, heads, numbers).
        slope: Of the leaky rectifier on the sum of the two scores.

    Returns:
        float32 (nodes, heads, numbers), and float32 (edges, heads) weights, of which those of a destination sum to one.
    """
    weights = np.empty((graph.edges, values.shape[1]), dtype=np.float32)
    sums = np.zeros_like(values)
    rows = (graph.indptr, graph.indices, from_scores, to_scores, values, np.float32(slope), weights, sums)
    on_parts(graph.parts, _forward, *rows)
    return sums, weights


def attend_backward(
    graph: MessageGraph,
    from_scores: Float32,
    to_scores: Float32,
    values: Float32,
    slope: float,
    weights: Float32,
    gradient: Float32,
) -> tuple[Float32, Float32, Float32]:
    """Return the gradients of ``from_scores``, ``to_scores`` and ``values``, given that of the sums."""
    by_score = np.empty_like(weights)
    by_to, by_from, by_value = np.zeros_like(to_scores), np.zeros_like(from_scores), np.zeros_like(values)
    given = (graph.indptr, graph.indices, from_scores, to_scores, values, np.float32(slope), weights, gradient)
    on_parts(graph.parts, _backward_scores, *given, by_score, by_to)
    back = (graph.out_indptr, graph.out_indices, graph.out_edges, weights, by_score, gradient, by_value, by_from)
    on_parts(graph.out_parts, _backward_values, *back)
    return by_from, by_to, by_value


@vectorised
def _forward(
    indptr: Int64,
    indices: Int32,
    from_scores: Float32,
    to_scores: Float32,
    values: Float32,
    slope: float,
    weights: Float32,
    sums: Float32,
    low: int,
    high: int,
) -> None:
    heads, numbers = values.shape[1], values.shape[2]
    for node in range(low, high):
        start, end = indptr[node], indptr[node + 1]
        for head in range(heads):
            most = np.float32(-np.inf)
            for edge in range(start, end):
                score = from_scores[indices[edge], head] + to_scores[node, head]
                score = score if score > 0 else score * slope
                weights[edge, head] = score
                most = max(most, score)
            total = np.float32(0)
            for edge in range(start, end):
                weights[edge, head] = np.exp(weights[edge, head] - most)
                total += weights[edge, head]
            scale = np.float32(1) / total if total > 0 else np.float32(0)
            for edge in range(start, end):
                weights[edge, head] *= scale
        for edge in range(start, end):
            source = indices[edge]
            for head in range(heads):
                weight = weights[edge, head]
                for number in range(numbers):
                    sums[node, head, number] += weight * values[source, head, number]


@vectorised
def _backward_scores(
    indptr: Int64,
    indices: Int32,
    from_scores: Float32,
    to_scores: Float32,
    values: Float32,
    slope: float,
    weights: Float32,
    gradient: Float32,
    by_score: Float32,
    by_to: Float32,
    low: int,
    high: int,
) -> None:
    heads, numbers = values.shape[1], values.shape[2]
    for node in range(low, high):
        start, end = indptr[node], indptr[node + 1]
        for head in range(heads):
            mean = np.float32(0)
            for edge in range(start, end):
                source = indices[edge]
                product = np.float32(0)
                for number in range(numbers):
                    product += gradient[node, head, number] * values[source, head, number]
                by_score[edge, head] = product
                mean += weights[edge, head] * product
            total = np.float32(0)
            for edge in range(start, end):
                rising = from_scores[indices[edge], head] + to_scores[node, head] > 0
                found = weights[edge, head] * (by_score[edge, head] - mean)
                found = found if rising else found * slope
                by_score[edge, head] = found
                total += found
            by_to[node, head] = total


@vectorised
def _backward_values(
    out_indptr: Int64,
    out_indices: Int32,
    out_edges: Int64,
    weights: Float32,
    by_score: Float32,
    gradient: Float32,
    by_value: Float32,
    by_from: Float32,
    low: int,
    high: int,
) -> None:
    heads, numbers = gradient.shape[1], gradient.shape[2]
    for node in range(low, high):
        for place in range(out_indptr[node], out_indptr[node + 1]):
            edge, destination = out_edges[place], out_indices[place]
            for head in range(heads):
                weight = weights[edge, head]
                by_from[node, head] += by_score[edge, head]
                for number in range(numbers):
                    by_value[node, head, number] += weight * gradient[destination, head, number]
