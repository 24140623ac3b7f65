"""A home that was refreshed once from the older files; copies of it are what tests refresh again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aroma.jobs.refresh.options import RefreshOptions
from aroma.jobs.refresh.run import plan_refresh, refresh_ledger, work_on_refresh
from aroma.jobs.refresh.tasks import PROBLEM, raise_problem
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import Home
from tests.support.refresh_samples import newer_files, older_files

PLUGIN = "core-voting"


@dataclass
class Files:
    """Two states of the providers' files."""

    older: Path
    newer: Path


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AROMA_LEDGER", "AROMA_BROKER", "AROMA_ALERT_WEBHOOK", "AROMA_ALERT_MAIL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    at = tmp_path_factory.mktemp("files")
    return Files(older_files(at / "older"), newer_files(at / "newer"))


def refreshed(home: Home, **options: Any) -> dict[str, Any]:
    """Refresh a home in this process and return the report."""
    ledger = refresh_ledger(home)
    run = plan_refresh(ledger, RefreshOptions(**options))
    assert work_on_refresh(home, ledger, run.id) == 1
    said = dict(ledger.results(run.id)[0])
    if PROBLEM in said:
        raise_problem(said[PROBLEM])
    return said


@pytest.fixture(scope="session")
def refreshed_once(files: Files, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, Any]]:
    """A home refreshed from the older files, and the report; do not write to it."""
    home = Home(tmp_path_factory.mktemp("refreshed") / "home")
    said = refreshed(home, source=str(files.older), plugins=(PLUGIN,))
    stop_owner(home)
    return home, said


@pytest.fixture
def home(refreshed_once: tuple[Home, dict[str, Any]], tmp_path: Path) -> Iterator[Home]:
    """A copy of it."""
    made = Home(tmp_path / "home")
    shutil.copytree(refreshed_once[0].path, made.path)
    yield made
    stop_owner(made)
