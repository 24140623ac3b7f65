"""Intervals: perturbation symbols drawn jointly across lines, crossed with target genes.

Rows of one perturbation share its effect and rows of one target share its rate, so neither rows nor perturbations
alone may be drawn as if they were independent. Each draw gives every perturbation symbol and every target gene a
count (how often it was drawn, with replacement), and a row weighs the product of its two (the two-way bootstrap of
Owen 2007, doi:10.1214/07-AOAS122). A symbol keeps its count in every line. The same draws serve all models, so that
differences are paired.

Within a gene its own count is constant, so a per-gene AUROC weighs perturbations alone, and the mean over genes weighs
each gene with its count.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from aroma.model.evaluation.calibration import brier_by_row
from aroma.model.evaluation.metrics import UP, Floats, Ints, Scored, f1_of
from aroma.model.labels import CLASSES
from aroma.retrieval.csr import compiled

DRAWS: Final = 1000
LEVEL: Final = 0.95
THREADS: Final = 2
_PART: Final = 125
Counts = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Draws:
    """How often each perturbation and each target was drawn.

    Attributes:
        perturbations: float32 (draws, perturbations).
        targets: float32 (draws, targets).
    """

    perturbations: Counts
    targets: Counts

    def __len__(self) -> int:
        """Return how many draws there are."""
        return len(self.perturbations)


def draw(rows: Scored, *, draws: int = DRAWS, seed: int = 0) -> Draws:
    """Draw perturbation symbols and target genes with replacement, as many of each as there are.

    Args:
        rows: Rows to draw from; only which symbols they have matters.
        draws: How many times.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    counted = []
    for codes, size in ((rows.perturbation, len(rows.perturbations)), (rows.target, len(rows.targets))):
        present = np.bincount(codes, minlength=size) > 0
        share = present / max(present.sum(), 1)
        counted.append(rng.multinomial(int(present.sum()), share, size=draws).astype(np.float32))
    return Draws(*counted)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The measures of one model in each draw; NaN where a draw does not define one.

    Attributes:
        f1: float64 (draws, lines, 3).
        macro_f1: float64 (draws).
        auroc: float64 (draws), pooled, of "changed".
        auprc: float64 (draws), likewise.
        direction_auroc: float64 (draws), pooled over changed rows, of "up".
        change: float64 (draws, lines), per-gene AUROC of differential expression.
        direction: float64 (draws, lines), per-gene AUROC of direction.
        brier: float64 (draws).
    """

    f1: Floats
    macro_f1: Floats
    auroc: Floats
    auprc: Floats
    direction_auroc: Floats
    change: Floats
    direction: Floats
    brier: Floats

    def measures(self) -> dict[str, Floats]:
        """Return the measures that a report gives an interval for, each float64 (draws)."""
        return {
            "mean_f1": means(self.f1),
            "macro_f1": self.macro_f1,
            "auroc": self.auroc,
            "auprc": self.auprc,
            "direction_auroc": self.direction_auroc,
            "change": means(self.change),
            "direction": means(self.direction),
            "brier": self.brier,
        }


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval of ``LEVEL``."""

    low: float
    high: float


def interval(values: Floats, estimate: float, level: float = LEVEL) -> Interval:
    """Return the bias-corrected percentile interval of draws (Efron 1981); NaN where no draw defines the measure.

    A draw loses the genes whose rarer class it happens not to draw, so the mean over genes of the draws lies beside
    the estimate; plain percentiles would carry that into the interval.

    Args:
        values: float64 (draws).
        estimate: The measure on the rows themselves.
        level: Chance that the interval holds the right value.
    """
    known = values[~np.isnan(values)]
    if not len(known) or np.isnan(estimate):
        return Interval(float("nan"), float("nan"))
    near = np.isclose(known, estimate, rtol=0, atol=1e-12)
    below = ((known < estimate) & ~near).mean() + near.mean() / 2
    least = 1 / (2 * len(known))
    shift = 2 * ndtri(np.clip(below, least, 1 - least))
    ends = ndtr(shift + ndtri(np.array([(1 - level) / 2, (1 + level) / 2])))
    low, high = np.quantile(known, ends)
    return Interval(float(low), float(high))


def measure_draws(rows: Scored, draws: Draws) -> Drawn:
    """Return a model's measures in every draw."""
    parts = [slice(start, start + _PART) for start in range(0, len(draws), _PART)]
    laid = _Laid.of(rows)

    def part(at: slice) -> Drawn:
        return laid.measure(draws.perturbations[at], draws.targets[at])

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(part, parts))
    return Drawn(*(np.concatenate([getattr(one, name) for one in found]) for name in Drawn.__dataclass_fields__))


