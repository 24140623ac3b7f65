"""Names by content: of a model, from its card; of predictions, from the model and what was asked.

A prediction's id begins with its model's, so that the chain behind it can be told without a record of every answer:
``m0123456789abcdef.p0123456789abcdef``.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import Final

import polars as pl

from aroma.kgstore.outcomes import content_hash
from aroma.model.plugin import Card

ASKED: Final = ("cell_line", "perturbation", "target")
_DIGITS: Final = 16
_HISTORY: Final = ("made_at", "metrics", "licence", "licences")
_PREDICTION: Final = re.compile(r"(?P<model>m[0-9a-f]{16})\.p[0-9a-f]{16}")


def model_id(card: Card) -> str:
    """Return ``m`` and 16 hex digits: a hash of the card without its times, measures and licences.

    What a card says in full (training rows, release, settings, the files' checksums) is what the model is.
    """
    said = {name: value for name, value in asdict(card).items() if name not in _HISTORY}
    return f"m{_digits(json.dumps(said, sort_keys=True, separators=(',', ':')))}"


def inputs_hash(asked: pl.DataFrame) -> str:
    """Return the sha256 of what was asked: ``cell_line``, ``perturbation``, ``target`` in their order."""
    return content_hash(asked.select(pl.col(name).cast(pl.String).fill_null("") for name in ASKED))


def prediction_id(model: str, inputs: str) -> str:
    """Return the id of a model's answers to inputs; the same question to the same model has the same id.

    Args:
        model: See ``model_id``.
        inputs: See ``inputs_hash``.
    """
    return f"{model}.p{_digits(f'{model}|{inputs}')}"


def model_of_prediction(name: str) -> str | None:
    """Return the model id inside a prediction's id; None where it is no such id."""
    found = _PREDICTION.fullmatch(name)
    return found["model"] if found else None


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
