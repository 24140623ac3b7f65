"""Outcome labels and the order of class probabilities, in one place."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

NOT_SIGNIFICANT: Final = 0
DOWN: Final = 1
UP: Final = 2
CLASSES: Final = ("down", "not significant", "up")
"""The classes in the order of probability columns."""
LABEL_OF_COLUMN: Final = np.array([DOWN, NOT_SIGNIFICANT, UP], dtype=np.int8)
COLUMN_OF_LABEL: Final = np.array([1, 0, 2], dtype=np.int8)
PROBABILITY_COLUMNS: Final = ("p_down", "p_not_significant", "p_up")
Probabilities = npt.NDArray[np.float64]
"""float64, (rows, 3), columns in the order of ``CLASSES``; each row sums to one."""
