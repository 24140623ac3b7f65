"""The place beside the models where one is made: empty, gone afterwards, and cleared of what was killed."""

from __future__ import annotations

import os
import time

import pytest

from aroma.kgstore.home import Home
from aroma.model.serving.store import beside_models, known_models, models_directory


def test_the_place_is_gone_afterwards_even_after_an_error(tmp_path):
    home = Home(tmp_path / "home")

    def fail() -> None:
        with beside_models(home) as made:
            (made / "half").write_text("x")
            assert made.parent == models_directory(home)
            assert known_models(home) == []
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(models_directory(home).iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_is_young_stays(tmp_path):
    home = Home(tmp_path / "home")
    for name in (".new-killed", ".new-at-work", "m0123456789abcdef"):
        (models_directory(home) / name).mkdir(parents=True)
    before = time.time() - 7200
    for name in (".new-killed", "m0123456789abcdef"):
        os.utime(models_directory(home) / name, (before, before))
    with beside_models(home):
        pass
    assert sorted(path.name for path in models_directory(home).iterdir()) == [".new-at-work", "m0123456789abcdef"]
