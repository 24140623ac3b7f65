"""What was learned from the training rows, and one perturbation as it stands to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aroma.model.evidence_features.factorisation import Factors, Neighbours
from aroma.model.evidence_features.layers import Float32, GeneIndex
from aroma.model.evidence_features.observations import UNKNOWN, Bool, Codes, Observations
from aroma.model.evidence_features.rates import COLUMNS, Rates
from aroma.model.evidence_features.similarity import Similarity, neighbours
from aroma.retrieval.csr import Int32, Int64

NEAR_PERTURBATIONS: Final = 60
NEAR_TARGETS: Final = 30
CANDIDATES: Final = 100
"""Targets that are looked at as neighbours of a target; the best ``NEAR_TARGETS`` of them pull on its factors."""


@dataclass(frozen=True)
class View:
    """What one view of the training rows says.

    Attributes:
        left_out: bool (rows).
        rates: Rates of targets.
        weights: float32 (rows, 2), of the processes.
        factors: One factorisation for each of ``factorisation.SETS``.
        excess: float32 (lines, perturbations, 3): by how much more of a perturbation's rows are changed, and are up
            rather than down, than their targets' rates say; and the number of rows.
    """

    left_out: Bool
    rates: Rates
    weights: Float32
    factors: tuple[Factors, ...]
    excess: Float32

    @cached_property
    def active(self) -> Bool:
        """Bool (perturbations): which have rows in this view."""
        found: Bool = self.excess[:, :, 2].sum(axis=0) > 0
        return found

    @cached_property
    def lines(self) -> Bool:
        """Bool (lines): which have rows in this view."""
        found: Bool = self.excess[:, :, 2].sum(axis=1) > 0
        return found

    @cached_property
    def line_bias(self) -> tuple[Float32, ...]:
        """float32 (parts, targets) of each factorisation: the mean bias over the lines that the view has."""
        lines = np.flatnonzero(self.lines if self.lines.any() else ~self.lines)
        count = len(self.excess)
        return tuple(
            np.ascontiguousarray(one.bias.reshape(len(one.bias), -1, count)[:, :, lines].mean(axis=2)).astype(
                np.float32
            )
            for one in self.factors
        )


@dataclass(frozen=True)
class Learned:
    """Everything that does not change from view to view.

    Attributes:
        codes: Names behind the numbers.
        seen: Training rows.
        perturbations: The trained perturbations, to compare others with.
        targets: The trained targets.
        similarity: Of perturbations.
        target_similarity: Of targets.
        near_targets: Candidates of every target with their similarity, best first.
    """

    codes: Codes
    seen: Observations
    perturbations: GeneIndex
    targets: GeneIndex
    similarity: Similarity
    target_similarity: Similarity
    near_targets: Neighbours

    @cached_property
    def by_perturbation(self) -> tuple[Int64, Int64]:
        """Start of each perturbation's rows, and the rows in that order."""
        order = np.argsort(self.seen.perturbation, kind="stable").astype(np.int64)
        size = np.arange(self.seen.sizes[1] + 1)
        return np.searchsorted(self.seen.perturbation[order], size).astype(np.int64), order

    @cached_property
    def rows(self) -> tuple[Int32, Int32, npt.NDArray[np.int8]]:
        """Line, perturbation and label of the training rows."""
        return self.seen.line, self.seen.perturbation, self.seen.label


@dataclass(frozen=True)
class Related:
    """A perturbation beside the trained ones, whatever the view.

    Attributes:
        code: Its code, ``UNKNOWN`` where not trained on.
        similar: float32 (perturbations, kernels), the learned similarity last.
        between: float32 (perturbations), covariances.
    """

    code: int
    similar: Float32
    between: Float32


def related(learned: Learned, code: int, node: int) -> Related:
    """Compare a perturbation with the trained ones.

    Args:
        learned: What was learned.
        code: Its code, ``UNKNOWN`` where not trained on.
        node: Its release node number; -1: none, so it resembles nothing.
    """
    values = learned.perturbations.row(node)
    similar = np.concatenate([values, learned.similarity(values)[:, None]], axis=1)
    return Related(code, np.ascontiguousarray(similar), learned.similarity.covariance(values))


@dataclass(frozen=True)
class Query:
    """A perturbation in one view.

    Attributes:
        related: The perturbation beside the trained ones.
        near: Its neighbours among the active ones, and their weights.
        factors: float32 (2, factors) of each factorisation: its own factors (its neighbours' where it has none), and
            what its neighbours alone say.
        excess: float32 (2): the mean excess of its neighbours, over all lines.
    """

    related: Related
    near: tuple[Int32, Float32]
    factors: tuple[Float32, ...]
    excess: Float32


def query(view: View, one: Related) -> Query:
    """Return a perturbation as it stands in a view; its own rows in the view count, those left out do not."""
    active = view.active.copy()
    trained = one.code != UNKNOWN and bool(active[one.code])
    if one.code != UNKNOWN:
        active[one.code] = False
    names, weights = neighbours(one.similar[:, -1], active, NEAR_PERTURBATIONS)
    factors = tuple(_factors(fit, one.code if trained else UNKNOWN, names, weights) for fit in view.factors)
    totals = view.excess.sum(axis=0)[names] if len(names) else np.zeros((0, 3), dtype=np.float32)
    mean = totals[:, :2] / np.maximum(totals[:, 2:], 1.0)
    return Query(one, (names, weights), factors, (weights[:, None] * mean).sum(axis=0).astype(np.float32))


def _factors(fit: Factors, code: int, names: Int32, weights: Float32) -> Float32:
    near = np.zeros(fit.perturbations.shape[1], dtype=np.float32)
    for name, weight in zip(names.tolist(), weights.tolist(), strict=True):
        near += np.float32(fit.pull * weight) * fit.perturbations[name]
    own = fit.perturbations[code] if code != UNKNOWN else near
    return np.stack([own, near])


def excess_of(seen: Observations, left_out: Bool, rates: Rates) -> Float32:
    """Return ``View.excess``."""
    lines, perturbations, _ = seen.sizes
    kept = ~left_out
    line, perturbation, target, label = (part[kept] for part in (seen.line, seen.perturbation, seen.target, seen.label))
    usual = usual_of(rates.table[line, target])
    place = line.astype(np.int64) * perturbations + perturbation
    found = np.stack(
        [
            np.bincount(place, weights=weights, minlength=lines * perturbations)
            for weights in ((label > 0) - usual[:, 0], np.choose(label, [0.0, -1.0, 1.0]) - usual[:, 1], None)
        ],
        axis=1,
    )
    return found.reshape(lines, perturbations, 3).astype(np.float32)


def usual_of(rates: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return (rows, 2): the rate of change, and the mean of up minus down, of rows of ``Rates.table``."""
    own, own_up = rates[..., COLUMNS.index("own")], rates[..., COLUMNS.index("own_up")]
    return np.stack([own, own * (2 * own_up - 1)], axis=-1)
