"""Graph-regularised logistic matrix factorisation of all cell lines together.

``logit P(part) = b(target, line) + u·v`` for several parts of the outcome, where ``u`` belongs to the perturbation in
every line and is shared by the parts, ``v`` and ``b`` to the part. Two sets of parts are fitted apart, since one ``u``
for all of them follows what changes and forgets which way: changed and up among changed; and up among changed, up
against all else, down against all else. A gene's factors are expected to be near those of similar genes: ``u`` is
drawn from a normal distribution around 0.7 times the mean of its neighbours' (graph-regularised factorisation as in Cai
et al. 2011, alternating reweighted least squares as in Hu, Koren and Volinsky 2008), so a perturbation without a row of
its own is answered from those it resembles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import numba
import numpy as np
import numpy.typing as npt

from aroma.model.evidence_features.layers import Float32
from aroma.model.evidence_features.observations import Bool
from aroma.model.labels import DOWN, UP
from aroma.retrieval.csr import F, Int32, Int64, compiled

PULL: Final = 0.7
"""How far the mean of the neighbours is believed."""
_PRECISION: Final = 4.0
_LEAST_WEIGHT: Final = 0.01
_BIAS_PRECISION: Final = 1.0
_AT_ONCE: Final = 4


PARTS: Final = ("changed", "up", "rise", "fall")
"""Changed; up among changed; up against all else; down against all else."""
SETS: Final = (("changed", "up"), ("up", "rise", "fall"))
"""Parts that share the factors of perturbations."""
SIZES: Final = (48, 32)
"""Number of factors of each set."""


@dataclass(frozen=True)
class Rows:
    """Rows of one view in the order of one side, so that a side's rows stand together.

    Attributes:
        start: int64 (genes + 1): rows of gene ``i`` of this side are ``start[i]:start[i + 1]``.
        other: int32 (rows): the gene of the other side.
        cell: int32 (rows): target * lines + line, the row's bias.
        said: float32 (parts, rows): 1 yes, 0 no, -1 where the part is not asked.
    """

    start: Int64
    other: Int32
    cell: Int32
    said: Float32

    def of(self, parts: tuple[str, ...]) -> Rows:
        """Return the rows with some of the parts."""
        return Rows(self.start, self.other, self.cell, self.said[[PARTS.index(part) for part in parts]])


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
        targets: float32 (parts, targets, factors).
        bias: float32 (parts, targets * lines).
    """

    perturbations: Float32
    targets: Float32
    bias: Float32


def rows_by(side: Int32, other: Int32, cell: Int32, label: npt.NDArray[np.int8], size: int) -> Rows:
    """Return rows sorted by ``side``, stably, with all ``PARTS``."""
    order = np.argsort(side, kind="stable")
    start = np.searchsorted(side[order], np.arange(size + 1)).astype(np.int64)
    ordered = label[order]
    up = np.choose(ordered, [-1.0, 0.0, 1.0])
    said = np.stack([ordered > 0, up, ordered == UP, ordered == DOWN]).astype(np.float32)
    return Rows(start, other[order], cell[order], said)


def factorise(
    by_perturbation: Rows,
    by_target: Rows,
    near: tuple[Neighbours, Neighbours],
    prior: Float32,
    *,
    seed: int,
    factors: int,
    sweeps: int = 8,
) -> Factors:
    """Fit by alternating reweighted least squares.

    Args:
        by_perturbation: Rows of the view, by perturbation, with the parts that share factors.
        by_target: The same rows, by target.
        near: Neighbours of perturbations and of targets.
        prior: float32 (parts, targets * lines), the logits that biases start from and are drawn towards.
        seed: Of the first values.
        factors: Number of factors.
        sweeps: Times that both sides are solved.
    """
    random = np.random.default_rng(seed)
    sizes = len(by_perturbation.start) - 1, len(by_target.start) - 1
    u = (0.3 * random.standard_normal((sizes[0], factors))).astype(np.float32)
    v = (0.3 * random.standard_normal((len(prior), sizes[1], factors))).astype(np.float32)
    bias = prior.copy()
    for _ in range(sweeps):
        for part, said in enumerate(by_target.said):
            _solve_targets(
                by_target.start,
                by_target.other,
                by_target.cell,
                said,
                near[1].names,
                near[1].weights,
                u,
                v[part],
                bias[part],
                prior[part],
            )
        _solve_perturbations(
            by_perturbation.start,
            by_perturbation.other,
            by_perturbation.cell,
            by_perturbation.said,
            near[0].names,
            near[0].weights,
            u,
            v,
            bias,
        )
    return Factors(u, v, bias)


