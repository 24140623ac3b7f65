"""Rows as prompts: the same evidence and template files in training, in prediction and in serving."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import polars as pl

from aroma.errors import AromaError, ModelError, UsageError
from aroma.model.aroma.options import AromaOptions
from aroma.model.aroma.tokens import encode_prompt, plain_text, wrap_chat
from aroma.model.ground import ROWS
from aroma.model.traces.answers import ANSWERS, completion
from aroma.model.traces.rows import evidence_id
from aroma.retrieval.evidence import EvidenceStore, Pair
from aroma.retrieval.evidence_model import Description, Evidence, SharedFeatures
from aroma.retrieval.prompts import Rendered, check_template, render

_NOTHING_SHARED: Final = SharedFeatures(complexes=[], terms=[], pathways=[])


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One row as a prompt.

    Attributes:
        cell_line: As asked, like the next two.
        perturbation: Name.
        target: Name.
        perturbation_gene: Node id, or None where the name does not resolve.
        target_gene: Node id, or None.
        text: The prompt with chat markup and placeholders; ``encode_prompt`` makes the token ids. Empty with a problem.
        tokens: Its number of tokens.
        dropped: Evidence that the budget took away, in the order of taking.
        evidence_id: sha256 (hex) of the evidence as JSON, before the budget.
        problem: Why the row cannot be a prompt; it names the row. None for a good one.
    """

    cell_line: str
    perturbation: str
    target: str
    perturbation_gene: str | None
    target_gene: str | None
    text: str
    tokens: int
    dropped: tuple[str, ...] = ()
    evidence_id: str = ""
    problem: str | None = None

    @property
    def name(self) -> str:
        """How messages call the row."""
        return row_name(self.cell_line, self.perturbation, self.target)


class Prompter:
    """Makes prompts of rows; equal rows give equal prompts, in any order and company.

    Args:
        store: The evidence; what it withholds no prompt can show.
        tokenizer: With the placeholders added (``open_tokenizer``, ``tiny_tokenizer``).
        options: Template, budget, modalities, retrieval, chat.
        context: Most tokens that the model reads (``Aroma.context``), or None to leave that to the model.

    Raises:
        UsageError: There is no such template, or it is not valid.
    """

    def __init__(
        self, store: EvidenceStore, tokenizer: Any, options: AromaOptions, *, context: int | None = None
    ) -> None:
        self.store, self.options, self.context = store, options, context
        self._tokenizer = tokenizer
        check_template(options.template)

    def rows(self, frame: pl.DataFrame) -> list[PromptRow]:
        """Return the prompt of each row, in order; a row that cannot be one has a ``problem`` and stays in its place.

        Args:
            frame: Columns of ``aroma.model.ground.ROWS``, names and genes possibly null.

        Raises:
            UsageError: A column is missing.
        """
        return list(self.iterate(frame))

    def iterate(self, frame: pl.DataFrame) -> Iterator[PromptRow]:
        """Yield what ``rows`` returns one by one, for more rows than memory holds."""
        missing = [name for name in ROWS if name not in frame.columns]
        if missing:
            raise UsageError(f"rows lack the column {', '.join(missing)}; make them with Ground.rows")
        asked = [dict(row) for row in frame.select(list(ROWS)).iter_rows(named=True)]
        good = [row for row in asked if _nameless(row) is None]
        found = self.store.many(Pair(row["perturbation"], row["target"], row["cell_line"]) for row in good)
        for row in asked:
            if (problem := _nameless(row)) is not None:
                yield _problem_row(row, problem)
            else:
                yield self.row(row, next(found))

    def row(self, row: dict[str, Any], evidence: Evidence) -> PromptRow:
        """Return the prompt of one row from its evidence."""
        shown = evidence if self.options.retrieval else without_retrieval(evidence)
        name = row_name(row["cell_line"], row["perturbation"], row["target"])
        try:
            made = self._render(shown)
            ids = encode_prompt(self._tokenizer, made.text, name, self.options.modalities)
            if self.context is not None and len(ids) >= self.context:
                raise ModelError(too_long(name, len(ids), self.context))
        except AromaError as error:
            return _problem_row(row, str(error) if name in str(error) else f"{name}: {error}")
        text, tokens, dropped = made.text, len(ids), made.dropped
        return PromptRow(**row, text=text, tokens=tokens, dropped=dropped, evidence_id=evidence_id(evidence))

    def _render(self, evidence: Evidence) -> Rendered:
        options = self.options
        made = render(
            evidence,
            options.template,
            budget=options.budget,
            count=lambda text: len(self._tokenizer.encode(self._marked(text), add_special_tokens=False)),
            placeholders=options.placeholders,
        )
        return Rendered(self._marked(made.text), made.tokens, made.dropped)

    def _marked(self, text: str) -> str:
        plain = plain_text(self._tokenizer, text)
        return wrap_chat(self._tokenizer, plain) if self.options.chat else plain


def row_name(cell_line: str | None, perturbation: str | None, target: str | None) -> str:
    """Return how messages call a row."""
    return f"{perturbation} → {target} in {cell_line}"


def too_long(name: str, tokens: int, context: int) -> str:
    """Return what is said of a prompt that the model cannot read whole."""
    return (
        f"{name}: the prompt has {tokens:,} tokens, and the model reads {context:,} with the answer; give a smaller "
        "budget, or a base with a longer context"
    )


def without_retrieval(evidence: Evidence) -> Evidence:
    """Return the evidence with nothing but the query's names (the ablation "without retrieval")."""
    return msgspec.structs.replace(
        evidence,
        perturbation=_name_only(evidence.perturbation),
        target=_name_only(evidence.target),
        cell_line=msgspec.structs.replace(evidence.cell_line, description=""),
        paths=[],
        shared=_NOTHING_SHARED,
        interaction=None,
        contrast=None,
    )


def _name_only(one: Description | None) -> Description | None:
    return None if one is None else msgspec.structs.replace(one, sentences=[])


def _nameless(row: dict[str, Any]) -> str | None:
    empty = [name for name in ("cell_line", "perturbation", "target") if not row[name]]
    if not empty:
        return None
    name = row_name(row["cell_line"], row["perturbation"], row["target"])
    return f"{name}: {', '.join(empty)} is empty; give a name"


def _problem_row(row: dict[str, Any], problem: str) -> PromptRow:
    named = {name: row[name] or "" for name in ("cell_line", "perturbation", "target")}
    return PromptRow(**{**row, **named}, text="", tokens=0, problem=problem)


__all__ = [
    "ANSWERS",
    "PromptRow",
    "Prompter",
    "completion",
    "evidence_id",
    "row_name",
    "too_long",
    "without_retrieval",
]
