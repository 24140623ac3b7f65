"""Learning all parts, and the features of training rows, each from a view without its own label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from aroma.model.evidence_features.factorisation import (
    PULLS,
    SETS,
    SIZES,
    Neighbours,
    factorise,
    inactive_removed,
    rows_by,
)
from aroma.model.evidence_features.layers import Float32, GeneIndex, Layers
from aroma.model.evidence_features.observations import FOLDS, UNKNOWN, Codes, Observations
from aroma.model.evidence_features.process import process_weights, wanted_of
from aroma.model.evidence_features.rates import rates_of
from aroma.model.evidence_features.similarity import (
    Similarity,
    agreement,
    agreement_of_all,
    learn,
    neighbours,
    pad,
    responses,
)
from aroma.model.evidence_features.state import (
    CANDIDATES,
    NEAR_PERTURBATIONS,
    NEAR_TARGETS,
    Learned,
    Related,
    View,
    excess_of,
    query,
)
from aroma.model.evidence_features.table import NAMES, Targets, features
from aroma.retrieval.csr import Int32

THREADS: Final = 2
_PAIRS_AT_ONCE: Final = 200_000


@dataclass(frozen=True)
class Fitted:
    """All parts learned from training rows.

    Attributes:
        learned: What is the same in every view.
        related: Every trained perturbation beside the others.
        views: By number, those that were asked for: folds, lines, the whole.
    """

    learned: Learned
    related: tuple[Related, ...]
    views: Mapping[int, View]


def fit_parts(
    layers: Layers,
    rows: pl.DataFrame,
    nodes: Callable[[Iterable[str]], Int32],
    seed: int,
    progress: Callable[[str, float], None],
    *,
    known: bool = True,
    unseen: bool = True,
) -> Fitted:
    """Learn all parts.

    Args:
        layers: Kernels over the genes of the release.
        rows: Training rows.
        nodes: Gives the release node number of each key of a gene, -1 where it has none.
        seed: Of every random choice.
        progress: Told what is being done.
        known: Whether features of lines that are trained on will be asked for.
        unseen: Whether those of lines that are not will.
    """
    codes = Codes.of(rows)
    seen = Observations.of(codes, rows, seed)
    indexes = GeneIndex(layers, nodes(codes.perturbations)), GeneIndex(layers, nodes(codes.targets))
    progress("similarity of perturbations", 0.05)
    response = responses(seen)
    values = np.stack(list(in_threads(indexes[0].row, indexes[0].nodes.tolist())))
    similarity = _perturbation_similarity(values, response, seed)
    progress("similarity of targets", 0.15)
    target_similarity, near_targets = _target_similarity(indexes[1], response.T.tocsr(), seed)
    learned = Learned(codes, seen, *indexes, similarity, target_similarity, near_targets)
    flat = _both_ways(similarity, values)
    related = tuple(
        Related(code, np.concatenate([own, flat[code][:, None]], axis=1), similarity.covariance(own))
        for code, own in enumerate(values)
    )
    progress("processes and factorisations", 0.3)
    wanted = [*(range(FOLDS) if known else ()), *(range(FOLDS, seen.whole) if unseen else ()), seen.whole]
    return Fitted(learned, related, _views(learned, related, seed, wanted))


def _both_ways(similarity: Similarity, values: Float32) -> Float32:
    """Return the learned similarity of every pair; kernels are the same both ways, so each pair is asked once."""
    one, other = np.triu_indices(len(values))
    found = np.zeros(values.shape[:2], dtype=np.float32)
    parts = np.array_split(np.arange(len(one)), max(1, len(one) // _PAIRS_AT_ONCE))
    said = in_threads(lambda part: similarity(values[one[part], other[part]]), parts)
    found[one, other] = found[other, one] = np.concatenate(said)
    return found


def in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Return ``function`` of each item, in order, by two threads; one item needs none."""
    items = list(items)
    if len(items) == 1:
        return [function(items[0])]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, items))


def _perturbation_similarity(values: Float32, response: Any, seed: int) -> Similarity:
    one, other = (side.astype(np.int32) for side in np.triu_indices(len(values), k=1))
    agree, count = agreement_of_all(response)
    both = count > 0
    return learn(values[one[both], other[both]], agree[both], count[both], seed)


def _target_similarity(index: GeneIndex, response: Any, seed: int) -> tuple[Similarity, Neighbours]:
    """Learn on the candidates of every target, and return the candidates by what was learned."""
    response.sort_indices()
    size = len(index.nodes)
    most = min(CANDIDATES, size)
    found = in_threads(lambda code: candidates(index, code, int(index.nodes[code])), range(size))
    names = np.concatenate([one for one, _ in found]).astype(np.int32)
    values = np.concatenate([kernel for _, kernel in found])
    owner = np.repeat(np.arange(size, dtype=np.int32), [len(one) for one, _ in found])
    agree, count = agreement(response, owner, names)
    both = (count > 0) & (owner < names)
    similarity = learn(values[both], agree[both], count[both], seed)
    flat = similarity(values)
    ends = np.cumsum([len(one) for one, _ in found])[:-1]
    rows = [ranked(one, alike) for one, alike in zip(np.split(names, ends), np.split(flat, ends), strict=True)]
    return similarity, Neighbours(*pad(rows, most))


