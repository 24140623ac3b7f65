"""The features of rows: what each view says of a pair, in float32 columns with names and kinds.

Rows are filled one by one by compiled functions, so that a pair asked alone has bit for bit the features that it has
in a batch, and nothing depends on which other pairs are asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from aroma.model.evidence_features import rates, votes
from aroma.model.evidence_features.factorisation import SETS, factor_scores
from aroma.model.evidence_features.layers import Float32
from aroma.model.evidence_features.observations import UNKNOWN
from aroma.model.evidence_features.process import process_mean
from aroma.model.evidence_features.state import NEAR_TARGETS, Learned, Query, View, usual_of
from aroma.retrieval.csr import Int8, Int32, Int64, compiled

votes_of = votes.fill_votes
RATES: Final = tuple(f"rate_{name}" for name in rates.COLUMNS)
NEAR_RATES: Final = tuple(f"near_rate_{name}" for name in rates.COLUMNS)
PROCESS: Final = ("process_changed", "process_signed", "near_process_changed", "near_process_signed")
FACTORS: Final = tuple(
    f"factors{place}_{part}{ending}"
    for place, parts in enumerate(SETS)
    for part in parts
    for ending in ("", "_own", "_near")
)
ELSEWHERE: Final = (
    "excess_changed",
    "excess_signed",
    "lines_elsewhere",
    "smooth_changed",
    "smooth_signed",
    "near_excess_changed",
    "near_excess_signed",
)
REACH: Final = ("similarity_best", "similarity_sum", "line_rate", "line_up")
NAMES: Final = (
    *RATES,
    *NEAR_RATES,
    *votes.VOTES,
    *votes.NEAREST,
    *votes.ELSEWHERE,
    *PROCESS,
    *FACTORS,
    *ELSEWHERE,
    *REACH,
)
"""Names of the columns."""
_AT: Final = {name: place for place, name in enumerate(NAMES)}
_VOTES, _PROCESS, _FACTORS, _SMOOTH = _AT[votes.VOTES[0]], _AT[PROCESS[0]], _AT[FACTORS[0]], _AT["smooth_changed"]
_SMOOTH_SHRINK: Final = 0.1


@dataclass(frozen=True)
class Targets:
    """The targets of some rows, beside the trained ones.

    Attributes:
        code: int32 (rows), ``UNKNOWN`` where not trained on.
        near: int32 (rows, CANDIDATES), trained targets, best first, -1 at the end.
        weights: float32 (rows, CANDIDATES), their similarity.
    """

    code: Int32
    near: Int32
    weights: Float32


def features(learned: Learned, view: View, query: Query, line: int, targets: Targets) -> Float32:
    """Return float32 (rows, columns) of one perturbation in one cell line.

    Args:
        learned: What was learned.
        view: The view that answers.
        query: The perturbation in that view.
        line: Code of the cell line, ``UNKNOWN`` where not trained on (or left out by the view).
        targets: The targets.
    """
    found = np.zeros((len(targets.code), len(NAMES)), dtype=np.float32)
    seen, own = learned.seen, query.related
    excess, measured = _dense_excess(learned, view, own.code, line)
    own_columns = _of_query(view, query, line)
    found[:, -len(own_columns) :] = own_columns  # the last of ELSEWHERE, and REACH
    found[:, _AT["excess_changed"] : _SMOOTH] = _elsewhere(view, own.code, line)
    _fill(
        (targets.code, targets.near, targets.weights),
        line,
        own.code,
        learned.rows,
        seen.start,
        (view.left_out, view.weights),
        (own.similar, own.between),
        view.rates.table,
        (excess, measured),
        found,
    )
    found[:, _AT["pair_rows"]] /= _others(view, line)
    column = _FACTORS
    for fit, bias, mine in zip(view.factors, view.line_bias, query.factors, strict=True):
        parts = len(fit.targets)
        factor_scores(
            (targets.code, targets.near[:, :NEAR_TARGETS], targets.weights[:, :NEAR_TARGETS]),
            mine,
            fit.targets,
            fit.bias.reshape(parts, -1, seen.sizes[0]),
            bias,
            line,
            fit.pull,
            found[:, column : column + 3 * parts],
        )
        column += 3 * parts
    return found


def _of_query(view: View, query: Query, line: int) -> Float32:
    similar = query.related.similar[:, -1]
    kept = similar[view.active]
    best = float(kept.max()) if len(kept) else 0.0
    rows = view.rates.table[line, UNKNOWN]
    total = float(np.sort(kept)[-20:].sum(dtype=np.float64)) if len(kept) else 0.0
    return np.array([*query.excess, best, total, rows[0], rows[3]], dtype=np.float32)


def _elsewhere(view: View, code: int, line: int) -> Float32:
    """Return what the perturbation does in other lines: mean excess, and in what share of them it was measured."""
    if code == UNKNOWN:
        return np.array([np.nan, np.nan, 0.0], dtype=np.float32)
    own = view.excess[:, code].copy()
    if line != UNKNOWN:
        own[line] = 0.0
    rows = float(own[:, 2].sum())
    if rows == 0:
        return np.array([np.nan, np.nan, 0.0], dtype=np.float32)
    share = np.count_nonzero(own[:, 2]) / _others(view, line)
    return np.array([own[:, 0].sum() / rows, own[:, 1].sum() / rows, share], dtype=np.float32)


def _others(view: View, line: int) -> int:
    """Return how many other lines the view has, one at least: counts are told as shares, as views differ in it."""
    own = 1 if line != UNKNOWN and view.lines[line] else 0
    return max(1, int(view.lines.sum()) - own)


def _dense_excess(learned: Learned, view: View, code: int, line: int) -> tuple[Float32, Float32]:
    """Return, for every trained target, by how much it responds to the perturbation in other lines, and whether."""
    seen = learned.seen
    excess = np.zeros((seen.sizes[2], 2), dtype=np.float32)
    measured = np.zeros(seen.sizes[2], dtype=np.float32)
    if code == UNKNOWN:
        return excess, measured
    start, order = learned.by_perturbation
    rows = order[start[code] : start[code + 1]]
    rows = rows[~view.left_out[rows] & (seen.line[rows] != line)]
    target, label = seen.target[rows], seen.label[rows]
    usual = usual_of(view.rates.table[seen.line[rows], target])
    np.add.at(excess[:, 0], target, (label > 0) - usual[:, 0])
    np.add.at(excess[:, 1], target, np.choose(label, [0.0, -1.0, 1.0]).astype(np.float32) - usual[:, 1])
    np.add.at(measured, target, np.float32(1.0))
    return excess, measured


@compiled
def _fill(
    targets: tuple[Int32, Int32, Float32],
    line: int,
    perturbation: int,
    rows: tuple[Int32, Int32, Int8],
    start: Int64,
    view: Any,
    similar: tuple[Float32, Float32],
    table: Float32,
    excess: tuple[Float32, Float32],
    found: Float32,
) -> None:
    """Fill all columns that come from the rows of the target and of its neighbours."""
    codes, near, weights = targets
    left_out, process = view
    usual = np.zeros(2, dtype=np.float32)
    mean = np.zeros(2, dtype=np.float32)
    for row in range(len(codes)):
        code = codes[row]
        own = table[line, code]
        found[row, : table.shape[2]] = own
        usual[0] = own[0]
        usual[1] = own[0] * (np.float32(2.0) * own[3] - np.float32(1.0))
        begin, end = (start[code], start[code + 1]) if code >= 0 else (0, 0)
        columns = found[row, _VOTES:_PROCESS]
        votes_of(begin, end, line, perturbation, rows, left_out, similar[0], usual, columns)
        process_mean(begin, end, line, perturbation, rows, process, similar[1], found[row, _PROCESS : _PROCESS + 2])
        total, rate_total = np.float32(0.0), np.float32(0.0)
        for place in range(near.shape[1]):
            other = near[row, place]
            if other < 0:
                break
            weight = weights[row, place]
            seen = weight * excess[1][other]
            total += seen
            found[row, _SMOOTH] += weight * excess[0][other, 0]
            found[row, _SMOOTH + 1] += weight * excess[0][other, 1]
            if place >= NEAR_TARGETS:
                continue
            process_mean(start[other], start[other + 1], line, perturbation, rows, process, similar[1], mean)
            rate_total += weight
            found[row, _PROCESS + 2] += weight * mean[0]
            found[row, _PROCESS + 3] += weight * mean[1]
            for column in range(table.shape[2]):
                found[row, table.shape[2] + column] += weight * table[line, other, column]
        found[row, _SMOOTH] /= total + np.float32(_SMOOTH_SHRINK)
        found[row, _SMOOTH + 1] /= total + np.float32(_SMOOTH_SHRINK)
        if rate_total > 0:
            found[row, _PROCESS + 2 : _PROCESS + 4] /= rate_total
            found[row, table.shape[2] : 2 * table.shape[2]] /= rate_total
        else:
            found[row, table.shape[2] : 2 * table.shape[2]] = table[line, -1]
