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

from aroma.retrieval.csr import Int8, Int32, Int64, compiled
from aroma.retrieval.workspace import FAR, MANY, Found, Limits, Workspace


@compiled
def _add_state(space: Workspace, length: int, node: int) -> None:
    state = space.used[0]
    space.used[0] = state + 1
    space.node[state] = node
    space.length[state] = length
    space.following[state] = space.head[length]
    space.head[length] = state
    space.slot[length * len(space.distance) + node] = state


@compiled
def _mark(indptr: Int64, indices: Int32, space: Workspace, top: int, radius: int) -> None:
    """Add all states that precede those waiting, down to the source; distances are known up to ``radius``."""
    nodes = len(space.distance)
    for length in range(top, 0, -1):
        # Beyond the radius nothing is known, so that a node not reached may have a walk of this length.
        limit = length - 1 if length - 1 <= radius else FAR
        row = (length - 1) * nodes
        state = space.head[length]
        while state >= 0:
            node = space.node[state]
            for position in range(indptr[node], indptr[node + 1]):
                other = indices[position]
                if space.distance[other] <= limit and space.slot[row + other] < 0:
                    _add_state(space, length - 1, other)
            state = space.following[state]


@compiled
def _before(space: Workspace, k: int, one: int, two: int) -> bool:
    """Whether the node sequence of walk ``one`` comes before that of ``two``: different walks of one length."""
    while space.parent[one] != space.parent[two]:
        one, two = space.parent[one], space.parent[two]
    return space.node[one // k] < space.node[two // k]


@compiled
def _insert(space: Workspace, k: int, base: int, count: int, cost: int, prefix: int) -> int:
    """Insert a walk into the sorted list at ``base``; return its place, or -1 where it is not among the best k."""
    place = base + count
    while place > base:
        rival = space.cost[place - 1]
        if rival < cost or (rival == cost and _before(space, k, space.parent[place - 1], prefix)):
            break
        place -= 1
    if place == base + k:
        return -1
    for position in range(min(base + count, base + k - 1), place, -1):
        space.cost[position] = space.cost[position - 1]
        space.parent[position] = space.parent[position - 1]
    space.cost[place] = cost
    space.parent[place] = prefix
    return place


@compiled
def _fill_state(indptr: Int64, indices: Int32, hub: Int64, space: Workspace, k: int, length: int, state: int) -> None:
    row = (length - 1) * len(space.distance)
    base, count, walks = state * k, 0, 0
    node = space.node[state]
    for position in range(indptr[node], indptr[node + 1]):
        other = indices[position]
        previous = space.slot[row + other]
        if previous < 0:
            continue
        walks = min(walks + space.walks[previous], MANY)
        step = hub[other] if length > 1 else 0
        start = previous * k
        for prefix in range(start, start + space.filled[previous]):
            cost = space.cost[prefix] + step
            if count == k and cost > space.cost[base + k - 1]:
                break
            if _insert(space, k, base, count, cost, prefix) < 0:
                break  # the following walks of this neighbour are worse still
            if count < k:
                count += 1
    space.filled[state] = count
    space.walks[state] = walks


@compiled
def _fill(indptr: Int64, indices: Int32, hub: Int64, space: Workspace, k: int, top: int) -> None:
    """Fill all waiting states, short walks first, and empty the waiting lists."""
    state = space.head[0]
    if state >= 0:
        space.filled[state] = 1
        space.walks[state] = 1
        space.cost[state * k] = 0
        space.parent[state * k] = -1
        space.head[0] = -1
    for length in range(1, top + 1):
        state = space.head[length]
        while state >= 0:
            _fill_state(indptr, indices, hub, space, k, length, state)
            state = space.following[state]
        space.head[length] = -1


@compiled
def _write(space: Workspace, k: int, walk: int, length: int, nodes: Int32) -> None:
    for position in range(length, -1, -1):
        nodes[position] = space.node[walk // k]
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
            return nodes[position] < other[position]
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
def _children(indptr: Int64, indices: Int32, hub: Int64, space: Workspace, k: int, suffix: Int32, at: int) -> Int64:
    """States before ``suffix[at:]`` that keep it loopless, the one with the cheapest walk first."""
    node = suffix[at]
    row = (at - 1) * len(space.distance)
    states = np.empty(indptr[node + 1] - indptr[node], dtype=np.int64)
    bounds = np.empty(len(states), dtype=np.int64)
    count = 0
    for position in range(indptr[node], indptr[node + 1]):
        other = indices[position]
        state = space.slot[row + other]
        if state < 0 or space.filled[state] == 0:
            continue
        repeated = at > 1 and space.slot[other] >= 0  # only the source has a state of length 0
        for later in range(at + 1, len(suffix)):
            repeated = repeated or suffix[later] == other
        if not repeated:
            states[count] = state
            bounds[count] = space.cost[state * k] + hub[other]
            count += 1
    return states[:count][np.argsort(bounds[:count], kind="mergesort")]


@compiled
def _loopless(
    indptr: Int64, indices: Int32, hub: Int64, space: Workspace, k: int, room: int, length: int, target: int
) -> tuple[Int32, Int64, int]:
    """Find the best ``room`` loopless walks to the state (length, target) by branch and bound from the target."""
    best = np.empty((room, length + 1), dtype=np.int32)
    costs = np.empty(room, dtype=np.int64)
    suffix = np.empty(length + 1, dtype=np.int32)
    suffix[length] = target
    behind = np.zeros(length + 1, dtype=np.int64)  # cost of the inner nodes from a position on
    lists = [_children(indptr, indices, hub, space, k, suffix, length)]
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
        inner = behind[at] + (hub[node] if at > 1 else 0)
        bound = space.cost[state * k] + inner
        _write(space, k, state * k, at - 1, candidate)
        candidate[at:] = suffix[at:]
        if count == room and not _ranks_before(bound, candidate, costs[room - 1], best[room - 1], length):
            continue
        if at == 1:
            count = _keep(best, costs, count, candidate, bound, length)
            continue
        at -= 1
        behind[at] = inner
        turns[at] = 0
        lists.append(_children(indptr, indices, hub, space, k, suffix, at))
    return best, costs, count


@compiled
def _collect(
    indptr: Int64,
    indices: Int32,
    hub: Int64,
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
    before = found.count[pair]
    count = before
    for walk in range(state * k, state * k + space.filled[state]):
        if count == k:
            break
        _write(space, k, walk, length, found.nodes[pair, count])
        if extra > 1 and _has_loop(found.nodes[pair, count], length):
            continue
        found.hops[pair, count] = length
        found.cost[pair, count] = space.cost[walk]
        count += 1
    if extra > 1 and count < k and space.walks[state] > space.filled[state]:
        best, costs, more = _loopless(indptr, indices, hub, space, k, k - before, length, target)
        for place in range(more):
            found.nodes[pair, before + place, : length + 1] = best[place]
            found.hops[pair, before + place] = length
            found.cost[pair, before + place] = costs[place]
        count = before + more
    found.count[pair] = count


@compiled
def _forget_states(space: Workspace) -> None:
    nodes = len(space.distance)
    for state in range(space.used[0]):
        space.slot[space.length[state] * nodes + space.node[state]] = -1
    space.used[0] = 0


@compiled
def _expand(indptr: Int64, indices: Int32, distance: Int8, queue: Int32, begin: int, end: int) -> int:
    """Reach the neighbours of the last level ``queue[begin:end]``; return the new end of the queue."""
    level = distance[queue[begin]] + 1
    new_end = end
    for position in range(begin, end):
        node = queue[position]
        for at in range(indptr[node], indptr[node + 1]):
            other = indices[at]
            if distance[other] == FAR:
                distance[other] = level
                queue[new_end] = other
                new_end += 1
    return new_end


@compiled
def _next_to(indptr: Int64, indices: Int32, distance: Int8, node: int, level: int) -> bool:
    for at in range(indptr[node], indptr[node + 1]):
        if distance[indices[at]] == level:
            return True
    return False


@compiled
def _reach_targets(
    indptr: Int64, indices: Int32, space: Workspace, source: int, targets: Int32, pairs: Int64, max_hops: int
) -> int:
    """Breadth-first search until each target that can be reached has its distance; return the last whole level.

    Before a level is made, the targets look for it among their own neighbours: so the last level, often the largest,
    is not made at all, and only the targets in it get their distance.
    """
    distance, queue = space.distance, space.queue
    distance[:] = FAR
    distance[source] = 0
    queue[0] = source
    begin, end, level = 0, 1, 0
    while begin < end and level < max_hops:
        left, missing = 0, 0
        for pair in pairs:
            if distance[targets[pair]] == FAR:
                left += 1
                missing += not _next_to(indptr, indices, distance, targets[pair], level)
        if left == 0:
            break
        if missing == 0 or level + 1 == max_hops:
            for pair in pairs:
                target = targets[pair]
                if distance[target] == FAR and _next_to(indptr, indices, distance, target, level):
                    distance[target] = level + 1
            break
        new_end = _expand(indptr, indices, distance, queue, begin, end)
        begin, end, level = end, new_end, level + 1
    return level


@compiled
def _serve_source(
    indptr: Int64,
    indices: Int32,
    hub: Int64,
    space: Workspace,
    limits: Limits,
    found: Found,
    source: int,
    targets: Int32,
    pairs: Int64,
) -> None:
    radius = _reach_targets(indptr, indices, space, source, targets, pairs, limits.max_hops)
    nodes = len(space.distance)
    for extra in range(limits.slack + 1):
        top = 0
        for pair in pairs:
            target = targets[pair]
            length = space.distance[target] + extra
            if target != source and found.count[pair] < limits.k and length <= limits.max_hops:
                top = max(top, length)
                if space.slot[length * nodes + target] < 0:
                    _add_state(space, length, target)
        if top == 0:
            continue
        _mark(indptr, indices, space, top, radius)
        _fill(indptr, indices, hub, space, limits.k, top)
        for pair in pairs:
            target = targets[pair]
            length = space.distance[target] + extra
            if target != source and found.count[pair] < limits.k and length <= limits.max_hops:
                if extra == 0:
                    found.shortest[pair] = space.walks[space.slot[length * nodes + target]]
                _collect(indptr, indices, hub, space, limits, found, pair, target, length, extra)
    _forget_states(space)


@compiled
def serve_sources(
    indptr: Int64,
    indices: Int32,
    hub: Int64,
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
        indptr, indices: The graph.
        hub: int64, nodes; cost of passing a node.
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
        _serve_source(indptr, indices, hub, space, limits, found, sources[pairs[0]], targets, pairs)


@compiled
def _level_width(indptr: Int64, queue: Int32, begin: int, end: int) -> int:
    width = 0
    for position in range(begin, end):
        width += indptr[queue[position] + 1] - indptr[queue[position]]
    return width


@compiled
def _grow(indptr: Int64, indices: Int32, space: Workspace, ball: Int64, wanted: int, meet: bool) -> bool:
    """Grow the balls about both ends, the cheaper one first, until their radii sum to ``wanted``, or they meet.

    Args:
        ball: int64, 8: begin and end of the last level, radius, and edges out of the last level, first for the
            source, then for the target.
    """
    while ball[2] + ball[6] < wanted:
        if ball[0] == ball[1] or ball[4] == ball[5]:  # a side that ends knows all distances in its component
            at = 2 if ball[0] == ball[1] else 6
            ball[at] = wanted - ball[8 - at]
            break
        forward = ball[3] <= ball[7]
        distance, queue, other, at = space.distance, space.queue, space.back_distance, 0
        if not forward:
            distance, queue, other, at = space.back_distance, space.back_queue, space.distance, 4
        end = _expand(indptr, indices, distance, queue, ball[at], ball[at + 1])
        ball[at], ball[at + 1], ball[at + 2] = ball[at + 1], end, ball[at + 2] + 1
        ball[at + 3] = _level_width(indptr, queue, ball[at], end)
        if meet:
            for position in range(ball[at], end):
                if other[queue[position]] != FAR:
                    return True
    return False


@compiled
def _mark_between(indptr: Int64, indices: Int32, space: Workspace, ball: Int64, target: int, length: int) -> None:
    """Add the states of all walks of one length between two nodes, from where both balls know the distance."""
    nodes = len(space.distance)
    middle = min(ball[2], length)
    reach = length - middle
    for position in range(ball[1]):
        node = space.queue[position]
        if space.distance[node] <= middle and space.back_distance[node] <= reach:
            _add_state(space, middle, node)
    for step in range(middle, length):
        limit = length - step - 1
        state = space.head[step]
        while state >= 0:
            node = space.node[state]
            for at in range(indptr[node], indptr[node + 1]):
                other = indices[at]
                if space.back_distance[other] <= limit and space.slot[(step + 1) * nodes + other] < 0:
                    _add_state(space, step + 1, other)
            state = space.following[state]
    _mark(indptr, indices, space, middle, middle)


@compiled
def serve_pair(
    indptr: Int64,
    indices: Int32,
    hub: Int64,
    space: Workspace,
    limits: Limits,
    found: Found,
    source: int,
    target: int,
) -> None:
    """Answer one pair, as ``serve_sources`` would, by balls grown from both ends until they meet.

    Args:
        indptr, indices: The graph.
        hub: int64, nodes; cost of passing a node.
        space: Scratch memory for these limits, distances all FAR; left so.
        limits: What is asked.
        found: Where the answer goes, as pair 0.
        source: One end; not the same as ``target``.
        target: The other end.
    """
    space.queue[0], space.back_queue[0] = source, target
    space.distance[source] = space.back_distance[target] = 0
    ball = np.array([0, 1, 0, 0, 0, 1, 0, 0], dtype=np.int64)
    ball[3], ball[7] = indptr[source + 1] - indptr[source], indptr[target + 1] - indptr[target]
    if _grow(indptr, indices, space, ball, limits.max_hops, meet=True):
        shortest = ball[2] + ball[6]
        for length in range(shortest, min(shortest + limits.slack, limits.max_hops) + 1):
            if found.count[0] == limits.k:
                break
            _grow(indptr, indices, space, ball, length, meet=False)
            _mark_between(indptr, indices, space, ball, target, length)
            _fill(indptr, indices, hub, space, limits.k, length)
            state = space.slot[length * len(space.distance) + target]
            if state >= 0:
                if length == shortest:
                    found.shortest[0] = space.walks[state]
                _collect(indptr, indices, hub, space, limits, found, 0, target, length, length - shortest)
            _forget_states(space)
    space.distance[space.queue[: ball[1]]] = FAR
    space.back_distance[space.back_queue[: ball[5]]] = FAR
