"""Measures against scikit-learn and against brute force."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from aroma.model.evaluation import metrics
from aroma.model.evaluation.metrics import SAME, UP, measure, scored
from aroma.model.labels import PROBABILITY_COLUMNS
from tests.model.evaluation.frames import outcomes, predictions, rows


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=25, deadline=None)
def test_pooled_measures_equal_scikit_learn(seed, ties):
    found = rows(seed, ties=ties)
    got = measure(found)
    changed = found.changed
    assert got.auroc == pytest.approx(roc_auc_score(changed, found.change_score))
    assert got.auprc == pytest.approx(average_precision_score(changed, found.change_score))
    for number in range(len(found.lines)):
        at = found.line == number
        expected = f1_score(found.truth[at], found.answer[at], labels=[0, 1, 2], average=None, zero_division=np.nan)
        np.testing.assert_allclose(got.f1[number], expected)
    expected = f1_score(found.truth, found.answer, labels=[0, 1, 2], average=None, zero_division=np.nan)
    assert got.macro_f1 == pytest.approx(np.nanmean(expected))
    assert got.mean_f1 == pytest.approx(np.nanmean(got.f1))


def by_hand(found, chosen, score, positive):
    """Per-gene AUROC the slow way: line to the areas of its genes."""
    areas: dict[int, list[float]] = {}
    for line, fold, target in sorted({*zip(found.line, found.fold, found.target, strict=True)}):
        at = chosen & (found.line == line) & (found.target == target) & (found.fold == fold)
        if len(set(positive[at])) == 2:
            areas.setdefault(int(line), []).append(roc_auc_score(positive[at], score[at]))
    return areas


@given(st.integers(0, 10**6), st.booleans(), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_per_gene_auroc_equals_brute_force(seed, ties, folds):
    drawn = outcomes(seed=seed)
    fold = np.random.default_rng(seed).integers(0, folds, drawn.height)
    drawn = drawn.with_columns(fold=pl.Series(fold))
    found = scored(drawn, predictions(drawn, seed, ties))
    every = np.ones(len(found), dtype=bool)
    cases = (
        (metrics.per_gene_change(found), by_hand(found, every, found.change_score, found.changed)),
        (metrics.per_gene_direction(found), by_hand(found, found.changed, found.direction_score, found.truth == UP)),
    )
    for got, areas in cases:
        for line in range(len(found.lines)):
            expected = np.mean(areas[line]) if line in areas else np.nan
            np.testing.assert_allclose(got.by_line[line], expected)
            assert got.genes[line] == len(areas.get(line, []))
        if areas:
            assert got.mean == pytest.approx(np.mean([np.mean(found) for found in areas.values()]))


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_top_precision_is_the_mean_over_orders_of_ties(seed, k):
    found = rows(seed)
    rng = np.random.default_rng(seed)
    blocks = [
        at
        for pair in {*zip(found.line, found.perturbation, strict=True)}
        if (at := np.flatnonzero((found.line == pair[0]) & (found.perturbation == pair[1]))).size >= k
    ]
    got, counted = metrics.top_precision(found, k)
    assert counted == len(blocks)
    if not blocks:
        assert np.isnan(got)
        return
    draws = [
        np.mean(
            [found.changed[at[np.lexsort((rng.random(at.size), -found.change_score[at]))[:k]]].mean() for at in blocks]
        )
        for _ in range(300)
    ]
    assert got == pytest.approx(np.mean(draws), abs=5 * np.std(draws) / np.sqrt(len(draws)) + 1e-9)


def test_order_of_rows_and_of_names_has_no_say():
    drawn = outcomes(seed=5)
    answers = predictions(drawn, 6)
    shuffled = pl.concat([drawn, answers.select(PROBABILITY_COLUMNS, answer="label")], how="horizontal")
    shuffled = shuffled.sample(fraction=1.0, shuffle=True, seed=3)
    one = measure(scored(drawn, answers))
    two = measure(scored(shuffled, shuffled.with_columns(label="answer")))
    np.testing.assert_allclose(one.f1, two.f1)
    assert one.auroc == pytest.approx(two.auroc)
    assert one.top[5] == pytest.approx(two.top[5])
    assert one.change.mean == pytest.approx(two.change.mean)


def test_a_lookup_by_target_scores_one_half_within_genes():
    drawn = outcomes(seed=2, perturbations=20)
    rate = pl.col("label").ne(0).mean().over("cell_line", "target")
    answers = drawn.with_columns(p_down=rate / 2, p_not_significant=1 - rate, p_up=rate / 2, label=pl.lit(0, pl.Int8))
    got = measure(scored(drawn, answers))
    assert got.change.mean == got.direction.mean == 0.5
    assert got.auroc > 0.5


def test_what_rows_do_not_define_is_no_number():
    drawn = pl.DataFrame({"cell_line": ["A"], "perturbation": ["P"], "target": ["T"], "label": [0]})
    answers = drawn.with_columns(p_down=0.0, p_not_significant=1.0, p_up=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = measure(scored(drawn, answers))
    assert got.f1[0, SAME] == 1.0
    assert np.isnan(got.f1[0, [0, 2]]).all()
    assert np.isnan([got.auroc, got.auprc, got.change.mean, got.direction.mean, got.direction_auroc]).all()
    assert got.mean_f1 == 1.0
    assert np.isnan(got.top[5][0])


def test_directions_without_any_changed_mass_are_undecided():
    assert metrics.direction_score(np.array([[0.0, 1.0, 0.0], [0.2, 0.2, 0.6]])).tolist() == [0.5, pytest.approx(0.75)]
