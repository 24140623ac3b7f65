"""Memory that the compiled path search works in, and the limits it is given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aroma.retrieval.csr import Int8, Int32, Int64

FAR = 127
"""Distance of a node that the search has not reached."""

NOT_NEXT = 126
"""Distance of a node that was looked at and is more than one hop beyond the reached ones."""

MANY = 2**53
"""Walks are counted up to this number."""


class Arrays(NamedTuple):
    """A graph as the compiled functions take it.

    Attributes:
        indptr: int64, nodes + 1.
        indices: int32, twice the edges.
        hub: int64, nodes; cost of passing a node.
    """

    indptr: Int64
    indices: Int32
    hub: Int64


class Workspace(NamedTuple):
    """Scratch memory of one thread; every array is as it was after a search, so that none is cleared as a whole.

    Attributes:
        distance: int8, nodes; hops from the source, FAR where not reached.
        queue: int32, nodes; reached nodes in the order of their distance.
        back_distance, back_queue: The same from the target, for the search of one pair.
        slot: int32, (max hops + 1) x nodes; the state of (length, node), or -1.
        node: int32; node of a state.
        length: int8; length of a state's walks.
        following: int32; next state of the same length, -1 at the end.
        filled: int32; walks kept of a state.
        walks: int64; number of all walks of a state, at most MANY.
        cost: int64, states x k; hub costs of the kept walks.
        tail: int32, states x k; last node of a kept walk.
        parent: int32, states x k; kept walk of which this one is the continuation, -1 at the source.
        head: int32, max hops + 2; newest state of each length, or -1.
        width: int64, max hops + 2; degrees of the states of each length, added up.
        level_end: int64, max hops + 2; where each level's nodes end in ``queue``.
        level_width: int64, max hops + 2; degrees of the nodes of each level, added up.
        looked: int32, nodes; nodes beyond the reached ones whose distance was looked up on its own.
        used: int64, 3; number of states, the first that waits to be filled, number of nodes looked at.
    """

    distance: Int8
    queue: Int32
    back_distance: Int8
    back_queue: Int32
    slot: Int32
    node: Int32
    length: Int8
    following: Int32
    filled: Int32
    walks: Int64
    cost: Int64
    tail: Int32
    parent: Int32
    head: Int32
    width: Int64
    level_end: Int64
    level_width: Int64
    looked: Int32
    used: Int64


class Found(NamedTuple):
    """Answers in fixed-width rows.

    Attributes:
        found: int32, pairs; number of paths.
        shortest: int64, pairs; number of all shortest paths.
        hops: int8, pairs x k.
        cost: int64, pairs x k.
        nodes: int32, pairs x k x (max hops + 1).
    """

    found: Int32
    shortest: Int64
    hops: Int8
    cost: Int64
    nodes: Int32


class Limits(NamedTuple):
    """What is asked: paths a pair, hops more than the shortest, hops at most."""

    k: int
    slack: int
    max_hops: int


def make_workspace(nodes: int, limits: Limits, *, whole_ball: bool) -> Workspace:
    """Allocate scratch memory for searches in a graph of ``nodes`` nodes.

    The system hands out pages when they are first written, so what a search does not need costs nothing.

    Args:
        nodes: Nodes of the graph.
        limits: What will be asked.
        whole_ball: Also enough for ``serve_pair``, where a node may have a state for each length.
    """
    lengths = limits.max_hops + 1
    # From one source a node has states of its distance and up to slack more; beyond the last whole level its
    # distance is not known, and it may have one for each length that is left.
    states = nodes * lengths if whole_ball else nodes * min(lengths, limits.slack + 2) + 1
    return Workspace(
        distance=np.full(nodes, FAR, dtype=np.int8),
        queue=np.empty(nodes, dtype=np.int32),
        back_distance=np.full(nodes, FAR, dtype=np.int8),
        back_queue=np.empty(nodes, dtype=np.int32),
        slot=np.full(nodes * lengths, -1, dtype=np.int32),
        node=np.empty(states, dtype=np.int32),
        length=np.empty(states, dtype=np.int8),
        following=np.empty(states, dtype=np.int32),
        filled=np.empty(states, dtype=np.int32),
        walks=np.empty(states, dtype=np.int64),
        cost=np.empty(states * limits.k, dtype=np.int64),
        tail=np.empty(states * limits.k, dtype=np.int32),
        parent=np.empty(states * limits.k, dtype=np.int32),
        head=np.full(lengths + 1, -1, dtype=np.int32),
        width=np.zeros(lengths + 1, dtype=np.int64),
        level_end=np.zeros(lengths + 1, dtype=np.int64),
        level_width=np.zeros(lengths + 1, dtype=np.int64),
        looked=np.empty(nodes, dtype=np.int32),
        used=np.zeros(3, dtype=np.int64),
    )


def make_found(pairs: int, limits: Limits) -> Found:
    """Allocate answers for ``pairs`` pairs, all empty."""
    return Found(
        found=np.zeros(pairs, dtype=np.int32),
        shortest=np.zeros(pairs, dtype=np.int64),
        hops=np.zeros((pairs, limits.k), dtype=np.int8),
        cost=np.zeros((pairs, limits.k), dtype=np.int64),
        nodes=np.empty((pairs, limits.k, limits.max_hops + 1), dtype=np.int32),
    )
