"""The plug-in ``aroma`` on a tiny base: stages, going on from a model, the control, failures, traces of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from aroma.errors import ModelError, UsageError
from aroma.kgstore.home import Home
from aroma.model.aroma.predictor import AromaPredictor
from aroma.model.aroma.settings import DEFAULTS, RANDOM_WEIGHTS, check, options_of, sizes_of
from aroma.model.evaluation.ablations import label_of, notes_on, variants
from aroma.model.ground import Ground
from aroma.model.plugin import Training
from aroma.model.scaling import PLAIN
from aroma.model.traces.answers import ANSWERS
from aroma.model.traces.rows import TraceRow, frame_of, write_traces
from tests.support.planted import planted

KEY = ("cell_line", "perturbation", "target")
SMALL = {"rows": 24, "epochs": 1, "calibration_rows": 24}


@pytest.fixture(scope="module")
def ground(home_with_vectors: Home) -> Ground:
    return Ground(home_with_vectors)


@pytest.fixture(scope="module")
def rows(ground: Ground) -> pl.DataFrame:
    return ground.rows(planted())


def fit(ground: Ground, training: pl.DataFrame, /, **settings: Any) -> AromaPredictor:
    return AromaPredictor.fit(Training(training, seed=1, parameters={**SMALL, **settings}), ground)


@pytest.fixture(scope="module")
def saved(ground: Ground, rows: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the first stage, with the directory of its training beside it."""
    place = tmp_path_factory.mktemp("aroma")
    model = fit(ground, rows, directory=str(place / "runs"))
    model.save(place / "stage1")
    return place / "stage1"


def test_curves_stay_in_the_directory_that_was_set_and_in_the_model(saved):
    (run,) = (saved.parent / "runs").iterdir()
    assert (run / "sft" / "curves.png").is_file()
    lines = [json.loads(line) for line in (run / "sft" / "metrics.jsonl").read_text().splitlines()]
    curves = pl.read_parquet(saved / "curves.parquet")
    assert curves.filter(stage="sft")["loss"].drop_nulls().to_list() == [
        line["loss"] for line in lines if "loss" in line
    ]


def test_the_card_says_that_weights_are_random(saved, ground):
    card = AromaPredictor.load(saved, ground).card
    assert card.parameters["label"] == RANDOM_WEIGHTS
    assert card.parameters["modalities_used"] == ["path-kg", "gene-kg"]
    assert card.parameters["used"]["sft"] == 24


def test_stage_two_goes_on_from_a_saved_model_and_none_leaves_it_as_it_is(saved, ground, rows):
    first = AromaPredictor.load(saved, ground)
    asked = rows.head(12).drop("label")
    same = fit(ground, rows, start=str(saved), stages="none")
    assert np.array_equal(first._raw(asked), same._raw(asked))
    assert fit(ground, rows, start=str(saved), stages="none", hops=3).settings["hops"] == 1
    second = fit(
        ground, rows, start=str(saved), stages="grpo", grpo_rows=4, prompts_per_step=2, samples=2, max_new_tokens=6
    )
    assert second.card.parameters["used"]["grpo"] == 4
    assert set(pl.DataFrame(second._made.curves)["stage"]) == {"grpo"}


def test_a_first_stage_goes_on_from_another_and_without_calibration_all_rows_may_teach(saved, ground, rows, tmp_path):
    first = AromaPredictor.load(saved, ground)
    again = fit(ground, rows, start=str(saved), rows=2000, calibrate=False, neighbours=4, rows_per_step=400)
    assert set(first._made.taught.rows()) < set(again._made.taught.rows())
    assert set(again._made.taught["perturbation"]) == set(rows["perturbation"])
    assert again.card.parameters["scaling"] == PLAIN.tolist()
    assert again.card.class_weights == {}


def test_shuffled_vectors_change_the_answers_and_a_gene_never_keeps_its_own(saved, ground, rows):
    first = AromaPredictor.load(saved, ground)
    control = fit(ground, rows, start=str(saved), stages="none", shuffle=True)
    asked = rows.head(12).drop("label")
    assert not np.array_equal(first._raw(asked), control._raw(asked))
    other = control._made.bank._other
    assert sorted(other) == sorted(other.values())
    assert all(gene != mapped for gene, mapped in other.items())


def test_rows_that_fail_are_flagged_with_the_usual_rates(saved, ground, rows, monkeypatch):
    model = AromaPredictor.load(saved, ground)
    asked = rows.head(6).drop("label")
    good = model.predict(asked)
    score = model._score
    bad = asked["target"][2]

    def failing(prompts: Any) -> Any:
        if any(prompt.target == bad for prompt in prompts):
            raise ModelError("out of memory; lower the setting budget")
        return score(prompts)

    monkeypatch.setattr(model, "_score", failing)
    found = model.predict(asked)
    at = asked["target"] == bad
    assert found.filter(at)["flags"].to_list() == [["failed: out of memory; lower the setting budget"]] * int(at.sum())
    assert found.filter(~at).equals(good.filter(~at))
    rates = rows.filter(cell_line=asked["cell_line"][0])["label"].to_numpy()
    assert found.filter(at)["p_up"][0] == pytest.approx((rates == 2).mean())
    (reason,) = model.explain(asked.filter(at).row(0, named=True))
    assert reason.kind == "not answered"
    monkeypatch.undo()
    assert model.predict(asked).equals(good)


def trace(row: dict[str, Any], stage: str = "sft", **other: Any) -> TraceRow:
    said = {**{name: row[name] for name in (*KEY, "label")}, **other}
    why = f"Because of {said['perturbation']}."
    return TraceRow(**said, prompt="prompt", reasoning=why, answer=ANSWERS[said["label"]], kind="template",
                    writer="template", evidence_id="0" * 64, split=stage)  # fmt: skip


