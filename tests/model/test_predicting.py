"""Saved models asked: one pair, a file, several genes at once; and what the commands print."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aroma.cli.app import run
from aroma.errors import ModelError, UsageError
from aroma.model.ground import Ground
from aroma.model.identity import model_id
from aroma.model.plugin import CARD, Training
from aroma.model.predicting import SEVERAL, open_model, predict_file, predict_one, predict_rows
from aroma.model.registry import plugin
from tests.support.planted import planted

PROBABILITIES = ["p_down", "p_not_significant", "p_up"]


@pytest.fixture(scope="module")
def saved(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "votes"
    plugin("core-voting").fit(Training(ground.rows(planted())), ground).save(place)
    return place


@pytest.fixture(scope="module")
def model(ground: Ground, saved: Path):
    return open_model(ground.home, saved)


def frame(*rows: tuple[str | None, str | None, str | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["cell_line", "perturbation", "target"], orient="row")


def test_several_genes_are_averaged_in_logit_space_and_flagged(model):
    found = predict_rows(
        model, frame(("K562", "RPL3 + YAP1", "TP53"), ("K562", "RPL3", "TP53"), ("K562", "YAP1", "TP53"))
    )
    whole, one, two = found.select(PROBABILITIES).to_numpy()
    mean = np.exp((np.log(one) + np.log(two)) / 2)
    assert whole == pytest.approx(mean / mean.sum(), rel=1e-9)
    assert found["flags"].to_list() == [[SEVERAL], [], []]
    three = predict_rows(
        model, frame(("HeLa", "RPL3+NOGENE", "NOGENE2"), ("K562", "+", "TP53"), ("K562", "RPL3+RPL3", "TP53"))
    )
    assert three["flags"][0].to_list() == ["unknown target", "unknown cell line", "unknown perturbation", SEVERAL]
    assert "unknown perturbation" in three["flags"][1]
    assert three.select(PROBABILITIES).row(2) == pytest.approx(tuple(one))


def test_a_file_is_answered_in_order_whatever_the_chunk(model, tmp_path: Path, monkeypatch):
    rows = planted().select("cell_line", "perturbation", "target").head(130)
    rows = pl.concat(
        [rows, frame(("K562", "RPL3+YAP1", "TP53"), (None, "", "NOGENE"), ("K562", "AARS", "TP53")), rows.head(3)]
    )
    rows.write_csv(tmp_path / "pairs.csv")
    counts = predict_file(model, tmp_path / "pairs.csv", tmp_path / "whole.parquet")
    monkeypatch.setattr(type(model), "rows_a_part", 37)
    predict_file(model, tmp_path / "pairs.csv", tmp_path / "parts.parquet")
    whole, parts = pl.read_parquet(tmp_path / "whole.parquet"), pl.read_parquet(tmp_path / "parts.parquet")
    assert whole.equals(parts)
    assert whole.columns[:7] == ["cell_line", "perturbation", "target", *PROBABILITIES, "label"]
    asked = rows.with_columns(pl.all().fill_null(""))
    assert whole.select(asked.columns).equals(asked)
    assert counts["pairs"] == rows.height
    assert counts[SEVERAL] == 1
    predict_file(model, tmp_path / "pairs.csv", tmp_path / "parts.csv")
    text = pl.read_csv(tmp_path / "parts.csv", schema_overrides={"flags": pl.String})
    assert text["p_up"].to_list() == pytest.approx(whole["p_up"].to_list())
    assert text["flags"][131] == "unknown perturbation; unknown target; unknown cell line"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "pairs.csv",
        "parts.csv",
        "parts.csv.lineage.json",
        "parts.parquet",
        "whole.parquet",
    ]


def test_the_cell_line_is_the_files_name_or_the_option(model, tmp_path: Path):
    (tmp_path / "K562.csv").write_text("pert,gene\nRPL3,TP53\n")
    predict_file(model, tmp_path / "K562.csv", tmp_path / "a.parquet")
    predict_file(model, tmp_path / "K562.csv", tmp_path / "b.parquet", cell_line="Jurkat")
    lines = [pl.read_parquet(tmp_path / f"{name}.parquet")["cell_line"][0] for name in "ab"]
    assert lines == ["K562", "Jurkat"]


def test_a_file_that_fails_leaves_nothing(model, tmp_path: Path, monkeypatch):
    (tmp_path / "K562.csv").write_text("pert,gene\nRPL3,TP53\n")
    with pytest.raises(UsageError, match=r"--out must end in .parquet or .csv, not .txt"):
        predict_file(model, tmp_path / "K562.csv", tmp_path / "a.txt")

    def stop(_done: int, _all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(model, tmp_path / "K562.csv", tmp_path / "a.parquet", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["K562.csv"]


def test_one_answer_is_the_files_answer(model):
    answer = predict_one(model, "RPL3", "TP53", "k562", explain=True)
    row = predict_rows(model, frame(("k562", "RPL3", "TP53"))).row(0, named=True)
    assert (answer.p_down, answer.p_up, answer.label) == (row["p_down"], row["p_up"], row["label"])
    assert answer.label == 2
    assert answer.prediction.startswith(f"{model_id(model.card)}.p")
    assert answer.prediction != predict_one(model, "TP53", "RPL3", "k562").prediction
    assert answer.flags == ()
    assert any("RPL" in reason.text for reason in answer.reasons)
    both = predict_one(model, "RPL3+YAP1", "TP53", "K562", explain=True)
    assert len(both.perturbation_genes) == 2
    assert sum(reason.share for reason in both.reasons) <= 1.001


def test_models_that_cannot_be_opened_say_why(ground, saved, tmp_path: Path):
    with pytest.raises(ModelError, match="there is no model here"):
        open_model(ground.home, tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in saved.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "rates.parquet").write_bytes(b"PAR1")
    with pytest.raises(ModelError, match=r"rates.parquet: is not the file that was saved"):
        open_model(ground.home, copy)
    card = json.loads((saved / CARD).read_text())
    (copy / CARD).write_text(json.dumps({**card, "version": "0"}))
    with pytest.raises(ModelError, match="made by core-voting 0, this is core-voting 1; train it again"):
        open_model(ground.home, copy)
    (copy / CARD).write_text(json.dumps({**card, "plugin": "core-votin"}))
    with pytest.raises(UsageError, match="did you mean core-voting"):
        open_model(ground.home, copy)
    (copy / CARD).write_text("{")
    with pytest.raises(ModelError, match="is no model card"):
        open_model(ground.home, copy)
    with pytest.raises(ModelError, match="something is there already"):
        open_model(ground.home, saved).save(copy)


def command(capsys, *arguments: object) -> dict:
    assert run([str(argument) for argument in (*arguments, "--json")]) == 0
    return json.loads(capsys.readouterr().out)


def test_train_show_and_predict_by_command(sample_home, tmp_path: Path, capsys):
    planted().write_csv(tmp_path / "outcomes.csv")
    at = ("--home", sample_home.path)
    model = tmp_path / "models" / "one"
    made = command(
        capsys, "train", "core-voting", "--outcomes", tmp_path / "outcomes.csv", "--split", "dev", "--seed", 4,
        "--param", "temperature=0.5", "--out", model, *at,
    )  # fmt: skip
    assert made["card"]["split"] == "dev-seed4"
    assert made["leakage"]["duplicates"] == 0
    card = command(capsys, "models", model)
    assert card["parameters"]["temperature"] == 0.5
    assert run(["models", str(model)]) == 0
    assert "dev-seed4, seed 4" in capsys.readouterr().out
    said = command(capsys, "predict", model, "RPL3", "TP53", "--cell-line", "K562", "--explain", *at)
    assert said["label"] == 2
    assert said["reasons"]
    assert run(["predict", str(model), "RPL3", "TP53", "--cell-line", "K562", "--explain", *map(str, at)]) == 0
    text = capsys.readouterr().out
    assert "TP53 goes up when RPL3 is perturbed in K562, says core-voting." in text
    assert "What moved the answer" in text
    out = tmp_path / "answers.parquet"
    counts = command(capsys, "predict", model, "--pairs", tmp_path / "outcomes.csv", "--out", out, *at)
    assert counts["pairs"] == pl.read_parquet(out).height == planted().height
    names = {row["name"] for row in command(capsys, "models")["models"]}
    assert {"gene-frequency", "core-voting", "stamp-heads"} <= names


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "core-votin", "--out", "x"], "did you mean core-voting"),
        (["train", "core-voting", "--out", "x", "--param", "kernel"], "expected name=value"),
        (["train", "core-voting", "--out", "x", "--param", "kernels=go"], "has no setting 'kernels'"),
        (["train", "core-voting", "--out", "x", "--split", "by-perturbation:3", "--fold", "4"], "has 3"),
        (["train", "core-voting", "--out", "x", "--outcomes", "nowhere"], "no such file or directory"),
        (["predict", "x", "RPL3", "TP53"], "give two genes and a line"),
        (["predict", "x", "--pairs", "p.csv"], "--pairs needs --out"),
        (["predict", "x", "RPL3", "TP53", "--cell-line", "K562"], "there is no model here"),
    ],
)
def test_wrong_use_is_said_and_nothing_is_made(sample_home, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert run([*arguments, "--home", str(sample_home.path)]) in {1, 2}
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_outcomes_are_checked_by_command(sample_home, tmp_path, capsys):
    planted().with_columns(label=pl.when(pl.int_range(pl.len()) == 7).then(9).otherwise("label")).write_csv(
        tmp_path / "o.csv"
    )
    found = command(capsys, "outcomes", "check", tmp_path / "o.csv", "--split", "dev", "--home", sample_home.path)
    assert found["rows"] == planted().height - 1
    assert found["rejected"] == {"label is not 0, 1 or 2": 1}
    assert found["folds"][0]["pair_elsewhere"] > 0
    assert (
        run(["outcomes", "check", str(tmp_path / "o.csv"), "--split", "strict", "--home", str(sample_home.path)]) == 0
    )
    shown = capsys.readouterr().out
    assert "1 rows rejected, label is not 0, 1 or 2" in shown
    assert "strict-dev-seed0" in shown
