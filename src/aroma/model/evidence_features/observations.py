"""Training rows as numbers: codes of lines, perturbations and targets, their labels, and what each view leaves out.

A *view* of the training rows leaves some out, so that features of a row can be made without its own label: one view
for each fold of (cell line, perturbation), one for each cell line, and the last one that leaves out nothing, from which
new rows are answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.retrieval.csr import Int8, Int32, Int64

Bool = npt.NDArray[np.bool_]
FOLDS: Final = 6
UNKNOWN: Final = -1
_FEW: Final = 16


@dataclass(frozen=True)
class Codes:
    """The names behind the numbers: sorted, so that the same rows in any order have the same numbers.

    A gene is known by its id, and a name that does not resolve by the name itself.
    """

    lines: tuple[str, ...]
    perturbations: tuple[str, ...]
    targets: tuple[str, ...]

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Codes:
        """Return the codes of training rows."""
        keyed = with_keys(rows)
        found = (tuple(keyed[name].unique().sort().to_list()) for name in ("cell_line", "_perturbation", "_target"))
        return cls(*found)

    def encode(self, rows: pl.DataFrame) -> tuple[Int32, Int32, Int32]:
        """Return int32 codes of line, perturbation and target of each row; ``UNKNOWN`` where not trained on."""
        keyed = with_keys(rows)
        line, perturbation, target = self._numbers
        return (
            _codes(keyed["cell_line"], line),
            _codes(keyed["_perturbation"], perturbation),
            _codes(keyed["_target"], target),
        )

    def lines_of(self, rows: pl.DataFrame) -> Int32:
        """Return int32 codes of the cell line of each row."""
        return _codes(rows["cell_line"], self._numbers[0])

    @cached_property
    def _numbers(self) -> tuple[dict[str, int], ...]:
        """The code of each name."""
        sides = self.lines, self.perturbations, self.targets
        return tuple({name: code for code, name in enumerate(side)} for side in sides)


def with_keys(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with ``_perturbation`` and ``_target``: the gene's id, or the name where it does not resolve."""
    return rows.with_columns(
        pl.coalesce(f"{side}_gene", pl.lit("name:") + pl.col(side).fill_null("")).alias(f"_{side}")
        for side in ("perturbation", "target")
    )


def _codes(names: pl.Series, known: Mapping[str, int]) -> Int32:
    """Look up; many rows through their distinct names, few directly, as a frame's work costs a row milliseconds."""
    if len(names) <= _FEW:
        return np.array([known.get(name, UNKNOWN) for name in names], dtype=np.int32)
    distinct = names.unique()
    codes = pl.Series([known.get(name, UNKNOWN) for name in distinct], dtype=pl.Int32)
    return names.replace_strict(distinct, codes, return_dtype=pl.Int32).to_numpy()


@dataclass(frozen=True)
class Observations:
    """Training rows, sorted by target, then line, then perturbation.

    Attributes:
        line: int32, (rows).
        perturbation: int32, (rows).
        target: int32, (rows).
        label: int8, (rows): 0 not significant, 1 down, 2 up.
        fold: int8, (rows): the fold of its line and perturbation.
        start: int64, (targets + 1): rows of target ``g`` are ``start[g]:start[g + 1]``.
        sizes: Number of lines, perturbations, targets.
    """

    line: Int32
    perturbation: Int32
    target: Int32
    label: Int8
    fold: Int8
    start: Int64
    sizes: tuple[int, int, int]

    @classmethod
    def of(cls, codes: Codes, rows: pl.DataFrame, seed: int) -> Observations:
        """Return training rows as numbers, folds drawn with ``seed``."""
        line, perturbation, target = codes.encode(rows)
        label = rows["label"].to_numpy().astype(np.int8)
        order = np.lexsort((label, perturbation, line, target))
        line, perturbation, target, label = line[order], perturbation[order], target[order], label[order]
        sizes = (len(codes.lines), len(codes.perturbations), len(codes.targets))
        fold = folds(line, perturbation, sizes[1], seed)
        start = np.searchsorted(target, np.arange(sizes[2] + 1)).astype(np.int64)
        return cls(line, perturbation, target, label, fold, start, sizes)

    @property
    def views(self) -> int:
        """Number of views: the folds, the lines, and the whole."""
        return FOLDS + self.sizes[0] + 1

    @property
    def whole(self) -> int:
        """The view that leaves out nothing."""
        return self.views - 1

    def left_out(self) -> Bool:
        """Return bool (views, rows): what each view leaves out."""
        found = np.zeros((self.views, len(self.line)), dtype=np.bool_)
        for view in range(FOLDS):
            found[view] = self.fold == view
        for line in range(self.sizes[0]):
            found[FOLDS + line] = self.line == line
        return found


def folds(line: npt.NDArray[Any], perturbation: npt.NDArray[Any], size: int, seed: int) -> Int8:
    """Return an int8 fold for each row: all rows of a line and perturbation stand in one, each line spread evenly.

    Args:
        line: Codes.
        perturbation: Codes.
        size: Number of perturbations.
        seed: Of the random order.
    """
    groups, member = np.unique(line.astype(np.int64) * size + perturbation, return_inverse=True)
    random = np.random.default_rng(seed)
    found = np.empty(len(groups), dtype=np.int8)
    for one in np.unique(groups // size):
        places = np.flatnonzero(groups // size == one)
        found[random.permutation(places)] = np.arange(len(places)) % FOLDS
    return found[member]
