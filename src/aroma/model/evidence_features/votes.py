"""What the other rows of a target say of a pair: votes of related perturbations, the process, the pair elsewhere.

Every function fills one row of float32 columns for one (cell line, perturbation, target) from the target's rows in one
view, in a fixed order of summing, so that a pair asked alone and in a million gets the same numbers.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from aroma.model.evidence_features.layers import LAYERS, Float32
from aroma.model.evidence_features.observations import Bool
from aroma.retrieval.csr import Int8, Int32, compiled

KERNELS: Final = (*LAYERS, "learned")
"""Whose similarity weighs a vote: each layer, and what was learned from them."""
PLACES: Final = ("own", "others")
VOTES: Final = tuple(f"{what}_{place}_{name}" for place in PLACES for name in KERNELS for what in ("changed", "signed"))
NEAREST: Final = tuple(f"nearest_{label}_{name}" for name in ("string", "learned") for label in ("same", "down", "up"))
ELSEWHERE: Final = ("pair_rows", "pair_changed", "pair_signed")
_SHRINK: Final = 0.05
_NEAREST_LAYERS: Final = (LAYERS.index("string"), len(LAYERS))
_SIZE: Final = len(KERNELS)
_SIGN: Final = np.array([0.0, -1.0, 1.0], dtype=np.float32)
"""Of each label."""


@compiled
def _count(
    row: int,
    line: int,
    perturbation: int,
    rows: tuple[Int32, Int32, Int8],
    similar: Float32,
    sums: Float32,
    nearest: Float32,
    pair: Float32,
) -> None:
    """Add one row of the target to the sums; a row of the same perturbation in another line is the pair elsewhere."""
    lines, perturbations, labels = rows
    label = labels[row]
    changed, signed = np.float32(1.0 if label > 0 else 0.0), _SIGN[label]
    if perturbations[row] == perturbation:
        if lines[row] != line:
            pair[0] += np.float32(1.0)
            pair[1] += changed
            pair[2] += signed
        return
    place = 0 if lines[row] == line else 1
    own = similar[perturbations[row]]
    for kernel in range(_SIZE):
        weight = own[kernel] * own[kernel]
        sums[place, 0, kernel] += weight
        sums[place, 1, kernel] += weight * changed
        sums[place, 2, kernel] += weight * signed
    for part in range(2):
        nearest[part, label] = max(nearest[part, label], own[_NEAREST_LAYERS[part]])


@compiled
def fill_votes(
    begin: int,
    end: int,
    line: int,
    perturbation: int,
    rows: tuple[Int32, Int32, Int8],
    left_out: Bool,
    similar: Float32,
    usual: Float32,
    found: Float32,
) -> None:
    """Fill ``VOTES``, ``NEAREST`` and ``ELSEWHERE``.

    A vote is ``Σ k² (y - rate) / (Σ k² + 0.05)`` over the rows of the target: 0 where nothing related was measured.

    Args:
        begin: First row of the target.
        end: One after its last.
        line: Code of the cell line, -1 unseen.
        perturbation: Code of the perturbation, -1 unseen; its own rows in other lines do not vote.
        rows: Line, perturbation and label of the training rows.
        left_out: bool (rows), of the view.
        similar: float32 (perturbations, kernels).
        usual: float32 (2): the target's rate of change in this line, and of up minus down.
        found: float32, filled here.
    """
    sums = np.zeros((2, 3, _SIZE), dtype=np.float32)
    nearest = np.zeros((2, 3), dtype=np.float32)
    pair = np.zeros(3, dtype=np.float32)
    for row in range(begin, end):
        if not left_out[row]:
            _count(row, line, perturbation, rows, similar, sums, nearest, pair)
    column = 0
    for place in range(2):
        for kernel in range(_SIZE):
            total = sums[place, 0, kernel]
            for what in range(2):
                excess = sums[place, 1 + what, kernel] - usual[what] * total
                found[column] = excess / (total + np.float32(_SHRINK))
                column += 1
    for part in range(2):
        for label in range(3):
            found[column] = nearest[part, label]
            column += 1
    found[column] = pair[0]
    found[column + 1] = pair[1] / pair[0] if pair[0] > 0 else np.float32(np.nan)
    found[column + 2] = pair[2] / pair[0] if pair[0] > 0 else np.float32(np.nan)
