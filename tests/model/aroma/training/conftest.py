"""A tiny model that stage 1 taught a rule, and the same half way, where it knows the form but not yet the class."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("trl")

from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.training.options import SftOptions, SftResult
from aroma.model.aroma.training.sft import train_sft
from tests.support.toy_rule import toy_aroma, toy_bank, toy_rows

SFT = SftOptions(epochs=15, rate=4e-3, rows_per_step=8, validation_share=0.2, train_base=True)

HALF_WAY = 0.15


@contextmanager
def paused_log_probs(aroma: Aroma) -> Iterator[None]:
    """Take the fused head off while the model is copied: a copy of its bound method would be of the first model."""
    base = aroma.language_model
    head = vars(base).pop("forward")
    yield
    base.forward = head


@pytest.fixture(scope="session")
def bank() -> ModalityBank:
    """Planted vectors."""
    return toy_bank()


@dataclass(frozen=True)
class Taught:
    """What stage 1 left, and what it was when its loss first fell below ``HALF_WAY``; not to be changed."""

    aroma: Aroma
    half_way: Aroma
    result: SftResult


@pytest.fixture(scope="session")
def taught(bank: ModalityBank, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """The model after stage 1."""
    aroma = toy_aroma(bank)
    rows = toy_rows(aroma.tokenizer, 96)
    place = tmp_path_factory.mktemp("sft")
    half_way: list[Aroma] = []

    def look(what: str, _share: float) -> None:
        if not half_way and float(what.rpartition(" ")[2]) < HALF_WAY:
            with paused_log_probs(aroma):
                half_way.append(copy.deepcopy(aroma))

    result = train_sft(aroma, rows, bank, SFT, place, look)
    return Taught(aroma, half_way[0], result)


@pytest.fixture
def learner(taught: Taught) -> Aroma:
    """A copy of the model half way, to train further."""
    return copy.deepcopy(taught.half_way)


@pytest.fixture
def fresh(bank: ModalityBank) -> Callable[..., Aroma]:
    """Return what makes a new tiny model."""
    return lambda **options: toy_aroma(bank, **options)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Directory of a training."""
    return tmp_path / "training"
