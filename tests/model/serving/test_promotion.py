"""Promotion: better, equal, slightly worse many times, much worse, miscalibrated; overrides, roll back, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aroma.cli.app import run
from aroma.errors import LockHeldError, ModelError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import published
from aroma.model.identity import model_id
from aroma.model.plugin import read_card
from aroma.model.serving.comparing import Terms
from aroma.model.serving.history import (
    anchor_of,
    deciding,
    read_promotions,
    releases_in_use,
    roll_back_model,
    served_models,
    served_path,
)
from aroma.model.serving.promotion import PAGE, PromotionRequest, promote, reports_directory
from aroma.model.serving.store import find_model, known_models

TERMS = Terms(margin=0.06, draws=200)


def decided(home: Home, outcomes: Path, model: Path, **more):
    request = PromotionRequest(str(model), str(outcomes), "official", more.pop("terms", TERMS), **more)
    return promote(home, request)


def test_a_better_an_equal_and_a_much_worse_model(home, make, outcomes_file):
    middling, said = decided(home, outcomes_file, make(error=0.1))
    assert (middling.action, middling.sequence, middling.anchor) == ("promote", 1, True)
    assert said["against"] is None
    better, said = decided(home, outcomes_file, make(error=0.0))
    assert (better.action, better.anchor, better.before) == ("promote", True, middling.model)
    assert said["against"] == middling.model
    assert {check["name"] for check in said["checks"]} >= {"mean_f1", "change", "direction", "skill", "slope: up"}
    equal, said = decided(home, outcomes_file, make(error=0.0, seed=7))
    assert equal.action == "promote"
    assert equal.model != better.model
    assert [check["value"] for check in said["checks"] if check["name"] == "mean_f1"] == [0.0]
    worse, said = decided(home, outcomes_file, make(error=0.6))
    assert worse.action == "keep"
    assert "may be worse by more than 0.06" in worse.reason
    assert served_models(home)["dialled"].model == equal.model
    page = (reports_directory(home) / worse.report / PAGE).read_text()
    assert "Kept back" in page
    assert worse.model in page
    again, _ = decided(home, outcomes_file, find_model(home, worse.model).directory)
    assert again == worse  # the same finding is not written twice
    same, said = decided(home, outcomes_file, find_model(home, equal.model).directory)
    assert (same, said["decision"]) == (equal, "unchanged")


def test_small_losses_cannot_add_up(home, make, outcomes_file):
    best, _ = decided(home, outcomes_file, make(error=0.0))
    actions = [decided(home, outcomes_file, make(error=0.004 * step))[0].action for step in range(1, 14)]
    assert actions[0] == "promote"
    assert actions[-1] == "keep"
    first_kept = actions.index("keep")
    assert set(actions[:first_kept]) == {"promote"}
    assert set(actions[first_kept:]) == {"keep"}
    assert anchor_of(home, "dialled").model == best.model  # not moved by any of those that were let in
    compared = [json.loads((path / "promotion.json").read_text()) for path in reports_directory(home).iterdir()]
    assert {said["against"] for said in compared} == {None, best.model}
    served = find_model(home, served_models(home)["dialled"].model)
    next_worse = 0.004 * (first_kept + 1)
    assert next_worse - float(served.card.parameters["error"]) == pytest.approx(0.004)  # a small step, still refused


def test_a_model_whose_probabilities_are_wrong_is_kept_back(home, make, outcomes_file):
    decided(home, outcomes_file, make(error=0.1))
    entry, said = decided(home, outcomes_file, make(error=0.1, sharpness=9.0))
    assert entry.action == "keep"
    failed = [check["name"] for check in said["checks"] if check["holds"] is False]
    assert failed
    assert set(failed) <= {"skill", "slope: down", "slope: not significant", "slope: up"}


def test_rows_that_a_model_learned_from_are_refused_by_name(home, make, outcomes_file):
    first, _ = decided(home, outcomes_file, make(error=0.0))
    other = make(error=0.0, split="unseen-target:3")
    with pytest.raises(UsageError, match=f"best served model {first.model} .split official. learned from") as error:
        promote(home, PromotionRequest(str(other), str(outcomes_file), "unseen-target:3", TERMS))
    assert "HepG2 ATF4 DDIT3" in str(error.value)
    with pytest.raises(UsageError, match="no fold of split 'dev'"):
        promote(home, PromotionRequest(str(other), str(outcomes_file), "dev", TERMS))
    with pytest.raises(UsageError, match="withholds no row"):
        promote(home, PromotionRequest(str(make(error=0.0, split="all")), str(outcomes_file), "all", TERMS))
    assert len(read_promotions(home)) == 1


def test_an_override_needs_a_reason_and_is_no_anchor(home, make, outcomes_file):
    best, _ = decided(home, outcomes_file, make(error=0.0))
    bad = make(error=0.6)
    with pytest.raises(UsageError, match="--reason"):
        decided(home, outcomes_file, bad, force=True)
    forced, said = decided(home, outcomes_file, bad, force=True, reason="a demonstration")
    assert (forced.action, forced.anchor, said["decision"]) == ("override", False, "override")
    assert forced.reason.startswith("a demonstration (")
    assert served_models(home)["dialled"].model == forced.model
    assert anchor_of(home, "dialled").model == best.model
    unknown = make(error=0.0, split="unseen-target:3")
    request = PromotionRequest(
        str(unknown), str(outcomes_file), "unseen-target:3", TERMS, force=True, reason="another split"
    )
    entry, said = promote(home, request)
    assert "learned from" in entry.reason
    assert said["checks"] == []


def test_roll_back_goes_back_step_by_step_and_withdraws_the_anchor(home, make, outcomes_file):
    entries = [decided(home, outcomes_file, make(error=error))[0] for error in (0.2, 0.1, 0.0)]
    assert [entry.anchor for entry in entries] == [True, True, True]
    back = roll_back_model(home, reason="it was trained on a leak")
    assert (back.model, back.action, back.reason) == (entries[1].model, "rollback", "it was trained on a leak")
    assert anchor_of(home, "dialled").model == entries[1].model
    assert roll_back_model(home, "dialled").model == entries[0].model
    with pytest.raises(UsageError, match="nothing to roll back to"):
        roll_back_model(home)
    with pytest.raises(UsageError, match="no model of plug-in 'gat-head' is served"):
        roll_back_model(home, "gat-head")
    again, _ = decided(home, outcomes_file, find_model(home, entries[2].model).directory)
    assert again.action == "promote"
    assert anchor_of(home, "dialled").model == entries[2].model


def test_the_store_is_by_content_and_says_what_it_needs(home, make, outcomes_file):
    place = make(error=0.0)
    entry, _ = decided(home, outcomes_file, place)
    assert entry.model == model_id(read_card(place))
    assert known_models(home) == [entry.model]
    stored = find_model(home, entry.model[:6])
    assert stored.training_rows().height == stored.card.training_rows
    assert stored.origin.split == "official"
    release = published(home).release
    assert list(releases_in_use(home)) == [release]
    assert "is served" in releases_in_use(home)[release]
    (stored.directory / "training.parquet").write_bytes(b"no table")
    with pytest.raises(ModelError, match=r"training\.parquet: cannot be read"):
        stored.training_rows()
    served_path(home).write_text("[{")
    with pytest.raises(ModelError, match="restore it from a backup"):
        served_models(home)


def test_two_decisions_at_once(home, make, outcomes_file):
    place = make(error=0.0)
    with deciding(home), pytest.raises(LockHeldError, match="a promotion is under way"):
        decided(home, outcomes_file, place)


def test_the_command(home, make, outcomes_file, capsys, tmp_path):
    at = ("--home", str(home.path))
    rows = ("--outcomes", str(outcomes_file), "--split", "official", "--draws", "200", "--margin", "0.06")
    assert run(["promote", str(make(error=0.0)), *rows, *at]) == 0
    assert "serves now" in capsys.readouterr().out
    page = tmp_path / "report.html"
    assert run(["promote", str(make(error=0.6)), *rows, *at, "--html", str(page), "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert said["promotion"]["action"] == said["report"]["decision"] == "keep"
    assert "Kept back" in page.read_text()
    assert run(["promote", "--list", *at, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["action"] for one in listed["promotions"]] == ["promote", "keep"]
    assert run(["promote", "--list", *at]) == 0
    assert "serves" in capsys.readouterr().out
    assert run(["promote", "--rollback", *at]) == 2
    assert "nothing to roll back to" in capsys.readouterr().err
    assert run(["promote", *at]) == 2
    assert run(["promote", str(make(error=0.3)), *rows, "--margin", "2", *at]) == 2
    assert "--margin 2" in capsys.readouterr().err
