"""The nearest rows of a sparse matrix, for every row: what formats of gene similarity graphs are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

Float32 = npt.NDArray[np.float32]
_BLOCK: Final = 256
"""Rows compared at a time: 256 by 20,000 genes is 20 MB."""
NEIGHBOURS: Final = {"gene": pl.Int32(), "neighbour": pl.Int32(), "score": pl.Float32()}


def nearest_rows(
    rows: Any, k: int, score: Callable[[Float32, slice], Float32], *, floor: float = 0.0, chosen: Any = None
) -> pl.DataFrame:
    """Return for each row the ``k`` others with the highest score.

    Args:
        rows: CSR (rows, features).
        k: Most neighbours a row.
        score: Turns the float32 (block, rows) dot products of a block of rows with all rows, and the block's slice of
            the chosen rows, into scores.
        floor: Neighbours must score more than this.
        chosen: Rows to find neighbours for and among, ascending numbers; None takes all.

    Returns:
        Columns of ``NEIGHBOURS``, row numbers; by ``gene``, then falling score, then ``neighbour``.
    """
    numbers = np.arange(rows.shape[0]) if chosen is None else np.asarray(chosen)
    kept = rows if chosen is None else rows[numbers]
    turned = kept.T.tocsr()
    found: list[pl.DataFrame] = [pl.DataFrame(schema=NEIGHBOURS)]
    for start in range(0, len(numbers), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(numbers)))
        scores = score((kept[block] @ turned).toarray(), block)
        scores[np.arange(scores.shape[0]), np.arange(block.start, block.stop)] = -np.inf
        found.append(_best(scores, k, floor, numbers, block))
    return pl.concat(found)


def _best(scores: Float32, k: int, floor: float, numbers: npt.NDArray[Any], block: slice) -> pl.DataFrame:
    rows, columns = np.nonzero(scores > floor)
    frame = pl.DataFrame({"row": rows, "column": columns, "score": scores[rows, columns]})
    best = frame.sort("row", "score", "column", descending=[False, True, False]).group_by("row", maintain_order=True)
    top = best.head(k)
    return pl.DataFrame(
        {
            "gene": numbers[block][top["row"].to_numpy()].astype(np.int32),
            "neighbour": numbers[top["column"].to_numpy()].astype(np.int32),
            "score": top["score"],
        },
        schema=NEIGHBOURS,
    )
