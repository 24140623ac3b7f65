"""Calibration and class weights, where the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from aroma.model.evidence_features.boosting import Boosted, boost, calibrate, class_weights, macro_f1
from aroma.model.labels import COLUMN_OF_LABEL


def test_calibration_undoes_a_known_distortion():
    random = np.random.default_rng(0)
    truth = random.beta(1, 4, 60_000)
    said = (random.random(60_000) < truth).astype(float)
    logit = np.log(truth / (1 - truth))
    distorted = 1 / (1 + np.exp(-(2 * logit + 1)))
    found = calibrate(distorted, said)
    np.testing.assert_allclose(found(distorted), truth, atol=0.03)
    assert (np.diff(found(np.linspace(0, 1, 500))) >= 0).all()


def test_class_weights_are_as_good_as_any_on_a_grid():
    random = np.random.default_rng(1)
    label = random.choice(3, 3000, p=[0.8, 0.1, 0.1]).astype(np.int8)
    p = random.dirichlet([1, 3, 1], 3000)
    p[np.arange(3000), COLUMN_OF_LABEL[label]] += 0.3
    p /= p.sum(axis=1, keepdims=True)
    weights = class_weights(p, label)
    best = macro_f1((p * np.array(weights)).argmax(axis=1), label)
    others = [macro_f1((p * [a, 1, b]).argmax(axis=1), label) for a in (0.5, 1, 2, 4) for b in (0.5, 1, 2, 4)]
    assert best >= max(others) - 0.003
    assert weights[1] == 1.0


def test_macro_f1_is_the_mean_of_the_three():
    label = np.array([0, 0, 1, 1, 2, 2], dtype=np.int8)
    column = COLUMN_OF_LABEL[np.array([0, 0, 1, 0, 2, 1])]
    assert macro_f1(column, label) == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)


def test_boosting_is_the_same_after_saving_and_contributions_add_up(tmp_path):
    random = np.random.default_rng(2)
    table = random.standard_normal((900, 5)).astype(np.float32)
    label = np.where(table[:, 0] > 0.7, np.where(table[:, 1] > 0, 2, 1), 0).astype(np.int8)
    boosted, unseen = boost(table, label, np.arange(900) % 3, np.zeros(5, dtype=bool), seed=0)
    assert macro_f1(unseen.argmax(axis=1), label) > 0.85
    boosted.save(tmp_path, "one")
    np.testing.assert_array_equal(Boosted.load(tmp_path, "one").probabilities(table), boosted.probabilities(table))
    moved = boosted.contributions(table[0])
    assert np.abs(moved["changed"]).argmax() == 0
    assert np.abs(moved["up"]).argmax() == 1
