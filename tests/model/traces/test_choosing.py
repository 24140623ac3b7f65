"""Which rows become traces, which are reserved, and which are refused."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from aroma.errors import UsageError
from aroma.model.splits import make_folds
from aroma.model.traces.choosing import choose_rows, refuse_leaks


def test_the_reserve_is_stratified_and_disjoint(planted_outcomes):
    choice = choose_rows(planted_outcomes, reserve=100, seed=3)
    counts = choice.rows.group_by("cell_line", "split").len()
    assert counts.filter(split="grpo")["len"].to_list() == [100, 100, 100]
    key = ["cell_line", "perturbation", "target"]
    assert choice.rows.select(key).is_duplicated().sum() == 0
    share = choice.rows.group_by("cell_line", "label").agg((pl.col("split") == "grpo").mean().alias("share"))
    whole = choice.rows.group_by("cell_line").agg((100 / pl.len()).alias("whole"))
    joined = share.join(whole, on="cell_line")
    assert (joined["share"] - joined["whole"]).abs().max() < 0.02


def test_the_choice_depends_on_the_seed_and_not_on_the_order(planted_outcomes):
    one = choose_rows(planted_outcomes, reserve=50, most=400, seed=1)
    shuffled = choose_rows(planted_outcomes.sample(fraction=1, shuffle=True, seed=9), reserve=50, most=400, seed=1)
    other = choose_rows(planted_outcomes, reserve=50, most=400, seed=2)
    assert_frame_equal(one.rows, shuffled.rows)
    assert not one.rows.equals(other.rows)
    assert one.rows.height == 400
    assert {"sft", "grpo"} == set(one.rows["split"])


def test_a_small_line_keeps_half_for_the_first_stage(planted_outcomes):
    choice = choose_rows(planted_outcomes, reserve=5000)
    assert choice.rows.filter(split="sft").height >= choice.rows.height // 2
    assert len(choice.notes) == 3
    assert "instead of 5,000 are reserved" in choice.notes[0]


def test_test_rows_are_never_chosen_and_refused_by_name(planted_outcomes):
    fold = make_folds(planted_outcomes, "dev")[0]
    choice = choose_rows(planted_outcomes, split="dev", reserve=10)
    refuse_leaks(choice.rows, fold, "traces")
    assert choice.rows.join(fold.test, on=["cell_line", "perturbation", "target"], how="semi").is_empty()
    leaked = pl.concat([choice.rows, fold.test.select(*choice.rows.columns[:-1], pl.lit("sft").alias("split")).head(2)])
    name = "{perturbation} → {target} in {cell_line}".format(**fold.test.row(0, named=True))
    with pytest.raises(UsageError, match=f"2 traces are test rows of split dev-seed0, the first {name}"):
        refuse_leaks(leaked, fold, "traces")


def test_a_test_row_under_another_name_of_its_gene_is_refused(planted_outcomes):
    fold = make_folds(planted_outcomes, "dev")[0]
    row = fold.test.head(1)
    training = pl.concat([fold.training, row.with_columns(perturbation=pl.lit("OLDNAME"))])
    other = type(fold)(fold.name, fold.kind, training, fold.test)
    with pytest.raises(UsageError, match="the first OLDNAME"):
        refuse_leaks(training.tail(1), other, "traces")


def test_a_trace_of_no_training_row_or_of_another_label_is_refused(planted_outcomes):
    fold = make_folds(planted_outcomes, "dev")[0]
    rows = fold.training.head(3)
    with pytest.raises(UsageError, match="3 traces are no training rows"):
        refuse_leaks(rows.with_columns(cell_line=pl.lit("HeLa")), fold, "traces")
    with pytest.raises(UsageError, match="3 traces have another label than was measured"):
        refuse_leaks(rows.with_columns(label=((pl.col("label") + 1) % 3).cast(pl.Int8)), fold, "traces")


@pytest.mark.parametrize(
    ("more", "said"),
    [({"fold": 2}, "fold 2: split all has 1"), ({"reserve": -1}, "reserve -1"), ({"most": 0}, "rows 0")],
)
def test_wrong_use_is_said(planted_outcomes, more, said):
    with pytest.raises(UsageError, match=said):
        choose_rows(planted_outcomes, **more)
