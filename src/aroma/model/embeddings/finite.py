"""Numbers that are not finite are never vectors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from aroma.errors import ModelError
from aroma.model.embeddings.encoder import Encoded
from aroma.retrieval.vector_store import EncoderCard


def finite_only(card: EncoderCard, vectors: npt.NDArray[np.float32], problems: Mapping[int, str]) -> Encoded:
    """Return vectors in which each row that is not finite is a problem, and NaN.

    Args:
        card: What made them; ``parameters["precision"]`` is named.
        vectors: float32 (inputs, dim).
        problems: What is known to be one already.

    Raises:
        ModelError: None of several inputs has finite numbers: it is the weights or the precision, not the inputs.
    """
    precision = card.parameters["precision"]
    tried = [place for place in range(len(vectors)) if place not in problems]
    bad = [place for place in tried if not np.isfinite(vectors[place]).all()]
    if len(bad) == len(tried) > 1:
        raise ModelError(
            f"{card.name} gives numbers that are not finite for all of {len(tried)} inputs in {precision}; "
            "look at the weights, or take bfloat16 or float32"
        )
    vectors[bad] = np.nan
    return Encoded(vectors, {**problems, **dict.fromkeys(bad, f"numbers that are not finite, in {precision}")})
