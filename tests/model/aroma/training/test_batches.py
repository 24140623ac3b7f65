from __future__ import annotations

import numpy as np

from aroma.model.aroma.training.batches import (
    cut_by_tokens,
    epoch_steps,
    most_batches,
    padding_share,
    steps_an_epoch,
)

LENGTHS = np.random.default_rng(3).integers(100, 2000, 1000).tolist()


def test_an_epoch_has_every_row_once_in_another_order_each_time() -> None:
    first, second = (epoch_steps(LENGTHS, 16, seed=0, epoch=epoch) for epoch in (0, 1))
    for steps in (first, second):
        assert sorted(row for rows in steps for row in rows) == list(range(1000))
        assert len(steps) == steps_an_epoch(1000, 16) == 63
    assert first != second
    assert first == epoch_steps(LENGTHS, 16, seed=0, epoch=0)
    assert first != epoch_steps(LENGTHS, 16, seed=1, epoch=0)


def test_rows_of_like_length_meet() -> None:
    def padding(*, grouped: bool) -> float:
        steps = epoch_steps(LENGTHS, 16, 0, 0, group_by_length=grouped)
        return padding_share(steps, LENGTHS)

    assert padding(grouped=True) < 0.1
    assert padding(grouped=False) > 0.35


def test_steps_of_short_rows_have_all_classes_though_their_answers_differ_in_length() -> None:
    lengths = [40] * 50 + [41] * 50 + [44] * 50 + [200] * 50 + [204] * 50
    steps = epoch_steps(lengths, 16, 0, 0)
    short = [[lengths[row] for row in rows] for rows in steps if max(lengths[row] for row in rows) < 100]
    assert len(short) >= 8
    assert all({40, 41, 44} <= set(rows) for rows in short if len(rows) == 16)
    assert sum(len({lengths[row] > 100 for row in rows}) == 2 for rows in steps) <= 1


def test_batches_keep_the_budget_but_for_rows_that_are_longer() -> None:
    batches = cut_by_tokens(range(1000), LENGTHS, 1500)
    assert sorted(row for batch in batches for row in batch) == list(range(1000))
    for batch in batches:
        assert len(batch) == 1 or max(LENGTHS[row] for row in batch) * len(batch) <= 1500


def test_processes_share_the_rows_of_a_step() -> None:
    rows = list(range(37))
    shares = [cut_by_tokens(rows, LENGTHS, 4000, share=share, shares=3) for share in range(3)]
    assert sorted(row for share in shares for batch in share for row in batch) == rows
    assert most_batches(rows, LENGTHS, 4000, 3) == max(map(len, shares))
    tokens = [sum(LENGTHS[row] for batch in share for row in batch) for share in shares]
    assert max(tokens) < 1.2 * min(tokens)
