"""Evaluations of planted outcomes: baselines always there, files and plug-ins alike, wrong use said clearly."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError, UsageError
from aroma.model.data_sets import read_data_set
from aroma.model.evaluation.run import Request, evaluate
from aroma.model.evaluation.trials import ask, run_plugin
from aroma.model.splits import TEST

REAL = Path(__file__).parents[3].parent / "shared"


def by_name(found: dict) -> dict:
    return {model["name"]: model for model in found["models"]}


def predictions_of(ground, outcomes, path, plugin: str = "core-voting"):
    question = ask(ground, outcomes)
    trial = run_plugin(ground, question, plugin)
    frame = pl.concat([question.asked.select("cell_line", "perturbation", "target"), trial.rows], how="horizontal")
    frame.write_csv(path)
    return frame


def test_baselines_stand_beside_and_the_lookup_is_nothing_within_genes(evaluated):
    models = by_name(evaluated)
    assert list(models) == ["gene-frequency", "line-transfer", "core-voting"]
    lookup = models["gene-frequency"]
    assert lookup["kind"] == "baseline"
    assert lookup["measures"]["change"]["value"] == lookup["measures"]["direction"]["value"] == 0.5
    assert lookup["measures"]["skill"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert models["core-voting"]["measures"]["change"]["value"] > 0.7
    for model in models.values():
        for valued in model["measures"].values():
            assert valued["low"] <= valued["value"] + 0.1
            assert valued["high"] >= valued["value"] - 0.1


def test_results_are_json_without_nan_and_paired(evaluated):
    json.dumps(evaluated, allow_nan=False)
    pairs = {(one["model"], one["against"]): one["measures"] for one in evaluated["differences"]}
    assert len(pairs) == 3
    models = by_name(evaluated)
    for (model, against), measures in pairs.items():
        for name, valued in measures.items():
            both = [models[one]["measures"][name]["value"] for one in (model, against)]
            assert valued["value"] == pytest.approx(both[0] - both[1])
    assert [one["name"] for one in evaluated["strata"]][-2:] == ["hops", "coverage"]
    assert models["core-voting"]["other_prevalence"]["brier_corrected"] is not None


def test_a_file_of_a_plugins_answers_scores_as_the_plugin(ground, outcomes, evaluated, tmp_path):
    predictions_of(ground, outcomes, tmp_path / "mine.csv")
    found = evaluate(ground, Request(outcomes, predictions=(tmp_path / "mine.csv",), draws=40))
    mine, plugin = by_name(found)["mine"], by_name(evaluated)["core-voting"]
    assert mine["kind"] == "file"
    for name, valued in plugin["measures"].items():
        assert mine["measures"][name] == pytest.approx(valued)


def test_missing_rows_leave_the_others_comparable_and_are_said(ground, outcomes, tmp_path):
    frame = predictions_of(ground, outcomes, tmp_path / "whole.csv")
    frame.head(frame.height // 2).write_csv(tmp_path / "half.csv")
    found = evaluate(ground, Request(outcomes, predictions=(tmp_path / "half.csv",), draws=0, strata=False))
    assert found["rows"] == frame.height // 2
    assert by_name(found)["half"]["answered"] == frame.height // 2
    assert by_name(found)["gene-frequency"]["answered"] == found["asked"] == frame.height
    assert any("no usable prediction" in problem for problem in found["problems"])
    assert by_name(found)["half"]["measures"]["mean_f1"]["low"] is None


def test_two_files_of_one_name_have_two_names(ground, outcomes, tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        predictions_of(ground, outcomes, tmp_path / place / "gene-frequency.csv")
    paths = tuple(tmp_path / place / "gene-frequency.csv" for place in ("one", "two"))
    found = evaluate(ground, Request(outcomes, predictions=paths, draws=0, strata=False))
    assert list(by_name(found))[2:] == ["gene-frequency (2)", "gene-frequency (3)"]


def test_training_rows_can_stand_apart_and_what_is_asked_is_never_trained_on(ground, outcomes, evaluated, tmp_path):
    frame = pl.read_csv(outcomes)
    frame.filter(pl.col("split") == TEST).drop("split").write_csv(tmp_path / "test.csv")
    request = Request(tmp_path / "test.csv", plugins=("core-voting",), training=outcomes, draws=0, strata=False)
    found = evaluate(ground, request)
    expected = by_name(evaluated)["core-voting"]["measures"]["mean_f1"]["value"]
    assert by_name(found)["core-voting"]["measures"]["mean_f1"]["value"] == pytest.approx(expected)
    frame.drop("split").write_csv(tmp_path / "all.csv")
    found = evaluate(
        ground,
        Request(
            tmp_path / "test.csv", plugins=("gene-frequency",), training=tmp_path / "all.csv", draws=0, strata=False
        ),
    )
    assert found["folds"][0]["left_out"] == found["asked"]


def test_no_number_across_folds(ground, outcomes):
    request = Request(outcomes, plugins=("gene-frequency",), split="by-perturbation:3", draws=0, strata=False)
    found = evaluate(ground, request)
    assert len(found["folds"]) == 3
    assert by_name(found)["gene-frequency"]["measures"]["change"]["value"] == 0.5


def test_line_transfer_stays_away_where_it_knows_nothing(ground, outcomes, tmp_path):
    frame = pl.read_csv(outcomes).filter(pl.col("cell_line") == "K562")
    frame.write_csv(tmp_path / "one.csv")
    request = Request(tmp_path / "one.csv", plugins=("gene-frequency",), draws=0, strata=False)
    assert evaluate(ground, request)["baselines"] == ["gene-frequency"]


def test_wrong_use_is_said(ground, outcomes, tmp_path):
    with pytest.raises(UsageError, match="nothing to evaluate"):
        evaluate(ground, Request(outcomes))
    with pytest.raises(UsageError, match="core-voting"):
        evaluate(ground, Request(outcomes, plugins=("core-votng",)))
    with pytest.raises(UsageError, match="--permutations 3"):
        evaluate(ground, Request(outcomes, plugins=("core-voting",), permutations=3))
    with pytest.raises(UsageError, match="--prevalence 0"):
        evaluate(ground, Request(outcomes, plugins=("core-voting",), changed_share=0.0))
    with pytest.raises(UsageError, match="--draws -1"):
        evaluate(ground, Request(outcomes, plugins=("core-voting",), draws=-1))
    with pytest.raises(UsageError, match="not both"):
        evaluate(ground, Request(outcomes, plugins=("core-voting",), split="dev", training=outcomes))
    with pytest.raises(UsageError, match="asks nothing"):
        evaluate(ground, Request(outcomes, plugins=("core-voting",), split="all"))
    with pytest.raises(InputFileError, match=r"absent\.csv"):
        evaluate(ground, Request(outcomes, predictions=(tmp_path / "absent.csv",)))
    pl.read_csv(outcomes).drop("split").write_csv(tmp_path / "unsplit.csv")
    with pytest.raises(UsageError, match="give --training DIR, or --split"):
        evaluate(ground, Request(tmp_path / "unsplit.csv", plugins=("core-voting",)))
    request = Request(tmp_path / "unsplit.csv", plugins=("core-voting",), training=tmp_path / "unsplit.csv")
    with pytest.raises(UsageError, match="nothing is left to train on"):
        evaluate(ground, request)


def test_a_file_of_another_line_has_no_row_in_common(ground, outcomes, tmp_path):
    frame = predictions_of(ground, outcomes, tmp_path / "mine.csv")
    frame.with_columns(cell_line=pl.lit("HeLa")).write_csv(tmp_path / "other.csv")
    with pytest.raises(UsageError, match="no row is answered by every model"):
        evaluate(ground, Request(outcomes, predictions=(tmp_path / "other.csv",)))


def test_withheld_labels_have_no_influence(ground, outcomes, tmp_path):
    changed = pl.read_csv(outcomes).with_columns(
        label=pl.when(pl.col("split") == TEST).then(2 - pl.col("label")).otherwise(pl.col("label"))
    )
    changed.write_csv(tmp_path / "other.csv")
    assert read_data_set(ground, tmp_path / "other.csv").outcomes.height == changed.height
    answers = [
        run_plugin(ground, ask(ground, source), "core-voting").rows for source in (outcomes, tmp_path / "other.csv")
    ]
    assert answers[0].equals(answers[1])


@pytest.mark.real_data
def test_the_lookup_scores_on_perturbqa_what_was_measured_before(ground):
    source = REAL / "perturbqa"
    if not source.is_dir():
        pytest.skip("PerturbQA's files are not here")
    asked = {"draws": 0, "strata": False}
    found = evaluate(ground, Request(source, plugins=("gene-frequency",), split="dev", **asked))
    lookup = by_name(found)["gene-frequency"]["measures"]
    assert lookup["mean_f1"]["value"] == pytest.approx(0.754, abs=0.02)
    assert lookup["change"]["value"] == lookup["direction"]["value"] == 0.5
    found = evaluate(ground, Request(source, plugins=("gene-frequency",), split="unseen-line:RPE1", **asked))
    transferred = by_name(found)["gene-frequency"]["measures"]
    assert transferred["mean_f1"]["value"] == pytest.approx(0.72, abs=0.02)
    assert transferred["change"]["value"] == 0.5