def f1_draws(rows: Scored, draws: Draws) -> Floats:
    """Return F1 by line and class in every draw, float64 (draws, lines, 3): much cheaper than ``measure_draws``."""
    tables = np.zeros((len(draws), len(rows.lines) * len(CLASSES) ** 2))
    error, nothing = np.zeros(len(draws)), np.zeros(len(rows))
    _count(rows.perturbation, rows.target, _cells(rows), nothing, draws.perturbations, draws.targets, tables, error)
    return f1_of(tables.reshape(len(draws), len(rows.lines), len(CLASSES), len(CLASSES)))


def means(values: Floats) -> Floats:
    """Return the mean of each draw's known values, (draws, …) to float64 (draws); NaN where none is known."""
    flat = values.reshape(len(values), -1)
    known = ~np.isnan(flat)
    number = known.sum(axis=1)
    sums = np.where(known, flat, 0.0).sum(axis=1)
    found: Floats = np.divide(sums, number, out=np.full(len(values), np.nan), where=number > 0)
    return found


def _cells(rows: Scored) -> Ints:
    """Return the place of each row in the (line, right, answered) tables of counts."""
    found: Ints = (rows.line * len(CLASSES) + rows.truth) * len(CLASSES) + rows.answer
    return found


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Rows in an order in which those of a group stand together, by rising score.

    Attributes:
        perturbation: int64 (rows).
        target: int64 (rows).
        positive: bool (rows).
        last: bool (rows): the last of its group and score.
        line: int64 (groups).
        gene: int64 (groups).
        starts: int64 (groups + 1).
    """

    perturbation: Ints
    target: Ints
    positive: npt.NDArray[np.bool_]
    last: npt.NDArray[np.bool_]
    line: Ints
    gene: Ints
    starts: Ints

    @classmethod
    def of(cls, rows: Scored, group: Ints, scores: Floats, positive: npt.NDArray[np.bool_]) -> _Ranked:
        order = np.lexsort((scores, group))
        ranked, value = group[order], scores[order]
        turns = np.diff(ranked) != 0
        last = np.append(turns | (np.diff(value) != 0), [True][: len(order)])
        edges = [0, *(np.flatnonzero(turns) + 1).tolist(), len(order)] if len(order) else [0]
        starts = np.array(edges, dtype=np.int64)
        first = order[starts[:-1]]
        return cls(
            rows.perturbation[order],
            rows.target[order],
            positive[order],
            last,
            rows.line[first],
            rows.target[first],
            starts,
        )


@dataclass(frozen=True, slots=True)
class _Laid:
    """One model's rows, ordered for the compiled passes."""

    rows: Scored
    cell: Ints
    error: Floats
    pooled: _Ranked
    pooled_direction: _Ranked
    change: _Ranked
    direction: _Ranked

    @classmethod
    def of(cls, rows: Scored) -> _Laid:
        changed = rows.only(rows.changed)
        up = changed.truth == UP
        every, some = np.zeros(len(rows), dtype=np.int64), np.zeros(len(changed), dtype=np.int64)
        return cls(
            rows,
            _cells(rows),
            brier_by_row(rows.probabilities, rows.truth),
            _Ranked.of(rows, every, rows.change_score, rows.changed),
            _Ranked.of(changed, some, changed.direction_score, up),
            _Ranked.of(rows, rows.group, rows.change_score, rows.changed),
            _Ranked.of(changed, changed.group, changed.direction_score, up),
        )

    def measure(self, perturbations: Counts, targets: Counts) -> Drawn:
        rows, lines, classes, draws = self.rows, len(self.rows.lines), len(CLASSES), len(perturbations)
        flat, error = np.zeros((draws, lines * classes * classes)), np.zeros(draws)
        _count(rows.perturbation, rows.target, self.cell, self.error, perturbations, targets, flat, error)
        tables = flat.reshape(draws, lines, classes, classes)
        weight = tables.sum(axis=(1, 2, 3))
        pooled = self._pooled(self.pooled, perturbations, targets)
        pooled_direction = self._pooled(self.pooled_direction, perturbations, targets)
        return Drawn(
            f1=f1_of(tables),
            macro_f1=means(f1_of(tables.sum(axis=1))),
            auroc=pooled[:, 0],
            auprc=pooled[:, 1],
            direction_auroc=pooled_direction[:, 0],
            change=self._per_gene(self.change, perturbations, targets),
            direction=self._per_gene(self.direction, perturbations, targets),
            brier=np.divide(error, weight, out=np.full(draws, np.nan), where=weight > 0),
        )

    def _pooled(self, ranked: _Ranked, perturbations: Counts, targets: Counts) -> Floats:
        found = np.full((len(perturbations), 2), np.nan)
        _areas(ranked.perturbation, ranked.target, ranked.positive, ranked.last, perturbations, targets, found)
        return found

    def _per_gene(self, ranked: _Ranked, perturbations: Counts, targets: Counts) -> Floats:
        found = np.zeros((len(perturbations), len(self.rows.lines), 2))
        _gene_areas(
            ranked.perturbation,
            ranked.positive,
            ranked.last,
            ranked.starts,
            ranked.line,
            ranked.gene,
            perturbations,
            targets,
            found,
        )
        sums, weights = found[:, :, 0], found[:, :, 1]
        means: Floats = np.divide(sums, weights, out=np.full(sums.shape, np.nan), where=weights > 0)
        return means


