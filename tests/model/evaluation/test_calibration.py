"""Calibration and prediction sets on simulated probabilities of known calibration."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aroma.errors import UsageError
from aroma.model.evaluation import calibration
from aroma.model.evaluation.conformal import Thresholds, coverage_of
from aroma.model.evaluation.metrics import Scored

RNG = np.random.default_rng(7)


def simulated(rows: int = 20_000, sharpness: float = 1.0):
    """Probabilities and classes drawn from them; with another sharpness, what is claimed is too extreme or timid."""
    logits = RNG.normal(0.0, 1.2, (rows, 3)) + np.array([-1.0, 1.5, -1.0])
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (RNG.random((rows, 1)) > right.cumsum(axis=1)).sum(axis=1).clip(max=2).astype(np.int8)
    claimed = right**sharpness
    return claimed / claimed.sum(axis=1, keepdims=True), truth


def test_brier_by_hand():
    probabilities = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    truth = np.array([1, 0], dtype=np.int8)
    assert calibration.brier(probabilities, truth) == pytest.approx((0.04 + 0.25 + 0.09) / 2)
    assert calibration.skill(0.1, 0.4) == pytest.approx(0.75)
    assert np.isnan(calibration.skill(0.1, 0.0))


def test_right_probabilities_have_slope_one_and_extreme_ones_less():
    probabilities, truth = simulated()
    for one in calibration.reliability(probabilities, truth):
        assert one.slope == pytest.approx(1.0, abs=0.08)
        assert one.intercept == pytest.approx(0.0, abs=0.12)
        assert one.error < 0.02
    assert all(one.slope < 0.85 for one in calibration.reliability(*simulated(sharpness=1.6)))
    assert all(one.slope > 1.2 for one in calibration.reliability(*simulated(sharpness=0.6)))


def test_the_slope_is_that_of_logistic_regression():
    probabilities, truth = simulated(3000, sharpness=1.4)
    logit = np.log(probabilities[:, 0] / (1 - probabilities[:, 0]))
    fitted = LogisticRegression(C=np.inf, tol=1e-8).fit(logit[:, None], truth == 0)
    slope, intercept = calibration.calibration_line(probabilities[:, 0], truth == 0)
    assert slope == pytest.approx(fitted.coef_[0, 0], rel=1e-3)
    assert intercept == pytest.approx(fitted.intercept_[0], abs=1e-2)


def test_slopes_that_say_nothing_are_none():
    assert np.isnan(calibration.calibration_line(np.full(100, 0.3), RNG.random(100) < 0.3)).all()
    assert np.isnan(calibration.calibration_line(RNG.random(100), np.arange(100) < 5)).all()
    assert np.isnan(calibration.calibration_line(np.zeros(0), np.zeros(0, dtype=bool))).all()
    separated = np.repeat([0.0, 1.0], 50)
    calibration.calibration_line(separated, separated > 0.5)


def test_bins_hold_every_row_once_and_equal_predictions_share_one():
    probabilities, truth = simulated(1000)
    probabilities = probabilities.round(1)
    for one in calibration.reliability(probabilities, truth):
        assert one.counts.sum() == 1000
        assert (np.diff(one.predicted) > 0).all()


def test_bins_stand_where_there_is_doubt():
    predicted = np.concatenate([np.linspace(1e-4, 2e-4, 9000), np.linspace(0.05, 0.95, 1000)])
    probabilities = np.stack([predicted, 1 - predicted, np.zeros(10_000)], axis=1)
    down = calibration.reliability(probabilities, np.where(predicted > 0.5, 0, 1).astype(np.int8))[0]
    assert (down.predicted > 0.05).sum() >= 9


def test_quartiles_part_rows_by_rate():
    probabilities, truth = simulated(4000)
    rate = 1 - probabilities[:, 1]
    found = calibration.reliability_by_quartile(probabilities, truth, rate)
    assert [quartile[0].rows for quartile in found] == [1000] * 4
    assert np.diff([float((one[1].predicted * one[1].counts).sum()) for one in found]).max() < 0


def test_probabilities_corrected_for_another_prevalence_are_calibrated_there():
    probabilities, truth = simulated(60_000)
    had = calibration.prevalence(truth)
    wanted = calibration.with_changed_share(had, 0.05)
    assert wanted[0] + wanted[2] == pytest.approx(0.05)
    assert wanted[0] / wanted[2] == pytest.approx(had[0] / had[2])
    weights = calibration.row_weights(truth, wanted)
    drawn = RNG.choice(len(truth), 60_000, p=weights / weights.sum())
    corrected = calibration.at_prevalence(probabilities, had, wanted)
    np.testing.assert_allclose(corrected.sum(axis=1), 1.0)
    after = calibration.brier(corrected[drawn], truth[drawn])
    assert after < calibration.brier(probabilities[drawn], truth[drawn])
    for column in (0, 2):
        assert corrected[drawn, column].mean() == pytest.approx(wanted[column], rel=0.1)
    np.testing.assert_allclose(calibration.at_prevalence(probabilities, had, had), probabilities)
    with pytest.raises(UsageError, match="prevalence 1.5"):
        calibration.with_changed_share(had, 1.5)
    with pytest.raises(UsageError, match="no outcome is changed"):
        calibration.with_changed_share(np.array([0.0, 1.0, 0.0]), 0.1)


def laid(probabilities, truth, perturbations: int = 200) -> Scored:
    size = len(truth)
    zeros = np.zeros(size, dtype=np.int64)
    names = tuple(f"P{n}" for n in range(perturbations))
    perturbation = RNG.integers(0, perturbations, size)
    answer = probabilities.argmax(axis=1).astype(np.int8)
    return Scored(("L",), names, ("T",), zeros, perturbation, zeros, zeros, truth, answer, probabilities)


@pytest.mark.parametrize("stated", [0.8, 0.9, 0.95])
def test_sets_cover_each_class_as_stated(stated):
    found = coverage_of(laid(*simulated(20_000)), stated)
    assert found.measured == pytest.approx(stated, abs=0.015)
    assert found.by_class == pytest.approx(stated, abs=0.03)
    assert 0 < found.size <= 3
    assert 0 <= found.single + found.empty <= 1


def test_too_few_rows_rule_nothing_out():
    probabilities, truth = simulated(30)
    thresholds = Thresholds.learn(probabilities[:4], truth[:4], 0.95)
    assert thresholds.sets(probabilities).all()
