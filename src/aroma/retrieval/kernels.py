"""Compiled search for the k best paths.

Method. A *state* (length, node) stands for all walks of exactly that length from the source to that node; it keeps the
best k of them, ordered by (hub cost of the nodes before the last, node sequence). The walks of a state are the walks of
its neighbours' states of one less length, one step on, so the best k follow from the neighbours' best k: a walk that is
not among its prefix's best k has k better ones, which stay better with the same step added. Costs are integers, so the
order of adding does not matter.

Only states that can lie on a walk to a wanted target are made. With ``d`` the distance from the source, a neighbour
``u`` of ``v`` precedes (l, v) only if d(u) <= l - 1; marking runs from the targets back to the source.

Loops. A walk to t of length d(t) or d(t) + 1 never repeats a node: without the loop, which has two hops or more in a
graph without self-loops, it would be shorter than d(t). So for these lengths the best walks are the best loopless
paths. From d(t) + 2 on, the best k walks are taken when enough of them are loopless; otherwise ``_loopless`` searches
from t back to the source, depth first, with the best walk of each state as the bound. That bound is a bound in the full
order (cost, then sequence), so what is cut off cannot be among the best k: the answer is exact there too.
"""

from __future__ import annotations

import numpy as np

from aroma.retrieval.csr import Int32, Int64, compiled, inlined
from aroma.retrieval.reach import touches
from aroma.retrieval.workspace import MANY, NOT_NEXT, Arrays, Found, Limits, Workspace


@inlined
def add_state(graph: Arrays, space: Workspace, length: int, node: int) -> None:
    """Add the state (length, node), which must be new, to those waiting to be filled."""
    state = space.used[0]
    space.used[0] = state + 1
    space.node[state] = node
    space.length[state] = length
    space.following[state] = space.head[length]
    space.head[length] = state
    space.width[length] += graph.indptr[node + 1] - graph.indptr[node]
    space.slot[length * len(space.distance) + node] = state
    space.filled[state] = 0
    space.walks[state] = 0


@compiled
def mark(graph: Arrays, space: Workspace, top: int, radius: int, extra: int) -> None:
    """Add all states that precede those waiting, down to the source.

    Where the neighbours of the waiting states are more than all that lies so near the source, all that is added
    instead: a state of more than ``extra`` hops over its node's distance is never on a wanted walk.

    Args:
        graph: The graph.
        space: Waiting states are those from ``used[1]`` on; they are the first in the list of their length.
        top: Greatest length of a waiting state.
        radius: Hops from the source within which all distances are known.
        extra: Hops that the wanted walks have more than the distance of their end.
    """
    for length in range(top, 0, -1):
        waiting = 0
        state = space.head[length]
        while state >= space.used[1]:
            waiting += graph.indptr[space.node[state] + 1] - graph.indptr[space.node[state]]
            state = space.following[state]
        if length - 1 <= radius and _width_between(space, length - 1 - extra, length - 1) < waiting:
            _mark_ball(graph, space, length - 1, extra)
            return
        state = space.head[length]
        while state >= space.used[1]:
            _mark_before(graph, space, length - 1, radius, space.node[state])
            state = space.following[state]


@compiled
def _width_between(space: Workspace, least: int, most: int) -> int:
    width = 0
    for level in range(max(least, 0), most + 1):
        width += space.level_width[level]
    return width


@compiled
def _mark_ball(graph: Arrays, space: Workspace, top: int, extra: int) -> None:
    nodes = len(space.distance)
    for position in range(space.level_end[top]):
        node = space.queue[position]
        distance = space.distance[node]
        for length in range(distance, min(distance + extra, top) + 1):
            if space.slot[length * nodes + node] < 0:
                add_state(graph, space, length, node)


@inlined
def _mark_before(graph: Arrays, space: Workspace, length: int, radius: int, node: int) -> None:
    row = length * len(space.distance)
    for position in range(graph.indptr[node], graph.indptr[node + 1]):
        other = graph.indices[position]
        if space.slot[row + other] >= 0:
            continue
        distance = space.distance[other]
        if distance >= NOT_NEXT:
            # Beyond what is known: one hop beyond is looked at, further out any node may be near enough.
            if length <= radius or (length == radius + 1 and not touches(graph, space, radius, other)):
                continue
        elif distance > length:
            continue
        add_state(graph, space, length, other)


