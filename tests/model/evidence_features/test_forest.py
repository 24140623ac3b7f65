"""The flat trees against LightGBM's own answer."""

from __future__ import annotations

import lightgbm
import numpy as np

from aroma.model.evidence_features.forest import Forest


def test_flat_trees_answer_what_lightgbm_does():
    random = np.random.default_rng(0)
    table = np.maximum(random.standard_normal((3000, 5)), 0).astype(np.float32)
    wanted = np.sin(3 * table[:, 0]) + table[:, 1] * table[:, 2]
    settings = {"num_leaves": 15, "verbosity": -1, "num_threads": 1, "max_bin": 63}
    booster = lightgbm.train(settings, lightgbm.Dataset(table, wanted), 30)
    asked = np.concatenate([table, random.random((500, 5), dtype=np.float32) * 4, np.zeros((1, 5), np.float32)])
    np.testing.assert_allclose(Forest.of(booster)(asked), booster.predict(asked), rtol=1e-12)


def test_a_tree_that_learned_nothing_is_one_leaf():
    booster = lightgbm.train({"verbosity": -1}, lightgbm.Dataset(np.zeros((30, 2)), np.full(30, 0.25)), 2)
    asked = np.zeros((2, 2), dtype=np.float32)
    np.testing.assert_allclose(Forest.of(booster)(asked), booster.predict(asked))
