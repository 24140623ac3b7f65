"""``aroma genes`` over a home with the sample's names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aroma.cli.app import run
from aroma.kgstore.home import Home
from aroma.kgstore.publications import Publication, append
from aroma.kgstore.tables import ReleaseTables
from tests.support.genes import hgnc_sample


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    batch = hgnc_sample()
    assert batch.nodes is not None
    assert batch.gene_names is not None
    place = Home(path)
    ReleaseTables.of({"nodes": batch.nodes, "gene_names": batch.gene_names}).write(place.release("r1"))
    append(place, Publication(1, "r1", None, "2026-01-01T00:00:00+00:00"))
    return path


def test_resolve_gives_one_object_a_name(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sssom = tmp_path / "names.sssom.tsv"
    names = ["AARS", "TAZ", "P21", "TP35"]
    assert run(["genes", "resolve", *names, "--home", str(home), "--json", "--sssom", str(sssom)]) == 0
    aars, taz, p21, typo = map(json.loads, capsys.readouterr().out.splitlines())
    assert (aars["gene"], aars["symbol"], aars["tier"], aars["release"]) == (
        "HGNC:20",
        "AARS1",
        "previous symbol",
        "r1",
    )
    assert (taz["symbol"], taz["flags"], taz["candidates"]) == ("TAFAZZIN", ["two tiers"], ["HGNC:24042"])
    assert (p21["gene"], p21["reason"]) == (None, "ambiguous")
    assert (typo["reason"], typo["nearest"][0]) == ("unknown", "TP53")
    assert sssom.read_text().count("skos:exactMatch") == len(names)


def test_resolve_shows_a_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["genes", "resolve", "AARS", "--home", str(home)]) == 0
    assert "HGNC:20" in capsys.readouterr().out


def test_coverage_counts_names_and_rows(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "K562.csv").write_text(
        "pert,gene,label,split\nAARS,TP53,0,train\nAARS,NOSUCH,1,train\nTAZ,P21,0,train\n"
    )
    (tmp_path / "own.csv").write_text("perturbation,target\nTP53,MDM2\nEIF2A,\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert run(["genes", "coverage", str(tmp_path), "--home", str(home), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(one["file"], one["rows"], one["rows_resolved"]) for one in answer["files"]] == [
        ("K562.csv", 3, 1),
        ("own.csv", 2, 1),
    ]
    assert (answer["names"], answer["names_resolved"], answer["rows_without_name"]) == (7, 5, 1)
    assert answer["by_tier"] == {
        "approved symbol": {"names": 3, "mentions": 4},
        "previous symbol": {"names": 2, "mentions": 3},
    }
    assert answer["by_reason"] == {
        "ambiguous": {"names": 1, "mentions": 1},
        "unknown": {"names": 1, "mentions": 1},
    }
    assert {row["name"] for row in answer["flagged"]} == {"TAZ", "EIF2A"}
    assert {row["name"]: row["reason"] for row in answer["unresolved"]} == {"NOSUCH": "unknown", "P21": "ambiguous"}
    assert set(answer["skipped"]) == {"other.csv"}


def test_coverage_shows_tables(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("pert,gene\nAARS,NOSUCH\n")
    assert run(["genes", "coverage", str(file), "--home", str(home)]) == 0
    assert "NOSUCH" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("columns.csv", "expected columns perturbation or pert, target or gene"),
        ("ragged.csv", "cannot be read as a table"),
        ("pairs.parquet", "cannot be read as a table"),
        ("nothing", "neither a file nor a directory"),
    ],
)
def test_an_unreadable_file_is_wrong_use(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    (tmp_path / "ragged.csv").write_text("pert,gene\nA,B,C,D\n")
    (tmp_path / "pairs.parquet").write_text("pert,gene\nA,B\n")
    assert run(["genes", "coverage", str(tmp_path / name), "--home", str(home)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert name in error


def test_without_a_release_the_command_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["genes", "resolve", "AARS", "--home", str(tmp_path)]) == 1
    assert "aroma build" in capsys.readouterr().err
