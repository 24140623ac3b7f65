"""Each part against a plain computation of the same thing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from aroma.model.evidence_features import factorisation, votes
from aroma.model.evidence_features.factorisation import (
    PRECISION,
    SETS,
    Neighbours,
    factorise,
    inactive_removed,
    rows_by,
)
from aroma.model.evidence_features.layers import LAYERS
from aroma.model.evidence_features.observations import FOLDS, Observations, folds
from aroma.model.evidence_features.process import covariance_of, process_mean, process_weights, wanted_of
from aroma.model.evidence_features.rates import COLUMNS, PSEUDO_ROWS, rates_of
from aroma.model.evidence_features.similarity import agreement, agreement_of_all, learn, neighbours, responses

LINES, PERTURBATIONS, TARGETS = 3, 30, 12


def observed(seed: int = 0, rows: int = 500) -> Observations:
    """Random rows, each pair at most once a line."""
    random = np.random.default_rng(seed)
    cells = random.choice(LINES * PERTURBATIONS * TARGETS, rows, replace=False)
    line, perturbation, target = np.unravel_index(np.sort(cells), (LINES, PERTURBATIONS, TARGETS))
    order = np.lexsort((perturbation, line, target))
    line, perturbation, target = (part[order].astype(np.int32) for part in (line, perturbation, target))
    label = random.choice(3, rows, p=[0.7, 0.15, 0.15]).astype(np.int8)
    start = np.searchsorted(target, np.arange(TARGETS + 1)).astype(np.int64)
    fold = folds(line, perturbation, PERTURBATIONS, seed)
    return Observations(line, perturbation, target, label, fold, start, (LINES, PERTURBATIONS, TARGETS))


def covariance(seed: int = 1) -> np.ndarray:
    features = np.random.default_rng(seed).standard_normal((PERTURBATIONS, 6))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return (features @ features.T).astype(np.float32)


# --- folds --------------------------------------------------------------------------------------------------


def test_a_fold_holds_all_rows_of_a_line_and_perturbation_and_lines_are_spread_evenly():
    seen = observed()
    groups = seen.line * PERTURBATIONS + seen.perturbation
    assert all(len(np.unique(seen.fold[groups == one])) == 1 for one in np.unique(groups))
    for line in range(LINES):
        places = np.unique(groups[seen.line == line], return_index=True)[1]
        counts = np.bincount(seen.fold[seen.line == line][places], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


# --- the process --------------------------------------------------------------------------------------------


def test_the_block_formula_equals_refitting_without_the_block():
    seen, between = observed(), covariance()
    left_out = seen.left_out()
    wanted = wanted_of(seen.label, 0.3)
    found = np.zeros((seen.views, len(seen.line), 2), dtype=np.float32)
    process_weights(seen.start, seen.line, seen.perturbation, wanted, left_out, between, 0, TARGETS, found)
    for target in (0, 5, TARGETS - 1):
        own = np.arange(seen.start[target], seen.start[target + 1])
        whole = np.array(
            [
                [
                    covariance_of(
                        between[seen.perturbation[one], seen.perturbation[other]],
                        bool(seen.line[one] == seen.line[other]),
                        bool(seen.perturbation[one] == seen.perturbation[other]),
                    )
                    for other in own
                ]
                for one in own
            ]
        )
        for view in range(seen.views):
            kept = ~left_out[view, own]
            refitted = np.linalg.solve(whole[np.ix_(kept, kept)] + 2 * np.eye(kept.sum()), wanted[own][kept])
            np.testing.assert_allclose(found[view, own][kept], refitted, atol=1e-5)
            assert not found[view, own][~kept].any()
            for place in np.flatnonzero(~kept)[:3]:
                mean = np.zeros(2, dtype=np.float32)
                row = own[place]
                rows = (seen.line, seen.perturbation, seen.label)
                code = int(seen.perturbation[row])
                span = int(seen.start[target]), int(seen.start[target + 1])
                process_mean(*span, int(seen.line[row]), code, rows, found[view], between[code], mean)
                np.testing.assert_allclose(mean, whole[place][kept] @ refitted, atol=1e-4)


# --- votes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [0, 2, -1])
def test_votes_equal_the_brute_force(line: int):
    seen = observed()
    random = np.random.default_rng(5)
    similar = random.random((PERTURBATIONS, len(votes.KERNELS))).astype(np.float32)
    left_out, target, code = seen.fold == 2, 4, 7
    usual = np.array([0.3, -0.1], dtype=np.float32)
    found = np.zeros(len(votes.VOTES) + len(votes.NEAREST) + len(votes.ELSEWHERE), dtype=np.float32)
    span = int(seen.start[target]), int(seen.start[target + 1])
    votes.fill_votes(*span, line, code, (seen.line, seen.perturbation, seen.label), left_out, similar, usual, found)
    said = dict(zip((*votes.VOTES, *votes.NEAREST, *votes.ELSEWHERE), found.tolist(), strict=True))
    rows = [row for row in range(*span) if not left_out[row]]
    signs = {0: 0, 1: -1, 2: 1}
    for place, kernel in enumerate(votes.KERNELS):
        for where in votes.PLACES:
            own = [r for r in rows if seen.perturbation[r] != code and (seen.line[r] == line) == (where == "own")]
            weights = [similar[seen.perturbation[row], place] ** 2 for row in own]
            for what, value, rate in (("changed", lambda y: y > 0, 0.3), ("signed", signs.__getitem__, -0.1)):
                total = sum(w * (value(int(seen.label[r])) - rate) for w, r in zip(weights, own, strict=True))
                expected = total / (sum(weights) + 0.05)
                assert said[f"{what}_{where}_{kernel}"] == pytest.approx(expected, abs=1e-5)
    elsewhere = [row for row in rows if seen.perturbation[row] == code and seen.line[row] != line]
    assert said["pair_rows"] == len(elsewhere)
    if elsewhere:
        assert said["pair_signed"] == pytest.approx(np.mean([signs[int(seen.label[row])] for row in elsewhere]))
    downs = [similar[seen.perturbation[r], -1] for r in rows if seen.perturbation[r] != code and seen.label[r] == 1]
    assert said["nearest_down_learned"] == pytest.approx(max(downs, default=0.0))


# --- rates --------------------------------------------------------------------------------------------------


def test_rates_leave_out_what_the_view_does_and_answer_for_what_was_never_seen():
    seen = observed()
    left_out = seen.fold == 1
    table = rates_of(seen, left_out).table
    kept = ~left_out & (seen.line == 1)
    rows, changed = kept & (seen.target == 3), (seen.label > 0)
    usual = ((changed & kept).sum() + PSEUDO_ROWS * (changed & ~left_out).sum() / (~left_out).sum()) / (
        kept.sum() + PSEUDO_ROWS
    )
    expected = ((rows & changed).sum() + PSEUDO_ROWS * usual) / (rows.sum() + PSEUDO_ROWS)
    assert table[1, 3, COLUMNS.index("own_usual")] == pytest.approx(expected, rel=1e-5)
    flipped = Observations(
        seen.line,
        seen.perturbation,
        seen.target,
        np.where(left_out, (seen.label + 1) % 3, seen.label).astype(np.int8),
        seen.fold,
        seen.start,
        seen.sizes,
    )
    np.testing.assert_array_equal(table, rates_of(flipped, left_out).table)
    assert np.isfinite(table).all()
    assert table[-1, -1, 0] == pytest.approx((changed & ~left_out).sum() / (~left_out).sum(), abs=0.02)


# --- similarity ---------------------------------------------------------------------------------------------


def test_agreement_is_the_mean_product_over_what_both_have():
    matrix = sparse.random(20, 40, density=0.3, random_state=3, format="csr", dtype=np.float32)
    one, other = (side.astype(np.int32) for side in np.triu_indices(20, k=1))
    mean, count = agreement(matrix, one, other)
    dense = matrix.toarray()
    for pair in range(0, len(one), 17):
        both = (dense[one[pair]] != 0) & (dense[other[pair]] != 0)
        assert count[pair] == both.sum()
        expected = (dense[one[pair]] * dense[other[pair]])[both].mean() if both.any() else 0.0
        assert mean[pair] == pytest.approx(expected, rel=1e-4)


def test_what_is_measured_at_its_mean_is_still_measured():
    seen = observed()
    found = responses(seen)
    pairs = np.unique(seen.perturbation.astype(np.int64) * TARGETS + seen.target)
    assert found.nnz == len(pairs)
    assert (found.data != 0).all()


def test_a_similarity_finds_the_kernel_that_tells_and_its_covariance_is_positive():
    random = np.random.default_rng(0)
    values = random.random((20_000, len(LAYERS))).astype(np.float32)
    agree = (values[:, 2] > 0.8).astype(np.float32) + 0.1 * random.standard_normal(20_000).astype(np.float32)
    found = learn(values, agree, np.ones(20_000, dtype=np.float32), seed=0)
    said = found(values)
    assert said[values[:, 2] > 0.8].mean() > 0.9
    assert said[values[:, 2] < 0.7].mean() < 0.1
    assert found.linear.min() >= 0
    assert found.linear.sum() == pytest.approx(1.0)
    assert found.linear[:, 2].sum() > 0.9
    assert found.linear[:, LAYERS.index("link")].sum() == 0


def test_neighbours_are_the_most_similar_active_genes():
    similar = np.array([0.5, 0.9, 0.0, 0.7, 0.1], dtype=np.float32)
    names, weights = neighbours(similar, np.array([True, False, True, True, True]), 2)
    assert names.tolist() == [0, 3]
    np.testing.assert_allclose(weights, [0.25 / 0.74, 0.49 / 0.74], rtol=1e-5)


# --- factorisation ------------------------------------------------------------------------------------------


def test_the_factorisation_recovers_a_planted_low_rank_response():
    random = np.random.default_rng(2)
    sizes, rank = (120, 150), 2
    u, v = random.standard_normal((sizes[0], rank)), 2 * random.standard_normal((2, sizes[1], rank))
    logits = np.einsum("pk,sgk->spg", u, v)
    chance = 1 / (1 + np.exp(-logits))
    changed, up = random.random(sizes) < chance[0], random.random(sizes) < chance[1]
    label = np.where(changed, np.where(up, 2, 1), 0).astype(np.int8)
    shown = random.random(sizes) < 0.6
    perturbation, target = (side.astype(np.int32) for side in np.nonzero(shown))
    nobody = [
        Neighbours(np.full((size, 1), -1, dtype=np.int32), np.zeros((size, 1), dtype=np.float32)) for size in sizes
    ]
    found = factorise(
        rows_by(perturbation, target, target, label[shown], sizes[0]).of(SETS[0]),
        rows_by(target, perturbation, target, label[shown], sizes[1]).of(SETS[0]),
        (nobody[0], nobody[1]),
        np.zeros((2, sizes[1]), dtype=np.float32),
        seed=0,
        factors=4,
        pull=0.7,
        sweeps=12,
    )
    said = np.einsum("pk,sgk->spg", found.perturbations, found.targets) + found.bias[:, None, :]
    hidden = ~shown
    assert np.corrcoef(said[0][hidden], logits[0][hidden])[0, 1] > 0.85
    assert np.corrcoef(said[1][hidden & changed], logits[1][hidden & changed])[0, 1] > 0.7


def test_a_perturbation_without_rows_gets_the_pull_of_its_neighbours():
    random = np.random.default_rng(4)
    perturbation, target = (side.ravel().astype(np.int32) for side in np.mgrid[:10, :20])
    label = random.choice(3, 200).astype(np.int8)
    shown = perturbation != 0
    names = np.full((10, 2), -1, dtype=np.int32)
    names[0] = [3, 4]
    weights = np.where(names >= 0, 0.5, 0.0).astype(np.float32)
    nobody = Neighbours(np.full((20, 1), -1, dtype=np.int32), np.zeros((20, 1), dtype=np.float32))
    found = factorise(
        rows_by(perturbation[shown], target[shown], target[shown], label[shown], 10).of(SETS[1]),
        rows_by(target[shown], perturbation[shown], target[shown], label[shown], 20).of(SETS[1]),
        (Neighbours(names, weights), nobody),
        np.zeros((3, 20), dtype=np.float32),
        seed=0,
        factors=4,
        pull=0.7,
        sweeps=30,
    )
    expected = 0.7 * found.perturbations[[3, 4]].mean(axis=0)
    np.testing.assert_allclose(found.perturbations[0], expected, rtol=0.1, atol=0.02)


def test_inactive_neighbours_give_their_weight_to_the_others():
    near = Neighbours(np.array([[0, 1, 2]], dtype=np.int32), np.array([[0.2, 0.3, 0.5]], dtype=np.float32))
    kept = inactive_removed(near, np.array([True, False, True]))
    assert kept.names.tolist() == [[0, -1, 2]]
    np.testing.assert_allclose(kept.weights, [[0.2 / 0.7, 0.0, 0.5 / 0.7]], rtol=1e-6)


@pytest.mark.parametrize("rows", [0, 1, 7, 16, 17, 40, 96, 97, 250])
def test_factors_of_a_gene_solve_the_reweighted_equations_however_many_rows_it_has(rows: int):
    random = np.random.default_rng(rows)
    size, lines = 32, np.zeros(rows, dtype=np.int32)
    u = random.standard_normal((rows, size)).astype(np.float32)
    own, bias = (0.1 * random.standard_normal((1, size))).astype(np.float32), np.array([0.3], dtype=np.float32)
    said = random.integers(-1, 2, rows).astype(np.float32)
    asked, table = said >= 0, u[said >= 0].astype(np.float64)
    product = table @ own[0]
    expected = 1 / (1 + np.exp(-(0.3 + product)))
    weight = expected * (1 - expected)
    wanted = np.linalg.solve(
        (table * weight[:, None]).T @ table + PRECISION * np.eye(size),
        table.T @ (weight * product + said[asked] - expected),
    )
    nobody = np.full((1, 1), -1, dtype=np.int32), np.zeros((1, 1), dtype=np.float32)
    factorisation._solve_targets(
        np.array([0, rows]), np.arange(rows, dtype=np.int32), lines, said, *nobody, 0.7, u, own, bias, bias.copy()
    )
    np.testing.assert_allclose(own[0], wanted, atol=1e-5)


def test_agreement_of_all_pairs_is_the_agreement_of_each():
    response = responses(observed())
    one, other = (side.astype(np.int32) for side in np.triu_indices(PERTURBATIONS, k=1))
    for found, wanted in zip(agreement_of_all(response), agreement(response, one, other), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_where_no_pair_was_measured_the_mean_of_the_kernels_stands():
    nothing = np.zeros((0, len(LAYERS)), dtype=np.float32)
    found = learn(nothing, np.zeros(0, np.float32), np.zeros(0, np.float32), seed=0)
    asked = np.linspace(0, 1, 6, dtype=np.float32)[:, None].repeat(len(LAYERS), axis=1)
    assert found(asked[:1])[0] == 0
    assert (np.diff(found(asked)) >= 0).all()
    assert found(asked)[-1] > 0.3


def test_least_and_most_are_of_the_other_lines_that_measured_the_target():
    seen = observed()
    nothing = np.zeros(len(seen.line), dtype=np.bool_)
    table = rates_of(seen, nothing).table
    at = {name: COLUMNS.index(name) for name in ("own_usual", "others", "least", "most")}
    for line in range(LINES):
        for target in range(TARGETS):
            others = [
                float(table[other, target, at["own_usual"]])
                for other in range(LINES)
                if other != line and ((seen.line == other) & (seen.target == target)).any()
            ]
            wanted = others or [float(table[line, target, at["others"]])]
            assert table[line, target, at["least"]] == pytest.approx(min(wanted))
            assert table[line, target, at["most"]] == pytest.approx(max(wanted))
