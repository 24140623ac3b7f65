"""The k shortest loopless paths between nodes of a view: for many pairs at once, and for one pair in a moment.

Paths are ranked by hops, then by hub cost (the sum over inner nodes of round(1000 log2 degree)), then by the sequence
of node numbers, which is the order of node ids. The answer is the exact top k of that order.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from aroma.errors import UsageError
from aroma.retrieval.csr import Csr, Int8, Int32, Int64, compiled, read_only
from aroma.retrieval.serve import serve_pair, serve_sources
from aroma.retrieval.workspace import Arrays, Found, Limits, Workspace, make_found, make_workspace

MOST_PATHS: Final = 100
MOST_SLACK: Final = 4
MOST_HOPS: Final = 32
_SOURCES_A_TURN: Final = 16
_ANSWER_BYTES: Final = 1 << 28


class Status(IntEnum):
    """Why a pair has paths or none."""

    FOUND = 0
    SAME_NODE = 1
    TOO_FAR = 2
    """Joined, but by more than the most hops allowed."""
    UNREACHABLE = 3
    """In different components."""


@dataclass(frozen=True, slots=True)
class Path:
    """One path: node numbers from source to target, and the hub cost of the inner nodes."""

    nodes: tuple[int, ...]
    cost: int

    @property
    def hops(self) -> int:
        """Edges of the path."""
        return len(self.nodes) - 1


@dataclass(frozen=True, slots=True)
class PathTable:
    """Paths of many pairs in flat arrays, pairs in the order in which they were asked.

    Attributes:
        status: int8, pairs; a ``Status``.
        shortest: int64, pairs; how many shortest paths there are, listed or not (at most 2**53 are counted).
        pair_offsets: int64, pairs + 1; the paths of pair ``i`` are ``pair_offsets[i]`` to ``pair_offsets[i + 1]``.
        hops: int8, paths.
        costs: int64, paths; hub costs.
        path_offsets: int64, paths + 1; where the nodes of a path lie in ``nodes``.
        nodes: int32; node numbers, source first.
    """

    status: Int8
    shortest: Int64
    pair_offsets: Int64
    hops: Int8
    costs: Int64
    path_offsets: Int64
    nodes: Int32

    def __len__(self) -> int:
        return len(self.status)

    @property
    def truncated(self) -> npt.NDArray[np.bool_]:
        """bool, pairs: there are more shortest paths than are listed."""
        return self.shortest > np.diff(self.pair_offsets)

    def paths(self, pair: int) -> list[Path]:
        """Return the paths of one pair, best first."""
        return [
            Path(
                tuple(self.nodes[self.path_offsets[path] : self.path_offsets[path + 1]].tolist()), int(self.costs[path])
            )
            for path in range(self.pair_offsets[pair], self.pair_offsets[pair + 1])
        ]


def hub_costs(degrees: npt.ArrayLike) -> Int64:
    """Return round(1000 log2 degree) of each node, int64: what a path pays to pass it; 0 for degrees 0 and 1."""
    return cast("Int64", np.rint(1000 * np.log2(np.maximum(np.asarray(degrees), 1))).astype(np.int64))


def k_shortest_paths(
    graph: Csr,
    sources: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    k: int = 3,
    slack: int = 1,
    max_hops: int = 6,
    cost: npt.ArrayLike | None = None,
    threads: int | None = None,
) -> PathTable:
    """Find up to ``k`` shortest loopless paths of each pair.

    One breadth-first search a source serves all its targets; pairs of one source need not stand together, but the
    search is repeated where they are many millions of pairs apart. The number of threads does not change the answer.

    Args:
        graph: The view.
        sources: Node numbers, one a pair.
        targets: Node numbers, one a pair.
        k: Paths a pair, 1 to 100.
        slack: Hops that a path may have more than the pair's shortest, 0 to 4. From 2 on the search has to avoid
            loops, and takes longer.
        max_hops: Most hops of a path, 1 to 32.
        cost: int64, nodes; what passing a node costs, not negative; ``hub_costs`` of the degrees by default.
        threads: Threads to use; one a core by default.

    Raises:
        UsageError: A limit or a node number is out of range, or the arrays differ in length.
    """
    limits = _limits(graph, k, slack, max_hops)
    arrays = _arrays(graph, cost)
    starts, ends = _node_numbers(graph, sources, "source"), _node_numbers(graph, targets, "target")
    if len(starts) != len(ends):
        raise UsageError(f"there are {len(starts)} sources but {len(ends)} targets; give one of each a pair")
    block = max(1, _ANSWER_BYTES // (limits.k * (9 + 4 * (limits.max_hops + 1))))
    workers = _cores() if threads is None else max(1, threads)
    tables = []
    for begin in range(0, max(len(starts), 1), block):
        part = slice(begin, begin + block)
        found = _search_all(arrays, limits, starts[part], ends[part], workers)
        tables.append(_table(graph, limits, found, starts[part], ends[part]))
    return _joined(tables)


class PairSearch:
    """Answers one pair at a time, in well under a millisecond for most pairs; threads may share it.

    The answers are those of ``k_shortest_paths`` with the same limits.

    Args:
        graph: The view.
        k: As for ``k_shortest_paths``.
        slack: As for ``k_shortest_paths``.
        max_hops: As for ``k_shortest_paths``.
        cost: As for ``k_shortest_paths``.

    Raises:
        UsageError: A limit is out of range.
    """

    def __init__(
        self, graph: Csr, *, k: int = 3, slack: int = 1, max_hops: int = 6, cost: npt.ArrayLike | None = None
    ) -> None:
        self.graph = graph
        self.limits = _limits(graph, k, slack, max_hops)
        self._arrays = _arrays(graph, cost)
        self._spaces: deque[Workspace] = deque()

    def search(self, source: int, target: int) -> PathTable:
        """Return the paths of one pair, as a table of one.

        Raises:
            UsageError: A node number is out of range.
        """
        starts, ends = _node_numbers(self.graph, [source], "source"), _node_numbers(self.graph, [target], "target")
        found = make_found(1, self.limits)
        if source != target:
            try:
                space = self._spaces.pop()
            except IndexError:
                space = make_workspace(self.graph.nodes, self.limits, whole_ball=True)
            serve_pair(self._arrays, space, self.limits, found, source, target)
            self._spaces.append(space)
        return _table(self.graph, self.limits, found, starts, ends)


def _limits(graph: Csr, k: int, slack: int, max_hops: int) -> Limits:
    for name, value, least, most in (
        ("k", k, 1, MOST_PATHS),
        ("slack", slack, 0, MOST_SLACK),
        ("max_hops", max_hops, 1, MOST_HOPS),
    ):
        if not least <= value <= most:
            raise UsageError(f"{name} is {value}; it must be {least} to {most}")
    if graph.nodes * (max_hops + 1) * k >= 2**31:
        raise UsageError(f"k {k} with max_hops {max_hops} is too much for {graph.nodes} nodes; lower one of them")
    return Limits(int(k), int(slack), int(max_hops))


def _arrays(graph: Csr, cost: npt.ArrayLike | None) -> Arrays:
    hub = read_only(hub_costs(graph.degrees) if cost is None else cost, np.int64)
    if len(hub) != graph.nodes:
        raise UsageError(f"there are {len(hub)} node costs for {graph.nodes} nodes")
    if len(hub) and (hub.min() < 0 or hub.max() > 2**40):
        raise UsageError("a node's cost is negative or over 2**40; paths cannot be ranked by it")
    return Arrays(graph.indptr, graph.indices, hub)


def _node_numbers(graph: Csr, values: npt.ArrayLike, what: str) -> Int32:
    numbers = np.atleast_1d(np.asarray(values))
    if numbers.size == 0:
        return read_only(np.empty(0), np.int32)
    if not np.issubdtype(numbers.dtype, np.integer):
        raise UsageError(f"{what}s must be node numbers, not {numbers.dtype}")
    wrong = (numbers < 0) | (numbers >= graph.nodes)
    if wrong.any():
        raise UsageError(f"{what} {numbers[wrong][0]} is no node; nodes are numbered 0 to {graph.nodes - 1}")
    return read_only(numbers, np.int32)


def _search_all(graph: Arrays, limits: Limits, sources: Int32, targets: Int32, workers: int) -> Found:
    found = make_found(len(sources), limits)
    if len(sources) == 0:
        return found
    order = np.argsort(sources, kind="stable").astype(np.int64)
    groups = np.flatnonzero(np.diff(sources[order], prepend=-1, append=-1)).astype(np.int64)
    turns = deque(_turns(groups))

    def work() -> None:
        space = make_workspace(len(graph.hub), limits, whole_ball=False)
        while True:
            try:
                turn = turns.popleft()
            except IndexError:
                return
            serve_sources(graph, space, limits, found, sources, targets, order, turn)

    workers = min(workers, len(turns))
    if workers == 1:
        work()
        return found
    with ThreadPoolExecutor(workers) as pool:
        for job in [pool.submit(work) for _ in range(workers)]:
            job.result()
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _turns(groups: Int64) -> Iterator[Int64]:
    for begin in range(0, len(groups) - 1, _SOURCES_A_TURN):
        yield groups[begin : begin + _SOURCES_A_TURN + 1]


def _table(graph: Csr, limits: Limits, found: Found, sources: Int32, targets: Int32) -> PathTable:
    status = np.full(len(sources), Status.FOUND, dtype=np.int8)
    missing = np.flatnonzero(found.found == 0)
    if len(missing):
        starts, ends = sources[missing], targets[missing]
        status[missing] = Status.SAME_NODE
        apart = starts != ends
        if apart.any():
            joined = graph.components[starts[apart]] == graph.components[ends[apart]]
            status[missing[apart]] = np.where(joined, Status.TOO_FAR, Status.UNREACHABLE)
    pair_offsets = np.zeros(len(sources) + 1, dtype=np.int64)
    np.cumsum(found.found, out=pair_offsets[1:])
    total = int(pair_offsets[-1])
    path_offsets = np.empty(total + 1, dtype=np.int64)
    # Rows beyond a pair's count may hold what a loop left there: only counted rows are added up.
    listed = np.arange(limits.k) < found.found[:, None]
    length = int((found.hops.astype(np.int64) + 1)[listed].sum())
    nodes = np.empty(length, dtype=np.int32)
    hops, costs = _pack(found, path_offsets, nodes)
    return PathTable(status, found.shortest, pair_offsets, hops, costs, path_offsets, nodes)


def _joined(tables: list[PathTable]) -> PathTable:
    if len(tables) == 1:
        return tables[0]
    return PathTable(
        np.concatenate([table.status for table in tables]),
        np.concatenate([table.shortest for table in tables]),
        _joined_offsets([table.pair_offsets for table in tables]),
        np.concatenate([table.hops for table in tables]),
        np.concatenate([table.costs for table in tables]),
        _joined_offsets([table.path_offsets for table in tables]),
        np.concatenate([table.nodes for table in tables]),
    )


def _joined_offsets(parts: list[Int64]) -> Int64:
    sizes = np.concatenate([np.diff(part) for part in parts])
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])


@compiled
def _pack(found: Found, path_offsets: Int64, nodes: Int32) -> tuple[Int8, Int64]:
    """Copy the answers from rows of fixed width into flat arrays.

    Args:
        found: The answers.
        path_offsets: int64, paths + 1; filled here.
        nodes: int32; filled here, as long as all paths together.

    Returns:
        Hops and hub costs of the paths.
    """
    hops = np.empty(len(path_offsets) - 1, dtype=np.int8)
    costs = np.empty(len(path_offsets) - 1, dtype=np.int64)
    path, position = 0, 0
    path_offsets[0] = 0
    for pair in range(len(found.found)):
        for rank in range(found.found[pair]):
            hops[path] = found.hops[pair, rank]
            costs[path] = found.cost[pair, rank]
            for at in range(hops[path] + 1):
                nodes[position] = found.nodes[pair, rank, at]
                position += 1
            path += 1
            path_offsets[path] = position
    return hops, costs
