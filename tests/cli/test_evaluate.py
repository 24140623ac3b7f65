"""``aroma evaluate`` as a user meets it: JSON, files written, and one-line errors."""

from __future__ import annotations

import json

import pytest

from aroma.cli.app import run
from aroma.errors import EXIT_FAILED, EXIT_WRONG_USE
from tests.support.planted import planted


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    path = tmp_path_factory.mktemp("outcomes") / "planted.csv"
    planted().write_csv(path)
    return path


@pytest.fixture
def evaluate(sample_home, outcomes, capsys):
    """Run the command; return its exit code, standard output and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["evaluate", "--outcomes", str(outcomes), "--home", str(sample_home.path), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


QUICK = ("--plugin", "nearest-perturbation", "--split", "dev", "--draws", "20", "--no-strata")


def test_json_is_one_object_and_files_are_written(evaluate, tmp_path):
    out, page = tmp_path / "made" / "found.json", tmp_path / "made" / "found.html"
    code, said, _ = evaluate(*QUICK, "--json", "--out", str(out), "--html", str(page))
    assert code == 0
    found = json.loads(said)
    assert [model["name"] for model in found["models"]] == ["gene-frequency", "line-transfer", "nearest-perturbation"]
    assert json.loads(out.read_text()) == found
    assert page.read_text().startswith("<!doctype html>")


def test_the_terminal_shows_baselines_intervals_and_leakage(evaluate, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    code, said, told = evaluate(*QUICK, "--param", "nearest-perturbation.kernel=string")
    assert code == 0
    assert "gene-frequency (baseline)" in said
    assert ".500 [.500, .500]" in said
    assert "leakage: " in said
    assert "fitting on" in told


def test_a_table_of_the_paper(evaluate):
    code, said, _ = evaluate("--table", "9", "--json")
    assert code == 0
    assert json.loads(said)["number"] == 9


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "nothing to evaluate"),
        (("--plugin", "gene-frequncy", "--split", "dev"), "did you mean gene-frequency"),
        (("--plugin", "gene-frequency"), "give --training DIR, or --split"),
        (("--plugin", "core-voting", "--split", "dev", "--param", "kernel=go"), "PLUGIN.SETTING=VALUE"),
        (("--plugin", "core-voting", "--split", "dev", "--param", "core-voting.kernl=go"), "no setting 'kernl'"),
        (("--table", "6"), "there are 1, 2, 3, 4, 5, 8, 9, 10, 11"),
        (("absent.csv", "--split", "dev"), "absent.csv"),
    ],
)
def test_wrong_use_is_one_sentence(evaluate, arguments, what):
    code, said, told = evaluate(*arguments)
    assert code == EXIT_WRONG_USE
    assert said == ""
    assert what in told
    assert "Traceback" not in told


def test_a_place_that_cannot_be_written_is_said(evaluate, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, told = evaluate(*QUICK, "--out", str(tmp_path / "file" / "found.json"))
    assert code == EXIT_FAILED
    assert "cannot be written" in told
