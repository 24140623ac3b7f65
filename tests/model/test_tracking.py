"""Tracking: one MLflow run a decision, in a real SQLite store; and its silence where the extra is missing."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from aroma.errors import ModelError
from aroma.kgstore.home import Home
from aroma.model import tracking
from aroma.model.serving.comparing import Terms
from aroma.model.serving.promotion import PromotionRequest, promote
from aroma.model.tracking import tracked, tracking_uri
from tests.support.in_service import serve_plugin
from tests.support.refresh_samples import write_outcomes


@pytest.fixture
def home(sample_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = Home(tmp_path / "home")
    shutil.copytree(sample_home.path, made.path)
    return made


def test_a_decision_is_one_run_with_settings_measures_and_places(home: Home, tmp_path: Path):
    pytest.importorskip("mlflow", reason="the extra tracking is not installed")
    from mlflow.tracking import MlflowClient

    from aroma.model.data_sets import read_data_set
    from aroma.model.ground import Ground
    from aroma.model.plugin import Training
    from aroma.model.registry import plugin
    from aroma.model.splits import make_folds

    write_outcomes(tmp_path / "outcomes")
    ground = Ground(home)
    fold = make_folds(read_data_set(ground, tmp_path / "outcomes").outcomes, "official")[0]
    plugin("core-voting").fit(Training(fold.training, 3, fold.name), ground).save(tmp_path / "model")
    request = PromotionRequest(str(tmp_path / "model"), str(tmp_path / "outcomes"), "official", Terms(draws=100))
    entry, said = promote(home, request)
    first = tracked(home, entry.model, asdict(entry), asked=True)
    assert tracked(home, entry.model, asdict(entry), asked=True) == first  # not twice
    client = MlflowClient(tracking_uri=tracking_uri(home))
    run = client.get_run(first)
    assert run.data.params["plugin"] == "core-voting"
    assert run.data.params["seed"] == "3"
    assert run.data.tags["action"] == entry.action == "promote"
    assert Path(run.data.tags["model"]).is_dir()
    assert Path(run.data.tags["report"], "promotion.json").is_file()
    measured = said["comparison"]["models"][-1]["measures"]["mean_f1"]["value"]
    assert run.data.metrics["mean_f1"] == pytest.approx(measured)
    assert run.info.status == "FINISHED"


def test_without_the_extra_it_is_silent_unless_asked_for(home: Home, monkeypatch: pytest.MonkeyPatch):
    entry = serve_plugin(home, "gene-frequency")
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda _name: None)
    assert tracked(home, entry.model, asdict(entry)) is None
    assert not (home.path / "models" / "mlflow.sqlite").exists()
    with pytest.raises(ModelError, match=r"aroma-evidence\[tracking\]"):
        tracked(home, entry.model, asdict(entry), asked=True)


def test_a_store_that_cannot_be_written_stops_nothing(home: Home, monkeypatch: pytest.MonkeyPatch, caplog):
    pytest.importorskip("mlflow", reason="the extra tracking is not installed")
    entry = serve_plugin(home, "gene-frequency")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////no/such/directory/mlflow.sqlite")
    assert tracked(home, entry.model, asdict(entry)) is None
    assert "cannot be written" in caplog.text
    with pytest.raises(ModelError, match="MLFLOW_TRACKING_URI"):
        tracked(home, entry.model, asdict(entry), asked=True)
