"""The regression beside the trees: planted weights, what is not known, one row alone, and JSON."""

from __future__ import annotations

import json

import numpy as np

from aroma.model.evidence_features.linear import Linear, fit_linear, shares_of

ROWS, COLUMNS = 20_000, 4
SHARES = shares_of(["rate_own", "process_changed", "pair_changed", "votes"])


def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A share whose log odds count twice, a score that counts once, one that is mostly unknown, and noise."""
    random = np.random.default_rng(0)
    share = random.uniform(0.05, 0.95, ROWS)
    table = np.stack([share, *random.standard_normal((3, ROWS))], axis=1).astype(np.float32)
    table[random.random(ROWS) < 0.9, 2] = np.nan
    odds = 2 * np.log(share / (1 - share)) + table[:, 1]
    return table, random.random(ROWS) < 1 / (1 + np.exp(-odds)), odds


def test_only_rates_are_shares():
    assert SHARES.tolist() == [True, False, False, False]


def test_planted_weights_are_found():
    table, said, odds = planted()
    found = fit_linear(table, said, SHARES)
    np.testing.assert_allclose(found.weights * found.scale, [2, 1, 0, 0], atol=0.15)
    assert np.corrcoef(found(table), odds)[0, 1] > 0.995


def test_what_is_not_known_adds_nothing():
    table, said, _ = planted()
    parts = fit_linear(table, said, SHARES).contributions(table)
    assert not parts[np.isnan(table[:, 2]), 2].any()
    assert parts[~np.isnan(table[:, 2]), 2].any()


def test_a_row_alone_and_after_json_is_answered_as_in_the_batch():
    table, said, _ = planted()
    found = fit_linear(table, said, SHARES)
    read = Linear.read(json.loads(json.dumps(found.said())))
    np.testing.assert_array_equal(found(table[:50]), [read(row[None])[0] for row in table[:50]])


def test_a_column_that_is_always_the_same_has_no_say():
    table, said, _ = planted()
    table[:, 3] = 7.0
    found = fit_linear(table, said, SHARES)
    assert found.scale[3] == 0
    assert np.isfinite(found(table)).all()
