"""Which rows are trained on together: the order of an epoch, the rows of a step, and batches by token budget.

Everything here is a function of lengths, seed and epoch, so every process of a training, and a training that goes on
after a kill, comes to the same batches. Batches of like length waste little on padding; a step's gradient does not
depend on how its rows were put into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

_STEPS_A_BLOCK: Final = 64
"""Rows are sorted by length inside blocks of so many steps: chance still decides which rows meet."""
_ALIKE_TOKENS: Final = 32
_ALIKE_SHARE: Final = 0.1
"""Lengths are alike up to so many tokens and such a share. The answers' own lengths differ by class by a few tokens:
sorted to the token, the steps of short rows would have one class each, and of such nothing is learnt but the class."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a training stands: ``step`` of the optimiser, counted from 0 over all epochs, and its epoch."""

    step: int
    epoch: int


def steps_an_epoch(rows: int, rows_a_step: int) -> int:
    """Return the number of steps; the last may have fewer rows."""
    return -(-rows // rows_a_step)


def epoch_steps(
    lengths: Sequence[int], rows_a_step: int, seed: int, epoch: int, *, group_by_length: bool = True
) -> list[list[int]]:
    """Return the rows of each step of an epoch: every row once, in an order by chance.

    Args:
        lengths: Tokens of each row.
        rows_a_step: Rows a step.
        seed: Of the training.
        epoch: From 0.
        group_by_length: Put rows of like length into one step.
    """
    chance = np.random.default_rng([seed, epoch, 1])
    order = chance.permutation(len(lengths))
    if group_by_length:
        block = rows_a_step * _STEPS_A_BLOCK
        about = chance.random(len(lengths))
        sizes = np.asarray(lengths) * (1 + _ALIKE_SHARE * about) + _ALIKE_TOKENS * about
        blocks = [order[start : start + block] for start in range(0, len(order), block)]
        order = np.concatenate([some[np.argsort(sizes[some], kind="stable")] for some in blocks])
    steps = [order[start : start + rows_a_step].tolist() for start in range(0, len(order), rows_a_step)]
    return [steps[number] for number in chance.permutation(len(steps))]


def cut_by_tokens(
    rows: Sequence[int], lengths: Sequence[int], budget: int, *, share: int = 0, shares: int = 1
) -> list[list[int]]:
    """Return batches of at most ``budget`` tokens, padding counted, the longest rows first.

    Args:
        rows: Row numbers.
        lengths: Tokens of each row, by row number.
        budget: Tokens a batch; a row longer than that is a batch of its own.
        share: Which of several processes asks; each gets every ``shares``-th row by length, so that all have alike.
        shares: Number of processes.
    """
    batches: list[list[int]] = []
    for row in sorted(rows, key=lambda row: (-lengths[row], row))[share::shares]:
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def most_batches(rows: Sequence[int], lengths: Sequence[int], budget: int, shares: int) -> int:
    """Return the most batches that one of several processes has: sharded models want every process to do as many."""
    return max(len(cut_by_tokens(rows, lengths, budget, share=share, shares=shares)) for share in range(shares))


def padding_share(batches: Sequence[Sequence[int]], lengths: Sequence[int]) -> float:
    """Return the share of the tokens that is padding."""
    padded = sum(max(lengths[row] for row in batch) * len(batch) for batch in batches)
    return 1 - sum(lengths[row] for batch in batches for row in batch) / padded if padded else 0.0
