"""``aroma export``: what it prints and how it ends."""

from __future__ import annotations

import json

import pytest

from aroma.cli.app import run
from aroma.retrieval.exports.registry import FORMATS


@pytest.fixture
def home(sample_home, monkeypatch):
    monkeypatch.setenv("AROMA_HOME", str(sample_home.path))
    monkeypatch.setenv("COLUMNS", "200")
    return sample_home


def test_the_formats_are_listed(home, capsys):
    assert run(["export", "--list"]) == run(["export", "--list", "--json"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in FORMATS)
    listed = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    assert [row["format"] for row in listed] == sorted(FORMATS)


def test_an_export_says_where_it_is_and_whose_licence_binds(home, capsys, tmp_path):
    out = tmp_path / "graph"
    assert run(["export", "kgx", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert f"{out}: " in captured.out
    assert str(out / "export.json") in captured.out
    assert "CORUM's licence CC BY-NC 4.0 forbids commercial use, and binds this export" in captured.err


def test_a_commercial_export_says_what_it_left_out(home, capsys, tmp_path):
    out = tmp_path / "graph.json"
    command = ["export", "networkx", "--out", str(out), "--view", "path-kg", "--licence", "commercial", "--json"]
    assert run(command) == 0
    captured = capsys.readouterr()
    card = json.loads(captured.out)
    assert card["left_out"] == ["corum"]
    assert card["view"]["name"] == "path-kg"
    assert card["card"] == f"{out}.export.json"
    assert card["command"] == f"aroma export networkx --out {out} --licence commercial --view path-kg"
    assert "CORUM is left out: its licence CC BY-NC 4.0 forbids commercial use" in captured.err
    written = json.loads(out.read_text())
    assert written["edges"]
    assert all(edge["provider"] != "corum" for edge in written["edges"])


def test_the_command_in_the_card_makes_the_export_again(home, capsys, tmp_path):
    out = tmp_path / "graph.json"
    assert run(["export", "networkx", "--out", str(out), "--view", "gene-kg", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert run([*card["command"].split()[1:], "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == card["files"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export"], "give a format and a place"),
        (["export", "kgx"], "give a format and a place"),
        (["export", "kgxx", "--out", "x"], "did you mean 'kgx'?"),
        (["export", "kgx", "--out", "x", "--licence", "comercial"], "did you mean 'commercial'?"),
        (["export", "kgx", "--out", "x", "--view", "gene-kgg"], "did you mean 'gene-kg'?"),
        (["export", "kgx", "--out", "x", "--outcomes", "zz"], "begin with 'zz'"),
        (["export", "kgx", "--out", "x", "--outcomes", "latest", "--cell-line", "K563"], "no outcome is of cell line"),
        (["export", "kgx", "--out", "."], "is there already"),
        (["export", "kgx", "--out", ".", "--overwrite"], "is not replaced"),
    ],
)
def test_wrong_use_ends_with_2_and_a_sentence(home, capsys, arguments, said):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err


def test_a_release_that_is_not_here_is_named(home, capsys, tmp_path):
    assert run(["export", "kgx", "--out", str(tmp_path / "x"), "--release", "rzzz"]) == 1
    assert "'rzzz' is not a release here" in capsys.readouterr().err
