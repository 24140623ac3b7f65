"""Graph-regularised logistic matrix factorisation of all cell lines together.

``logit P(part) = b(target, line) + u·v`` for several parts of the outcome, where ``u`` belongs to the perturbation in
every line and is shared by the parts, ``v`` and ``b`` to the part. Two sets of parts are fitted apart, since one ``u``
for all of them follows what changes and forgets which way: changed and up among changed; and up among changed, up
against all else, down against all else. A gene's factors are expected to be near those of similar genes: ``u`` is drawn
from a normal distribution around a share (``PULLS``) of the mean of its neighbours' (graph-regularised factorisation as
in Cai et al. 2011, alternating reweighted least squares as in Hu, Koren and Volinsky 2008), so a perturbation without a
row of its own is answered from those it resembles.
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

_LEAST_WEIGHT: Final = 0.01
_BIAS_PRECISION: Final = 1.0
_BLOCK: Final = 96
"""Rows that are multiplied at a time: so few that the library's product starts no threads for them."""
Work = tuple[Float32, Float32, Float32, Float32, Float32, Float32, Float32, Float32]


PARTS: Final = ("changed", "up", "rise", "fall")
"""Changed; up among changed; up against all else; down against all else."""
SETS: Final = (("changed", "up"), ("up", "rise", "fall"))
"""Parts that share the factors of perturbations."""
SIZES: Final = (48, 32)
"""Number of factors of each set."""
PULLS: Final = (0.9, 0.7)
"""How far the mean of the neighbours is believed in each set: further for what changes than for which way."""
PRECISION: Final = 2.0
SWEEPS: Final = 10


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
        pull: How far the mean of the neighbours is believed.
    """

    perturbations: Float32
    targets: Float32
    bias: Float32
    pull: float


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
    pull: float,
    sweeps: int = SWEEPS,
) -> Factors:
    """Fit by alternating reweighted least squares.

    Args:
        by_perturbation: Rows of the view, by perturbation, with the parts that share factors.
        by_target: The same rows, by target.
        near: Neighbours of perturbations and of targets.
        prior: float32 (parts, targets * lines), the logits that biases start from and are drawn towards.
        seed: Of the first values.
        factors: Number of factors.
        pull: How far the mean of the neighbours is believed.
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
                pull,
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
            pull,
            u,
            v,
            bias,
        )
    return Factors(u, v, bias, pull)


@compiled
def _neighbour_mean(names: Int32, weights: Float32, values: Float32, pull: float, mean: Float32) -> None:
    """Put the pull of the neighbours of one gene into ``mean``."""
    mean[:] = 0.0
    for place in range(len(names)):
        if names[place] >= 0:
            near, weight = values[names[place]], np.float32(pull) * weights[place]
            for factor in range(len(mean)):
                mean[factor] += weight * near[factor]


@compiled
def _weigh(
    count: int, said: Float32, level: Float32, own: Float32, rows: Float32, space: Float32, side: Float32
) -> None:
    """Multiply rows by the root of their weight, and add what they ask for to ``side``.

    Args:
        count: How many rows there are.
        said: float32 (rows), 1 yes and 0 no; overwritten.
        level: float32 (rows), their biases.
        own: float32 (factors), what is being solved, as it was.
        rows: float32 (rows, factors), the factors of the other side.
        space: float32 (rows), overwritten.
        side: float32 (factors).
    """
    table, product = rows[:count], space[:count]
    np.dot(table, own, product)
    for row in range(count):
        expected = np.float32(1.0) / (np.float32(1.0) + np.exp(-(level[row] + product[row])))
        weight = max(expected * (np.float32(1.0) - expected), np.float32(_LEAST_WEIGHT))
        said[row] += weight * product[row] - expected
        product[row] = np.sqrt(weight)
    side += np.dot(said[:count], table)
    for row in range(count):
        for factor in range(len(own)):
            table[row, factor] *= product[row]


def summed(function: F) -> F:
    """Compile a function whose sums may be added up in vectors; the order is fixed when it is compiled."""
    return cast("F", numba.njit(nogil=True, forceinline=True, fastmath={"reassoc", "contract", "nsz"})(function))


@summed
def _solve(lower: Float32, side: Float32) -> None:
    """Solve ``lower @ lower.T x = side`` in place."""
    for row in range(len(side)):
        total = side[row]
        for place in range(row):
            total -= lower[row, place] * side[place]
        side[row] = total / lower[row, row]
    for row in range(len(side) - 1, -1, -1):
        side[row] /= lower[row, row]
        for place in range(row):
            side[place] -= lower[row, place] * side[row]


@compiled
def _flush(count: int, own: Float32, work: Work, side: Float32) -> None:
    """Add the rows that were gathered to ``matrix`` and ``side``."""
    rows, said, level, space, matrix, part, _, _ = work
    if count == 0:
        return
    _weigh(count, said, level, own, rows, space, side)
    table = rows[:count]
    np.dot(table.T, table, part)
    matrix += part


