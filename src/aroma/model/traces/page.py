"""A traced answer as one HTML page: no script, no other file, every text escaped, usable with keys alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

from aroma.model.traces.tracing import Traced


@dataclass(frozen=True, slots=True)
class Heading:
    """What the page is about.

    Attributes:
        question: The row in words.
        answer: The trace's answer.
        measured: The measured outcome, or None where it is not known.
        writer: Who wrote the trace.
        facts: Further lines (release, evidence id, …): name and value.
    """

    question: str
    answer: str
    measured: str | None
    writer: str
    facts: tuple[tuple[str, str], ...] = ()


def page(traced: Traced, heading: Heading) -> str:
    """Return the page of a traced answer.

    Args:
        traced: The sentences with their sources.
        heading: What stands above.
    """
    used = sorted({source.item for one in traced.sentences for source in one.sources})
    number = {item: place for place, item in enumerate(used, start=1)}
    resting: dict[int, list[int]] = {item: [] for item in used}
    for at, one in enumerate(traced.sentences, start=1):
        for source in one.sources:
            resting[source.item].append(at)
    return _template().render(
        heading=heading,
        sentences=traced.sentences,
        items=[(number[item], traced.items[item], resting[item]) for item in used],
        unused=[item for at, item in enumerate(traced.items) if at not in number],
        number=number,
        claims=traced.claims,
        supported=traced.supported,
    )


@cache
def _template() -> Template:
    source = (files("aroma.model.traces") / "templates" / "traced.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        source
    )
