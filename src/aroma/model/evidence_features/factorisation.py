"""Graph-regularised logistic matrix factorisation of all cell lines together.

``logit P(changed) = b(target, line) + u·v`` and ``logit P(up | changed) = b'(target, line) + u·v'``, where ``u``
belongs to the perturbation in every line. A gene's factors are expected to be near those of similar genes: ``u`` is
drawn from a normal distribution around 0.9 times the mean of its neighbours' (graph-regularised factorisation as in Cai
et al. 2011, alternating reweighted least squares as in Hu, Koren and Volinsky 2008), so a perturbation without a row of
its own is answered from those it resembles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aroma.model.evidence_features.layers import Float32
from aroma.model.evidence_features.observations import Bool
from aroma.retrieval.csr import Int32, Int64, compiled

PULL: Final = 0.9
"""How far the mean of the neighbours is believed."""
_PRECISION: Final = 4.0
_LEAST_WEIGHT: Final = 0.05
_BIAS_PRECISION: Final = 1.0


@dataclass(frozen=True)
class Rows:
    """Rows of one view in the order of one side, so that a side's rows stand together.

    Attributes:
        start: int64 (genes + 1): rows of gene ``i`` of this side are ``start[i]:start[i + 1]``.
        other: int32 (rows): the gene of the other side.
        cell: int32 (rows): target * lines + line, the row's bias.
        changed: float32 (rows): 1 where the label is up or down.
        up: float32 (rows): 1 up, 0 down, -1 not significant.
    """

    start: Int64
    other: Int32
    cell: Int32
    changed: Float32
    up: Float32


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of each gene of one side: int32 and float32 (genes, most), filled up with -1 and 0."""

    names: Int32
    weights: Float32


@dataclass(frozen=True)
class Factors:
    """A fitted factorisation.

    Attributes:
        perturbations: float32 (perturbations, factors).
        targets: float32 (2, targets, factors): of changed, of direction.
        bias: float32 (2, targets * lines).
    """

    perturbations: Float32
    targets: Float32
    bias: Float32


def rows_by(side: Int32, other: Int32, cell: Int32, label: npt.NDArray[np.int8], size: int) -> Rows:
    """Return rows sorted by ``side``, stably."""
    order = np.argsort(side, kind="stable")
    start = np.searchsorted(side[order], np.arange(size + 1)).astype(np.int64)
    up = np.choose(label, [-1.0, 0.0, 1.0]).astype(np.float32)
    return Rows(start, other[order], cell[order], (label[order] > 0).astype(np.float32), up[order])


def factorise(
    by_perturbation: Rows,
    by_target: Rows,
    near: tuple[Neighbours, Neighbours],
    prior: Float32,
    *,
    seed: int,
    factors: int = 32,
    sweeps: int = 10,
) -> Factors:
    """Fit by alternating reweighted least squares.

    Args:
        by_perturbation: Rows of the view, by perturbation.
        by_target: The same rows, by target.
        near: Neighbours of perturbations and of targets.
        prior: float32 (2, targets * lines), the logits that biases start from and are drawn towards.
        seed: Of the first values.
        factors: Number of factors.
        sweeps: Times that both sides are solved.
    """
    random = np.random.default_rng(seed)
    sizes = len(by_perturbation.start) - 1, len(by_target.start) - 1
    u = (0.3 * random.standard_normal((sizes[0], factors))).astype(np.float32)
    v = (0.3 * random.standard_normal((2, sizes[1], factors))).astype(np.float32)
    bias = prior.copy()
    for _ in range(sweeps):
        _solve_targets(*_columns(by_target), near[1].names, near[1].weights, u, v[0], bias[0], prior[0], False)
        _solve_targets(*_columns(by_target), near[1].names, near[1].weights, u, v[1], bias[1], prior[1], True)
        _solve_perturbations(*_columns(by_perturbation), near[0].names, near[0].weights, u, v, bias)
    return Factors(u, v, bias)


def _columns(rows: Rows) -> tuple[Int64, Int32, Int32, Float32, Float32]:
    return rows.start, rows.other, rows.cell, rows.changed, rows.up


@compiled
def _neighbour_mean(names: Int32, weights: Float32, values: Float32, mean: Float32) -> None:
    """Put the pull of the neighbours of one gene into ``mean``."""
    mean[:] = 0.0
    for place in range(len(names)):
        if names[place] >= 0:
            mean += np.float32(PULL) * weights[place] * values[names[place]]


@compiled
def _add(matrix: Float32, side: Float32, factors: Float32, weight: float, residual: float) -> None:
    """Add one weighted row to the normal equations."""
    size = len(factors)
    for one in range(size):
        scaled = np.float32(weight) * factors[one]
        side[one] += np.float32(residual) * factors[one]
        for other in range(one + 1):
            matrix[one, other] += scaled * factors[other]


@compiled
def _solve(matrix: Float32, side: Float32) -> None:
    """Solve in place by Cholesky; the lower triangle of ``matrix`` is used."""
    size = len(side)
    for one in range(size):
        for other in range(one + 1):
            total = matrix[one, other]
            for inner in range(other):
                total -= matrix[one, inner] * matrix[other, inner]
            if one == other:
                matrix[one, one] = np.sqrt(max(total, np.float32(1e-6)))
            else:
                matrix[one, other] = total / matrix[other, other]
    for one in range(size):
        total = side[one]
        for inner in range(one):
            total -= matrix[one, inner] * side[inner]
        side[one] = total / matrix[one, one]
    for one in range(size - 1, -1, -1):
        total = side[one]
        for inner in range(one + 1, size):
            total -= matrix[inner, one] * side[inner]
        side[one] = total / matrix[one, one]


