"""Evidence of a file of pairs: the same bytes as one by one, resumable, with a row for every row."""

from __future__ import annotations

import json

import polars as pl
import pytest

from aroma.errors import UsageError
from aroma.kgstore.outcomes import list_outcomes
from aroma.retrieval import bulk_evidence
from aroma.retrieval.bulk_evidence import BulkRequest, open_store, write_evidence
from aroma.retrieval.evidence_model import to_json
from aroma.retrieval.prompts import render

ROWS = [
    ("TULP1", "ITCH", "RPE1"),
    ("AAMP", "AGPAT1", "Jurkat"),
    ("TULP9", "ITCH", "RPE1"),
    ("AARS", "TP53", "K562"),
    ("", "", ""),
    ("RPL11", "TP53", "HeLa"),
    ("TULP1", "ITCH", "RPE1"),
]


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.csv"
    pl.DataFrame(ROWS, schema=["perturbation", "target", "cell_line"], orient="row").write_csv(path)
    return path


@pytest.fixture
def request_(sample_home):
    return BulkRequest(outcomes=list_outcomes(sample_home)[-1].sha256, withhold=("split:test",), template="core")


def expected(home, request):
    store = open_store(home, request)
    return [store.evidence(*row) for row in ROWS]


@pytest.mark.parametrize("workers", [1, 2])
def test_parquet_has_the_bytes_of_single_answers(sample_home, pairs_file, tmp_path, request_, workers):
    out = tmp_path / "evidence.parquet"
    states = []
    counts = write_evidence(
        sample_home, pairs_file, out, request_, workers=workers, rows_a_chunk=3, progress=states.append
    )
    table = pl.read_parquet(out)
    answers = expected(sample_home, request_)
    assert table["evidence"].to_list() == [to_json(one).decode() for one in answers]
    assert table["prompt"].to_list() == [render(one, "core").text for one in answers]
    assert table.select("perturbation", "target", "cell_line").rows() == ROWS
    assert table["row"].to_list() == list(range(len(ROWS)))
    assert [bool(reason) for reason in table["reason"]] == [False, False, True, False, True, False, False]
    assert table["reason"][2].startswith("perturbation: 'TULP9' names no gene here; did you mean TULP1")
    assert set(table["release"]) == {answers[0].release} == {counts["release"]}
    assert (counts["pairs"], counts["unresolved"], counts["resumed"]) == (7, 2, 0)
    assert [state.total for state in states] == [7] * len(states)
    assert states[-1].done == 7
    assert [path.name for path in tmp_path.iterdir()] in (["pairs.csv", out.name], [out.name, "pairs.csv"])


def test_json_lines_hold_the_objects(sample_home, pairs_file, tmp_path, request_):
    out = tmp_path / "evidence.jsonl"
    counts = write_evidence(sample_home, pairs_file, out, request_, workers=1, rows_a_chunk=2)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    answers = expected(sample_home, request_)
    assert [line["evidence"] for line in lines] == [json.loads(to_json(one)) for one in answers]
    assert [(line["perturbation"], line["target"], line["cell_line"]) for line in lines] == ROWS
    assert counts["unresolved"] == sum(line["reason"] is not None for line in lines) == 2


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_run_that_was_cut_off_goes_on(sample_home, pairs_file, tmp_path, request_, monkeypatch, suffix):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    write_evidence(sample_home, pairs_file, whole, request_, workers=1, rows_a_chunk=2)
    made = []
    real = bulk_evidence._make_part

    def stop_at_the_third(job, number, rows, found):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(number)
        real(job, number, rows, found)

    monkeypatch.setattr(bulk_evidence, "_make_part", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_evidence(sample_home, pairs_file, cut, request_, workers=1, rows_a_chunk=2)
    assert not cut.exists()
    (parts,) = tmp_path.glob("cut*.parts-*")
    first = min(parts.iterdir())
    first.write_bytes(first.read_bytes()[:-40] if suffix == ".parquet" else b"")  # a part that a disk lost
    monkeypatch.setattr(bulk_evidence, "_make_part", real)
    counts = write_evidence(sample_home, pairs_file, cut, request_, workers=1, rows_a_chunk=2)
    assert counts["resumed"] == 2
    assert cut.read_bytes() == whole.read_bytes()
    assert not parts.exists()


def test_other_inputs_start_anew(sample_home, pairs_file, tmp_path, request_):
    def place(request, rows=2, file=pairs_file, out=tmp_path / "x.parquet"):
        return bulk_evidence._inputs_hash(sample_home, file, out, request, rows)

    other = tmp_path / "other.csv"
    other.write_text(pairs_file.read_text() + "TP53,MDM2,K562\n")
    names = {
        place(request_),
        place(request_, rows=3),
        place(request_, file=other),
        place(request_, out=tmp_path / "x.jsonl"),
        place(BulkRequest(outcomes=None, withhold=request_.withhold, template="core")),
        place(BulkRequest(outcomes=request_.outcomes, withhold=(), template="core")),
        place(BulkRequest(outcomes=request_.outcomes, withhold=request_.withhold, template="aroma")),
        place(BulkRequest(outcomes=request_.outcomes, withhold=request_.withhold, template="core", budget=900)),
    }
    assert len(names) == 8
    assert place(request_) in names


def test_no_pairs_make_an_empty_table(sample_home, tmp_path):
    path = tmp_path / "K562.csv"
    path.write_text("pert,gene\n")
    counts = write_evidence(sample_home, path, tmp_path / "out.parquet", BulkRequest())
    assert counts["pairs"] == 0
    assert pl.read_parquet(tmp_path / "out.parquet").columns[-1] == "evidence"


def test_an_unknown_suffix_and_a_budget_that_cannot_hold_are_refused(sample_home, pairs_file, tmp_path):
    with pytest.raises(UsageError, match=r"evidence is written as \.parquet"):
        write_evidence(sample_home, pairs_file, tmp_path / "out.csv", BulkRequest())
    request = BulkRequest(template="aroma", budget=20)
    for workers in (1, 2):
        with pytest.raises(UsageError, match=r"row \d: .* the budget is 20"):
            write_evidence(sample_home, pairs_file, tmp_path / "o.parquet", request, workers=workers, rows_a_chunk=4)