@compiled
def _count(
    perturbation: Ints,
    target: Ints,
    cell: Ints,
    error: Floats,
    perturbations: Counts,
    targets: Counts,
    tables: Floats,
    errors: Floats,
) -> None:
    """Fill weighted tables of counts (draws, cells) and weighted sums of errors (draws)."""
    for draw_number in range(len(perturbations)):
        first, second = perturbations[draw_number], targets[draw_number]
        table = tables[draw_number]
        total = 0.0
        for row in range(len(perturbation)):
            weight = first[perturbation[row]] * second[target[row]]
            table[cell[row]] += weight
            total += weight * error[row]
        errors[draw_number] = total


@compiled
def _areas(
    perturbation: Ints,
    target: Ints,
    positive: npt.NDArray[np.bool_],
    last: npt.NDArray[np.bool_],
    perturbations: Counts,
    targets: Counts,
    found: Floats,
) -> None:
    """Fill weighted AUROC and average precision (draws, 2) of rows by rising score."""
    for draw_number in range(len(perturbations)):
        first, second = perturbations[draw_number], targets[draw_number]
        above, below, block_above, block_below = 0.0, 0.0, 0.0, 0.0
        area, precision = 0.0, 0.0
        for row in range(len(perturbation) - 1, -1, -1):
            if last[row]:
                area += block_below * (above + 0.5 * block_above)
                above, below = above + block_above, below + block_below
                if block_above > 0.0:
                    precision += block_above * above / (above + below)
                block_above, block_below = 0.0, 0.0
            weight = first[perturbation[row]] * second[target[row]]
            if positive[row]:
                block_above += weight
            else:
                block_below += weight
        area += block_below * (above + 0.5 * block_above)
        above, below = above + block_above, below + block_below
        if block_above > 0.0:
            precision += block_above * above / (above + below)
        if above > 0.0 and below > 0.0:
            found[draw_number, 0] = area / (above * below)
        if above > 0.0:
            found[draw_number, 1] = precision / above


@compiled
def _gene_areas(
    perturbation: Ints,
    positive: npt.NDArray[np.bool_],
    last: npt.NDArray[np.bool_],
    starts: Ints,
    line: Ints,
    gene: Ints,
    perturbations: Counts,
    targets: Counts,
    found: Floats,
) -> None:
    """Add up, by line, each gene's weighted AUROC times its count, and the counts: (draws, lines, 2)."""
    for draw_number in range(len(perturbations)):
        first, second = perturbations[draw_number], targets[draw_number]
        for group in range(len(starts) - 1):
            count = second[gene[group]]
            if count == 0.0:
                continue
            above, below, block_above, block_below, area = 0.0, 0.0, 0.0, 0.0, 0.0
            for row in range(starts[group], starts[group + 1]):
                weight = first[perturbation[row]]
                if positive[row]:
                    block_above += weight
                else:
                    block_below += weight
                if last[row]:
                    area += block_above * (below + 0.5 * block_below)
                    above, below = above + block_above, below + block_below
                    block_above, block_below = 0.0, 0.0
            if above > 0.0 and below > 0.0:
                found[draw_number, line[group], 0] += count * area / (above * below)
                found[draw_number, line[group], 1] += count
