"""The ground that tests of models share."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.kgstore.home import Home
from aroma.model.data_sets import data_set_of
from aroma.model.ground import Ground
from tests.support.planted import planted


@pytest.fixture(scope="session")
def ground(sample_home: Home) -> Ground:
    """The release of the bundled samples."""
    return Ground(sample_home)


@pytest.fixture(scope="session")
def planted_outcomes(ground: Ground) -> pl.DataFrame:
    """Outcomes with a planted response (columns of ``OUTCOMES``)."""
    return data_set_of(ground, planted(), "planted").outcomes
