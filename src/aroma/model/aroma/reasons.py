"""What an AROMA says for an answer: its reasoning, sentence by sentence, each with the evidence that supports it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from aroma.model.aroma.scoring import write_reasoning
from aroma.model.plugin import Reason
from aroma.model.traces.tracing import Traced, TracedSentence, trace_sources
from aroma.retrieval.evidence import Pair

if TYPE_CHECKING:
    from aroma.model.aroma.fitting import Fitted
    from aroma.model.aroma.prompting import Prompter


def reasons_for(
    made: Fitted, prompter: Prompter, row: Mapping[str, Any], towards: str, failed: str | None, max_new_tokens: int
) -> list[Reason]:
    """Return the reasons of one row, of equal shares: what the model wrote is not weighed by the model.

    Args:
        made: The model and its vectors.
        prompter: Makes the prompt.
        row: Columns of ``ROWS``.
        towards: The class of the answer.
        failed: Why the row was not answered, or None.
        max_new_tokens: Longest reasoning.
    """
    pair = Pair(row["perturbation"], row["target"], row["cell_line"])
    evidence = prompter.store.evidence(pair.perturbation, pair.target, pair.cell_line)
    prompt = prompter.row(dict(row), evidence)
    if failed is not None or prompt.problem is not None:
        return [Reason("not answered", f"{failed or prompt.problem}; this is what is usual", 1.0, towards)]
    (reasoning,) = write_reasoning(made.aroma, [prompt], made.bank, max_new_tokens=max_new_tokens)
    traced = trace_sources(reasoning, evidence, _resolver(prompter))
    reasons = [_reason(sentence, traced, towards) for sentence in traced.sentences]
    claims = f"{traced.supported} of {traced.claims} claims supported" if reasons else "the model wrote no reasoning"
    shown = f"the model read {prompt.tokens} tokens of evidence {prompt.evidence_id[:12]}; {claims}"
    return [*reasons, Reason("evidence", shown, 1.0, towards, (prompt.evidence_id,))]


def _reason(sentence: TracedSentence, traced: Traced, towards: str) -> Reason:
    """Return a sentence as a reason: its sources are the statements of the items that it rests on, else their ids."""
    kind = "reasoning" if sentence.supported or sentence.kind != "claim" else "reasoning, not supported by the evidence"
    unknown = f" [names {', '.join(sentence.unknown)}, of which the evidence has nothing]" if sentence.unknown else ""
    items = [traced.items[source.item] for source in sentence.sources]
    sources = dict.fromkeys(one for item in items for one in (item.statements or (item.id,)))
    return Reason(kind, f"{sentence.text}{unknown}", 1.0, towards, tuple(sources))


def _resolver(prompter: Prompter) -> Callable[[str], str | None]:
    def resolve(name: str) -> str | None:
        return prompter.store.resolve(name).gene

    return resolve
