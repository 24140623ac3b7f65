"""Faithfulness by swapping evidence: the same question with another row's evidence, told under its own names.

A trace whose answer does not move when its evidence is replaced did not use it. That it moves is no proof that it used
the evidence well; that it never moves proves that it did not.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec
import numpy as np

from aroma.errors import UsageError
from aroma.kgstore.outcomes import LABELS
from aroma.model.traces.answers import label_of, parse
from aroma.model.traces.endpoint import Answered, Endpoint, Sampling, ask, open_client
from aroma.model.traces.instructions import BLIND, make_messages
from aroma.model.traces.telling import Told
from aroma.retrieval.evidence_model import Description, Evidence, Node, Path

Predict = Callable[[Sequence[Evidence]], Sequence[int | None]]
"""Answers each evidence object with a label (0, 1, 2), or None where there is no answer."""
_Z: Final = 1.96


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """How often an answer moved when its evidence was replaced.

    Attributes:
        rows: Rows asked.
        answered: Rows with an answer to both questions; the others are counted and not judged.
        moved: Of these, rows whose answer changed.
        share: ``moved / answered``; None without an answer.
        low: Lower end of its 95 % Wilson interval.
        high: Upper end.
        right_before: Rows that were answered rightly with their own evidence.
        right_after: Rows that were still answered rightly with another's.
        by_label: ``answered`` and ``moved`` by measured outcome.
    """

    rows: int
    answered: int
    moved: int
    share: float | None
    low: float | None
    high: float | None
    right_before: int
    right_after: int
    by_label: dict[str, dict[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def faithfulness(rows: Sequence[Told], predict: Predict, *, seed: int = 0) -> Faithfulness:
    """Ask each row with its own evidence and with that of another row.

    Args:
        rows: At least two.
        predict: A model.
        seed: Chooses whose evidence each row gets.

    Raises:
        UsageError: Fewer than two rows.
    """
    if len(rows) < 2:  # noqa: PLR2004 - one row has no other
        raise UsageError(f"{len(rows)} rows: swapping evidence needs at least two")
    own = [row.evidence for row in rows]
    other = [swap(row.evidence, rows[at].evidence) for row, at in zip(rows, donors(len(rows), seed), strict=True)]
    answers = list(predict([*own, *other]))
    if len(answers) != 2 * len(rows):
        raise UsageError(f"the model gave {len(answers)} answers to {2 * len(rows)} questions")
    before, after = answers[: len(rows)], answers[len(rows) :]
    both = [
        (row.label, one, two)
        for row, one, two in zip(rows, before, after, strict=True)
        if one is not None and two is not None
    ]
    moved = sum(one != two for _, one, two in both)
    low, high = _wilson(moved, len(both)) if both else (None, None)
    return Faithfulness(
        rows=len(rows),
        answered=len(both),
        moved=moved,
        share=moved / len(both) if both else None,
        low=low,
        high=high,
        right_before=sum(label == one for label, one, _ in both),
        right_after=sum(label == two for label, _, two in both),
        by_label={
            name: {
                "answered": sum(one == label for one, _, _ in both),
                "moved": sum(one == label and first != second for one, first, second in both),
            }
            for label, name in LABELS.items()
        },
    )


def donors(rows: int, seed: int) -> list[int]:
    """Return another row for each row, each given once (a random cycle)."""
    order = np.random.default_rng(seed).permutation(rows)
    found = np.empty(rows, dtype=np.int64)
    found[order] = np.roll(order, 1)
    return [int(one) for one in found]


def swap(evidence: Evidence, donor: Evidence) -> Evidence:
    """Return the question of ``evidence`` with what is known for ``donor``, told under the names of the question."""
    ends = {
        role: (_node(evidence, role), _node(donor, role)) for role in ("perturbation", "target")
    }  # own and the donor's
    names = {theirs.name: own.name for own, theirs in ends.values()}
    paths = [_between(path, *ends.values()) for path in donor.paths]
    return msgspec.structs.replace(
        donor,
        query=evidence.query,
        cell_line=evidence.cell_line,
        perturbation=_told(donor.perturbation, ends["perturbation"][0], names),
        target=_told(donor.target, ends["target"][0], names),
        paths=paths,
    )


def _node(evidence: Evidence, role: str) -> Node:
    description: Description | None = getattr(evidence, role)
    asked = getattr(evidence.query, role)
    return description.gene if description is not None else Node(id=asked, label="Gene", name=asked)


def _between(path: Path, start: tuple[Node, Node], end: tuple[Node, Node]) -> Path:
    nodes = [_renamed(path.nodes[0], *start), *path.nodes[1:-1], _renamed(path.nodes[-1], *end)]
    return msgspec.structs.replace(path, nodes=nodes)


def _renamed(node: Node, own: Node, theirs: Node) -> Node:
    return own if node.id == theirs.id else node


def _told(description: Description | None, own: Node, names: dict[str, str]) -> Description | None:
    if description is None:
        return None
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)")
    sentences = [
        msgspec.structs.replace(one, text=pattern.sub(lambda match: names[match.group()], one.text))
        for one in description.sentences
    ]
    return msgspec.structs.replace(description, gene=own, sentences=sentences)


def _wilson(hits: int, rows: int) -> tuple[float, float]:
    share, extra = hits / rows, _Z**2 / rows
    middle = (share + extra / 2) / (1 + extra)
    half = _Z * math.sqrt(share * (1 - share) / rows + extra / (4 * rows)) / (1 + extra)
    return max(0.0, middle - half), min(1.0, middle + half)


def ask_model(
    endpoint: Endpoint, instruction: str, template: str, *, concurrency: int = 8, sampling: Sampling | None = None
) -> Predict:
    """Return a predictor that asks an endpoint without telling the outcome.

    Args:
        endpoint: Where to ask.
        instruction: Of the mode ``blind``.
        template: Of the question.
        concurrency: Questions under way at one time.
        sampling: By default the likeliest words.
    """
    chosen = sampling or Sampling(temperature=0.0)

    async def all_of(evidence: Sequence[Evidence]) -> list[Answered]:
        gate = asyncio.Semaphore(concurrency)
        async with open_client(endpoint, concurrency) as client:

            async def one(found: Evidence) -> Answered:
                query = found.query
                told = Told(query.cell_line, query.perturbation, query.target, 0, "", found, "", None)
                async with gate:
                    return await ask(client, endpoint, make_messages(told, instruction, BLIND, template, None), chosen)

            return list(await asyncio.gather(*map(one, evidence)))

    def predict(evidence: Sequence[Evidence]) -> list[int | None]:
        return [label_of(parse(one.text).answer) for one in asyncio.run(all_of(evidence))]

    return predict
