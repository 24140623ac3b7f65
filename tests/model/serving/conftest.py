"""A home with planted outcomes and a plug-in whose quality is chosen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from aroma.kgstore.home import Home
from aroma.model import registry
from aroma.model.data_sets import read_data_set
from aroma.model.ground import Ground
from aroma.model.plugin import Training
from aroma.model.registry import Entry, plugin
from aroma.model.splits import make_folds
from tests.support.dialled import PLACE
from tests.support.planted import MODULES, planted

HELD_OUT = [genes[1] for genes in MODULES.values()] + [genes[3] for genes in MODULES.values()]


@pytest.fixture(autouse=True)
def with_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the registry find the plug-in of ``tests.support.dialled``."""
    entries = {**registry.available(), "dialled": Entry(PLACE, "tests")}
    monkeypatch.setattr(registry, "available", lambda: entries)


@pytest.fixture(scope="session")
def outcomes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Planted outcomes with an official split by perturbation."""
    path = tmp_path_factory.mktemp("outcomes") / "planted.csv"
    held = pl.col("perturbation").is_in(HELD_OUT)
    planted().with_columns(split=pl.when(held).then(pl.lit("test")).otherwise(pl.lit("train"))).write_csv(path)
    return path


@pytest.fixture
def home(sample_home: Home, tmp_path: Path) -> Home:
    """A home that may be written to."""
    made = Home(tmp_path / "home")
    shutil.copytree(sample_home.path, made.path)
    return made


Make = Callable[..., Path]


@pytest.fixture
def make(home: Home, outcomes_file: Path, tmp_path: Path) -> Make:
    """Train a plug-in on the official training rows (or another split) and save it."""
    opened: list[Ground] = []

    def made(name: str = "dialled", *, split: str = "official", seed: int = 0, **settings: object) -> Path:
        if not opened:
            opened.append(Ground(home))
        ground = opened[0]
        place = tmp_path / f"{name}-{split}-{seed}-{'-'.join(f'{k}{v}' for k, v in settings.items())}"
        fold = make_folds(read_data_set(ground, outcomes_file).outcomes, split, seed=seed)[0]
        training = Training(fold.training, seed, fold.name, fold.withheld, parameters=settings)
        plugin(name).fit(training, ground).save(place)
        return place

    return made
