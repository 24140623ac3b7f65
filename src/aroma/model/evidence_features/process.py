"""One Gaussian process a target gene, over the perturbations of all cell lines (Rasmussen and Williams 2006, ch. 2, 5).

The covariance of two rows of a target is ``K_line · (K + [same perturbation]) + 0.5 + 0.3 [same line]``, with 2 for
noise on the diagonal; ``K`` is the covariance of the two perturbations that was learned from the kernels, and
``K_line`` is 1 in one line and 0.6 between lines.

What is left out of a view needs no second inverse. With ``a = C⁻¹ t``, leaving out the rows ``B`` gives the weights
``a - (C⁻¹)_{·B} ((C⁻¹)_{BB})⁻¹ a_B``, which are zero on ``B``; the prediction of the rows left out is then
``t_B - ((C⁻¹)_{BB})⁻¹ a_B``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from aroma.model.evidence_features.layers import Float32
from aroma.model.evidence_features.observations import Bool
from aroma.retrieval.csr import Int8, Int32, Int64, compiled

BETWEEN_LINES: Final = 0.6
COMMON: Final = 0.5
SAME_LINE: Final = 0.3
NOISE: Final = 2.0
SCALE: Final = 1.0
SAME_PERTURBATION: Final = 1.0


@compiled
def covariance_of(between: float, same_line: bool, same_perturbation: bool) -> float:
    """Return the covariance of two rows of one target, without noise.

    Args:
        between: Covariance of the two perturbations.
        same_line: Whether they are of one cell line.
        same_perturbation: Whether they are of one perturbation.
    """
    alike = SCALE * between + (SAME_PERTURBATION if same_perturbation else 0.0)
    return alike + COMMON + SAME_LINE if same_line else BETWEEN_LINES * alike + COMMON


@compiled
def _covariances(line: Int32, perturbation: Int32, between: Float32) -> npt.NDArray[np.float64]:
    size = len(line)
    found = np.empty((size, size), dtype=np.float64)
    for one in range(size):
        for other in range(one + 1):
            value = covariance_of(
                between[perturbation[one], perturbation[other]],
                line[one] == line[other],
                perturbation[one] == perturbation[other],
            )
            found[one, other] = value
            found[other, one] = value
        found[one, one] += NOISE
    return found


@compiled
def process_weights(
    start: Int64,
    line: Int32,
    perturbation: Int32,
    wanted: npt.NDArray[np.float64],
    left_out: Bool,
    between: Float32,
    first: int,
    last: int,
    found: Float32,
) -> None:
    """Put the weights of the rows of targets ``first`` to ``last`` into ``found``.

    Args:
        start: int64 (targets + 1), where the rows of each target stand.
        line: int32 (rows).
        perturbation: int32 (rows).
        wanted: float64 (rows, 2): changed and up minus down, each less its usual value.
        left_out: bool (views, rows).
        between: float32 (perturbations, perturbations), covariances of perturbations.
        first: First target.
        last: One after the last target.
        found: float32 (views, rows, 2), filled here; 0 where the view leaves the row out.
    """
    for target in range(first, last):
        begin, end = start[target], start[target + 1]
        if begin == end:
            continue
        inverse = np.linalg.inv(_covariances(line[begin:end], perturbation[begin:end], between))
        weights = inverse @ np.ascontiguousarray(wanted[begin:end])
        for view in range(left_out.shape[0]):
            block = np.flatnonzero(left_out[view, begin:end])
            kept = weights
            if len(block):
                columns = inverse[:, block]
                kept = weights - columns @ np.linalg.solve(columns[block], weights[block])
                kept[block] = 0.0
            found[view, begin:end] = kept.astype(np.float32)


@compiled
def process_mean(
    begin: int,
    end: int,
    line: int,
    perturbation: int,
    rows: tuple[Int32, Int32, Int8],
    weights: Float32,
    between: Float32,
    found: Float32,
) -> None:
    """Put the process's mean of one pair into ``found``: changed, up minus down.

    Args:
        begin: First row of the target.
        end: One after its last.
        line: Code of the cell line, -1 unseen.
        perturbation: Code of the perturbation, -1 unseen.
        rows: Line, perturbation and label of the training rows.
        weights: float32 (rows, 2), of the view; 0 where it leaves a row out.
        between: float32 (perturbations), covariances of the perturbation with the trained ones.
        found: float32 (2), filled here.
    """
    lines, perturbations, _ = rows
    found[:] = 0.0
    for row in range(begin, end):
        own = perturbations[row]
        value = np.float32(covariance_of(between[own], lines[row] == line, own == perturbation))
        found[0] += value * weights[row, 0]
        found[1] += value * weights[row, 1]


def wanted_of(label: npt.NDArray[np.int8], usual: float) -> npt.NDArray[np.float64]:
    """Return float64 (rows, 2): changed less ``usual``, and up minus down."""
    return np.stack([(label > 0) - usual, np.choose(label, [0.0, -1.0, 1.0])], axis=1)