def candidates(index: GeneIndex, code: int, node: int) -> tuple[Int32, Float32]:
    """Return the trained targets that share most with a gene (not itself), and their kernel values."""
    values = index.row(node)
    total = values.sum(axis=1)
    if code != UNKNOWN:
        total[code] = 0.0
    most = min(CANDIDATES, len(total))
    best = np.sort(np.argpartition(-total, most - 1)[:most])
    best = best[total[best] > 0]
    return best.astype(np.int32), values[best]


def ranked(names: Int32, alike: Float32) -> tuple[Int32, Float32]:
    """Return names and squared similarities, best first; those that are not similar are left out."""
    order = np.lexsort((names, -alike))
    order = order[alike[order] > 0]
    return names[order], alike[order] ** 2


def _views(learned: Learned, related: tuple[Related, ...], seed: int, views: Sequence[int]) -> dict[int, View]:
    seen = learned.seen
    left_out = seen.left_out()
    between = np.stack([one.between for one in related])
    weights = np.zeros((seen.views, len(seen.line), 2), dtype=np.float32)
    usual = float(np.mean(seen.label > 0))
    cuts = np.linspace(0, seen.sizes[2], 65).astype(int)
    wanted = wanted_of(seen.label, usual)

    def solve(part: int) -> None:
        process_weights(
            seen.start,
            seen.line,
            seen.perturbation,
            wanted,
            left_out,
            between,
            int(cuts[part]),
            int(cuts[part + 1]),
            weights,
        )

    in_threads(solve, range(64))
    similar = np.stack([one.similar[:, -1] for one in related])
    made = in_threads(lambda view: _view(learned, left_out[view], weights[view], similar, seed), views)
    return dict(zip(views, made, strict=True))


def _view(learned: Learned, left_out: Any, weights: Float32, similar: Float32, seed: int) -> View:
    seen = learned.seen
    rates = rates_of(seen, left_out)
    excess = excess_of(seen, left_out, rates)
    kept = ~left_out
    line, perturbation, target, label = (part[kept] for part in (seen.line, seen.perturbation, seen.target, seen.label))
    cell = target * np.int32(seen.sizes[0]) + line
    by_perturbation = rows_by(perturbation, target, cell, label, seen.sizes[1])
    by_target = rows_by(target, perturbation, cell, label, seen.sizes[2])
    active = excess[:, :, 2].sum(axis=0) > 0
    measured = np.bincount(target, minlength=seen.sizes[2]) > 0
    near = _near_perturbations(similar, active), inactive_removed(_first(learned.near_targets), measured)
    factors = tuple(
        factorise(
            by_perturbation.of(parts),
            by_target.of(parts),
            near,
            rates.logits(parts),
            seed=seed + place,
            factors=SIZES[place],
            pull=PULLS[place],
        )
        for place, parts in enumerate(SETS)
    )
    return View(left_out, rates, weights, factors, excess)


def _near_perturbations(similar: Float32, active: Any) -> Neighbours:
    rows = []
    for code, own in enumerate(similar):
        others = active.copy()
        others[code] = False
        rows.append(neighbours(own, others, NEAR_PERTURBATIONS))
    return Neighbours(*pad(rows, NEAR_PERTURBATIONS))


def _first(near: Neighbours) -> Neighbours:
    return Neighbours(near.names[:, :NEAR_TARGETS], near.weights[:, :NEAR_TARGETS])


def training_table(fitted: Fitted, views: range) -> Float32:
    """Return float32 (rows, columns), the features of training rows from the views that leave them out.

    Args:
        fitted: What was learned.
        views: ``range(FOLDS)`` for features of a line that is known, the lines' views for one that is not.
    """
    seen, learned = fitted.learned.seen, fitted.learned
    table = np.zeros((len(seen.line), len(NAMES)), dtype=np.float32)
    group = seen.line.astype(np.int64) * seen.sizes[1] + seen.perturbation
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    unseen = views.start >= FOLDS

    def fill(rows: Any) -> None:
        line, code = int(seen.line[rows[0]]), int(seen.perturbation[rows[0]])
        view = fitted.views[FOLDS + line if unseen else int(seen.fold[rows[0]])]
        targets = Targets(
            seen.target[rows],
            learned.near_targets.names[seen.target[rows]],
            learned.near_targets.weights[seen.target[rows]],
        )
        asked = query(view, fitted.related[code])
        table[rows] = features(learned, view, asked, UNKNOWN if unseen else line, targets)

    in_threads(fill, members)
    return table
