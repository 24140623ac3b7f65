"""One row as a trace or as a request: its evidence, its prompt, and why it can be neither."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.model.splits import Fold
from aroma.model.traces.answers import ANSWERS
from aroma.model.traces.rows import TEMPLATE, TraceRow, evidence_id
from aroma.model.traces.writer import write_trace
from aroma.retrieval.evidence import EvidenceStore, Pair
from aroma.retrieval.evidence_model import Evidence
from aroma.retrieval.prompts import estimate_tokens, render


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """The prompt that stands beside a trace; it is what a model that is trained on the trace is asked.

    Attributes:
        template: A bundled template's name, or a file.
        budget: Most tokens by the built-in estimate, or None.
        multimodal: Whether it has the placeholders of embeddings.
    """

    template: str = "aroma"
    budget: int | None = None
    multimodal: bool = True


@dataclass(frozen=True, slots=True)
class Told:
    """A row with its evidence.

    Attributes:
        cell_line: As written in the outcomes, like the next two.
        perturbation: Name.
        target: Name.
        label: The measured outcome.
        split: ``sft`` or ``grpo``.
        evidence: What is known, without the row's own outcome.
        prompt: What a model is asked; empty with a problem.
        problem: Why the row can be no trace, or None.
    """

    cell_line: str
    perturbation: str
    target: str
    label: int
    split: str
    evidence: Evidence
    prompt: str
    problem: str | None

    def row(
        self, reasoning: str, answer: str, *, kind: str, writer: str, reason: str | None = None, evidence: str = ""
    ) -> TraceRow:
        """Return the row as a trace; it is dropped where there is a reason."""
        return TraceRow(
            self.cell_line, self.perturbation, self.target, self.label, self.prompt, reasoning, answer, kind, writer,
            evidence or evidence_id(self.evidence), self.split, kept=reason is None, reason=reason,
        )  # fmt: skip


def open_evidence(home: Home, release: str | None, fold: Fold) -> EvidenceStore:
    """Open the evidence that a fold's traces may cite: of the measured outcomes only the training rows are seen.

    Raises:
        ReleaseError: Nothing is published, or there is no such release.
    """
    return EvidenceStore(home, release, outcomes=fold.training)


def tell(store: EvidenceStore, rows: pl.DataFrame, settings: PromptSettings) -> Iterator[Told]:
    """Yield each row with its evidence and prompt, in order, in bounded memory.

    Args:
        store: See ``open_evidence``.
        rows: ``cell_line``, ``perturbation``, ``target``, ``label``, ``split``.
        settings: Of the prompt.

    Raises:
        UsageError: There is no such template, or it is damaged.
    """
    asked = list(rows.select("cell_line", "perturbation", "target", "label", "split").iter_rows())
    found = store.many(Pair(perturbation, target, line) for line, perturbation, target, *_ in asked)
    for (line, perturbation, target, label, split), evidence in zip(asked, found, strict=True):
        prompt, problem = _prompt(evidence, settings)
        yield Told(line, perturbation, target, label, split, evidence, prompt, problem)


def template_row(told: Told, cite: frozenset[str]) -> TraceRow:
    """Return the row as the template writer tells it."""
    reasoning = write_trace(told.evidence, told.label, cite=cite)
    return told.row(reasoning, ANSWERS[told.label], kind=TEMPLATE, writer=TEMPLATE, reason=told.problem)


def _prompt(evidence: Evidence, settings: PromptSettings) -> tuple[str, str | None]:
    for side, gene, name in (
        ("perturbation", evidence.query.perturbation_id, evidence.query.perturbation),
        ("target", evidence.query.target_id, evidence.query.target),
    ):
        if gene is None:
            return "", f"{side} gene {name} is not known to the release"
    count = _no_count if settings.budget is None else estimate_tokens
    try:
        made = render(evidence, settings.template, budget=settings.budget, count=count, multimodal=settings.multimodal)
    except UsageError as error:
        if settings.budget is None:
            raise
        return "", str(error)
    return made.text, None


def _no_count(_: str) -> int:
    """Counting tokens takes a fifth of the time; without a budget nobody asks."""
    return 0
