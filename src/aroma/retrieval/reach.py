"""Compiled distances: from one source to its targets, and between two nodes."""

from __future__ import annotations

import numpy as np

from aroma.retrieval.csr import Int8, Int32, Int64, compiled, inlined
from aroma.retrieval.workspace import FAR, NOT_NEXT, Arrays, Workspace


@inlined
def expand(graph: Arrays, distance: Int8, queue: Int32, begin: int, end: int) -> int:
    """Reach the neighbours of the last level ``queue[begin:end]``; return the new end of the queue."""
    if begin == end:
        return end
    level = distance[queue[begin]] + 1
    new_end = end
    for position in range(begin, end):
        node = queue[position]
        for at in range(graph.indptr[node], graph.indptr[node + 1]):
            other = graph.indices[at]
            if distance[other] == FAR:
                distance[other] = level
                queue[new_end] = other
                new_end += 1
    return new_end


@inlined
def width_of(graph: Arrays, queue: Int32, begin: int, end: int) -> int:
    """Return the sum of the degrees of ``queue[begin:end]``."""
    width = 0
    for position in range(begin, end):
        width += graph.indptr[queue[position] + 1] - graph.indptr[queue[position]]
    return width


@inlined
def touches(graph: Arrays, space: Workspace, radius: int, node: int) -> bool:
    """Whether a node beyond ``radius`` is one hop beyond it; the answer is kept in its distance."""
    if space.distance[node] == FAR:
        answer = NOT_NEXT
        for at in range(graph.indptr[node], graph.indptr[node + 1]):
            if space.distance[graph.indices[at]] == radius:
                answer = radius + 1
                break
        space.distance[node] = answer
        space.looked[space.used[2]] = node
        space.used[2] += 1
    return bool(space.distance[node] == radius + 1)


@compiled
def _forget_looked(space: Workspace) -> None:
    for place in range(space.used[2]):
        space.distance[space.looked[place]] = FAR
    space.used[2] = 0


@compiled
def _search_back(graph: Arrays, space: Workspace, radius: int, target: int, most: int, budget: int) -> tuple[int, int]:
    """Search from a target for a node one hop beyond the radius.

    Returns:
        The target's distance (FAR where it is more than ``most``, -1 where the budget of edges ran out), and what is
        left of the budget.
    """
    distance, queue = space.back_distance, space.back_queue
    distance[target] = 0
    queue[0] = target
    begin, end, level, answer = 0, 1, 0, FAR
    while begin < end and radius + 1 + level <= most and answer == FAR:
        budget -= width_of(graph, queue, begin, end)
        if budget < 0:
            answer = -1
            break
        for position in range(begin, end):
            budget -= graph.indptr[queue[position] + 1] - graph.indptr[queue[position]]
            if touches(graph, space, radius, queue[position]):
                answer = radius + 1 + level
                break
        if answer == FAR and radius + 2 + level <= most:
            new_end = expand(graph, distance, queue, begin, end)
            begin, end = end, new_end
        level += 1
    for position in range(end):
        distance[queue[position]] = FAR
    return answer, budget


@compiled
def _settle(graph: Arrays, space: Workspace, radius: int, ends: Int32, away: Int64, most: int, budget: int) -> bool:
    """Find the distances of all targets that have none yet; False if that takes more than ``budget`` edges."""
    for place in range(len(ends)):
        if away[place] < 0 and space.distance[ends[place]] <= radius:
            away[place] = space.distance[ends[place]]
    for place in range(len(ends)):
        if away[place] < 0:
            answer, budget = _search_back(graph, space, radius, ends[place], most, budget)
            if answer < 0:
                return False
            away[place] = answer
    return True


@compiled
def reach_targets(graph: Arrays, space: Workspace, source: int, ends: Int32, most: int) -> tuple[Int64, int]:
    """Find the distances from a source to its targets.

    Breadth-first search, a level at a time. Before a level is made, the targets left are searched for backwards as
    long as that takes no more edges than the level would: so the last levels, mostly the largest, are seldom made.

    Args:
        graph: The graph.
        space: Scratch memory; ``distance`` is exact up to the radius afterwards.
        source: Where from.
        ends: int32; where to.
        most: Hops beyond which a target is FAR.

    Returns:
        int64 distances of ``ends``, and the radius of the last whole level.
    """
    distance, queue = space.distance, space.queue
    distance[:] = FAR
    distance[source] = 0
    queue[0] = source
    space.used[2] = 0
    away = np.full(len(ends), -1, dtype=np.int64)
    begin, end, radius = 0, 1, 0
    while True:
        width = width_of(graph, queue, begin, end)
        space.level_end[radius] = end
        space.level_width[radius] = width
        if _settle(graph, space, radius, ends, away, most, max(width, 64)):
            return away, radius
        _forget_looked(space)
        new_end = expand(graph, distance, queue, begin, end)
        begin, end, radius = end, new_end, radius + 1


@compiled
def grow(graph: Arrays, space: Workspace, ball: Int64, wanted: int, meet: int) -> bool:
    """Grow the balls about two nodes, the cheaper one first, until their radii sum to ``wanted``, or until they meet.

    Args:
        graph: The graph.
        space: ``distance``, ``queue`` are of the source's ball, ``back_distance``, ``back_queue`` of the target's.
        ball: int64, 8: begin and end of the last level, radius, and degrees of the last level, first of the source's
            ball, then of the target's.
        wanted: Sum of the radii at which to stop.
        meet: 1 to stop as soon as a node is in both, else 0.

    Returns:
        Whether they met: the distance is then the sum of the radii.
    """
    while ball[2] + ball[6] < wanted:
        if ball[0] == ball[1] or ball[4] == ball[5]:  # a side that ends knows all distances in its component
            at = 2 if ball[0] == ball[1] else 6
            ball[at] = wanted - ball[8 - at]
            break
        distance, queue, other, at = space.distance, space.queue, space.back_distance, 0
        if ball[7] < ball[3]:
            distance, queue, other, at = space.back_distance, space.back_queue, space.distance, 4
        end = expand(graph, distance, queue, ball[at], ball[at + 1])
        ball[at], ball[at + 1], ball[at + 2] = ball[at + 1], end, ball[at + 2] + 1
        ball[at + 3] = width_of(graph, queue, ball[at], end)
        if meet:
            for position in range(ball[at], end):
                if other[queue[position]] != FAR:
                    return True
    return False
