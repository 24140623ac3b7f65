"""An undirected simple graph as compressed sparse rows, and the decorator of the compiled functions that read it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from aroma.errors import UsageError

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

F = TypeVar("F", bound=Callable[..., Any])


def _kernel_stamp() -> str:
    texts = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in _KERNEL_FILES]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:8]


_KERNEL_FILES: Final = ("csr", "workspace", "kernels", "reach", "serve")
_STAMP: Final = _kernel_stamp()


def compiled(function: F) -> F:
    """Compile ``function`` on its first call, without the interpreter's lock, and keep the machine code on disk.

    numba notices when the file of a function has changed, but not when one it calls, in another file, has: its stored
    code would go on doing the old thing. So the name under which it is stored has a digest of all kernel files.
    """
    function.__qualname__ = f"{function.__qualname__}_{_STAMP}"
    try:
        return cast("F", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # no directory that numba may write its cache to: compile in each process
        return cast("F", numba.njit(nogil=True)(function))


def inlined(function: F) -> F:
    """Compile a small ``function`` into each place that calls it: for what stands in inner loops.

    A call that passes a workspace copies a hundred words and counts references to each of its arrays.
    """
    return cast("F", numba.njit(nogil=True, forceinline=True)(function))


def read_only(values: npt.ArrayLike, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Return ``values`` as a contiguous array that cannot be written; a fitting array (or memory map) is not copied.

    Compiled functions are specialised by type, and being writable is part of the type: with one type for arrays in
    memory and on disk each function is compiled once.
    """
    array = np.ascontiguousarray(values, dtype=dtype).view(np.ndarray)
    array = array.view()
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class Csr:
    """An undirected simple graph: every edge in both directions, neighbours ascending, no self-loops.

    Nodes are numbered in the order of their ids, so that comparing numbers compares ids.

    Attributes:
        indptr: int64, nodes + 1; the neighbours of ``v`` are ``indices[indptr[v]:indptr[v + 1]]``.
        indices: int32, twice the number of edges.
    """

    indptr: Int64
    indices: Int32

    @classmethod
    def of(cls, indptr: npt.ArrayLike, indices: npt.ArrayLike, *, check: bool = True) -> Csr:
        """Wrap arrays without copying where the types fit.

        Args:
            indptr: Row starts, any integer type.
            indices: Neighbours, ascending within a row.
            check: Look for what would make answers wrong; a snapshot that was checked when made need not be again.

        Raises:
            UsageError: Lengths do not fit, neighbours are out of range or out of order, or an edge is a self-loop
                or stands in one direction only.
        """
        graph = cls(read_only(indptr, np.int64), read_only(indices, np.int32))
        if check:
            _check(graph)
        return graph

    @classmethod
    def from_edges(cls, nodes: int, ends: npt.ArrayLike) -> Csr:
        """Build from an edge list of shape (edges, 2); either direction, repeats and self-loops are tidied away.

        Raises:
            UsageError: An end is not in ``range(nodes)``.
        """
        pairs = np.asarray(ends, dtype=np.int64).reshape(-1, 2)
        if pairs.size and (pairs.min() < 0 or pairs.max() >= nodes):
            raise UsageError(f"an edge ends at node {int(pairs.max())}, but nodes are numbered 0 to {nodes - 1}")
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        keys = np.unique(np.concatenate([pairs[:, 0] * nodes + pairs[:, 1], pairs[:, 1] * nodes + pairs[:, 0]]))
        rows, columns = np.divmod(keys, max(nodes, 1))
        indptr = np.zeros(nodes + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=nodes), out=indptr[1:])
        return cls.of(indptr, columns, check=False)

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.indptr) - 1

    @property
    def edges(self) -> int:
        """Number of undirected edges."""
        return len(self.indices) // 2

    @cached_property
    def degrees(self) -> Int64:
        """int64, nodes: number of neighbours."""
        return cast("Int64", np.diff(self.indptr))

    @cached_property
    def components(self) -> Int32:
        """int32, nodes: number of the connected component, components in the order of their smallest node."""
        return _components(self.indptr, self.indices)

    def neighbours(self, node: int) -> Int32:
        """int32: neighbours of one node, ascending."""
        return self.indices[self.indptr[node] : self.indptr[node + 1]]

    def edge_list(self) -> Int32:
        """int32, (edges, 2): each edge once, smaller node first, sorted."""
        rows = np.repeat(np.arange(self.nodes, dtype=np.int32), self.degrees)
        once = rows < self.indices
        return np.stack([rows[once], self.indices[once]], axis=1)


def _check(graph: Csr) -> None:
    indptr, indices = graph.indptr, graph.indices
    if len(indptr) == 0 or indptr[0] != 0 or indptr[-1] != len(indices) or np.any(np.diff(indptr) < 0):
        raise UsageError(f"the graph's row starts do not fit its {len(indices)} neighbours; rebuild the snapshot")
    nodes = graph.nodes
    if len(indices) and (indices.min() < 0 or indices.max() >= nodes):
        raise UsageError(f"the graph has neighbours outside 0 to {nodes - 1}; rebuild the snapshot")
    rows = np.repeat(np.arange(nodes, dtype=np.int64), graph.degrees)
    forward = rows * nodes + indices
    if np.any(np.diff(forward) <= 0):
        raise UsageError("the graph's neighbours are not ascending, or an edge is listed twice; rebuild the snapshot")
    if np.any(rows == indices):
        raise UsageError(f"node {int(rows[rows == indices][0])} is joined to itself; views have no self-loops")
    if not np.array_equal(np.sort(indices.astype(np.int64) * nodes + rows), forward):
        raise UsageError("the graph has edges in one direction only; views are undirected")


@compiled
def _components(indptr: Int64, indices: Int32) -> Int32:
    nodes = len(indptr) - 1
    label = np.full(nodes, -1, dtype=np.int32)
    queue = np.empty(nodes, dtype=np.int32)
    count = 0
    for root in range(nodes):
        if label[root] >= 0:
            continue
        label[root] = count
        queue[0] = root
        begin, end = 0, 1
        while begin < end:
            node = queue[begin]
            begin += 1
            for position in range(indptr[node], indptr[node + 1]):
                other = indices[position]
                if label[other] < 0:
                    label[other] = count
                    queue[end] = other
                    end += 1
        count += 1
    return label
