"""Outcomes and predictions drawn at random, for tests of measures."""

from __future__ import annotations

import numpy as np
import polars as pl

from aroma.model.evaluation.metrics import Scored, scored
from aroma.model.labels import LABEL_OF_COLUMN, PROBABILITY_COLUMNS

KEY = ["cell_line", "perturbation", "target"]


def outcomes(lines: int = 2, perturbations: int = 8, targets: int = 6, share: float = 0.8, seed: int = 0):
    """Outcomes of a share of all pairs, with some effect of the target, in no particular order."""
    rng = np.random.default_rng(seed)
    grid = [
        (f"L{line}", f"P{perturbation}", f"T{target}")
        for line in range(lines)
        for perturbation in range(perturbations)
        for target in range(targets)
    ]
    kept = [row for row in grid if rng.random() < share]
    rng.shuffle(kept)
    labels = rng.choice(3, len(kept), p=[0.6, 0.2, 0.2]).astype(np.int8)
    labels[:3] = [0, 1, 2][: len(labels)]
    return pl.DataFrame(kept, schema=KEY, orient="row").with_columns(label=pl.Series(labels, dtype=pl.Int8))


def predictions(frame: pl.DataFrame, seed: int = 1, ties: bool = True, skill: float = 0.0) -> pl.DataFrame:
    """Predictions for outcomes; with ties, of few distinct probabilities; skill moves them towards the outcome."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(1, 4, (frame.height, 3)).astype(float) if ties else rng.random((frame.height, 3)) + 0.01
    column = np.array([1, 0, 2])[frame["label"].to_numpy()]
    raw[np.arange(frame.height), column] += skill
    raw /= raw.sum(axis=1, keepdims=True)
    label = LABEL_OF_COLUMN[raw.argmax(axis=1)]
    return frame.select(KEY).with_columns(
        **{name: pl.Series(raw[:, place]) for place, name in enumerate(PROBABILITY_COLUMNS)}, label=pl.Series(label)
    )


def rows(seed: int = 0, *, ties: bool = True, skill: float = 0.0, **shape: int) -> Scored:
    """Outcomes and predictions laid out."""
    drawn = outcomes(seed=seed, **shape)
    return scored(drawn, predictions(drawn, seed + 1, ties, skill))
