"""Intervals: weighted measures against brute force, pairing, and coverage on simulated perturbations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from aroma.model.evaluation import bootstrap
from aroma.model.evaluation.bootstrap import Draws, draw, f1_draws, interval, means, measure_draws
from aroma.model.evaluation.calibration import brier
from aroma.model.evaluation.metrics import UP, measure
from tests.model.evaluation.frames import rows


def test_weights_of_one_give_the_measures_themselves():
    found = rows(3, lines=3, perturbations=12, targets=9)
    ones = Draws(
        np.ones((1, len(found.perturbations)), dtype=np.float32), np.ones((1, len(found.targets)), dtype=np.float32)
    )
    got, expected = measure_draws(found, ones), measure(found)
    np.testing.assert_allclose(got.f1[0], expected.f1)
    np.testing.assert_allclose(f1_draws(found, ones)[0], expected.f1)
    np.testing.assert_allclose(got.change[0], expected.change.by_line)
    np.testing.assert_allclose(got.direction[0], expected.direction.by_line)
    said = got.measures()
    assert said["mean_f1"][0] == pytest.approx(expected.mean_f1)
    assert said["macro_f1"][0] == pytest.approx(expected.macro_f1)
    assert said["auroc"][0] == pytest.approx(expected.auroc)
    assert said["auprc"][0] == pytest.approx(expected.auprc)
    assert said["direction_auroc"][0] == pytest.approx(expected.direction_auroc)
    assert said["brier"][0] == pytest.approx(brier(found.probabilities, found.truth))


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=12, deadline=None)
def test_a_draw_equals_scikit_learn_with_its_weights(seed, ties):
    found = rows(seed, ties=ties, lines=2, perturbations=10, targets=5)
    drawn = draw(found, draws=1, seed=seed)
    got = measure_draws(found, drawn)
    perturbation, target = drawn.perturbations[0], drawn.targets[0]
    weight = perturbation[found.perturbation] * target[found.target]
    changed = found.changed
    if weight[changed].sum() and weight[~changed].sum():
        assert got.auroc[0] == pytest.approx(roc_auc_score(changed, found.change_score, sample_weight=weight))
        expected = average_precision_score(changed, found.change_score, sample_weight=weight)
        assert got.auprc[0] == pytest.approx(expected)
    for line in range(len(found.lines)):
        at = found.line == line
        expected = f1_score(
            found.truth[at], found.answer[at], labels=[0, 1, 2], average=None, zero_division=np.nan,
            sample_weight=weight[at],
        )  # fmt: skip
        np.testing.assert_allclose(got.f1[0, line], expected, rtol=1e-6)
        cases = ((got.change, at, changed, found.change_score), (got.direction, at & changed, found.truth == UP,
                                                                 found.direction_score))  # fmt: skip
        for values, chosen, positive, score in cases:
            areas, counts = [], []
            for gene in np.unique(found.target[chosen]):
                mine = chosen & (found.target == gene) & (perturbation[found.perturbation] > 0)
                if target[gene] and len(set(positive[mine])) == 2:
                    by = perturbation[found.perturbation][mine]
                    areas.append(roc_auc_score(positive[mine], score[mine], sample_weight=by))
                    counts.append(target[gene])
            expected = np.average(areas, weights=counts) if areas else np.nan
            np.testing.assert_allclose(values[0, line], expected, rtol=1e-6)


def test_a_symbol_has_one_count_in_all_lines_and_draws_are_repeatable():
    found = rows(1, lines=3)
    one, two, other = draw(found, draws=20, seed=4), draw(found, draws=20, seed=4), draw(found, draws=20, seed=5)
    assert one.perturbations.shape == (20, len(found.perturbations))
    assert (one.perturbations.sum(axis=1) == len(found.perturbations)).all()
    assert (one.targets.sum(axis=1) == len(found.targets)).all()
    np.testing.assert_array_equal(one.perturbations, two.perturbations)
    assert not np.array_equal(one.perturbations, other.perturbations)


def test_parts_are_put_together_in_order():
    found = rows(8)
    drawn = draw(found, draws=2 * bootstrap._PART + 7, seed=1)
    whole = measure_draws(found, drawn)
    at = 2 * bootstrap._PART + 3
    alone = measure_draws(found, Draws(drawn.perturbations[[at]], drawn.targets[[at]]))
    for name in ("mean_f1", "auroc", "change", "direction", "brier"):
        np.testing.assert_allclose(whole.measures()[name][at], alone.measures()[name][0])


def test_a_model_differs_from_itself_by_nothing_and_from_a_worse_one_for_sure():
    good = rows(2, perturbations=30, targets=20, skill=6.0, ties=False)
    poor = rows(2, perturbations=30, targets=20, ties=False)
    drawn = draw(good, draws=200)
    one, two = measure_draws(good, drawn).measures(), measure_draws(poor, drawn).measures()
    gain = one["mean_f1"] - two["mean_f1"]
    found = interval(gain, measure(good).mean_f1 - measure(poor).mean_f1)
    assert found.low > 0.1
    same = interval(one["change"] - measure_draws(good, drawn).measures()["change"], 0.0)
    assert (same.low, same.high) == (0.0, 0.0)


def test_the_interval_of_a_share_of_perturbations_is_right_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(150):
        effect = rng.normal(0.0, 1.0, 60)
        weights = rng.multinomial(60, np.full(60, 1 / 60), size=400)
        found = interval(weights @ effect / 60, float(effect.mean()))
        inside += found.low <= 0.0 <= found.high
    assert 0.88 <= inside / 150 <= 0.99


def test_undefined_draws_are_left_out():
    assert np.isnan(interval(np.full(5, np.nan), 0.4).low)
    assert np.isnan(interval(np.array([0.3, 0.4]), float("nan")).high)
    found = interval(np.array([np.nan, 0.2, 0.4]), 0.3)
    assert 0.2 <= found.low <= found.high <= 0.4
    np.testing.assert_allclose(means(np.array([[1.0, np.nan], [np.nan, np.nan]])), [1.0, np.nan])
