"""Template traces of a data set: complete, the same however they are made, resumable, with cards that are valid."""

from __future__ import annotations

import json

import mlcroissant
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from aroma.errors import InputFileError, UsageError
from aroma.model.traces import writing
from aroma.model.traces.choosing import choose_rows, refuse_leaks
from aroma.model.traces.data_set import kept_shares, read_facts
from aroma.model.traces.rows import read_traces
from aroma.model.traces.telling import PromptSettings
from aroma.model.traces.writing import WriteOptions, write_template_traces


@pytest.fixture(scope="module")
def choice(known_outcomes):
    rows = known_outcomes.with_columns(
        perturbation=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("NOSUCH")).otherwise("perturbation"),
        perturbation_gene=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("perturbation_gene"),
    )
    return choose_rows(rows, reserve=20, seed=2)


@pytest.fixture(scope="module")
def written(sample_home, choice, tmp_path_factory):
    out = tmp_path_factory.mktemp("traces") / "set"
    write_template_traces(sample_home, choice, out, outcomes="planted", reserve=20, workers=1, rows_a_part=200)
    return out


def test_every_row_is_there_and_an_unknown_gene_has_a_reason(written, choice):
    frame = read_traces(written)
    columns = ("cell_line", "perturbation", "target", "label", "split")
    assert frame.select(columns).equals(choice.rows.select(columns))
    dropped = frame.filter(~pl.col("kept"))
    assert dropped["reason"].to_list() == ["perturbation gene NOSUCH is not known to the release"]
    refuse_leaks(frame, choice.fold, written)
    assert frame.filter(split="grpo").height == 60


def test_workers_and_parts_change_nothing(sample_home, choice, written, tmp_path):
    small = type(choice)(choice.rows.head(300), choice.fold, choice.seed, choice.notes)
    write_template_traces(
        sample_home, small, tmp_path / "x", outcomes="planted", reserve=20, workers=2, rows_a_part=100
    )
    assert_frame_equal(read_traces(tmp_path / "x"), read_traces(written).head(300))


def test_a_run_that_was_stopped_goes_on(sample_home, choice, written, tmp_path, monkeypatch):
    made = []
    real = writing._write_part

    def stopping(store, job, number, rows):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(number)
        real(store, job, number, rows)

    arguments = {"outcomes": "planted", "reserve": 20, "workers": 1, "rows_a_part": 200}
    monkeypatch.setattr(writing, "_write_part", stopping)
    with pytest.raises(KeyboardInterrupt):
        write_template_traces(sample_home, choice, tmp_path / "x", **arguments)
    again = []
    monkeypatch.setattr(writing, "_write_part", lambda *given: (again.append(given[2]), real(*given)))
    write_template_traces(sample_home, choice, tmp_path / "x", **arguments)
    assert made == [0, 1]
    assert again == list(range(2, -(-choice.rows.height // 200)))
    assert_frame_equal(read_traces(tmp_path / "x"), read_traces(written))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_croissant_metadata_is_valid_and_reads_the_table(written):
    data = mlcroissant.Dataset(str(written / "croissant.json"))
    assert not data.metadata.ctx.issues.errors
    first = next(iter(data.records("traces")))
    row = read_traces(written).row(0, named=True)
    assert first["traces/reasoning"].decode() == row["reasoning"]
    assert int(first["traces/label"]) == row["label"]


def test_a_licence_that_forbids_commercial_use_stands_on_both_cards(written):
    facts = read_facts(written)
    assert {one.provider for one in facts.licences} > {"corum", "gene_ontology", "string"}
    assert not facts.commercial_use
    assert "**No commercial use**: corum" in (written / "README.md").read_text()
    said = json.loads((written / "croissant.json").read_text())
    assert "corum: CC BY-NC 4.0" in said["license"]
    assert "forbids commercial use" in said["description"]


def test_shares_by_line_and_label(written):
    shares = kept_shares(read_traces(written))
    assert shares.height == 9
    assert shares["rows"].sum() == read_traces(written).height
    assert (shares["share"] < 1).sum() == 1


def test_a_prompt_over_its_budget_is_a_dropped_row(sample_home, choice, tmp_path):
    small = type(choice)(choice.rows.head(3), choice.fold, choice.seed)
    options = WriteOptions(PromptSettings(budget=20))
    write_template_traces(sample_home, small, tmp_path / "x", outcomes="p", reserve=0, options=options, workers=1)
    frame = read_traces(tmp_path / "x")
    assert not frame["kept"].any()
    assert frame["reason"].str.contains("the budget is 20").all()


def test_wrong_use_is_said(sample_home, choice, written, tmp_path):
    with pytest.raises(UsageError, match="something is there already"):
        write_template_traces(sample_home, choice, written, outcomes="p", reserve=0)
    options = WriteOptions(PromptSettings("arma"))
    with pytest.raises(UsageError, match="no prompt template is called 'arma'"):
        write_template_traces(sample_home, choice, tmp_path / "y", outcomes="p", reserve=0, options=options)


def test_a_table_changed_by_hand_is_refused(sample_home, choice, tmp_path):
    small = type(choice)(choice.rows.head(3), choice.fold, choice.seed)
    write_template_traces(sample_home, small, tmp_path / "x", outcomes="p", reserve=0, workers=1)
    read_traces(tmp_path / "x").head(2).write_parquet(tmp_path / "x" / "traces.parquet")
    with pytest.raises(InputFileError, match="was changed since"):
        read_facts(tmp_path / "x")
    with pytest.raises(InputFileError, match="expected a trace data set"):
        read_facts(tmp_path)
