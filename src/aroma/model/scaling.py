"""Calibration of class probabilities: logits scaled, and down and up moved, so that the log loss is least."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from aroma.model.labels import Probabilities
from aroma.model.predictors.core_voting import log_loss

Float64 = npt.NDArray[np.float64]
PLAIN: Final = np.array([1.0, 0.0, 0.0])
"""The scaling that changes nothing."""
_SMALLEST: Final = 1e-6
_START: Final = PLAIN + np.vstack([np.zeros(3), 0.25 * np.eye(3)])
"""Where the search begins; scipy's own first steps from zero are so small that the offsets never moved."""


def scaled(probabilities: Probabilities, scaling: Float64) -> Probabilities:
    """Return probabilities with logits multiplied by ``scaling[0]``, down and up moved by the other two."""
    logits = scaling[0] * np.log(np.maximum(probabilities, _SMALLEST))
    logits[:, 0] += scaling[1]
    logits[:, 2] += scaling[2]
    found: Probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return found


def learn_scaling(probabilities: Probabilities, columns: npt.NDArray[np.int8]) -> Float64:
    """Return the scaling with the least log loss; none where it would not be found.

    Args:
        probabilities: float64 (rows, 3) of rows that the model did not learn from.
        columns: int8, the right probability column of each row (``column_of``).
    """
    found = minimize(lambda at: log_loss(scaled(probabilities, at), columns), PLAIN, method="Nelder-Mead",
                     options={"maxiter": 300, "xatol": 1e-3, "fatol": 1e-6, "initial_simplex": _START})  # fmt: skip
    good = np.isfinite(found.x).all() and found.x[0] > 0
    return np.asarray(found.x if good else PLAIN, dtype=np.float64)
