"""Long sequences in overlapping windows, and windows in batches of like length and bounded size.

A sequence of at most ``window`` residues is one window. A longer one is covered by full windows that begin
``window - overlap`` residues apart, the last of them ending where the sequence ends. The state of a residue that
stands in several windows is the mean of its states there, so the mean over residues is a weighted sum over the windows'
residues, with the weights that ``residue_weights`` gives; no window's states have to be kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a sequence.

    Attributes:
        sequence: Which sequence, by position in the call.
        start: First residue, from zero.
        stop: One past the last residue.
    """

    sequence: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Return where the windows of a sequence of ``length`` residues begin.

    Args:
        length: Residues, at least one.
        window: Residues a window at most.
        overlap: Residues that neighbouring windows share at least; less than ``window``.
    """
    if length <= window:
        return [0]
    last = length - window
    return [*range(0, last, window - overlap), last]


def cut_windows(lengths: Sequence[int], window: int, overlap: int) -> list[Window]:
    """Return the windows of sequences of these lengths, in their order."""
    return [
        Window(sequence, start, min(start + window, length))
        for sequence, length in enumerate(lengths)
        for start in window_starts(length, window, overlap)
    ]


def residue_weights(windows: Sequence[Window], lengths: Sequence[int]) -> dict[Window, npt.NDArray[np.float32]]:
    """Return each window's weights, float32 by residue: one over the sequence's length and the windows at the residue.

    The weights of all windows of a sequence sum to one.
    """
    depth: dict[int, npt.NDArray[np.int64]] = {}
    for one in windows:
        covered = depth.setdefault(one.sequence, np.zeros(lengths[one.sequence], dtype=np.int64))
        covered[one.start : one.stop] += 1
    return {
        one: (1.0 / (depth[one.sequence][one.start : one.stop] * lengths[one.sequence])).astype(np.float32)
        for one in windows
    }


def batches(windows: Sequence[Window], tokens: int, *, extra: int = 0) -> Iterator[list[Window]]:
    """Yield batches of windows, longest first, of at most ``tokens`` tokens each (one window may be more).

    Windows of one length stand together, so attention over them needs no padding.

    Args:
        windows: All windows.
        tokens: At most so many a batch.
        extra: Tokens a window has beside its residues.
    """
    ordered = sorted(windows, key=lambda one: (-len(one), one.sequence, one.start))
    batch: list[Window] = []
    size = 0
    for one in ordered:
        cost = len(one) + extra
        if batch and size + cost > tokens:
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += cost
    if batch:
        yield batch
