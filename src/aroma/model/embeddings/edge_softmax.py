"""Compiled attention over a graph's edges: softmax of edge scores and the weighted sum, forward and backward.

No message is ever laid out: each row of the result is summed from the rows of its neighbours as they stand, so memory
is that of the nodes plus one number an edge and head. Rows are split between threads; the kernels hold no lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., Any])


def _fast(function: F) -> F:
    """Compile for vectors: sums may be reordered, as in any matrix product."""
    return cast("F", numba.njit(cache=True, nogil=True, fastmath=True)(function))


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
        return cls(_starts(destination, nodes), source, _starts(source, nodes), destination[back], back)

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
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Ranges of destinations with about the same number of edges, one a thread."""
        return _parts(self.indptr)

    @cached_property
    def out_parts(self) -> tuple[tuple[int, int], ...]:
        """Ranges of sources with about the same number of edges, one a thread."""
        return _parts(self.out_indptr)


def _starts(ends: Int32, nodes: int) -> Int64:
    return np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=nodes))]).astype(np.int64)


def _parts(indptr: Int64) -> tuple[tuple[int, int], ...]:
    shares = np.linspace(0, indptr[-1], _threads() * 4 + 1)
    cuts = np.unique(np.concatenate([[0], np.searchsorted(indptr, shares[1:-1]), [len(indptr) - 1]]))
    return tuple(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads(), thread_name_prefix="aroma-attention")


def _on_parts(parts: tuple[tuple[int, int], ...], function: Callable[..., None], *arrays: Any) -> None:
    for done in [_pool().submit(function, *arrays, low, high) for low, high in parts]:
        done.result()


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
    _on_parts(graph.parts, _forward, *rows)
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
    _on_parts(graph.parts, _backward_scores, *given, by_score, by_to)
    back = (graph.out_indptr, graph.out_indices, graph.out_edges, weights, by_score, gradient, by_value, by_from)
    _on_parts(graph.out_parts, _backward_values, *back)
    return by_from, by_to, by_value


@_fast
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


@_fast
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


@_fast
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