@inlined
def _before(space: Workspace, one: int, two: int) -> bool:
    """Whether the node sequence of walk ``one`` comes before that of ``two``: different walks of one length."""
    # The last nodes are kept by walk: finding them by division would add an error path (k = 0) to the inner loop, with
    # which numba counts references in it, ten times slower.
    while space.parent[one] != space.parent[two]:
        one, two = space.parent[one], space.parent[two]
    return bool(space.tail[one] < space.tail[two])


@inlined
def _insert(space: Workspace, k: int, state: int, cost: int, prefix: int) -> bool:
    """Insert a walk among the best k of a state; False where it is not among them."""
    base, count, node = state * k, space.filled[state], space.node[state]
    place = base + count
    while place > base:
        rival = space.cost[place - 1]
        if rival < cost or (rival == cost and _before(space, space.parent[place - 1], prefix)):
            break
        place -= 1
    if place == base + k:
        return False
    for position in range(min(base + count, base + k - 1), place, -1):
        space.cost[position] = space.cost[position - 1]
        space.parent[position] = space.parent[position - 1]
        space.tail[position] = space.tail[position - 1]
    space.cost[place] = cost
    space.tail[place] = node
    space.parent[place] = prefix
    space.filled[state] = min(count + 1, k)
    return True


@inlined
def _extend(space: Workspace, k: int, previous: int, step: int, state: int) -> None:
    """Offer the walks of ``previous``, one step on at a cost of ``step``, to ``state``."""
    space.walks[state] = min(space.walks[state] + space.walks[previous], MANY)
    start = previous * k
    for prefix in range(start, start + space.filled[previous]):
        if not _insert(space, k, state, space.cost[prefix] + step, prefix):
            break  # the walks after this one are worse still


@compiled
def fill(graph: Arrays, space: Workspace, k: int, top: int) -> None:
    """Fill all waiting states up to the length ``top``, short walks first; none waits afterwards.

    A length is filled from its own nodes' neighbours or by the states before it, whichever has fewer edges.
    """
    nodes = len(space.distance)
    state = space.head[0]
    if state >= space.used[1]:
        space.filled[state] = 1
        space.walks[state] = 1
        space.cost[state * k] = 0
        space.parent[state * k] = -1
        space.tail[state * k] = space.node[state]
    for length in range(1, top + 1):
        first = space.head[length]
        if first < space.used[1]:
            continue
        backward = space.width[length] <= space.width[length - 1]
        near = length if backward else length - 1
        row = (2 * length - 1 - near) * nodes
        state = first if backward else space.head[length - 1]
        while state >= (space.used[1] if backward else 0):
            node = space.node[state]
            for position in range(graph.indptr[node], graph.indptr[node + 1]):
                other = graph.indices[position]
                found = space.slot[row + other]
                if backward:
                    if found >= 0:
                        _extend(space, k, found, graph.hub[other] if length > 1 else 0, state)
                elif found >= space.used[1]:
                    _extend(space, k, state, graph.hub[node] if length > 1 else 0, found)
            state = space.following[state]
    space.used[1] = space.used[0]


@compiled
def _write(space: Workspace, walk: int, length: int, nodes: Int32) -> None:
    for position in range(length, -1, -1):
        nodes[position] = space.tail[walk]
        walk = space.parent[walk]


@compiled
def _has_loop(nodes: Int32, length: int) -> bool:
    for one in range(length):
        for two in range(one + 1, length + 1):
            if nodes[one] == nodes[two]:
                return True
    return False


@compiled
def _ranks_before(cost: int, nodes: Int32, other_cost: int, other: Int32, length: int) -> bool:
    if cost != other_cost:
        return cost < other_cost
    for position in range(length + 1):
        if nodes[position] != other[position]:
            return bool(nodes[position] < other[position])
    return False


@compiled
def _keep(best: Int32, costs: Int64, count: int, nodes: Int32, cost: int, length: int) -> int:
    """Insert a path into the sorted table ``best``; return the number of paths in it."""
    place = count
    while place > 0 and _ranks_before(cost, nodes, costs[place - 1], best[place - 1], length):
        place -= 1
    last = min(count, len(costs) - 1)
    if place <= last:
        for position in range(last, place, -1):
            best[position] = best[position - 1]
            costs[position] = costs[position - 1]
        best[place] = nodes
        costs[place] = cost
    return min(count + 1, len(costs))


