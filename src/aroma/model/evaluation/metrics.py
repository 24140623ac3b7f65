"""Measures of predicted outcomes, as PerturbQA (Wu et al. 2025) and the AROMA paper define them.

Everything here works on arrays, and on rows that are all complete: ``scored`` lays a frame out. A measure that a set
of rows does not define (no row of a class, no gene with both classes) is NaN, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.model.labels import CLASSES, COLUMN_OF_LABEL, PROBABILITY_COLUMNS, Probabilities

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Columns: TypeAlias = npt.NDArray[np.int8]
Bools: TypeAlias = npt.NDArray[np.bool_]
DOWN, SAME, UP = range(3)
"""Places of the classes in the order of ``CLASSES``, which all arrays here use."""
TOP_K: Final = (5, 10, 20)


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions beside what was measured, as arrays of one length (rows).

    Attributes:
        lines: Names of cell lines; ``line`` holds their places.
        perturbations: Names of perturbations; likewise.
        targets: Names of target genes; likewise.
        line: int64.
        perturbation: int64.
        target: int64.
        fold: int64: rows of two folds are never ranked against each other; all 0 where there is one.
        truth: int8, the measured class in the order of ``CLASSES``.
        answer: int8, the predicted class.
        probabilities: float64 (rows, 3).
    """

    lines: tuple[str, ...]
    perturbations: tuple[str, ...]
    targets: tuple[str, ...]
    line: Ints
    perturbation: Ints
    target: Ints
    fold: Ints
    truth: Columns
    answer: Columns
    probabilities: Probabilities

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.truth)

    @property
    def changed(self) -> Bools:
        """Rows that were measured as changed."""
        found: Bools = self.truth != SAME
        return found

    @property
    def change_score(self) -> Floats:
        """``p_down + p_up``: float64 (rows)."""
        return change_score(self.probabilities)

    @property
    def direction_score(self) -> Floats:
        """``p_up / (p_up + p_down)``: float64 (rows)."""
        return direction_score(self.probabilities)

    @property
    def group(self) -> Ints:
        """Number of each row's (fold, line, target): the rows that a per-gene AUROC ranks."""
        return (self.fold * len(self.lines) + self.line) * len(self.targets) + self.target

    def only(self, rows: Bools) -> Scored:
        """Return some of the rows."""
        return Scored(
            self.lines,
            self.perturbations,
            self.targets,
            self.line[rows],
            self.perturbation[rows],
            self.target[rows],
            self.fold[rows],
            self.truth[rows],
            self.answer[rows],
            self.probabilities[rows],
        )

    def with_probabilities(self, probabilities: Probabilities, answer: Columns) -> Scored:
        """Return the same rows with another model's predictions."""
        return replace(self, probabilities=probabilities, answer=answer)


def scored(outcomes: pl.DataFrame, predictions: pl.DataFrame) -> Scored:
    """Lay predictions out beside outcomes; both in the same order, complete, and with the labels 0, 1, 2.

    Args:
        outcomes: ``cell_line, perturbation, target, label`` and, where there are several, ``fold``.
        predictions: ``p_down, p_not_significant, p_up, label``, one row for each outcome.
    """
    line, lines = _codes(outcomes["cell_line"])
    perturbation, perturbations = _codes(outcomes["perturbation"])
    target, targets = _codes(outcomes["target"])
    fold = _codes(outcomes["fold"].cast(pl.String))[0] if "fold" in outcomes.columns else np.zeros_like(line)
    return Scored(
        lines=lines,
        perturbations=perturbations,
        targets=targets,
        line=line,
        perturbation=perturbation,
        target=target,
        fold=fold,
        truth=COLUMN_OF_LABEL[outcomes["label"].to_numpy()],
        answer=COLUMN_OF_LABEL[predictions["label"].to_numpy()],
        probabilities=predictions.select(PROBABILITY_COLUMNS).to_numpy().astype(np.float64),
    )