@compiled
def _dot(one: Float32, other: Float32) -> Any:
    total = np.float32(0.0)
    for place in range(len(one)):
        total += one[place] * other[place]
    return total


@compiled
def _solve_targets(
    start: Int64,
    other: Int32,
    cell: Int32,
    changed: Float32,
    up: Float32,
    names: Int32,
    near: Float32,
    u: Float32,
    v: Float32,
    bias: Float32,
    prior: Float32,
    direction: bool,
) -> None:
    """Solve the factors of every target, then its biases, one Newton step each."""
    size = u.shape[1]
    matrix, side, mean = np.empty((size, size), np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for gene in range(len(start) - 1):
        matrix[:] = 0.0
        _neighbour_mean(names[gene], near[gene], v, mean)
        for one in range(size):
            matrix[one, one] = np.float32(_PRECISION)
        side[:] = np.float32(_PRECISION) * mean
        for row in range(start[gene], start[gene + 1]):
            said = up[row] if direction else changed[row]
            if said < 0:
                continue
            product = _dot(u[other[row]], v[gene])
            expected = 1.0 / (1.0 + np.exp(-(bias[cell[row]] + product)))
            weight = max(expected * (1.0 - expected), _LEAST_WEIGHT)
            _add(matrix, side, u[other[row]], weight, weight * product + said - expected)
        _solve(matrix, side)
        v[gene] = side
        _step_biases(start[gene], start[gene + 1], other, cell, up if direction else changed, u, v[gene], bias, prior)


@compiled
def _step_biases(
    begin: int,
    end: int,
    other: Int32,
    cell: Int32,
    said: Float32,
    u: Float32,
    factors: Float32,
    bias: Float32,
    prior: Float32,
) -> None:
    """Take one Newton step for the bias of a target in each line; rows of a line stand together."""
    row = begin
    while row < end:
        own = cell[row]
        gradient, curvature = _BIAS_PRECISION * (prior[own] - bias[own]), _BIAS_PRECISION
        while row < end and cell[row] == own:
            if said[row] >= 0:
                expected = 1.0 / (1.0 + np.exp(-(bias[own] + _dot(u[other[row]], factors))))
                gradient += said[row] - expected
                curvature += max(expected * (1.0 - expected), _LEAST_WEIGHT)
            row += 1
        bias[own] += np.float32(gradient / curvature)


@compiled
def _solve_perturbations(
    start: Int64,
    other: Int32,
    cell: Int32,
    changed: Float32,
    up: Float32,
    names: Int32,
    near: Float32,
    u: Float32,
    v: Float32,
    bias: Float32,
) -> None:
    """Solve the factors of every perturbation from changed and direction together."""
    size = u.shape[1]
    matrix, side, mean = np.empty((size, size), np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for gene in range(len(start) - 1):
        matrix[:] = 0.0
        _neighbour_mean(names[gene], near[gene], u, mean)
        for one in range(size):
            matrix[one, one] = np.float32(_PRECISION)
        side[:] = np.float32(_PRECISION) * mean
        for row in range(start[gene], start[gene + 1]):
            for part in range(2):
                said = changed[row] if part == 0 else up[row]
                if said < 0:
                    continue
                factors = v[part, other[row]]
                product = _dot(u[gene], factors)
                expected = 1.0 / (1.0 + np.exp(-(bias[part, cell[row]] + product)))
                weight = max(expected * (1.0 - expected), _LEAST_WEIGHT)
                _add(matrix, side, factors, weight, weight * product + said - expected)
        _solve(matrix, side)
        u[gene] = side


def inactive_removed(near: Neighbours, active: Bool) -> Neighbours:
    """Return neighbours without the inactive genes, weights scaled to sum to one again."""
    kept = (near.names >= 0) & active[np.maximum(near.names, 0)]
    weights = np.where(kept, near.weights, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    scaled = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return Neighbours(np.where(kept, near.names, -1).astype(np.int32), scaled.astype(np.float32))


@compiled
def factor_scores(
    targets: tuple[Int32, Int32, Float32],
    mine: Float32,
    factors: Float32,
    bias: Float32,
    any_line: Float32,
    line: int,
    share: float,
    found: Float32,
) -> None:
    """Add one factorisation's logits of rows of one perturbation.

    Args:
        targets: Codes (-1 unseen), and neighbours of each row's target with their weights, -1 at the end.
        mine: float32 (2, factors), of the perturbation: its own, and its neighbours'.
        factors: float32 (2, targets, factors).
        bias: float32 (2, targets, lines).
        any_line: float32 (2, targets), biases for a line never seen.
        line: Code of the line, -1 never seen.
        share: Weight of this factorisation.
        found: float32 (rows, 6): logit, own product, neighbours' product, of changed and of up; added to here.
    """
    codes, near, weights = targets
    size = mine.shape[1]
    own = np.zeros(size, dtype=np.float32)
    for row in range(len(codes)):
        for part in range(2):
            level = np.float32(0.0)
            if codes[row] >= 0:
                own[:] = factors[part, codes[row]]
                level = any_line[part, codes[row]] if line < 0 else bias[part, codes[row], line]
            else:
                own[:] = 0.0
                total = np.float32(0.0)
                for place in range(near.shape[1]):
                    if near[row, place] >= 0:
                        total += weights[row, place]
                for place in range(near.shape[1]):
                    other = near[row, place]
                    if other >= 0:
                        scale = weights[row, place] / total
                        own += np.float32(PULL) * scale * factors[part, other]
                        level += scale * (any_line[part, other] if line < 0 else bias[part, other, line])
            product, close = _dot(mine[0], own), _dot(mine[1], own)
            found[row, 3 * part] += np.float32(share) * (level + product)
            found[row, 3 * part + 1] += np.float32(share) * product
            found[row, 3 * part + 2] += np.float32(share) * close
