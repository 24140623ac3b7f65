"""One shard through an encoder, in steps short enough that a worker notices soon when it should stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import ModelError
from aroma.kgstore.work_loop import Keep
from aroma.model.embeddings.encoder import Encoded, Encoder
from aroma.model.embeddings.run_files import cut

_STEP_COST: Final = 20_000
_INPUT_ERRORS: Final = (ValueError, LookupError, TypeError)
"""What an encoder's library raises at an input that it does not understand; memory and devices raise others."""


def encode_in_steps(
    plan: pl.DataFrame, encoder: Encoder, keep: Keep, witness: Callable[[], str | None]
) -> tuple[list[str], npt.NDArray[np.float32], dict[str, str]]:
    """Return the sha256 of a shard's inputs, float32 (inputs, dim) vectors, and the inputs that have none with why.

    Args:
        plan: Rows of one shard: ``id``, ``sha256``, ``text``.
        encoder: What embeds.
        keep: Called between steps.
        witness: Returns an input of another shard, if there is one: where an encoder breaks at every input of this
            one, it tells whether the encoder or the inputs are at fault.

    Raises:
        ModelError: A vector is not finite, or its length is not the card's.
    """
    order: list[str] = []
    vectors: list[npt.NDArray[np.float32]] = []
    problems: dict[str, str] = {}
    broken: list[Exception] = []
    for part in cut(dict(plan.select("sha256", "text").iter_rows()), encoder.cost, _STEP_COST):
        keep()
        found, errors = _encoded(encoder, list(part.values()))
        said = {list(part)[at]: why for at, why in found.problems.items()}
        _check(encoder, plan, list(part), found, said)
        order += part
        vectors.append(found.vectors)
        problems |= said
        broken += errors
    if broken and len(broken) == len(order) and not _works_on(encoder, witness()):
        raise broken[0]  # it is not the inputs
    keep()
    return order, np.concatenate(vectors), problems


def _works_on(encoder: Encoder, text: str | None) -> bool:
    return text is not None and not _encoded(encoder, [text])[1]


def _encoded(encoder: Encoder, texts: list[str]) -> tuple[Encoded, list[Exception]]:
    """Encode; where the encoder breaks, find the inputs that it breaks at, so that the others get their vectors."""
    try:
        return encoder.encode(texts), []
    except _INPUT_ERRORS as error:
        if len(texts) == 1:
            row = np.full((1, encoder.card.dim), np.nan, dtype=np.float32)
            return Encoded(row, {0: f"{type(error).__name__}: {error}"}), [error]
    alone = [_encoded(encoder, [text]) for text in texts]
    problems = {at: found.problems[0] for at, (found, _) in enumerate(alone) if found.problems}
    vectors = np.concatenate([found.vectors for found, _ in alone])
    return Encoded(vectors, problems), [error for _, errors in alone for error in errors]


def _check(
    encoder: Encoder, plan: pl.DataFrame, inputs: list[str], found: Encoded, problems: Mapping[str, str]
) -> None:
    card = encoder.card
    if found.vectors.shape != (len(inputs), card.dim):
        raise ModelError(
            f"encoder {card.name} gave an array of {found.vectors.shape} for {len(inputs)} inputs of dim {card.dim}; "
            "nothing was published"
        )
    good = np.array([sha256 not in problems for sha256 in inputs])
    bad = good & ~np.isfinite(found.vectors).all(axis=1)
    if bad.any():
        node = str(plan.filter(pl.col("sha256") == inputs[int(bad.argmax())])["id"].sort()[0])
        raise ModelError(
            f"encoder {card.name} gave a vector that is not finite for {node}; nothing was published "
            "(look at the weights and the precision)"
        )
