"""The how-to's example: a plug-in in a package of its own, built, installed and used as a lab would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from aroma.kgstore.home import Home
from tests.support.samples import ROOT, SAMPLES

LAB = SAMPLES / "lab_plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the example's wheel unpacked: what pip leaves in site-packages."""
    place = tmp_path_factory.mktemp("lab")
    shutil.copytree(LAB, place / "source")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    made = subprocess.run(build, cwd=place / "source", capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(place / "site")
    return place / "site"


def aroma(installed: Path, *arguments: object) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "aroma.cli", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_is_found_trained_and_asked_by_its_name(installed: Path, sample_home: Home, tmp_path: Path):
    (entry,) = [row for row in aroma(installed, "models")["models"] if row["name"] == "busy-perturbations"]
    assert entry["package"] == "lab-plugin"
    model, at = tmp_path / "model", ("--home", sample_home.path)
    trained = aroma(installed, "train", "busy-perturbations", "--param", "pseudo_rows=2", "--out", model, *at)
    assert trained["card"]["parameters"] == {"pseudo_rows": 2.0}
    answer = aroma(installed, "predict", model, "RPL3", "TP53", "--cell-line", "K562", "--explain", *at)
    assert sum(answer[name] for name in ("p_down", "p_not_significant", "p_up")) == pytest.approx(1)
    assert "targets in training" in answer["reasons"][0]["text"]


def test_the_how_to_shows_the_code_that_runs():
    page = (ROOT / "docs" / "how-to" / "add-a-model.md").read_text()
    assert (LAB / "src" / "lab_plugin" / "__init__.py").read_text() in page
    assert (LAB / "pyproject.toml").read_text() in page
