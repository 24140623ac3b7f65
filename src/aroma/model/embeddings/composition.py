"""A protein vector without weights: how often each amino acid and each pair of neighbours stands in the sequence.

It is a baseline: the same sequence gives the same vector everywhere, proteins of one family come out alike, and nothing
is learned. The vector has two blocks, each of unit length: the square roots of the 20 amino-acid frequencies, and of
the 400 frequencies of two in a row, taken over the twenty standard letters alone. The dot product of two such blocks is
the Bhattacharyya coefficient of the two frequency distributions, so the cosine of two vectors is the mean of two of
those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from aroma.model.embeddings.encoder import Encoded, Encoder
from aroma.model.embeddings.items import STANDARD_LETTERS, sequence_problem
from aroma.retrieval.vector_store import EncoderCard

_LETTERS: Final = len(STANDARD_LETTERS)
_DIM: Final = _LETTERS + _LETTERS * _LETTERS
_OTHER: Final = 255
_CODES: Final = np.full(256, _OTHER, dtype=np.uint8)
_CODES[np.frombuffer(STANDARD_LETTERS.encode(), dtype=np.uint8)] = np.arange(_LETTERS, dtype=np.uint8)


class CompositionEncoder(Encoder):
    """Square roots of amino-acid and 2-mer frequencies, 20 + 400 numbers; needs no weights and no device.

    Letters that stand for no one standard amino acid (``B J O U X Z``) are left out, with the pairs that they are in.

    Args:
        licences: Provider and licence of what goes in, for the card.
    """

    def __init__(self, *, licences: Mapping[str, str] | None = None) -> None:
        self.card = EncoderCard(
            name="composition",
            kind="protein",
            version="1",
            dim=_DIM,
            parameters={"letters": STANDARD_LETTERS, "k": [1, 2], "scale": "square root of frequency"},
            licences=dict(licences or {}),
        )

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return float32 (texts, 420); a text that is no sequence, or has no standard residue, is a problem."""
        vectors = np.full((len(texts), _DIM), np.nan, dtype=np.float32)
        problems: dict[int, str] = {}
        for place, text in enumerate(texts):
            problem = sequence_problem(text)
            if problem is None and not set(text) & set(STANDARD_LETTERS):
                problem = "none of its letters is a standard amino acid"
            if problem is not None:
                problems[place] = problem
            else:
                vectors[place] = _vector(text)
        return Encoded(vectors, problems)

    def cost(self, text: str) -> int:
        """Return the number of residues."""
        return len(text)


def _vector(sequence: str) -> npt.NDArray[np.float32]:
    codes = _CODES[np.frombuffer(sequence.encode("latin-1"), dtype=np.uint8)]
    single = np.bincount(codes[codes != _OTHER], minlength=_LETTERS)
    left, right = codes[:-1], codes[1:]
    both = (left != _OTHER) & (right != _OTHER)
    pairs = np.bincount(left[both].astype(np.int64) * _LETTERS + right[both], minlength=_LETTERS * _LETTERS)
    return np.concatenate([_roots(single), _roots(pairs)])


def _roots(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the square roots of the frequencies; all zero where nothing was counted (a protein of one residue)."""
    return np.sqrt(counts / max(int(counts.sum()), 1)).astype(np.float32)
