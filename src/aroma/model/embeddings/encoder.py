"""The contract of encoders that embed one item at a time (a sequence, a text), and the items of a release.

Graph encoders, which embed all nodes of a view at once, have their own module (``gat``); both end in a vector set.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aroma.retrieval.vector_store import EncoderCard


@dataclass(frozen=True, slots=True)
class Item:
    """Something to embed.

    Attributes:
        id: Node id.
        text: What goes in: an amino-acid sequence, or a text.
        sha256: Of ``text`` in UTF-8, hex; equal inputs are embedded once.
    """

    id: str
    text: str
    sha256: str

    @classmethod
    def of(cls, node: str, text: str) -> Item:
        """Return the item of a node."""
        return cls(node, text, hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Encoded:
    """The vectors of some inputs.

    Attributes:
        vectors: float32 (inputs, dim); the row of a problem is NaN.
        problems: By position: why an input has no vector.
    """

    vectors: npt.NDArray[np.float32]
    problems: Mapping[int, str] = field(default_factory=dict)


class Encoder(ABC):
    """Turns inputs into vectors; the same input gives the same vector whatever stands beside it.

    Attributes:
        card: What it is; ``card.id`` keys its vectors.
    """

    card: EncoderCard

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the vectors of ``texts``; what cannot be embedded is a problem, not an error.

        Raises:
            ModelError: The device is out of memory at the smallest batch, or gives numbers that are not finite.
        """

    @abstractmethod
    def cost(self, text: str) -> int:
        """Return how much work an input is (tokens), by which shards and batches are cut."""
