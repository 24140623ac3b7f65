"""The shape of a trace, written and read in one place: ``<think>reasoning</think><answer>an answer</answer>``.

The three answers are those of the prompts (``aroma.retrieval.prompts.OUTCOMES``); the shape is the paper's (its
section F.3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from aroma.errors import UsageError
from aroma.kgstore.outcomes import LABELS
from aroma.retrieval.prompts import OUTCOMES

ANSWERS: Final[dict[int, str]] = {label: OUTCOMES[name] for label, name in LABELS.items()}
"""The text of the answer by label: 0 not significantly changed, 1 downregulated, 2 upregulated."""
_LABEL_OF: Final = {text: label for label, text in ANSWERS.items()}
_TAG: Final = re.compile(r"<\s*(/?)\s*(think|answer)\s*>", re.IGNORECASE)
_THINK: Final = re.compile(r"<\s*think\s*>(.*)<\s*/\s*think\s*>", re.IGNORECASE | re.DOTALL)
_ANSWER: Final = re.compile(r"<\s*answer\s*>(.*)<\s*/\s*answer\s*>", re.IGNORECASE | re.DOTALL)
_TAGS: Final = [("", "think"), ("/", "think"), ("", "answer"), ("/", "answer")]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A trace taken apart.

    Attributes:
        reasoning: Text of the think block, without blanks at its ends; empty where there is no such block.
        answer: Text of the answer block, as written but for blanks; empty where there is none.
        label: 0, 1 or 2 where the answer is exactly one of ``ANSWERS`` (case and a final stop do not count), else None.
        problem: What is wrong with the shape, or None.
    """

    reasoning: str
    answer: str
    label: int | None
    problem: str | None


def completion(reasoning: str, label: int) -> str:
    """Return the trace as a model has to write it.

    Raises:
        UsageError: The label is not 0, 1 or 2.
    """
    if label not in ANSWERS:
        raise UsageError(f"label {label!r}: expected {', '.join(map(str, ANSWERS))}")
    return f"<think>{reasoning.strip()}</think><answer>{ANSWERS[label]}</answer>"


def label_of(answer: str) -> int | None:
    """Return the label of an answer's text, or None where it is not exactly one of the three."""
    return _LABEL_OF.get(" ".join(answer.split()).strip(" .'\"").casefold())


def parse(text: str) -> Parsed:
    """Take a trace apart; whatever the text, there is an answer to it.

    A good shape has one think block, then one answer block, with nothing but blanks and stops around them.
    """
    tags = [(close, name.lower()) for close, name in _TAG.findall(text)]
    think, answer = _THINK.search(text), _ANSWER.search(text)
    reasoning = think.group(1).strip() if think else ""
    said = answer.group(1).strip() if answer else ""
    label = label_of(said)
    return Parsed(reasoning, said, label, _problem(text, tags, reasoning, said, label))


def _problem(text: str, tags: list[tuple[str, str]], reasoning: str, said: str, label: int | None) -> str | None:
    for name in ("think", "answer"):
        if problem := _block_problem(name, tags.count(("", name)), tags.count(("/", name))):
            return problem
    if tags != _TAGS:
        return "blocks in the wrong order"
    outside = _outside(text)
    checks = (
        (not outside, f"text outside the blocks: {outside[:40]!r}"),
        (bool(reasoning), "empty reasoning"),
        (bool(said), "empty answer"),
        (label is not None, "answer is not exactly one of the three"),
    )
    return next((problem for holds, problem in checks if not holds), None)


def _block_problem(name: str, opened: int, closed: int) -> str | None:
    if opened == closed == 0:
        return f"no {name} block"
    if opened > 1 or closed > 1:
        return f"more than one {name} block"
    if opened == closed:
        return None
    return f"{name} block not closed" if opened else f"{name} block not opened"


def _outside(text: str) -> str:
    """Return what stands before, between and after the blocks of a text whose tags are in order."""
    places = [match.span() for match in _TAG.finditer(text)]
    parts = (text[: places[0][0]], text[places[1][1] : places[2][0]], text[places[3][1] :])
    return "".join(parts).strip(" \t\r\n.\"'`")
