"""Which vector sets a model reads: those of the encoders that its card names, on its release."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aroma.kgstore.home import Home
from aroma.model.plugin import Card
from aroma.retrieval.vector_store import VectorSet, list_vector_sets

_IDS: Final = "encoder_ids"
_NAMES: Final = "encoders"


def vector_sets_of(home: Home, card: Card) -> list[VectorSet]:
    """Return the vector sets that a model reads, those that are there."""
    ids = card.parameters.get(_IDS)
    names = str(card.parameters.get(_NAMES, "")).split(",")
    wanted: Iterable[str] = ids if isinstance(ids, list | tuple) else [name for name in names if name]
    chosen = set(wanted)
    if not chosen:
        return []
    return [
        one
        for one in list_vector_sets(home)
        if one.release == card.release and (one.card.id in chosen or one.card.name in chosen)
    ]


def vectors_behind(home: Home, card: Card) -> dict[str, str]:
    """Return the digest of each vector set that a model reads, by encoder id."""
    return {one.card.id: one.digest for one in vector_sets_of(home, card)}
