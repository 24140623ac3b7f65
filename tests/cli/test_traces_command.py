"""``aroma traces``: from the evidence to a filtered, traced, shown data set; and how wrong use ends."""

from __future__ import annotations

import json

import polars as pl
import pytest

from aroma.cli.app import run
from aroma.model.traces.rows import read_traces
from tests.support.chat_server import ChatServer
from tests.support.planted import planted


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    path = tmp_path_factory.mktemp("outcomes") / "outcomes.csv"
    genes = ("RPL3", "RPL11", "RPL5", "TP53", "MDM2", "ATF4", "DDIT3", "PSMA1", "PSMB5")
    rows = planted().filter(pl.col("perturbation").is_in(genes), pl.col("target").is_in(genes))
    rows.write_csv(path)
    return str(path)


@pytest.fixture
def home(sample_home, monkeypatch):
    monkeypatch.setenv("AROMA_HOME", str(sample_home.path))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("URL", "MODEL", "KEY", "PRICE_IN", "PRICE_OUT"):
        monkeypatch.delenv(f"AROMA_LLM_{name}", raising=False)
    return sample_home


@pytest.fixture
def written(home, outcomes, tmp_path, capsys):
    out = tmp_path / "written"
    assert run(["traces", "write", "--outcomes", outcomes, "--reserve", "5", "--workers", "1", "--out", str(out)]) == 0
    assert "traces are kept" in capsys.readouterr().out
    return out


def last(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_write_filter_sources_show_card(written, outcomes, tmp_path, capsys):
    good = tmp_path / "good"
    assert run(["traces", "filter", str(written), "--out", str(good), "--similar", "0.95", "--json"]) == 0
    said = last(capsys)
    assert said["rows"] == read_traces(written).height == sum(said["dropped"].values()) + said["kept"]
    assert [step["step"] for step in said["facts"]["steps"]] == ["write", "filter"]
    table = tmp_path / "sentences.parquet"
    command = ["traces", "sources", str(good), "--outcomes", outcomes, "--rows", "20", "--out", str(table), "--json"]
    assert run(command) == 0
    said = last(capsys)
    whole = said["shares"][-1]
    assert (said["traces"], said["other_evidence"], whole["cell_line"]) == (20, 0, "all")
    assert whole["share"] > 0.95 > whole["control"]
    sentences = pl.read_parquet(table)
    assert sentences.filter(kind="claim").height == whole["claims"]
    assert sentences.filter(pl.col("supported"))["items"].list.len().min() >= 1
    html = tmp_path / "row.html"
    assert run(["traces", "show", str(good), "--row", "3", "--outcomes", outcomes, "--out", str(html)]) == 0
    assert "claims are supported" in capsys.readouterr().out
    assert html.read_text().startswith("<!DOCTYPE html>")
    assert run(["traces", "show", str(good), "--row", "3", "--outcomes", outcomes]) == 0
    assert "path 1" in capsys.readouterr().out
    assert run(["traces", "card", str(good), "--url", "https://example.org/x"]) == 0
    assert json.loads((good / "croissant.json").read_text())["url"] == "https://example.org/x"


def test_request_dry_run_and_faithfulness(home, written, outcomes, tmp_path, capsys):
    base = ["traces", "request", "--mode", "blind", "--outcomes", outcomes, "--rows", "9", "--reserve", "2", "--json"]
    with ChatServer() as server:
        asked = [*base, "--url", server.url, "--model", "scripted", "--out", str(tmp_path / "blind")]
        priced = [*asked, "--price-in", "1", "--price-out", "2"]
        assert run([*priced, "--dry-run"]) == 0
        said = last(capsys)
        assert said["questions"] == 9
        assert said["cost"] > 0
        assert server.questions == []
        assert not (tmp_path / "blind").exists()
        assert run(priced) == 2
        assert "give --most-cost AMOUNT as a limit, or --yes" in capsys.readouterr().err
        assert run([*priced, "--most-cost", "1"]) == 0
        assert last(capsys)["asked"] == len(server.questions) == 9
        assert run(["traces", "faithfulness", str(written), "--url", server.url, "--model", "scripted", "--rows", "4",
                    "--outcomes", outcomes, "--json"]) == 0  # fmt: skip
        said = last(capsys)
    assert (said["rows"], said["answered"], said["moved"]) == (4, 4, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["write", "--out", "{there}"], "something is there already"),
        (["write", "--out", "{new}", "--prompt", "aromma"], "did you mean 'aroma'"),
        (["write", "--out", "{new}", "--split", "nosuch"], "there is no split 'nosuch'"),
        (["request", "--out", "{new}", "--mode", "blind"], "AROMA_LLM_URL"),
        (["request", "--out", "{new}", "--mode", "poem", "--url", "http://h/v1", "--model", "m"], "mode 'poem'"),
        (["request", "--out", "{new}", "--mode", "blind", "--url", "http://h/v1", "--model", "m", "--most-cost", "1"],
         "a spending limit needs prices"),
        (["filter", "{there}", "--out", "{new}"], "expected a trace data set"),
        (["sources", "{new}"], "expected a trace data set"),
    ],
)  # fmt: skip
def test_wrong_use_ends_with_2_and_a_sentence(home, outcomes, tmp_path, capsys, arguments, said):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("x")
    places = {"there": str(tmp_path / "there"), "new": str(tmp_path / "new")}
    given = [one.format(**places) for one in arguments]
    more = ["--outcomes", outcomes] if given[0] in {"write", "request"} else []
    assert run(["traces", *given, *more]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
