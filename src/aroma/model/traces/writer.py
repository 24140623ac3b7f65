"""Traces without a model: the evidence told in sentences, weighed, and led to the measured outcome.

The text says only what stands in the evidence, and the outcome only in its last sentence. It is the same for the same
evidence, label and choice of what may be cited; wording varies with the query. Such traces are marked ``template``:
they show a model the shape of an argument and where its facts stand, not biology beyond the evidence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from zlib import crc32

from jinja2 import Environment, meta

from aroma.errors import UsageError
from aroma.model.traces.answers import ANSWERS
from aroma.model.traces.arguments import Weighed, weigh
from aroma.model.traces.sentences import first_sentence
from aroma.retrieval.evidence_model import ContrastiveCase, Description, Evidence, Path, Step
from aroma.retrieval.prompts import OUTCOMES, PLACEHOLDERS, read_template

CITABLE: Final = ("cell line", "descriptions", "paths", "interaction", "shared", "degrees", "contrast")
EVERYTHING: Final = frozenset(CITABLE)
_FIELDS: Final = {
    "cell line": ("cell_line_text",),
    "descriptions": ("perturbation_text", "target_text"),
    "paths": ("paths",),
    "interaction": ("interaction",),
    "shared": ("shared",),
    "contrast": ("positives", "negatives"),
}
_KINDS: Final = {
    "perturbation": ("complexes", "pathways", "biological process", "molecular function", "partners"),
    "target": ("biological process", "pathways", "complexes", "molecular function", "cellular component"),
}
_MOST_SHARED: Final = 3
_MOST_PATHS: Final = 2
_MOST_CASES: Final = 3
_STEPS: Final = {
    "ANNOTATED_TO": "{} is annotated to {}",
    "MEMBER_OF": "{} is a member of {}",
    "PARTICIPATES_IN": "{} takes part in {}",
    "IS_A": "{} is a kind of {}",
    "PART_OF": "{} is part of {}",
    "REGULATES": "{} regulates {}",
    "POSITIVELY_REGULATES": "{} positively regulates {}",
    "NEGATIVELY_REGULATES": "{} negatively regulates {}",
    "CHILD_OF": "{} belongs to {}",
    "INTERACTS_WITH": "{} interacts with {}",
    "SHARES_COMPLEX": "{} shares a complex with {}",
    "ENCODES": "{} encodes {}",
}
_CHANGED: Final = {"up": "raised it", "down": "lowered it", "not significant": "left it as it was"}
_TAG: Final = re.compile(r"<(\s*/?\s*(?:think|answer)\s*)>", re.IGNORECASE)
_OPENINGS: Final = (
    "The question is how {target} responds in {line} cells when {gene} is knocked down.",
    "To be judged is the effect of knocking down {gene} on {target} in {line} cells.",
    "In {line} cells, {gene} is silenced and {target} is read out.",
)


@dataclass(frozen=True, slots=True)
class _Query:
    """Names as understood, and a number that chooses wordings."""

    gene: str
    target: str
    line: str
    seed: int


def write_trace(evidence: Evidence, label: int, *, cite: frozenset[str] = EVERYTHING) -> str:
    """Return reasoning made from the evidence, one paragraph; ``answers.completion`` makes the trace of it.

    Args:
        evidence: What is known.
        label: The measured outcome (0, 1, 2), said in the last sentence only.
        cite: What may be cited, of ``CITABLE``; ``cited_by`` tells what a prompt template shows.

    Raises:
        UsageError: The label is not 0, 1 or 2, or ``cite`` has an unknown word.
    """
    if label not in ANSWERS:
        raise UsageError(f"label {label!r}: expected {', '.join(map(str, ANSWERS))}")
    if unknown := sorted(cite - EVERYTHING):
        raise UsageError(f"cannot cite {unknown[0]!r}; there are: {', '.join(CITABLE)}")
    query = _query(evidence)
    parts = [_OPENINGS[query.seed % len(_OPENINGS)].format(target=query.target, gene=query.gene, line=query.line)]
    if "cell line" in cite and evidence.cell_line.description:
        parts.append(_cell_line(evidence, query))
    if "descriptions" in cite:
        parts += [*_described(evidence.perturbation, query), *_described(evidence.target, query)]
    if "paths" in cite:
        parts += _connected(evidence.paths, query)
    if "interaction" in cite and evidence.interaction is not None:
        parts.append(
            f"STRING gives the two a direct interaction with a combined score of {evidence.interaction.score} of 1000."
        )
    if "shared" in cite:
        parts += _shared(evidence, query)
    if "degrees" in cite:
        parts += _degrees(evidence, query)
    if "contrast" in cite:
        parts += _cases(evidence, query)
    parts += _weighed(weigh(evidence, label, cite), query)
    parts.append(_conclusion(query, label))
    return _safe(" ".join(parts))


def cited_by(template: str) -> frozenset[str]:
    """Return what a prompt built from a template shows of the evidence, as ``cite`` of ``write_trace``.

    Raises:
        UsageError: There is no such template.
        InputFileError: The file cannot be read.
    """
    return _cited_by(read_template(template))


@lru_cache(maxsize=16)
def _cited_by(source: str) -> frozenset[str]:
    used = meta.find_undeclared_variables(Environment(autoescape=True).parse(source))
    return frozenset(name for name, fields in _FIELDS.items() if used.intersection(fields))


def _query(evidence: Evidence) -> _Query:
    asked = evidence.query
    gene = evidence.perturbation.gene.name if evidence.perturbation else asked.perturbation
    target = evidence.target.gene.name if evidence.target else asked.target
    line = evidence.cell_line.name
    return _Query(gene, target, line, crc32(f"{line}\t{gene}\t{target}".encode()))


def _cell_line(evidence: Evidence, query: _Query) -> str:
    text = evidence.cell_line.description
    known = _lowered(text if text.endswith(".") else f"{text}.")
    return f"{query.line} is described as follows: {known}"


def _described(description: Description | None, query: _Query) -> list[str]:
    if description is None:
        return []
    gene, by_kind = description.gene.name, {sentence.kind: sentence.text for sentence in description.sentences}
    found = []
    if text := by_kind.get("own text") or by_kind.get("annotation text"):
        found.append(_function(gene, first_sentence(text)))
    there = [by_kind[kind] for kind in _KINDS[description.role] if kind in by_kind]
    if there:
        found.append(_named(gene, there[(query.seed >> 2) % min(len(there), 2)]))
    return found or [f"Of {gene} the evidence says no more than its name."]


def _function(gene: str, text: str) -> str:
    """Return STRING's ``Protein name; What it does.`` as a sentence; other texts stand as they are."""
    name, separator, does = text.partition("; ")
    if not separator:
        return f"Of {gene} it is recorded: {text}" if not text.startswith(gene) else text
    return f"{gene} encodes {name.rstrip('.')}, recorded as follows: {_lowered(does)}"


