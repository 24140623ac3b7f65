"""Compiled answers: the pairs of many sources, one search a source, and one pair by balls grown from both ends."""

from __future__ import annotations

import numpy as np

from aroma.retrieval.csr import Int8, Int32, Int64, compiled
from aroma.retrieval.kernels import add_state, collect, fill, forget_states, mark
from aroma.retrieval.reach import grow, reach_targets
from aroma.retrieval.workspace import FAR, Arrays, Found, Limits, Workspace


@compiled
def _serve_source(
    graph: Arrays, space: Workspace, limits: Limits, found: Found, source: int, targets: Int32, pairs: Int64
) -> None:
    nodes = len(space.distance)
    away, radius = reach_targets(graph, space, source, targets[pairs], limits.max_hops)
    for extra in range(limits.slack + 1):
        top = 0
        for place, pair in enumerate(pairs):
            target, length = targets[pair], away[place] + extra
            if target != source and found.found[pair] < limits.k and length <= limits.max_hops:
                top = max(top, length)
                if space.slot[length * nodes + target] < 0:
                    add_state(graph, space, length, target)
        if top == 0:
            continue
        mark(graph, space, top, radius, extra)
        fill(graph, space, limits.k, top)
        for place, pair in enumerate(pairs):
            target, length = targets[pair], away[place] + extra
            if target != source and found.found[pair] < limits.k and length <= limits.max_hops:
                if extra == 0:
                    found.shortest[pair] = space.walks[space.slot[length * nodes + target]]
                collect(graph, space, limits, found, pair, target, length, extra)
    forget_states(space)


@compiled
def serve_sources(
    graph: Arrays,
    space: Workspace,
    limits: Limits,
    found: Found,
    sources: Int32,
    targets: Int32,
    order: Int64,
    starts: Int64,
) -> None:
    """Answer the pairs of some sources, one search a source.

    Args:
        graph: The graph.
        space: Scratch memory for these limits.
        limits: What is asked.
        found: Where the answers go, by pair.
        sources: int32, pairs.
        targets: int32, pairs.
        order: int64; pairs to answer, those of one source together.
        starts: int64; where each source's pairs begin in ``order``, and the end of the last.
    """
    for group in range(len(starts) - 1):
        pairs = order[starts[group] : starts[group + 1]]
        _serve_source(graph, space, limits, found, sources[pairs[0]], targets, pairs)


@compiled
def _mark_beside(graph: Arrays, space: Workspace, distance: Int8, limit: int, length: int, other_length: int) -> None:
    """Add the states of ``other_length`` beside those of ``length``, at nodes no further away than ``limit``."""
    row = other_length * len(space.distance)
    state = space.head[length]
    while state >= 0:
        node = space.node[state]
        for at in range(graph.indptr[node], graph.indptr[node + 1]):
            other = graph.indices[at]
            if distance[other] <= limit and space.slot[row + other] < 0:
                add_state(graph, space, other_length, other)
        state = space.following[state]


@compiled
def _mark_between(graph: Arrays, space: Workspace, ball: Int64, length: int) -> None:
    """Add the states of all walks of one length between two nodes, from where both balls know the distance."""
    middle = min(ball[2], length)
    reach = length - middle
    for position in range(ball[1]):
        node = space.queue[position]
        if space.distance[node] <= middle and space.back_distance[node] <= reach:
            add_state(graph, space, middle, node)
    for step in range(middle, length):
        _mark_beside(graph, space, space.back_distance, length - step - 1, step, step + 1)
    for step in range(middle, 0, -1):
        _mark_beside(graph, space, space.distance, step - 1, step, step - 1)


@compiled
def serve_pair(graph: Arrays, space: Workspace, limits: Limits, found: Found, source: int, target: int) -> None:
    """Answer one pair, as ``serve_sources`` would, by balls grown from both ends until they meet.

    Args:
        graph: The graph.
        space: Scratch memory for these limits, distances all FAR; left so.
        limits: What is asked.
        found: Where the answer goes, as pair 0.
        source: One end; not the same as ``target``.
        target: The other end.
    """
    space.queue[0], space.back_queue[0] = source, target
    space.distance[source] = space.back_distance[target] = 0
    ball = np.array([0, 1, 0, 0, 0, 1, 0, 0], dtype=np.int64)
    ball[3] = graph.indptr[source + 1] - graph.indptr[source]
    ball[7] = graph.indptr[target + 1] - graph.indptr[target]
    if grow(graph, space, ball, limits.max_hops, 1):
        shortest = ball[2] + ball[6]
        for length in range(shortest, min(shortest + limits.slack, limits.max_hops) + 1):
            if found.found[0] == limits.k:
                break
            grow(graph, space, ball, length, 0)
            _mark_between(graph, space, ball, length)
            fill(graph, space, limits.k, length)
            state = space.slot[length * len(space.distance) + target]
            if state >= 0:
                if length == shortest:
                    found.shortest[0] = space.walks[state]
                collect(graph, space, limits, found, 0, target, length, length - shortest)
            forget_states(space)
    space.distance[space.queue[: ball[1]]] = FAR
    space.back_distance[space.back_queue[: ball[5]]] = FAR
