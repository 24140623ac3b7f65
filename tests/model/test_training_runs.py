"""Trainings left to workers: planned once, taken up again by another, saved where they were asked for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aroma.errors import UsageError
from aroma.jobs.finishing import outcome
from aroma.jobs.kinds import done_under_way, work_function
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, Run, State
from aroma.kgstore.work_loop import CannotDoError
from aroma.model.embeddings.run_files import run_directory
from aroma.model.ground import Ground
from aroma.model.plugin import Training, read_card
from aroma.model.registry import plugin
from aroma.model.training_runs import plan_training, work_on_training
from tests.support.planted import planted


class Lab:
    """A home of its own, and a ledger."""

    def __init__(self, home: Home, place: Path) -> None:
        self.home = Home(place / "home")
        shutil.copytree(home.path, self.home.path)
        self.place, self.ledger = place, Ledger(place / "ledger.sqlite")
        self.ground = Ground(self.home)
        self.rows = self.ground.rows(planted())

    def plan(self, name: str, out: str = "model", **settings: Any) -> Run:
        training = Training(self.rows, seed=1, split="all", parameters=settings)
        return plan_training(
            self.home, self.ledger, plugin(name), training, self.ground.release, self.place / out, queue="cpu"
        )


@pytest.fixture
def lab(sample_home: Home, tmp_path: Path) -> Lab:
    return Lab(sample_home, tmp_path)


def test_a_training_is_planned_once_done_once_and_saved(lab: Lab) -> None:
    run = lab.plan("gene-frequency")
    assert lab.plan("gene-frequency").id == run.id
    assert run.kind == "train-model"
    assert work_function(run.kind)(lab.home, lab.ledger, run.id, device="cpu", worker=None) == 1
    done = lab.ledger.run(run.id)
    assert done.state is State.DONE
    assert outcome(lab.home, done)["model"] == str(lab.place / "model")
    card = read_card(lab.place / "model")
    own = plugin("gene-frequency").fit(Training(lab.rows, seed=1), lab.ground).card
    assert (card.plugin, card.training_sha256, card.seed) == (own.plugin, own.training_sha256, 1)
    assert not run_directory(lab.home, run.id).exists()
    assert lab.plan("gene-frequency").state is State.DONE
    shutil.rmtree(lab.place / "model")
    assert lab.plan("gene-frequency").is_open


def test_a_model_that_a_dead_worker_had_saved_is_not_trained_again(lab: Lab) -> None:
    run = lab.plan("gene-frequency")
    plugin("gene-frequency").fit(Training(lab.rows, seed=1), lab.ground).save(lab.place / "model")
    before = (lab.place / "model" / "card.json").stat().st_mtime_ns
    assert work_on_training(lab.home, lab.ledger, run.id) == 1
    assert (lab.place / "model" / "card.json").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="something is there already"):
        lab.plan("core-voting")


def test_a_worker_of_another_version_leaves_it_to_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lab.plan("gene-frequency")
    monkeypatch.setattr(plugin("gene-frequency"), "version", "0.0")
    with pytest.raises(CannotDoError, match=r"and here it is 0\.0"):
        work_on_training(lab.home, lab.ledger, run.id)
    assert lab.ledger.run(run.id).is_open


_WORKER = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger
from aroma.model.training_runs import work_on_training
work_on_training(Home(Path(sys.argv[1])), Ledger(Path(sys.argv[2])), sys.argv[3])
"""
_SMALL = {"rows": 16, "rows_per_step": 1, "epochs": 1, "calibration_rows": 12, "stages": "sft"}


@pytest.mark.timeout(600)
def test_stage_1_is_gone_on_with_by_another_worker(home_with_vectors: Home, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    lab = Lab(home_with_vectors, tmp_path)
    run = lab.plan("aroma", **_SMALL)
    assert run.kind == "sft"
    words = [str(lab.home.path), str(tmp_path / "ledger.sqlite"), run.id]
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", _WORKER, *words])
    files, deadline = run_directory(lab.home, run.id), time.monotonic() + 400
    while not list(files.glob("*/sft/last.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert 0 < done_under_way(lab.home, lab.ledger.run(run.id)) < 1000
    assert work_on_training(lab.home, lab.ledger, run.id) == 1
    assert lab.ledger.run(run.id).state is State.DONE
    undisturbed = plugin("aroma").fit(Training(lab.rows, seed=1, parameters=_SMALL), lab.ground)
    undisturbed.save(tmp_path / "undisturbed")
    kept, other = (pl.read_parquet(tmp_path / name / "curves.parquet")["loss"] for name in ("model", "undisturbed"))
    assert kept.to_list() == other.to_list()