def _codes(values: pl.Series) -> tuple[Ints, tuple[str, ...]]:
    names = values.unique().sort()
    codes = values.replace_strict(names, range(len(names)), return_dtype=pl.Int64)
    return codes.to_numpy(), tuple(names.to_list())


def change_score(probabilities: Probabilities) -> Floats:
    """Return ``p_down + p_up``, the score of "differentially expressed"."""
    total: Floats = probabilities[:, DOWN] + probabilities[:, UP]
    return total


def direction_score(probabilities: Probabilities) -> Floats:
    """Return ``p_up / (p_up + p_down)``, the score of "up" among changed rows; 1/2 where both are 0."""
    total = change_score(probabilities)
    share: Floats = np.divide(probabilities[:, UP], total, out=np.full(len(total), 0.5), where=total > 0)
    return share


def confusion(truth: Columns, answer: Columns) -> Floats:
    """Return the (right, answered) table of counts, float64 (3, 3)."""
    size = len(CLASSES)
    flat = truth.astype(np.int64) * size + answer
    return np.bincount(flat, minlength=size * size).reshape(size, size).astype(np.float64)


def f1_of(table: Floats) -> Floats:
    """Return F1 by class of a table of counts (…, 3, 3); NaN for a class that was neither measured nor answered."""
    right = np.diagonal(table, axis1=-2, axis2=-1)
    total = table.sum(axis=-1) + table.sum(axis=-2)
    found: Floats = np.divide(2 * right, total, out=np.full(right.shape, np.nan), where=total > 0)
    return found


def f1_by_line(rows: Scored) -> Floats:
    """Return F1 by line and class, float64 (lines, 3)."""
    return np.stack(
        [f1_of(confusion(rows.truth[at], rows.answer[at])) for at in (rows.line == n for n in range(len(rows.lines)))]
    )


def mean_f1(rows: Scored) -> float:
    """Return the mean over lines and classes (of twelve numbers with four lines): the paper's table 1."""
    return mean_known(f1_by_line(rows))


def macro_f1(rows: Scored) -> float:
    """Return the mean over classes of F1 over all rows, lines together."""
    return mean_known(f1_of(confusion(rows.truth, rows.answer)))


