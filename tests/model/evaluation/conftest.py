"""One evaluation of the planted outcomes, shared by tests of what is made of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from aroma.model.evaluation.run import Request, evaluate
from aroma.model.ground import Ground
from tests.support.planted import planted


@pytest.fixture(scope="session")
def ground(sample_home) -> Ground:
    return Ground(sample_home)


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory) -> Path:
    """Planted outcomes, a third of the perturbations of each line marked as test."""
    frame = planted()
    number = pl.col("perturbation").rank("dense") + pl.col("cell_line").rank("dense")
    split = pl.when(number % 3 == 0).then(pl.lit("test")).otherwise(pl.lit("train"))
    path = tmp_path_factory.mktemp("planted") / "planted.csv"
    frame.with_columns(split=split).write_csv(path)
    return path


@pytest.fixture(scope="session")
def evaluated(ground, outcomes) -> dict:
    return evaluate(ground, Request(outcomes, plugins=("core-voting",), draws=40, changed_share=0.05))