def _named(gene: str, text: str) -> str:
    """Put the gene in the place of a pronoun that begins the sentence."""
    for pronoun, name in (("It ", f"{gene} "), ("Its ", f"{gene}'s ")):
        if text.startswith(pronoun):
            return name + text[len(pronoun) :]
    return text


def _lowered(text: str) -> str:
    """Return the text with a small first letter, but for names and abbreviations."""
    word = text.split(" ", 1)[0]
    return text[0].lower() + text[1:] if word.rstrip(",;:.")[1:].isalpha() and word[1:].islower() else text


def _connected(paths: list[Path], query: _Query) -> list[str]:
    if not paths:
        return [f"The graph shows no path between {query.gene} and {query.target}."]
    shown = paths[:_MOST_PATHS]
    found = []
    for number, path in enumerate(shown):
        lead = "In the graph, a path of {} hops" if number == 0 else "Another path of {} hops"
        lead = lead.format(path.hops).replace(" of 1 hops", " of one hop")
        steps = [_step(step, path.nodes[at].name, path.nodes[at + 1].name) for at, step in enumerate(path.steps)]
        told = steps[0] if len(steps) == 1 else f"{', '.join(steps[:-1])}, and {steps[-1]}"
        found.append(f"{lead} leads from {query.gene} to {query.target}: {told}.")
    return found