@compiled
def _neighbour_mean(names: Int32, weights: Float32, values: Float32, mean: Float32) -> None:
    """Put the pull of the neighbours of one gene into ``mean``."""
    mean[:] = 0.0
    for place in range(len(names)):
        if names[place] >= 0:
            near, weight = values[names[place]], np.float32(PULL) * weights[place]
            for factor in range(len(mean)):
                mean[factor] += weight * near[factor]


@compiled
def _gather(
    place: int,
    said: float,
    level: float,
    factors: Float32,
    own: Float32,
    rows: Float32,
    side: Float32,
) -> None:
    """Put one row, times the root of its weight, into ``rows``, and add what it asks for to ``side``."""
    product = _dot(factors, own)
    expected = np.float32(1.0) / (np.float32(1.0) + np.exp(-(level + product)))
    weight = max(expected * (np.float32(1.0) - expected), np.float32(_LEAST_WEIGHT))
    residual, root = weight * product + said - expected, np.sqrt(weight)
    for one in range(len(factors)):
        rows[place, one] = root * factors[one]
        side[one] += residual * factors[one]


@compiled
def _products(rows: Float32, count: int, matrix: Float32) -> None:
    """Put ``rows.T @ rows``, plus the precision, into ``matrix``.

    Four rows at a time, over whole rows of the matrix, which compiles to vector instructions; the library's product
    would start threads for each of these thousands of small matrices.
    """
    size = matrix.shape[0]
    rows[count : count + _AT_ONCE] = np.float32(0.0)
    matrix[:] = np.float32(0.0)
    for first in range(0, count, _AT_ONCE):
        a, b, c, d = rows[first], rows[first + 1], rows[first + 2], rows[first + 3]
        for one in range(size):
            line = matrix[one]
            w, x, y, z = a[one], b[one], c[one], d[one]
            for other in range(size):
                line[other] += w * a[other] + x * b[other] + y * c[other] + z * d[other]
    for one in range(size):
        matrix[one, one] += np.float32(_PRECISION)


@compiled
def _solve(matrix: Float32, side: Float32) -> None:
    """Solve in place by Cholesky, whole rows at a time: twice the work, done in vector instructions."""
    size = len(side)
    for pivot in range(size):
        line = matrix[pivot]
        scale = np.float32(1.0) / np.sqrt(max(line[pivot], np.float32(1e-6)))
        for column in range(size):
            line[column] *= scale
        for row in range(pivot + 1, size):
            factor, below = line[row], matrix[row]
            for column in range(size):
                below[column] -= factor * line[column]
        side[pivot] *= scale
        solved = side[pivot]
        for column in range(pivot + 1, size):
            side[column] -= solved * line[column]
    for pivot in range(size - 1, -1, -1):
        total = side[pivot]
        for column in range(pivot + 1, size):
            total -= matrix[pivot, column] * side[column]
        side[pivot] = total / matrix[pivot, pivot]


def summed(function: F) -> F:
    """Compile a function whose sums may be added up in vectors; the order is fixed when it is compiled."""
    return cast("F", numba.njit(nogil=True, forceinline=True, fastmath={"reassoc", "contract", "nsz"})(function))


@summed
def _few_products(rows: Float32, count: int, side: Float32, gram: Float32, found: Float32) -> None:
    """Put ``rows @ rows.T`` and the precision into the lower half of ``gram``, ``rows @ side`` into ``found``."""
    for one in range(count):
        for other in range(one + 1):
            total = np.float32(0.0)
            for factor in range(rows.shape[1]):
                total += rows[one, factor] * rows[other, factor]
            gram[one, other] = total
        gram[one, one] += np.float32(_PRECISION)
        total = np.float32(0.0)
        for factor in range(rows.shape[1]):
            total += rows[one, factor] * side[factor]
        found[one] = total


@summed
def _few_solve(gram: Float32, found: Float32) -> None:
    """Solve in place by Cholesky, for few rows."""
    size = len(found)
    for row in range(size):
        for column in range(row + 1):
            total = gram[row, column]
            for place in range(column):
                total -= gram[row, place] * gram[column, place]
            gram[row, column] = np.sqrt(max(total, np.float32(1e-6))) if row == column else total / gram[column, column]
        total = found[row]
        for place in range(row):
            total -= gram[row, place] * found[place]
        found[row] = total / gram[row, row]
    for row in range(size - 1, -1, -1):
        found[row] /= gram[row, row]
        for place in range(row):
            found[place] -= gram[row, place] * found[row]