@compiled
def _solve_gene(gathered: int, flushed: int, own: Float32, work: Work, side: Float32) -> None:
    """Solve ``(rows.T @ rows + precision) x = side`` in place; through ``rows @ rows.T`` where there are few rows.

    The two are equal (Woodbury's identity); most targets have fewer changed rows than there are factors.

    Args:
        gathered: Rows that wait in ``work``.
        flushed: Rows that are in its matrix already.
        own: float32 (factors), what is being solved, as it was.
        work: See ``_work``.
        side: float32 (factors).
    """
    rows, said, level, space, matrix, _, gram, found = work
    size = len(side)
    if flushed + gathered >= size:
        _flush(gathered, own, work, side)
        for factor in range(size):
            matrix[factor, factor] += np.float32(PRECISION)
        _solve(np.linalg.cholesky(matrix), side)
        return
    if gathered > 0:
        _weigh(gathered, said, level, own, rows, space, side)
        few, table, mine = gram[: gathered * gathered].reshape(gathered, gathered), rows[:gathered], found[:gathered]
        np.dot(table, table.T, few)
        np.dot(table, side, mine)
        for row in range(gathered):
            few[row, row] += np.float32(PRECISION)
        _solve(np.linalg.cholesky(few), mine)
        side -= np.dot(mine, table)
    side /= np.float32(PRECISION)


@compiled
def _work(size: int) -> Work:
    """Return the space in which genes of one side are solved.

    Rows (a block, factors), what they say, their levels and a spare column; the matrix of the equations and of one
    block; products of few rows, and their solution.
    """
    return (
        np.empty((_BLOCK, size), np.float32),
        np.empty(_BLOCK, np.float32),
        np.empty(_BLOCK, np.float32),
        np.empty(_BLOCK, np.float32),
        np.empty((size, size), np.float32),
        np.empty((size, size), np.float32),
        np.empty(size * size, np.float32),
        np.empty(size, np.float32),
    )


@summed
def _dot(one: Float32, other: Float32) -> Any:
    """Return the dot product."""
    total = np.float32(0.0)
    for place in range(len(one)):
        total += one[place] * other[place]
    return total


@compiled
def _solve_targets(
    start: Int64,
    other: Int32,
    cell: Int32,
    said: Float32,
    names: Int32,
    near: Float32,
    pull: float,
    u: Float32,
    v: Float32,
    bias: Float32,
    prior: Float32,
) -> None:
    """Solve the factors of every target, then its biases, one Newton step each; rows where ``said`` is -1 are none."""
    work = _work(u.shape[1])
    rows, asked, level, matrix = work[0], work[1], work[2], work[4]
    side, mean = np.empty(u.shape[1], np.float32), np.empty(u.shape[1], np.float32)
    for gene in range(len(start) - 1):
        _neighbour_mean(names[gene], near[gene], v, pull, mean)
        side[:] = np.float32(PRECISION) * mean
        matrix[:] = np.float32(0.0)
        count, flushed = 0, 0
        for row in range(start[gene], start[gene + 1]):
            if said[row] >= 0:
                rows[count] = u[other[row]]
                asked[count], level[count] = said[row], bias[cell[row]]
                count += 1
            if count == _BLOCK:
                _flush(count, v[gene], work, side)
                count, flushed = 0, flushed + count
        _solve_gene(count, flushed, v[gene], work, side)
        v[gene] = side
        _step_biases(start[gene], start[gene + 1], other, cell, said, u, v[gene], bias, prior)


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
    pull: float,
    u: Float32,
    v: Float32,
    bias: Float32,
) -> None:
    """Solve the factors of every perturbation from all parts together."""
    work = _work(u.shape[1])
    rows, asked, level, matrix = work[0], work[1], work[2], work[4]
    side, mean = np.empty(u.shape[1], np.float32), np.empty(u.shape[1], np.float32)
    for gene in range(len(start) - 1):
        _neighbour_mean(names[gene], near[gene], u, pull, mean)
        side[:] = np.float32(PRECISION) * mean
        matrix[:] = np.float32(0.0)
        count, flushed = 0, 0
        for row in range(start[gene], start[gene + 1]):
            for part in range(len(said)):
                if said[part, row] >= 0:
                    rows[count] = v[part, other[row]]
                    asked[count], level[count] = said[part, row], bias[part, cell[row]]
                    count += 1
                if count == _BLOCK:
                    _flush(count, u[gene], work, side)
                    count, flushed = 0, flushed + count
        _solve_gene(count, flushed, u[gene], work, side)
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
    pull: float,
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
        pull: How far the mean of the neighbours is believed.
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
                        own += np.float32(pull) * scale * factors[part, other]
                        level += scale * (any_line[part, other] if line < 0 else bias[part, other, line])
            product, close = _dot(mine[0], own), _dot(mine[1], own)
            found[row, 3 * part] = level + product
            found[row, 3 * part + 1] = product
            found[row, 3 * part + 2] = close
