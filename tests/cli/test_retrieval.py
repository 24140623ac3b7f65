"""``aroma paths``, ``aroma neighbours``, ``aroma evidence``: what they print and how they end."""

from __future__ import annotations

import json

import polars as pl
import pytest

from aroma.cli.app import run


@pytest.fixture
def home(sample_home, monkeypatch):
    monkeypatch.setenv("AROMA_HOME", str(sample_home.path))
    monkeypatch.setenv("COLUMNS", "200")
    return sample_home


def test_paths_of_one_pair(home, capsys):
    assert run(["paths", "TULP1", "ITCH", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["paths"][0]["nodes"][0]["name"] == "TULP1"
    assert run(["paths", "TULP1", "ITCH"]) == 0
    shown = capsys.readouterr().out
    for path in said["paths"]:
        assert " → ".join(node["name"] for node in path["nodes"]) in shown


def test_paths_of_a_file(home, capsys, tmp_path):
    (tmp_path / "RPE1.csv").write_text("pert,gene\nTULP1,ITCH\nTULP9,ITCH\n")
    out = tmp_path / "paths.parquet"
    assert run(["paths", "--pairs", str(tmp_path / "RPE1.csv"), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["pairs"], said["unresolved"], said["with_paths"]) == (2, 1, 1)
    assert pl.read_parquet(out)["row"].unique().to_list() == [0, 1]


def test_options_of_the_view_change_the_answer(home, capsys):
    base = ["paths", "RPL11", "TP53", "--view", "gene-kg", "--json"]
    assert run(base) == run([*base, "--minimum-score", "1000"]) == run([*base, "--permutation-seed", "3"]) == 0
    plain, strong, permuted = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert len({answer["view"] for answer in (plain, strong, permuted)}) == 3
    assert plain["paths"] != strong["paths"]


def test_neighbours(home, capsys):
    assert run(["neighbours", "TP53", "--limit", "3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["nodes"]) == 3
    assert run(["neighbours", "TP53", "--limit", "3"]) == 0
    captured = capsys.readouterr()
    assert all(item["node"]["id"] in captured.out for item in said["nodes"])
    assert f"{said['total']} nodes are within 1 hops; 3 are shown" in captured.err


def test_evidence_for_a_reader(home, capsys):
    assert run(["evidence", "RPL11", "TP53", "--cell-line", "K562"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "RPL11 knocked down → TP53 read out, in K562",
        "What the perturbed gene is",
        "What the target gene is",
        "How they are connected",
        "What related knock-downs did to TP53",
        "What is missing, and where this comes from",
        "Nothing is missing.",
        "corum CC BY-NC 4.0",
    ):
        assert part in shown


def test_evidence_as_json_obeys_what_is_withheld(home, capsys):
    command = ["evidence", "RPL11", "TP53", "--cell-line", "K562", "--json"]
    assert run(command) == run([*command, "--withhold", "test"]) == run([*command, "--outcomes", "none"]) == 0
    whole, hidden, none = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert whole["contrast"]["withheld"] == 0
    assert hidden["contrast"]["withheld"] > 0
    assert hidden["withheld"]["splits"] == ["test"]
    assert none["contrast"] is None


def test_evidence_as_a_prompt(home, capsys):
    command = ["evidence", "RPL11", "TP53", "--cell-line", "K562", "--prompt", "aroma"]
    assert run([*command, "--no-multimodal"]) == 0
    assert "_EMB>" not in capsys.readouterr().out
    assert run([*command, "--budget", "600", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["tokens"] <= 600
    assert said["dropped"]
    assert "<Path-KG_EMB>" in said["prompt"]


def test_evidence_of_a_file(home, capsys, tmp_path):
    (tmp_path / "K562.csv").write_text("pert,gene\nRPL11,TP53\nTULP9,TP53\n")
    out = tmp_path / "evidence.jsonl"
    command = ["evidence", "--pairs", str(tmp_path / "K562.csv"), "--out", str(out), "--prompt", "core"]
    assert run(command) == 0
    captured = capsys.readouterr()
    assert "2 pairs, 1 with a gene that is not known" in captured.out
    assert "2 of 2 pairs" in captured.err
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["evidence"]["query"]["cell_line"] for line in lines] == ["K562", "K562"]
    assert all(line["prompt"] for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evidence"], "give two genes"),
        (["paths"], "give two genes"),
        (["evidence", "TULP9", "ITCH"], "did you mean TULP1"),
        (["evidence", "TULP1", "ITCH", "--withhold", "tset"], "no outcome is of split 'tset'"),
        (["evidence", "TULP1", "ITCH", "--outcomes", "zz"], "no stored versions begin so"),
        (["evidence", "TULP1", "ITCH", "--prompt", "arom"], "did you mean 'aroma'"),
        (["evidence", "TULP1", "ITCH", "--prompt", "aroma", "--budget", "5"], "the budget is 5"),
        (["evidence", "--pairs", "x.csv"], "--pairs needs --out"),
        (["evidence", "--pairs", "no.csv", "--out", "o.parquet"], "no.csv"),
        (["paths", "TULP1", "ITCH", "--view", "gene-kgg"], "did you mean"),
        (["paths", "TULP1", "ITCH", "-k", "0"], "k is 0"),
        (["neighbours", "TULP9"], "did you mean TULP1"),
    ],
)
def test_wrong_use_ends_with_2_and_a_sentence(home, capsys, arguments, said):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
