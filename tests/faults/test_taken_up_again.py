"""A refresh that ends between its decision about a model and its report: the next one tells the same decision."""

from __future__ import annotations

from pathlib import Path

import pytest

from aroma.jobs.refresh import run as refreshing
from aroma.jobs.refresh.options import RefreshOptions
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import Home
from aroma.model.serving.history import served_models
from tests.faults.stage import MARGIN, PLUGIN, Stage, standing
from tests.support.refresh_samples import ACCEPTED

pytestmark = pytest.mark.embedded


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_decision_is_told_by_the_refresh_that_goes_on(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new model serves by then, and must not make it seem that there was nothing to do."""
    home = Home(tmp_path / "home")
    stage.copy_to(home)
    options = RefreshOptions(source=str(stage.newer), accept=tuple(sorted(ACCEPTED)), margin=MARGIN)
    ledger = refreshing.refresh_ledger(home)
    run, before = refreshing.plan_refresh(ledger, options), served_models(home)[PLUGIN].model
    try:
        with monkeypatch.context() as patch:
            patch.setattr(refreshing, "tracked", interrupted)
            with pytest.raises(KeyboardInterrupt):
                refreshing.work_on_refresh(home, ledger, run.id)
        assert served_models(home)[PLUGIN].model != before
        assert refreshing.plan_refresh(ledger, options).id == run.id
        assert refreshing.work_on_refresh(home, ledger, run.id) == 1
    finally:
        stop_owner(home)
    (model,) = ledger.results(run.id)[0]["models"]
    assert (model["plugin"], model["action"]) == (PLUGIN, "promote")
    assert standing(home) == stage.after
