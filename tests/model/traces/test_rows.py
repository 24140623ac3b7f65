"""Trace tables: written, read, refused."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.model.traces.rows import TRACES, TraceRow, evidence_id, frame_of, read_traces, rows_of, write_traces

GOOD = TraceRow("K562", "RPL11", "TP53", 2, "prompt", "why", "upregulated", "template", "template", "ab", "sft")
DROPPED = TraceRow(
    "K562", "RPL3", "TP53", 0, "p", "w", "", "informed", "m", "cd", "sft", kept=False, reason="empty answer"
)


def test_what_is_written_is_read_again(tmp_path):
    write_traces(tmp_path / "traces.parquet", frame_of([GOOD, DROPPED]))
    for path in (tmp_path / "traces.parquet", tmp_path):
        assert rows_of(read_traces(path)) == [GOOD, DROPPED]
    assert rows_of(read_traces(tmp_path, kept=True)) == [GOOD]
    assert rows_of(read_traces(tmp_path, kept=False)) == [DROPPED]
    assert list(read_traces(tmp_path).schema.items()) == list(TRACES.items())


def test_a_completion_is_what_a_model_learns_to_write():
    assert GOOD.completion == "<think>why</think><answer>upregulated</answer>"
    assert GOOD.name == "RPL11 → TP53 in K562"


def test_evidence_ids_follow_the_evidence(store):
    one = store.evidence("RPL11", "TP53", "K562")
    assert evidence_id(one) == evidence_id(store.evidence("RPL11", "TP53", "K562"))
    assert evidence_id(one) != evidence_id(store.evidence("RPL11", "TP53", "HepG2"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop("writer"), "has no column writer"),
        (lambda frame: frame.with_columns(label=pl.lit(4)), "a label that is not 0, 1 or 2 .*RPL11 → TP53 in K562"),
        (lambda frame: frame.with_columns(label=pl.lit("up")), "a column has another type"),
        (lambda frame: frame.with_columns(kind=pl.lit("poem")), "a kind that is not"),
        (lambda frame: frame.with_columns(prompt=pl.lit(None)), "no prompt"),
        (lambda frame: frame.with_columns(reason=pl.lit("x")), "a dropped row has a reason, a kept one none"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused(tmp_path, change, said):
    change(frame_of([GOOD])).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputFileError, match=said):
        read_traces(tmp_path / "x.parquet")


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_text("no table")
    with pytest.raises(InputFileError, match="cannot be read"):
        read_traces(tmp_path / "x.parquet")
    with pytest.raises(InputFileError, match="traces.parquet"):
        read_traces(tmp_path)
