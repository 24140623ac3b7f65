"""Work on the rows of a graph's arrays split between threads, for compiled functions that hold no lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Parts = tuple[tuple[int, int], ...]
F = TypeVar("F", bound=Callable[..., Any])
_PARTS_A_THREAD = 4


def vectorised(function: F) -> F:
    """Compile for vectors: sums may be reordered, as in any matrix product."""
    return cast("F", numba.njit(cache=True, nogil=True, fastmath=True)(function))


def starts_of(numbers: Int32, nodes: int) -> Int64:
    """Return int64 (nodes + 1): where each node's entries begin once they are ordered by node."""
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=nodes))]).astype(np.int64)


def parts_of(starts: Int64) -> Parts:
    """Return ranges of nodes with about the same number of entries."""
    shares = np.linspace(0, starts[-1], _threads() * _PARTS_A_THREAD + 1)
    cuts = np.unique(np.concatenate([[0], np.searchsorted(starts, shares[1:-1]), [len(starts) - 1]]))
    return tuple(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))


def on_parts(parts: Parts, function: Callable[..., None], *arrays: Any) -> None:
    """Call ``function(*arrays, low, high)`` for each range, side by side; ranges must not write to the same rows."""
    for done in [_pool().submit(function, *arrays, low, high) for low, high in parts]:
        done.result()


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads(), thread_name_prefix="aroma-rows")
