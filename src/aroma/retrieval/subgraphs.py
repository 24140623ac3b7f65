"""Hops from a node, the nodes within some hops, and the subgraphs that they induce: for one node or for many.

Where more nodes are within reach than a cap allows, the nearest stay; of the hop in which the cap falls, those of lower
degree stay, then those of lower number. So the same question always has the same answer.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aroma.errors import UsageError
from aroma.retrieval.csr import Csr, Int8, Int32, Int64, compiled, read_only

MOST_HOPS: Final = 32
_CENTRES_A_TURN: Final = 16
_ROOM: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Neighbourhoods:
    """Nodes near some centres, and the edges among them, in flat arrays; centres in the order asked.

    Attributes:
        total: int64, centres; nodes within reach, the centre among them, before the cap.
        node_offsets: int64, centres + 1; the nodes of centre ``i`` are ``node_offsets[i]`` to ``node_offsets[i + 1]``.
        nodes: int32; node numbers by hops, then number: the centre is first.
        hops: int8; hops of ``nodes`` from the centre.
        edge_offsets: int64, centres + 1.
        edges: int32, (2, all edges); each edge of the induced subgraph in both directions, as places in the centre's
            nodes, counted from 0. Empty where edges were not asked for.
    """

    total: Int64
    node_offsets: Int64
    nodes: Int32
    hops: Int8
    edge_offsets: Int64
    edges: Int32

    def __len__(self) -> int:
        return len(self.total)

    def of(self, centre: int) -> tuple[Int32, Int8, Int32]:
        """Return nodes, hops and edges, int32 (2, edges), of one centre."""
        nodes = slice(self.node_offsets[centre], self.node_offsets[centre + 1])
        edges = slice(self.edge_offsets[centre], self.edge_offsets[centre + 1])
        return self.nodes[nodes], self.hops[nodes], self.edges[:, edges]


def bfs_hops(graph: Csr, source: int, max_hops: int = MOST_HOPS) -> Int8:
    """Return int8, nodes: hops from ``source``, -1 where there are more than ``max_hops`` or no path.

    Raises:
        UsageError: ``source`` or ``max_hops`` is out of range.
    """
    _check(graph, np.array([source]), max_hops, None)
    hops = np.full(graph.nodes, -1, dtype=np.int8)
    queue = np.empty(graph.nodes, dtype=np.int32)
    _spread(graph.indptr, graph.indices, source, max_hops, hops, queue, np.empty(max_hops + 2, dtype=np.int64))
    return hops


def k_hop_nodes(graph: Csr, source: int, hops: int, cap: int | None = None) -> tuple[Int32, Int8]:
    """Return the nodes within ``hops`` of ``source``, by hops, then number, and their hops.

    Args:
        graph: The view.
        source: Node number.
        hops: Most hops, 0 to 32.
        cap: Most nodes, the source among them; see the module for which stay.

    Raises:
        UsageError: A number is out of range.
    """
    found = neighbourhoods(graph, [source], hops, cap=cap, edges=False, threads=1)
    return found.nodes, found.hops


def induced_subgraph(graph: Csr, nodes: npt.ArrayLike) -> Csr:
    """Return the subgraph of ``nodes``, its node ``i`` being ``nodes[i]``.

    Raises:
        UsageError: A node is out of range or given twice.
    """
    chosen = np.atleast_1d(np.asarray(nodes, dtype=np.int64))
    _check(graph, chosen, 0, None)
    if len(np.unique(chosen)) != len(chosen):
        raise UsageError("a node is given twice; a subgraph takes each node once")
    tails, heads = _edges_among(graph, chosen.astype(np.int32))
    order = np.lexsort((heads, tails))
    indptr = np.zeros(len(chosen) + 1, dtype=np.int64)
    np.cumsum(np.bincount(tails, minlength=len(chosen)), out=indptr[1:])
    return Csr.of(indptr, heads[order], check=False)


def neighbourhoods(
    graph: Csr,
    centres: npt.ArrayLike,
    hops: int,
    *,
    cap: int | None = None,
    edges: bool = True,
    threads: int | None = None,
) -> Neighbourhoods:
    """Return the nodes within ``hops`` of each centre and the edges among them.

    The answer is held in memory as a whole; for many centres of a dense view take ``neighbourhood_parts``. The number
    of threads does not change the answer.

    Args:
        graph: The view.
        centres: Node numbers.
        hops: Most hops, 0 to 32.
        cap: Most nodes a centre, itself among them; see the module for which stay.
        edges: Also the edges of the induced subgraphs.
        threads: Threads to use; one a core by default.

    Raises:
        UsageError: A number is out of range.
    """
    return _joined(list(neighbourhood_parts(graph, centres, hops, cap=cap, edges=edges, threads=threads)))


def neighbourhood_parts(
    graph: Csr,
    centres: npt.ArrayLike,
    hops: int,
    *,
    cap: int | None = None,
    edges: bool = True,
    threads: int | None = None,
) -> Iterator[Neighbourhoods]:
    """Yield what ``neighbourhoods`` returns in parts of up to 16 centres, in their order, in bounded memory.

    Who drops a part before taking the next one lets its memory be used again, which is most of the speed where the
    subgraphs are large.

    Args:
        graph: The view.
        centres: Node numbers.
        hops: Most hops, 0 to 32.
        cap: Most nodes a centre, itself among them; see the module for which stay.
        edges: Also the edges of the induced subgraphs.
        threads: Threads to use; one a core by default.

    Raises:
        UsageError: A number is out of range; at the call, not at the first part.
    """
    chosen = np.atleast_1d(np.asarray(centres))
    _check(graph, chosen, hops, cap)
    chosen = read_only(chosen, np.int32)
    limit = graph.nodes if cap is None else min(cap, graph.nodes)
    turns = [chosen[begin : begin + _CENTRES_A_TURN] for begin in range(0, max(len(chosen), 1), _CENTRES_A_TURN)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores if threads is None else max(1, threads), len(turns))
    spaces: SimpleQueue[_Scratch] = SimpleQueue()
    for _ in range(workers):
        spaces.put(_scratch(graph, limit, edges))

    def work(turn: Int32) -> list[Neighbourhoods]:
        space = spaces.get()
        try:
            return list(_work(graph, turn, hops, limit, space))
        finally:
            spaces.put(space)

    return _in_order(work, turns, workers)


def _in_order(
    work: Callable[[Int32], list[Neighbourhoods]], turns: list[Int32], workers: int
) -> Iterator[Neighbourhoods]:
    if workers == 1:
        for turn in turns:
            yield from work(turn)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[list[Neighbourhoods]]] = deque()
        for turn in turns:
            ahead.append(pool.submit(work, turn))
            if len(ahead) > 2 * workers:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()


def _work(graph: Csr, centres: Int32, hops: int, limit: int, space: _Scratch) -> Iterator[Neighbourhoods]:
    """Yield the neighbourhoods of some centres; as many together as the scratch memory holds."""
    begin = 0
    while True:
        taken = _gather(graph.indptr, graph.indices, centres[begin:], hops, limit, space)
        used, drawn = space.node_offsets[taken], space.edge_offsets[taken]
        edges = np.empty((2, drawn), dtype=np.int32)
        edges[0], edges[1] = space.tails[:drawn], space.heads[:drawn]
        yield Neighbourhoods(
            space.total[:taken].copy(),
            space.node_offsets[: taken + 1].copy(),
            space.nodes[:used].copy(),
            space.node_hops[:used].copy(),
            space.edge_offsets[: taken + 1].copy(),
            edges,
        )
        begin += taken
        if begin >= len(centres):
            return


def _check(graph: Csr, nodes: npt.NDArray[np.generic], hops: int, cap: int | None) -> None:
    if nodes.size and not np.issubdtype(nodes.dtype, np.integer):
        raise UsageError(f"nodes must be given by number, not as {nodes.dtype}")
    numbers = nodes.astype(np.int64)
    wrong = (numbers < 0) | (numbers >= graph.nodes)
    if wrong.any():
        raise UsageError(f"{numbers[wrong][0]} is no node; nodes are numbered 0 to {graph.nodes - 1}")
    if not 0 <= hops <= MOST_HOPS:
        raise UsageError(f"hops is {hops}; it must be 0 to {MOST_HOPS}")
    if cap is not None and cap < 1:
        raise UsageError(f"cap is {cap}; it must leave room for the centre itself, so be 1 or more")


def _joined(parts: list[Neighbourhoods]) -> Neighbourhoods:
    if len(parts) == 1:
        return parts[0]
    return Neighbourhoods(
        np.concatenate([part.total for part in parts]),
        _joined_offsets([part.node_offsets for part in parts]),
        np.concatenate([part.nodes for part in parts]),
        np.concatenate([part.hops for part in parts]),
        _joined_offsets([part.edge_offsets for part in parts]),
        np.concatenate([part.edges for part in parts], axis=1),
    )


def _joined_offsets(parts: list[Int64]) -> Int64:
    sizes = np.concatenate([np.diff(part) for part in parts])
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])


def _edges_among(graph: Csr, nodes: Int32) -> tuple[Int32, Int32]:
    place = np.full(graph.nodes, -1, dtype=np.int32)
    width = int(graph.degrees[nodes].sum()) + 1
    tails, heads = np.empty(width, dtype=np.int32), np.empty(width, dtype=np.int32)
    count = _append_edges(graph.indptr, graph.indices, nodes, place, tails, heads, 0)
    return tails[:count], heads[:count]


class _Scratch(NamedTuple):
    """Memory of one thread, written again and again: fresh pages cost more than the search.

    Attributes:
        hops: int8, graph nodes; -1 between searches.
        queue: int32, graph nodes.
        place: int32, graph nodes; -1 between searches.
        total, node_offsets, nodes, node_hops, edge_offsets: As in ``Neighbourhoods``.
        tails, heads: int32; the two rows of its ``edges``, empty where edges are not asked for.
    """

    hops: Int8
    queue: Int32
    place: Int32
    total: Int64
    node_offsets: Int64
    nodes: Int32
    node_hops: Int8
    edge_offsets: Int64
    tails: Int32
    heads: Int32


def _scratch(graph: Csr, limit: int, edges: bool) -> _Scratch:
    """Return memory that has room for one centre whatever it is, and for a turn where neighbourhoods are small."""
    nodes = max(limit, _ROOM)
    width = max(len(graph.indices), _ROOM) + 1 if edges else 0
    return _Scratch(
        hops=np.full(graph.nodes, -1, dtype=np.int8),
        queue=np.empty(graph.nodes, dtype=np.int32),
        place=np.full(graph.nodes, -1, dtype=np.int32),
        total=np.zeros(_CENTRES_A_TURN, dtype=np.int64),
        node_offsets=np.zeros(_CENTRES_A_TURN + 1, dtype=np.int64),
        nodes=np.empty(nodes, dtype=np.int32),
        node_hops=np.empty(nodes, dtype=np.int8),
        edge_offsets=np.zeros(_CENTRES_A_TURN + 1, dtype=np.int64),
        tails=np.empty(width, dtype=np.int32),
        heads=np.empty(width, dtype=np.int32),
    )


@compiled
def _spread(indptr: Int64, indices: Int32, source: int, most: int, hops: Int8, queue: Int32, ends: Int64) -> int:
    """Breadth-first search; ``ends[h]`` is where the nodes of hop ``h`` end in ``queue``. Returns the last hop."""
    hops[source] = 0
    queue[0] = source
    begin, end, level = 0, 1, 0
    ends[0] = 1
    while level < most and begin < end:
        new_end = end
        for position in range(begin, end):
            node = queue[position]
            for at in range(indptr[node], indptr[node + 1]):
                other = indices[at]
                if hops[other] < 0:
                    hops[other] = level + 1
                    queue[new_end] = other
                    new_end += 1
        begin, end, level = end, new_end, level + 1
        ends[level] = end
    return level


@compiled
def _choose(indptr: Int64, queue: Int32, ends: Int64, last: int, cap: int) -> int:
    """Sort each hop in ``queue`` by number and bring those that stay under the cap first; return how many stay."""
    nodes = len(indptr) - 1
    begin = 0
    for level in range(last + 1):
        end = ends[level]
        if end > cap:
            keys = np.empty(end - begin, dtype=np.int64)
            for place in range(begin, end):
                node = queue[place]
                keys[place - begin] = (indptr[node + 1] - indptr[node]) * nodes + node
            keys = np.sort(keys)[: cap - begin]
            for place in range(len(keys)):
                queue[begin + place] = keys[place] % nodes
            end = cap
        queue[begin:end] = np.sort(queue[begin:end])
        if end == cap:
            return cap
        begin = end
    return begin


@compiled
def _append_edges(
    indptr: Int64, indices: Int32, nodes: Int32, place: Int32, tails: Int32, heads: Int32, count: int
) -> int:
    """Append the edges among ``nodes``; ``place`` is -1 everywhere, and left so. Returns the new count.

    Each neighbour is written and counted only if it stays, without a branch, which would be guessed wrong every other
    time: so there must be room for one edge more than stay. Unsigned places need no look at the sign.
    """
    for one in range(len(nodes)):
        place[nodes[one]] = one
    for one in range(len(nodes)):
        node, before = nodes[one], count
        for neighbour in indices[indptr[node] : indptr[node + 1]]:
            other = place[np.uint32(neighbour)]
            heads[np.uint64(count)] = other
            count += other >= 0
        tails[before:count] = one
    for one in range(len(nodes)):
        place[nodes[one]] = -1
    return count


@compiled
def _gather(indptr: Int64, indices: Int32, centres: Int32, most: int, cap: int, space: _Scratch) -> int:
    """Fill the scratch memory; returns how many centres there was room for, one at least."""
    ends = np.empty(most + 2, dtype=np.int64)
    count = 0
    for row in range(len(centres)):
        last = _spread(indptr, indices, centres[row], most, space.hops, space.queue, ends)
        reached = ends[last]
        for place in range(reached):
            space.hops[space.queue[place]] = -1
        kept = _choose(indptr, space.queue, ends, last, cap)
        begin, width = space.node_offsets[row], 0
        for place in range(kept):
            width += indptr[space.queue[place] + 1] - indptr[space.queue[place]]
        with_edges = len(space.heads) > 0
        if row > 0 and (begin + kept > len(space.nodes) or (with_edges and count + width >= len(space.heads))):
            return row
        hop = 0
        for place in range(kept):
            while place >= ends[hop]:
                hop += 1
            space.nodes[begin + place] = space.queue[place]
            space.node_hops[begin + place] = hop
        space.total[row] = reached
        space.node_offsets[row + 1] = begin + kept
        if with_edges:
            chosen = space.queue[:kept]
            count = _append_edges(indptr, indices, chosen, space.place, space.tails, space.heads, count)
        space.edge_offsets[row + 1] = count
    return len(centres)
