"""Compiled sampling from typed edges."""

from __future__ import annotations

import numpy as np

from aroma.retrieval.csr import Int64, compiled


@compiled
def draw(
    sources: Int64, starts: Int64, targets: Int64, begin: int, fan: int, replace: bool, seed: int
) -> tuple[Int64, Int64]:
    """Draw up to ``fan`` edges of each of ``targets[begin:]``, all where ``fan`` is negative.

    Without replacement each subset is equally likely (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S).

    Returns:
        int64: edges, as positions in ``sources``, and the place in ``targets`` of each.
    """
    np.random.seed(seed)
    most = 0
    for place in range(begin, len(targets)):
        degree = starts[targets[place] + 1] - starts[targets[place]]
        most += degree if fan < 0 or (degree <= fan and not replace) else fan
    edges, places = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    count = 0
    for place in range(begin, len(targets)):
        first, last = starts[targets[place]], starts[targets[place] + 1]
        wanted = last - first if fan < 0 or (last - first <= fan and not replace) else fan
        if first == last:
            continue
        at = first
        while wanted > 0:
            if replace and fan >= 0:
                edges[count] = first + int(np.random.random() * (last - first))
            elif np.random.random() * (last - at) < wanted:
                edges[count] = at
            else:
                at += 1
                continue
            places[count] = place
            at, wanted, count = at + 1, wanted - 1, count + 1
    return edges[:count], places[:count]


@compiled
def number(found: Int64, known: Int64, place: Int64) -> tuple[Int64, Int64]:
    """Give numbers to nodes in the order in which they are found.

    Args:
        found: Nodes.
        known: Nodes that have numbers, in that order.
        place: int64, all nodes; number of each, or -1; brought up to date.

    Returns:
        int64: all nodes that have numbers now, and the number of each of ``found``.
    """
    nodes = np.empty(len(known) + len(found), dtype=np.int64)
    nodes[: len(known)] = known
    count = len(known)
    numbers = np.empty(len(found), dtype=np.int64)
    for at in range(len(found)):
        if place[found[at]] < 0:
            place[found[at]] = count
            nodes[count] = found[at]
            count += 1
        numbers[at] = place[found[at]]
    return nodes[:count], numbers


@compiled
def among(sources: Int64, starts: Int64, targets: Int64, place: Int64) -> tuple[Int64, Int64, Int64]:
    """Return all edges that end at ``targets`` and come from nodes with a number in ``place`` (others have -1).

    Returns:
        int64: numbers of the sources, places in ``targets``, and edges as positions in ``sources``.
    """
    most = 1
    for at in range(len(targets)):
        most += starts[targets[at] + 1] - starts[targets[at]]
    rows, columns = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    edges = np.empty(most, dtype=np.int64)
    count = 0
    for at in range(len(targets)):
        for edge in range(starts[targets[at]], starts[targets[at] + 1]):
            row = place[sources[edge]]
            rows[count], columns[count], edges[count] = row, at, edge
            count += row >= 0
    return rows[:count], columns[:count], edges[:count]
