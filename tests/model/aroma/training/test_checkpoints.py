from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aroma.errors import ModelError
from aroma.model.aroma.training import checkpoints
from aroma.model.aroma.training.checkpoints import (
    Checkpoint,
    read_checkpoint,
    read_facts,
    refuse_other,
    write_checkpoint,
)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    place = tmp_path / "new" / "last.safetensors"
    weights = {"a.b": torch.randn(3, 2), "c": torch.ones(1, dtype=torch.bfloat16)}
    moments = {"a.b|exp_avg": torch.zeros(3, 2), "a.b|step": torch.tensor(7.0)}
    write_checkpoint(place, Checkpoint({"step": 7}, weights, moments))
    found = read_checkpoint(place)
    assert found is not None
    assert found.facts["step"] == 7
    assert read_facts(place) == found.facts
    assert all(torch.equal(found.weights[name], value) for name, value in weights.items())
    assert float(found.optimiser["a.b|step"]) == 7.0
    assert [path.name for path in place.parent.iterdir()] == ["last.safetensors"]
    assert read_checkpoint(tmp_path / "none") is None


def test_a_damaged_file_or_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    place = tmp_path / "last.safetensors"
    write_checkpoint(place, Checkpoint({}, {"a": torch.ones(100)}))
    place.write_bytes(place.read_bytes()[:-50])
    with pytest.raises(ModelError, match="last.safetensors: is no checkpoint"):
        read_checkpoint(place)
    torch.save({"a": 1}, place)
    with pytest.raises(ModelError, match="is no checkpoint"):
        read_checkpoint(place)
    assert read_facts(place) is None


def test_nothing_here_pickles() -> None:
    for path in Path(checkpoints.__file__).parent.glob("*.py"):
        text = path.read_text()
        assert not [word for word in ("torch.save", "torch.load", "import pickle") if word in text], path.name


def test_other_settings_are_refused_by_name() -> None:
    refuse_other(Path("x"), {"rate": 1, "steps": 3}, {"rate": 1, "steps": 4}, ("steps",))
    with pytest.raises(ModelError, match="rate=1, and now it is 2"):
        refuse_other(Path("x"), {"rate": 1}, {"rate": 2}, ())
