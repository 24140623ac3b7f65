"""Vector sets for tests: numbers written down, or drawn with a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from aroma.kgstore.home import Home
from aroma.retrieval.vector_store import EncoderCard, VectorSet, write_vector_set


def make_vectors(
    home: Home,
    release: str,
    vectors: Mapping[str, Sequence[float] | str],
    *,
    name: str = "toy",
    kind: str = "graph",
    **card: Any,
) -> VectorSet:
    """Write a vector set: by node id its numbers, or the reason for having none."""
    dim = next(len(one) for one in vectors.values() if not isinstance(one, str))
    rows = [
        {
            "id": node,
            "input_sha256": hashlib.sha256(repr(said).encode()).hexdigest(),
            "problem": said if isinstance(said, str) else None,
        }
        for node, said in vectors.items()
    ]
    items = pl.DataFrame(rows, schema={"id": pl.String, "input_sha256": pl.String, "problem": pl.String})
    order = sorted(node for node, said in vectors.items() if not isinstance(said, str))

    def fill(matrix: Any) -> None:
        matrix[:] = np.array([vectors[node] for node in order], dtype=np.float64)

    return write_vector_set(home, release, EncoderCard(name, kind, "1", dim, **card), items, fill)