def test_traces_of_a_file_teach_their_rows_and_stage_two_takes_those_the_file_kept_for_it(
    saved, ground, rows, tmp_path
):
    taken = list(rows.gather_every(24).iter_rows(named=True))
    file = tmp_path / "traces.parquet"
    write_traces(file, frame_of([*(trace(row) for row in taken[:-9]), *(trace(row, "grpo") for row in taken[-9:])]))
    few = {"traces": str(file), "prompts_per_step": 4, "samples": 2, "max_new_tokens": 4}
    model = fit(ground, rows, stages="sft+grpo", direct=False, **few)
    used = model.card.parameters["used"]
    assert (
        used["sft"] + used.get("left_out", {}).get("trace of a row that is kept for calibration", 0) == len(taken) - 9
    )
    assert 1 <= used["grpo"] <= 9
    model.save(tmp_path / "model")
    taught = pl.read_parquet(tmp_path / "model" / "taught.parquet")
    assert set(taught.rows()) <= {tuple(row[name] for name in KEY) for row in taken[:-9]}
    again = [*(trace(row, "grpo") for row in taken[:-9]), *(trace(row) for row in taken[-9:])]
    write_traces(file, frame_of(again))
    with pytest.raises(ModelError, match="no row is left for stage 2"):
        fit(ground, rows, start=str(tmp_path / "model"), stages="grpo", **few)


def test_traces_of_rows_that_are_not_trained_on_or_of_another_label_are_refused(ground, rows, tmp_path):
    first = rows.row(0, named=True)
    file = tmp_path / "traces.parquet"
    write_traces(file, frame_of([trace(first), trace(first, perturbation="NOGENE1")]))
    with pytest.raises(UsageError, match=r"1 traces are no training rows .*NOGENE1"):
        fit(ground, rows, traces=str(file))
    write_traces(file, frame_of([trace(first, label=(first["label"] + 1) % 3)]))
    with pytest.raises(UsageError, match="another label than was measured"):
        fit(ground, rows, traces=str(file))


def test_of_a_part_of_the_training_rows_other_traces_teach_nothing(ground, rows, tmp_path):
    """An ensemble's member is asked for what it did not learn: traces of these rows are not used, and not refused."""
    part = rows.filter(pl.col("perturbation") != rows["perturbation"][0])
    file = tmp_path / "traces.parquet"
    write_traces(file, frame_of([trace(row) for row in rows.gather_every(40).iter_rows(named=True)]))
    said = {**SMALL, "traces": str(file), "direct": False}
    model = AromaPredictor.fit(Training(part, seed=1, parameters=said, part=True), ground)
    assert rows["perturbation"][0] not in model._made.taught["perturbation"]
    with pytest.raises(UsageError, match="no training rows"):
        AromaPredictor.fit(Training(part, seed=1, parameters=said), ground)


def test_missing_vectors_are_named_with_the_command(sample_home, rows):
    bare = Ground(sample_home)
    with pytest.raises(ModelError, match="aroma embed gat --view gene-kg"):
        AromaPredictor.fit(Training(rows, parameters=SMALL), bare)
    with pytest.raises(ModelError, match="aroma embed protein"):
        AromaPredictor.fit(Training(rows, parameters={**SMALL, "modalities": "protein"}), bare)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stages": "rl"}, "setting stages is 'rl'"),
        ({"stages": "grpo"}, "give start=DIRECTORY"),
        ({"reasoning": "long"}, "setting reasoning is 'long'"),
        ({"rows": -1}, "setting rows is -1"),
        ({"samples": 1}, "give 2 or more"),
        ({"start": "nowhere"}, "there is no directory nowhere"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, said):
    with pytest.raises(UsageError, match=said):
        check({**DEFAULTS, **given})


def test_sizes_follow_the_base_unless_they_are_set(ground):
    tiny, real = sizes_of(DEFAULTS), sizes_of({**DEFAULTS, "base": "/models/x", "epochs": 1})
    assert tiny["budget"] < real["budget"] == 2048
    assert (real["epochs"], real["grpo_epochs"], real["rate"], real["grpo_rate"]) == (1, 2, 1e-4, 1e-6)
    assert options_of({**DEFAULTS, "modalities": "none"}, ground, 0).modalities == ()
    assert options_of({**DEFAULTS, "base": "/models/x"}, ground, 0).template == "aroma"


def test_ablations_change_one_thing_each_and_say_what_has_random_weights():
    whole = {**DEFAULTS, "modalities": "protein,path-kg,gene-kg"}
    found = {one.name: one.settings for one in variants(3, whole)}
    assert found["without graph embeddings"]["modalities"] == "protein"
    assert found["without protein embeddings"]["modalities"] == "path-kg,gene-kg"
    assert found["without retrieval"]["retrieval"] is False
    assert found["stage 1 only"]["stages"] == "sft"
    assert found["base model, untrained"]["stages"] == "none"
    for name, settings in found.items():
        changed = {key for key in settings if settings[key] != found["AROMA"][key]}
        assert len(changed) == (name != "AROMA")
    assert [one.settings["samples"] for one in variants(5, whole)] == [4, 8, 16]
    assert [one.settings["base"] for one in variants(11, {**whole, "base": "tiny,tiny-llama"})] == [
        "tiny",
        "tiny-llama",
    ]
    with pytest.raises(UsageError, match="compares backbones"):
        variants(11, whole)
    with pytest.raises(UsageError, match="leaves out modalities by name"):
        variants(3, dict(DEFAULTS))
    assert label_of("AROMA", whole) == "AROMA (random weights)"
    assert notes_on({**whole, "base": "/models/x"}) == []
