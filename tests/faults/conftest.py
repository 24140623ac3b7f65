"""The stage, made once a session."""

from __future__ import annotations

import pytest

from tests.faults.stage import Stage, make_stage

_SETTINGS = ("AROMA_LEDGER", "AROMA_BROKER", "AROMA_ALERT_WEBHOOK", "AROMA_ALERT_MAIL", "MLFLOW_TRACKING_URI")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of who runs the tests do not count."""
    for name in (*_SETTINGS, "GRAPH_URI", "AROMA_TOKEN", "AROMA_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The home in service, and what a refresh makes of it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _SETTINGS:
            patch.delenv(name, raising=False)
        return make_stage(tmp_path_factory.mktemp("stage"))
