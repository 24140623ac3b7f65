"""Evidence taken apart into items that a sentence of a trace can rest on, each with the statements behind it.

What is missing is an item too ("no direct interaction is recorded"), since a trace may rightly say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aroma.retrieval.evidence_model import ContrastiveCase, Description, Evidence, Node, Path

_RELATIONS: Final = {
    "ANNOTATED_TO": "is annotated to",
    "MEMBER_OF": "is a member of the complex",
    "PARTICIPATES_IN": "takes part in the pathway",
    "IS_A": "is a kind of",
    "PART_OF": "is part of",
    "REGULATES": "regulates",
    "POSITIVELY_REGULATES": "positively regulates",
    "NEGATIVELY_REGULATES": "negatively regulates",
    "CHILD_OF": "belongs to the pathway",
    "INTERACTS_WITH": "interacts with",
    "SHARES_COMPLEX": "shares a complex with",
    "ENCODES": "encodes",
}
_OUTCOMES: Final = {
    "up": "raised it: it increased, was upregulated",
    "down": "lowered it: it decreased, was downregulated",
    "not significant": "left it as it was: unchanged, not significantly changed",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that the evidence says.

    Attributes:
        id: Its place in the evidence: ``perturbation 2``, ``path 1``, ``shared terms 3``, ``positive 1``, ….
        kind: ``query``, ``description``, ``cell line``, ``path``, ``shared``, ``interaction``, ``degrees``, ``case``,
            ``totals`` or ``missing``.
        text: What it says, as a sentence.
        names: Names of genes, terms, pathways and complexes that it is about, but for the two genes asked about.
        genes: Ids of the genes among them.
        statements: Ids of the providers' lines behind it.
    """

    id: str
    kind: str
    text: str
    names: tuple[str, ...] = ()
    genes: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()


def items_of(evidence: Evidence) -> tuple[Item, ...]:
    """Return all items of an evidence object, in its order."""
    return (
        _query(evidence),
        *_described(evidence.perturbation),
        *_described(evidence.target),
        *_cell_line(evidence),
        *(_path(path) for path in evidence.paths),
        *_shared(evidence),
        *_interaction(evidence),
        *_degrees(evidence),
        *_contrast(evidence),
        *_missing(evidence),
    )


def asked_names(evidence: Evidence) -> tuple[str, ...]:
    """Return the names of the two genes, as asked and as understood."""
    known = (side.gene.name for side in (evidence.perturbation, evidence.target) if side is not None)
    return tuple(dict.fromkeys((*known, evidence.query.perturbation, evidence.query.target)))


def _query(evidence: Evidence) -> Item:
    asked = evidence.query
    text = (
        f"The question: in {asked.cell_line} cells the perturbation gene {asked.perturbation} is knocked down "
        f"(silenced, CRISPR interference), and the response, effect on the expression of the target gene "
        f"{asked.target} is read out."
    )
    return Item("query", "query", text)


def _described(description: Description | None) -> Iterator[Item]:
    if description is None:
        return
    for place, sentence in enumerate(description.sentences, start=1):
        name, text = f"{description.role} {place}", f"{description.gene.name}: {sentence.text}"
        yield Item(name, "description", text, statements=tuple(sentence.statements))


def _cell_line(evidence: Evidence) -> Iterator[Item]:
    line = evidence.cell_line
    if line.description:
        yield Item("cell line", "cell line", f"{line.name}: {line.description}", statements=tuple(line.statements))


def _path(path: Path) -> Item:
    inner = path.nodes[1:-1]
    steps = []
    statements: list[str] = []
    for at, step in enumerate(path.steps):
        edge = step.edges[0]
        ends = path.nodes[at].name, path.nodes[at + 1].name
        said = _RELATIONS.get(edge.relation, "is joined to")
        steps.append(f"{ends[0]} {said} {ends[1]}" if edge.subject == step.start else f"{ends[1]} {said} {ends[0]}")
        statements += [statement for one in step.edges for statement in one.statements]
    names = " → ".join(node.name for node in path.nodes)
    hops = "one hop" if path.hops == 1 else f"{path.hops} hops"
    lead = f"Path {path.rank} of {hops} in the graph joins, connects the two, the shortest first"
    text = f"{lead}: {names}: {'; '.join(steps)}."
    return Item(f"path {path.rank}", "path", text, *_names(inner), tuple(statements))


def _names(nodes: list[Node]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(node.name for node in nodes), tuple(node.id for node in nodes if node.label == "Gene")


def _shared(evidence: Evidence) -> Iterator[Item]:
    for kind in ("complexes", "terms", "pathways"):
        for place, one in enumerate(getattr(evidence.shared, kind), start=1):
            text = (
                f"Both genes have in common, share the feature {one.node.name} (rare, rarest: weight {one.weight:.2f})."
            )
            yield Item(f"shared {kind} {place}", "shared", text, (one.node.name,))


def _interaction(evidence: Evidence) -> Iterator[Item]:
    found = evidence.interaction
    if found is not None:
        strength = "high confidence" if found.score >= 700 else "below high confidence"  # noqa: PLR2004 - STRING's own
        text = f"STRING gives the two a direct interaction, combined score {found.score} of 1000, {strength}."
        yield Item("interaction", "interaction", text, statements=tuple(found.edge.statements))


def _degrees(evidence: Evidence) -> Iterator[Item]:
    for one in evidence.degrees:
        text = (
            f"In the view {one.view} the perturbation gene has {one.perturbation} neighbours (degree) and the target "
            f"gene has {one.target}."
        )
        yield Item(f"degrees {one.view}", "degrees", text)


def _contrast(evidence: Evidence) -> Iterator[Item]:
    contrast = evidence.contrast
    if contrast is None:
        return
    positive, negative = contrast.positives_total, contrast.negatives_total
    listed = [case.label for case in contrast.positives]
    text = (
        f"Of {positive + negative} other measured outcomes (knock-downs, cases) on the target, {positive or 'none'} "
        f"changed it and {negative or 'none'} left it unchanged, as it was; of the {len(listed)} nearest listed that "
        f"changed it {listed.count('up')} raised it and {listed.count('down')} lowered it."
    )
    yield Item("totals", "totals", text)
    for side, cases in (("positive", contrast.positives), ("negative", contrast.negatives)):
        for place, case in enumerate(cases, start=1):
            yield _case(f"{side} {place}", case)


def _case(name: str, case: ContrastiveCase) -> Item:
    same = "The same knock-down, itself, of" if case.same_perturbation else "The similar knock-down of"
    alike = f" (alike by {', '.join(node.name for node in case.shared)})" if case.shared else ""
    text = (
        f"{same} {case.perturbation.name} in {case.cell_line} (similarity {case.similarity:.2f}{alike}) "
        f"{_OUTCOMES.get(case.label, case.label)}."
    )
    nodes = [case.perturbation] if not case.same_perturbation else []
    names, genes = _names([*nodes, *case.shared])
    return Item(name, "case", text, names, genes)


def _missing(evidence: Evidence) -> Iterator[Item]:
    one, other = (*asked_names(evidence), "", "")[:2]
    if not evidence.paths:
        yield Item("no path", "missing", f"No path of the graph joins, connects {one} and {other}.")
    if evidence.interaction is None:
        yield Item("no interaction", "missing", "No direct interaction, direct link of the two genes is recorded.")
    shared = evidence.shared
    if not (shared.complexes or shared.terms or shared.pathways):
        yield Item("nothing shared", "missing", "The two genes share no complex, term, pathway or other feature.")
    for place, flag in enumerate(evidence.coverage, start=1):
        yield Item(f"missing {place}", "missing", f"{flag.message}")
