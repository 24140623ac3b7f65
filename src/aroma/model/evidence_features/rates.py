"""How often a target changes: in its own cell line, in the others, in all, drawn towards what is usual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from aroma.model.evidence_features.layers import Float32
from aroma.model.evidence_features.observations import Bool, Observations
from aroma.model.labels import UP

PSEUDO_ROWS: Final = 3.0
"""Rows at the usual rate that are added to those measured."""
COLUMNS: Final = ("own", "own_usual", "others", "own_up", "others_up", "all", "all_up",
                  "least", "most", "least_up", "most_up")  # fmt: skip
_LEAST: Final = 1e-3


@dataclass(frozen=True)
class Rates:
    """Rates of every target in every cell line, and in a line that was never seen.

    Attributes:
        table: float32 (lines + 1, targets + 1, len(COLUMNS)); the last line is one never seen, the last target one
            never seen. ``own`` is drawn towards ``others``, ``own_usual`` towards the line's own rate; ``least`` and
            ``most`` are ``own_usual`` of the other lines that have rows of the target (``others`` where none has), so
            that a target that changes everywhere differs from one that does in one line; ``_up`` are shares of changed
            rows that are up.
    """

    table: Float32

    def logits(self, parts: tuple[str, ...]) -> Float32:
        """Return float32 (parts, targets * lines): the logit of each part (``factorisation.PARTS``) everywhere."""
        known = self.table[:-1, :-1].astype(np.float64)
        own, own_up = known[:, :, COLUMNS.index("own")].T.ravel(), known[:, :, COLUMNS.index("own_up")].T.ravel()
        chance = {"changed": own, "up": own_up, "rise": own * own_up, "fall": own * (1 - own_up)}
        clipped = np.clip(np.stack([chance[part] for part in parts]), _LEAST, 1 - _LEAST)
        found: Float32 = np.log(clipped / (1 - clipped)).astype(np.float32)
        return found


def rates_of(seen: Observations, left_out: Bool) -> Rates:
    """Return the rates of one view.

    Args:
        seen: Training rows.
        left_out: bool (rows): what the view leaves out.
    """
    lines, _, targets = seen.sizes
    kept = ~left_out
    cell = (seen.line.astype(np.int64) * targets + seen.target)[kept]
    label = seen.label[kept]

    def count(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        found = np.zeros((lines + 1, targets + 1))
        found[:-1, :-1] = np.bincount(cell[chosen], minlength=lines * targets).reshape(lines, targets)
        return found

    rows, changed, up = count(label >= 0), count(label > 0), count(label == UP)
    own, own_usual, others, everywhere = _shrunk(changed, rows)
    own_up, up_usual, others_up, everywhere_up = _shrunk(up, changed)
    spread = (*_range(own_usual, rows, others), *_range(up_usual, changed, others_up))
    columns = (own, own_usual, others, own_up, others_up, everywhere, everywhere_up, *spread)
    return Rates(np.stack(columns, axis=2).astype(np.float32))


def _shrunk(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Return shares of ``whole``: own drawn towards others, own drawn towards the line's, others, all."""
    usual = max(float(part.sum() / max(whole.sum(), 1.0)), _LEAST)
    total, size = whole.sum(axis=1, keepdims=True), part.sum(axis=1, keepdims=True)
    by_line = (size + PSEUDO_ROWS * usual) / (total + PSEUDO_ROWS)
    expected = whole * by_line  # a line in which more is called changed says less of the target by it
    sums = part.sum(axis=0), whole.sum(axis=0), expected.sum(axis=0)
    ratio = (sums[0] - part + PSEUDO_ROWS * usual) / (sums[2] - expected + PSEUDO_ROWS * usual)
    others = np.clip(ratio * by_line, 0, 1)
    everywhere = np.clip((sums[0] + PSEUDO_ROWS * usual) / (sums[2] + PSEUDO_ROWS * usual) * by_line, 0, 1)
    own = (part + PSEUDO_ROWS * others) / (whole + PSEUDO_ROWS)
    own_usual = (part + PSEUDO_ROWS * by_line) / (whole + PSEUDO_ROWS)
    return own, own_usual, others, everywhere


def _range(
    rate: npt.NDArray[np.float64], whole: npt.NDArray[np.float64], otherwise: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the least and the most rate of each line's other lines that have rows; ``otherwise`` where none has."""
    least, most = np.full(rate.shape, np.inf), np.full(rate.shape, -np.inf)
    for line in range(len(rate)):
        for other in range(len(rate)):
            known = (whole[other] > 0) & (line != other)
            least[line] = np.where(known, np.minimum(least[line], rate[other]), least[line])
            most[line] = np.where(known, np.maximum(most[line], rate[other]), most[line])
    return np.where(np.isinf(least), otherwise, least), np.where(np.isinf(most), otherwise, most)