@compiled
def _solve_gene(rows: Float32, count: int, side: Float32, matrix: Float32, gram: Float32, found: Float32) -> None:
    """Solve ``(rows.T @ rows + precision) x = side`` in place; through ``rows @ rows.T`` where there are few rows.

    The two are equal (Woodbury's identity); most targets have fewer changed rows than there are factors.
    """
    if count > len(side) // 2:
        _products(rows, count, matrix)
        _solve(matrix, side)
        return
    few, own = gram[: count * count].reshape(count, count), found[:count]
    _few_products(rows, count, side, few, own)
    _few_solve(few, own)
    for row in range(count):
        for factor in range(len(side)):
            side[factor] -= own[row] * rows[row, factor]
    for factor in range(len(side)):
        side[factor] /= np.float32(_PRECISION)


@compiled
def _dot(one: Float32, other: Float32) -> Any:
    """Return the dot product, by four sums that do not wait for each other."""
    a, b, c, d = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    whole = len(one) - len(one) % _AT_ONCE
    for place in range(0, whole, _AT_ONCE):
        a += one[place] * other[place]
        b += one[place + 1] * other[place + 1]
        c += one[place + 2] * other[place + 2]
        d += one[place + 3] * other[place + 3]
    for place in range(whole, len(one)):
        a += one[place] * other[place]
    return (a + b) + (c + d)


@compiled
def _solve_targets(
    start: Int64,
    other: Int32,
    cell: Int32,
    said: Float32,
    names: Int32,
    near: Float32,
    u: Float32,
    v: Float32,
    bias: Float32,
    prior: Float32,
) -> None:
    """Solve the factors of every target, then its biases, one Newton step each; rows where ``said`` is -1 are none."""
    size = u.shape[1]
    matrix, side, mean = np.empty((size, size), np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    gram, found = np.empty(size * size, np.float32), np.empty(size, np.float32)
    rows = np.zeros((_most(start) + _AT_ONCE, size), np.float32)
    for gene in range(len(start) - 1):
        _neighbour_mean(names[gene], near[gene], v, mean)
        side[:] = np.float32(_PRECISION) * mean
        count = 0
        for row in range(start[gene], start[gene + 1]):
            if said[row] >= 0:
                _gather(count, said[row], bias[cell[row]], u[other[row]], v[gene], rows, side)
                count += 1
        _solve_gene(rows, count, side, matrix, gram, found)
        v[gene] = side
        _step_biases(start[gene], start[gene + 1], other, cell, said, u, v[gene], bias, prior)


@compiled
def _most(start: Int64) -> int:
    """Return the most rows that one gene has."""
    most = 0
    for gene in range(len(start) - 1):
        most = max(most, start[gene + 1] - start[gene])
    return most


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
    said: Float32,
    names: Int32,
    near: Float32,
    u: Float32,
    v: Float32,
    bias: Float32,
) -> None:
    """Solve the factors of every perturbation from all parts together."""
    size, parts = u.shape[1], len(said)
    matrix, side, mean = np.empty((size, size), np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    gram, found = np.empty(size * size, np.float32), np.empty(size, np.float32)
    rows = np.zeros((parts * _most(start) + _AT_ONCE, size), np.float32)
    for gene in range(len(start) - 1):
        _neighbour_mean(names[gene], near[gene], u, mean)
        side[:] = np.float32(_PRECISION) * mean
        count = 0
        for row in range(start[gene], start[gene + 1]):
            target = other[row]
            for part in range(parts):
                if said[part, row] >= 0:
                    _gather(count, said[part, row], bias[part, cell[row]], v[part, target], u[gene], rows, side)
                    count += 1
        _solve_gene(rows, count, side, matrix, gram, found)
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
    found: Float32,
) -> None:
    """Put one factorisation's logits of rows of one perturbation into ``found``.

    Args:
        targets: Codes (-1 unseen), and neighbours of each row's target with their weights, -1 at the end.
        mine: float32 (2, factors), of the perturbation: its own, and its neighbours'.
        factors: float32 (parts, targets, factors).
        bias: float32 (parts, targets, lines).
        any_line: float32 (parts, targets), biases for a line never seen.
        line: Code of the line, -1 never seen.
        found: float32 (rows, 3 * parts), filled here: logit, own product, neighbours' product of each part.
    """
    codes, near, weights = targets
    size = mine.shape[1]
    own = np.zeros(size, dtype=np.float32)
    for row in range(len(codes)):
        for part in range(len(factors)):
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
            found[row, 3 * part] = level + product
            found[row, 3 * part + 1] = product
            found[row, 3 * part + 2] = close
