"""Rewards of a completion, part by part (AROMA, section 3.5), with the published code's mistakes mended.

A completion is read as everywhere else (``traces.answers.parse``). One whose answer is empty, missing or doubled earns
nothing at all, whatever its form; an answer that names two classes names none. Parts are computed apart, weighted,
added, and logged one by one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final

from aroma.model.aroma.training.options import RewardOptions
from aroma.model.traces.answers import ANSWERS, parse

PARTS: Final = ("right_class", "form", "one_class", "log_score")
_OPENED: Final = re.compile(r"<\s*answer\s*>", re.IGNORECASE)


def named_classes(answer: str) -> tuple[int, ...]:
    """Return the labels whose text stands in an answer, as whole words, whatever their case."""
    said = " ".join(answer.lower().split())
    return tuple(label for label, text in ANSWERS.items() if re.search(rf"(?<!\w){re.escape(text)}(?!\w)", said))


def reward_parts(
    text: str, label: int, options: RewardOptions, probability: float | Callable[[], float] | None = None
) -> dict[str, float]:
    """Return the parts of a completion's reward by name, each before its weight, 0 to 1.

    Args:
        text: The completion, without the chat's special tokens.
        label: The measured one.
        options: A part of weight zero is not computed.
        probability: The model's probability of the measured class after this completion's reasoning, or what returns
            it; None: not known, which earns no log-score.
    """
    found = {name: 0.0 for name in PARTS if getattr(options, name)}
    said = parse(text)
    if not said.answer or len(_OPENED.findall(text)) != 1:
        return found
    parts = {
        "right_class": float(said.label == label),
        "form": float(said.problem is None),
        "one_class": float(len(named_classes(said.answer)) == 1),
    }
    if options.log_score and probability is not None and said.reasoning:
        chance = probability() if callable(probability) else probability
        parts["log_score"] = log_score(chance, options.log_score_floor)
    return {name: parts.get(name, 0.0) for name in found}


def log_score(probability: float, floor: float) -> float:
    """Return ``1 - log p / log floor``, at least 0: 1 for certain and right, 0 at the floor."""
    return max(0.0, 1 - math.log(probability) / math.log(floor)) if probability > 0 else 0.0


def total(parts: Mapping[str, float], options: RewardOptions) -> float:
    """Return the weighted sum of the parts."""
    return sum(float(getattr(options, name)) * value for name, value in parts.items())