@compiled
def _children(graph: Arrays, space: Workspace, k: int, suffix: Int32, at: int) -> Int64:
    """States before ``suffix[at:]`` that keep it loopless, the one with the cheapest walk first."""
    node = suffix[at]
    row = (at - 1) * len(space.distance)
    states = np.empty(graph.indptr[node + 1] - graph.indptr[node], dtype=np.int64)
    bounds = np.empty(len(states), dtype=np.int64)
    count = 0
    for position in range(graph.indptr[node], graph.indptr[node + 1]):
        other = graph.indices[position]
        state = space.slot[row + other]
        if state < 0 or space.filled[state] == 0:
            continue
        repeated = at > 1 and space.slot[other] >= 0  # only the source has a state of length 0
        for later in range(at + 1, len(suffix)):
            repeated = repeated or suffix[later] == other
        if not repeated:
            states[count] = state
            bounds[count] = space.cost[state * k] + graph.hub[other]
            count += 1
    return states[:count][np.argsort(bounds[:count], kind="mergesort")]


@compiled
def _loopless(graph: Arrays, space: Workspace, k: int, room: int, length: int, target: int) -> tuple[Int32, Int64, int]:
    """Find the best ``room`` loopless walks to the state (length, target) by branch and bound from the target."""
    best = np.empty((room, length + 1), dtype=np.int32)
    costs = np.empty(room, dtype=np.int64)
    suffix = np.empty(length + 1, dtype=np.int32)
    suffix[length] = target
    behind = np.zeros(length + 1, dtype=np.int64)  # cost of the inner nodes from a position on
    lists = [_children(graph, space, k, suffix, length)]
    turns = np.zeros(length + 1, dtype=np.int64)
    candidate = np.empty(length + 1, dtype=np.int32)
    at, count = length, 0
    while at <= length:
        children = lists[length - at]
        if turns[at] == len(children):
            lists.pop()
            at += 1
            continue
        state = children[turns[at]]
        turns[at] += 1
        node = space.node[state]
        suffix[at - 1] = node
        inner = behind[at] + (graph.hub[node] if at > 1 else 0)
        bound = space.cost[state * k] + inner
        _write(space, state * k, at - 1, candidate)
        candidate[at:] = suffix[at:]
        if count == room and not _ranks_before(bound, candidate, costs[room - 1], best[room - 1], length):
            continue
        if at == 1:
            count = _keep(best, costs, count, candidate, bound, length)
            continue
        at -= 1
        behind[at] = inner
        turns[at] = 0
        lists.append(_children(graph, space, k, suffix, at))
    return best, costs, count


@compiled
def collect(
    graph: Arrays,
    space: Workspace,
    limits: Limits,
    found: Found,
    pair: int,
    target: int,
    length: int,
    extra: int,
) -> None:
    """Append the best paths of one length to a pair's answer, as many as there is room for."""
    k = limits.k
    state = space.slot[length * len(space.distance) + target]
    before = found.found[pair]
    count = before
    for walk in range(state * k, state * k + space.filled[state]):
        if count == k:
            break
        _write(space, walk, length, found.nodes[pair, count])
        if extra > 1 and _has_loop(found.nodes[pair, count], length):
            continue
        found.hops[pair, count] = length
        found.cost[pair, count] = space.cost[walk]
        count += 1
    if extra > 1 and count < k and space.walks[state] > space.filled[state]:
        best, costs, more = _loopless(graph, space, k, k - before, length, target)
        for place in range(more):
            found.nodes[pair, before + place, : length + 1] = best[place]
            found.hops[pair, before + place] = length
            found.cost[pair, before + place] = costs[place]
        count = before + more
    found.found[pair] = count


@compiled
def forget_states(space: Workspace) -> None:
    """Clear all states, at the cost of those that there are."""
    nodes = len(space.distance)
    for state in range(space.used[0]):
        space.slot[space.length[state] * nodes + space.node[state]] = -1
    space.head[:] = -1
    space.width[:] = 0
    space.used[:] = 0