def mean_known(values: Floats) -> float:
    """Return the mean of what is no NaN; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def auroc(scores: Floats, positive: Bools) -> float:
    """Return the area under the ROC curve, ties counted as halves; NaN without both classes."""
    areas, _ = grouped_auroc(np.zeros(len(scores), dtype=np.int64), scores, positive)
    return float(areas[0]) if len(areas) else float("nan")


def average_precision(scores: Floats, positive: Bools) -> float:
    """Return the area under the precision-recall steps (scikit-learn's ``average_precision_score``)."""
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    found = hits[ends]
    gained = np.diff(found, prepend=0)
    return float((gained * (found / (ends + 1.0))).sum() / found[-1])


def grouped_auroc(group: Ints, scores: Floats, positive: Bools) -> tuple[Floats, Ints]:
    """Return the AUROC within each group of rows that has both classes, and those groups' numbers, ascending.

    Args:
        group: int64 (rows).
        scores: float64 (rows), higher for positive; equal scores count as halves.
        positive: bool (rows).
    """
    frame = pl.DataFrame({"g": group, "s": scores, "y": positive})
    ranked = frame.with_columns(r=pl.col("s").rank("average").over("g"))
    sums = ranked.group_by("g").agg(
        n=pl.len().cast(pl.Float64), p=pl.col("y").sum().cast(pl.Float64), r=(pl.col("r") * pl.col("y")).sum()
    )
    known = sums.filter((pl.col("p") > 0) & (pl.col("p") < pl.col("n"))).sort("g")
    p, n = known["p"].to_numpy(), known["n"].to_numpy()
    areas = (known["r"].to_numpy() - p * (p + 1) / 2) / (p * (n - p))
    return areas, known["g"].to_numpy()


@dataclass(frozen=True, slots=True)
class PerGene:
    """AUROC within target genes.

    Attributes:
        mean: Mean over lines of ``by_line``.
        by_line: Plain mean over the line's genes that have both classes, float64 (lines); NaN where none has.
        genes: How many genes that are, int64 (lines); a gene of two folds counts twice.
    """

    mean: float
    by_line: Floats
    genes: Ints


def per_gene_change(rows: Scored) -> PerGene:
    """Return PerturbQA's per-gene AUROC of differential expression."""
    return _per_gene(rows, rows.change_score, rows.changed)


def per_gene_direction(rows: Scored) -> PerGene:
    """Return PerturbQA's per-gene AUROC of direction, over changed rows only."""
    changed = rows.only(rows.changed)
    return _per_gene(changed, changed.direction_score, changed.truth == UP)


def _per_gene(rows: Scored, scores: Floats, positive: Bools) -> PerGene:
    areas, groups = grouped_auroc(rows.group, scores, positive)
    line = groups // max(len(rows.targets), 1) % max(len(rows.lines), 1)
    size = len(rows.lines)
    genes = np.bincount(line, minlength=size)
    sums = np.bincount(line, weights=areas, minlength=size)
    means = np.divide(sums, genes, out=np.full(size, np.nan), where=genes > 0)
    return PerGene(mean_known(means), means, genes)


def top_precision(rows: Scored, k: int) -> tuple[float, int]:
    """Return the share of changed rows among a perturbation's k highest ``p_down + p_up``, and how many have k rows.

    A plain mean over (line, perturbation) with at least k rows. Rows with equal scores about the k-th place count with
    the share of them that fits, so that the order of the file has no say.
    """
    block = (rows.fold * len(rows.lines) + rows.line) * len(rows.perturbations) + rows.perturbation
    frame = pl.DataFrame({"b": block, "s": rows.change_score, "y": rows.changed}).filter(pl.len().over("b") >= k)
    if frame.is_empty():
        return float("nan"), 0
    places = pl.col("s").rank("min", descending=True).over("b")
    ties = frame.with_columns(first=places).group_by("b", "first").agg(n=pl.len(), y=pl.col("y").sum())
    fits = pl.min_horizontal(pl.col("n").cast(pl.Int64), k + 1 - pl.col("first").cast(pl.Int64)).clip(0)
    found = ties.group_by("b").agg((fits * pl.col("y") / pl.col("n")).sum() / k)
    return float(found.to_series(1).mean()), found.height  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Measures:
    """What one model scores on one set of rows; every number is NaN where the rows do not define it.

    Attributes:
        rows: How many.
        mean_f1: Mean over lines and classes.
        macro_f1: Over all rows, lines together.
        f1: By line and class, float64 (lines, 3).
        auroc: Pooled, of "changed".
        auprc: Pooled, of "changed".
        direction_auroc: Pooled over changed rows, of "up".
        change: Per-gene AUROC of differential expression.
        direction: Per-gene AUROC of direction.
        top: k to (precision among the top k, perturbations that have k rows).
    """

    rows: int
    mean_f1: float
    macro_f1: float
    f1: Floats
    auroc: float
    auprc: float
    direction_auroc: float
    change: PerGene
    direction: PerGene
    top: dict[int, tuple[float, int]]


def measure(rows: Scored) -> Measures:
    """Return every measure of a set of rows."""
    changed = rows.changed
    return Measures(
        rows=len(rows),
        mean_f1=mean_f1(rows),
        macro_f1=macro_f1(rows),
        f1=f1_by_line(rows),
        auroc=auroc(rows.change_score, changed),
        auprc=average_precision(rows.change_score, changed),
        direction_auroc=auroc(rows.direction_score[changed], rows.truth[changed] == UP),
        change=per_gene_change(rows),
        direction=per_gene_direction(rows),
        top={k: top_precision(rows, k) for k in TOP_K},
    )
