"""Models put in service without a comparison, for tests of what answers with them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

from aroma.kgstore.home import Home
from aroma.model.data_sets import data_set_of
from aroma.model.ground import Ground
from aroma.model.plugin import Training
from aroma.model.registry import plugin
from aroma.model.serving.history import OVERRIDE, Promotion, put_in_service
from aroma.model.serving.store import Origin, StoredModel, add_model
from tests.support.planted import planted


def store_plugin(home: Home, name: str, rows: pl.DataFrame | None = None, release: str | None = None) -> StoredModel:
    """Train a plug-in on planted outcomes (or some of their rows) and put it into the store."""
    ground = Ground(home, release)
    outcomes = data_set_of(ground, planted() if rows is None else rows, "planted").outcomes
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "model"
        plugin(name).fit(Training(outcomes), ground).save(directory)
        return add_model(home, directory, outcomes, Origin("planted"))


def serve_plugin(home: Home, name: str, rows: pl.DataFrame | None = None, release: str | None = None) -> Promotion:
    """Train a plug-in and put it in service, whatever it is worth."""
    model = store_plugin(home, name, rows, release)
    return put_in_service(home, name, model.id, model.card.release, action=OVERRIDE, reason="a test")