def _step(step: Step, start: str, end: str) -> str:
    edge = step.edges[0]
    forward = edge.subject == step.start or edge.object not in {step.start, step.end}
    return _STEPS.get(edge.relation, "{} is joined to {}").format(*((start, end) if forward else (end, start)))


def _shared(evidence: Evidence, query: _Query) -> list[str]:
    shared = evidence.shared
    items = sorted(
        (-item.weight, item.node.id, item.node.name) for part in (shared.complexes, shared.terms, shared.pathways)
        for item in part
    )  # fmt: skip
    if not items:
        return [f"{query.gene} and {query.target} share no complex, term or pathway in the evidence."]
    names = _joined([name for _, _, name in items[:_MOST_SHARED]])
    rare = "the rarest of what they share is" if len(items) > 1 else "what they share is"
    return [f"{query.gene} and {query.target} have features in common; {rare} {names}."]


def _degrees(evidence: Evidence, query: _Query) -> list[str]:
    known = next((one for one in evidence.degrees if one.perturbation or one.target), None)
    if known is None:
        return []
    counts = f"{known.perturbation} for {query.gene} and {known.target} for {query.target}"
    return [f"In the view {known.view}, the number of neighbours is {counts}."]


def _cases(evidence: Evidence, query: _Query) -> list[str]:
    contrast = evidence.contrast
    if contrast is None:
        return []
    total = contrast.positives_total + contrast.negatives_total
    if not total:
        return [f"No other measured knock-down of {query.target} is at hand."]
    changed = contrast.positives_total
    found = [f"Of {total} other measured outcomes on {query.target}, {changed or 'none'} changed it."]
    first = [*contrast.positives[:1], *contrast.negatives[:1]]
    others = [*contrast.positives[1:], *contrast.negatives[1:]]
    shown = sorted([*first, *sorted(others, key=_nearness)[: _MOST_CASES - len(first)]], key=_nearness)
    told = [_case(case, query) for case in shown]
    return [*found, f"The nearest on either side: {'; '.join(told)}."] if told else found


def _nearness(case: ContrastiveCase) -> tuple[bool, float, str, str]:
    return not case.same_perturbation, -case.similarity, case.cell_line, case.perturbation.id


def _case(case: ContrastiveCase, query: _Query) -> str:
    did = _CHANGED.get(case.label, OUTCOMES.get(case.label, case.label))
    if case.same_perturbation:
        return f"{query.gene} itself, knocked down in {case.cell_line}, {did}"
    alike = f", alike by {_joined([node.name for node in case.shared[:2]])}" if case.shared else ""
    return f"{case.perturbation.name} in {case.cell_line} (similarity {case.similarity:.2f}{alike}) {did}"


def _weighed(weighed: Weighed, query: _Query) -> list[str]:
    found = []
    if weighed.against:
        found.append(f"{_AGAINST[query.seed % len(_AGAINST)]} {_joined(list(weighed.against))}.")
    if weighed.favouring:
        lead = _FOR_AFTER if weighed.against else _FOR_ALONE
        found.append(f"{lead[(query.seed >> 1) % len(lead)]} {_joined(list(weighed.favouring))}.")
    else:
        found.append("The evidence favours no answer clearly, so the conclusion is a weak one.")
    return found


_AGAINST: Final = ("Against the conclusion below speaks that", "The other way points that", "It is a counterpoint that")
_FOR_AFTER: Final = ("Weighing more here is that", "What decides is that", "The stronger point is that")
_FOR_ALONE: Final = ("What decides is that", "The evidence agrees in that", "The main point is that")


def _conclusion(query: _Query, label: int) -> str:
    if label == 0:
        return (
            f"Therefore, {query.target} is expected to be not significantly changed in {query.line} cells when "
            f"{query.gene} is knocked down."
        )
    return (
        f"Therefore, {query.target} is expected to be {ANSWERS[label]} in {query.line} cells when {query.gene} is "
        "knocked down."
    )


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _safe(text: str) -> str:
    """Return one line in which evidence can open no block and put no placeholder."""
    if "<" in text:
        text = _TAG.sub(lambda match: match.group(1).strip(), text)
        for token in PLACEHOLDERS:
            text = text.replace(token, token.strip("<>"))
    return " ".join(text.split())
