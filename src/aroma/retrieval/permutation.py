"""Degree-preserving permutation of a view: the null against which "the graph helps" is judged.

Double edge swaps (Maslov and Sneppen, Science 2002): two edges (a, b) and (c, d) of one class become (a, d) and (c, b)
unless that makes a self-loop or an edge that is there already. The graph stays simple, every node keeps its degree,
and, as a class is an edge type with the kinds of both ends, its degree in each class: gene to term stays gene to term.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import UsageError
from aroma.retrieval.csr import Csr, Int32, Int64, compiled, inlined

SWAPS_PER_EDGE: Final = 10
_TRIES_PER_SWAP: Final = 10


def degree_preserving_permutation(
    graph: Csr,
    seed: int,
    *,
    swaps_per_edge: int = SWAPS_PER_EDGE,
    edge_types: npt.ArrayLike | None = None,
    node_kinds: npt.ArrayLike | None = None,
) -> Csr:
    """Return a random graph with the same degrees; the same seed gives the same graph on every machine.

    Args:
        graph: The view.
        seed: Any integer.
        swaps_per_edge: Swaps made, as a multiple of a class's edges. A class in which few swaps are possible ends
            after ten times as many tries.
        edge_types: Integers, one for each row of ``graph.edge_list()``; swaps stay within a type.
        node_kinds: Integers, nodes; swaps join only kinds that were joined by the two edges.

    Raises:
        UsageError: The arrays do not fit the graph, or ``swaps_per_edge`` is negative.
    """
    ends = graph.edge_list()
    types = _column(edge_types, len(ends), "edge types", "edges")
    kinds = _column(node_kinds, graph.nodes, "node kinds", "nodes")
    return Csr.from_edges(graph.nodes, permute_edges(graph, ends, types, kinds, seed, swaps_per_edge))


def permute_steps(
    low: npt.ArrayLike, high: npt.ArrayLike, relation: pl.Series, nodes: int, seed: int, kinds: pl.Series | None = None
) -> tuple[Int64, Int64]:
    """Permute the steps of a view, each pair of nodes once, within its relation.

    Args:
        low: Smaller node of each step; several steps may join the same two nodes, and become one of the first relation.
        high: Larger node of each step.
        relation: Relation of each step.
        nodes: Number of nodes.
        seed: Any integer.
        kinds: Label of each node: with it, steps go on joining the labels that they joined. A relation whose steps do
            not always have the same label at the smaller node needs it.

    Returns:
        Smaller and larger node of each permuted step.
    """
    ends = np.stack([np.asarray(low, dtype=np.int64), np.asarray(high, dtype=np.int64)], axis=1)
    types = relation.rank("dense").to_numpy().astype(np.int64)
    order = np.lexsort((types, ends[:, 1], ends[:, 0]))
    ends, types = ends[order], types[order]
    fresh = np.ones(len(ends), dtype=bool)
    fresh[1:] = (np.diff(ends, axis=0) != 0).any(axis=1)
    graph = Csr.from_edges(nodes, ends[fresh])
    labels = np.zeros(nodes, dtype=np.int64) if kinds is None else kinds.rank("dense").to_numpy().astype(np.int64)
    permuted = permute_edges(graph, graph.edge_list(), types[fresh], labels, seed, SWAPS_PER_EDGE)
    return permuted.min(axis=1), permuted.max(axis=1)


def permute_edges(graph: Csr, ends: Int32, types: Int64, kinds: Int64, seed: int, swaps_per_edge: int) -> Int64:
    """Return ``ends`` after the swaps, int64, (edges, 2), in no particular order; see the functions above."""
    if swaps_per_edge < 0:
        raise UsageError(f"swaps_per_edge is {swaps_per_edge}; it must not be negative")
    first, second = ends[:, 0].astype(np.int64), ends[:, 1].astype(np.int64)
    turned = kinds[first] > kinds[second]
    first, second = np.where(turned, second, first), np.where(turned, first, second)
    keys = np.stack([types, kinds[first], kinds[second]], axis=1)
    order = np.lexsort((second, first, keys[:, 2], keys[:, 1], keys[:, 0]))
    first, second, keys = first[order], second[order], keys[order]
    changes = np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1)) + 1
    starts = np.concatenate([[0], changes, [len(keys)]]).astype(np.int64)
    alike = np.array([keys[start, 1] == keys[start, 2] for start in starts[:-1] if start < len(keys)], dtype=np.bool_)
    state = np.array([seed % 2**64], dtype=np.uint64)
    if len(keys):
        _swap(graph.indptr, graph.indices.copy(), first, second, starts, alike, state, swaps_per_edge)
    return np.stack([first, second], axis=1)


def _column(values: npt.ArrayLike | None, length: int, what: str, rows: str) -> Int64:
    if values is None:
        return np.zeros(length, dtype=np.int64)
    column = np.asarray(values, dtype=np.int64)
    if column.shape != (length,):
        raise UsageError(f"there are {column.size} {what} for {length} {rows}; give one each")
    return column


@inlined
def _random(state: npt.NDArray[np.uint64], below: int) -> int:
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    mixed = state[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return int((mixed >> np.uint64(11)) % np.uint64(below))


@inlined
def _place_of(indptr: Int64, rows: Int32, node: int, other: int) -> int:
    """Return where ``other`` stands among the neighbours of ``node``, or -1."""
    for place in range(indptr[node], indptr[node + 1]):
        if rows[place] == other:
            return place
    return -1


@inlined
def _joined(indptr: Int64, rows: Int32, one: int, two: int) -> bool:
    if indptr[one + 1] - indptr[one] > indptr[two + 1] - indptr[two]:
        one, two = two, one
    return _place_of(indptr, rows, one, two) >= 0


@compiled
def _swap(
    indptr: Int64,
    rows: Int32,
    first: Int64,
    second: Int64,
    starts: Int64,
    alike: npt.NDArray[np.bool_],
    state: npt.NDArray[np.uint64],
    swaps_per_edge: int,
) -> None:
    """Swap in place. Degrees do not change, so the rows of neighbours keep their lengths; they lose their order."""
    for kind in range(len(starts) - 1):
        begin, edges = starts[kind], starts[kind + 1] - starts[kind]
        wanted, tries = swaps_per_edge * edges, _TRIES_PER_SWAP * swaps_per_edge * edges
        while edges > 1 and wanted > 0 and tries > 0:
            tries -= 1
            one, two = begin + _random(state, edges), begin + _random(state, edges)
            a, b, c, d = first[one], second[one], first[two], second[two]
            turn = alike[kind] and _random(state, 2) == 1
            if turn:
                c, d = d, c
            if a in (c, d) or b in (c, d) or _joined(indptr, rows, a, d) or _joined(indptr, rows, c, b):
                continue
            rows[_place_of(indptr, rows, a, b)] = d
            rows[_place_of(indptr, rows, d, c)] = a
            rows[_place_of(indptr, rows, c, d)] = b
            rows[_place_of(indptr, rows, b, a)] = c
            first[one], second[one] = a, d
            first[two], second[two] = c, b
            wanted -= 1
