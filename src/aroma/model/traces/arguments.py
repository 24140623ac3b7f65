"""What in the evidence speaks for an outcome and what against: the points a template trace weighs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aroma.model.labels import NOT_SIGNIFICANT
from aroma.retrieval.contrastive import LABEL_NAMES
from aroma.retrieval.evidence_model import Contrast, Evidence

_STRONG: Final = 700
"""STRING's own threshold of high confidence, of 1000."""
_NEAR: Final = 2
_ALIKE: Final = 0.3
_RARE: Final = 4.0
_MOST: Final = 3


@dataclass(frozen=True, slots=True)
class Weighed:
    """Clauses that complete "… that": the points that favour the outcome and those against it, the strongest first."""

    favouring: tuple[str, ...]
    against: tuple[str, ...]


def weigh(evidence: Evidence, label: int, cite: frozenset[str]) -> Weighed:
    """Return the points of the evidence for and against an outcome.

    Args:
        evidence: What is known.
        label: 0, 1 or 2.
        cite: What may be cited (``writer.CITABLE``).
    """
    active, quiet = _points(evidence, cite)
    up_or_down, other_way = _direction(evidence.contrast if "contrast" in cite else None, label)
    if label == NOT_SIGNIFICANT:
        return Weighed(tuple(quiet[:_MOST]), tuple(active[:_MOST]))
    return Weighed((*up_or_down, *active)[:_MOST], (*other_way, *quiet)[:_MOST])


def _points(evidence: Evidence, cite: frozenset[str]) -> tuple[list[str], list[str]]:
    """Return clauses that speak for any effect, and those that speak against one."""
    active: list[str] = []
    quiet: list[str] = []
    if "contrast" in cite and evidence.contrast is not None:
        _of_cases(evidence.contrast, active, quiet)
    if "interaction" in cite:
        if evidence.interaction is None:
            quiet.append("no direct interaction of the two is recorded")
        elif evidence.interaction.score >= _STRONG:
            active.append("the two interact directly with high confidence")
        else:
            quiet.append("their direct interaction is scored below high confidence")
    if "paths" in cite:
        _of_paths(evidence, active, quiet)
    if "shared" in cite:
        _of_shared(evidence, active, quiet)
    return active, quiet


def _of_cases(contrast: Contrast, active: list[str], quiet: list[str]) -> None:
    itself = [case for case in (*contrast.positives, *contrast.negatives) if case.same_perturbation]
    changed = sorted({case.cell_line for case in itself if case.label != LABEL_NAMES[NOT_SIGNIFICANT]})
    still = sorted({case.cell_line for case in itself} - set(changed))
    if changed:
        active.append(f"the same knock-down changed it in {' and '.join(changed)}")
    if still:
        quiet.append(f"the same knock-down left it unchanged in {' and '.join(still)}")
    near = [case for case in contrast.positives if not case.same_perturbation and case.similarity >= _ALIKE]
    if near:
        active.append(f"the similar knock-down of {near[0].perturbation.name} changed it in {near[0].cell_line}")
    elif not changed and contrast.positives_total + contrast.negatives_total:
        quiet.append("no similar knock-down at hand changed it")
    total = contrast.positives_total + contrast.negatives_total
    if total and contrast.positives_total * 2 <= total:
        quiet.append(f"{contrast.negatives_total} of {total} measured knock-downs left it unchanged")
    elif total:
        active.append(f"{contrast.positives_total} of {total} measured knock-downs changed it")


def _of_paths(evidence: Evidence, active: list[str], quiet: list[str]) -> None:
    if not evidence.paths:
        quiet.append("no path of the graph joins the two genes")
    elif evidence.paths[0].hops <= _NEAR:
        active.append(f"the graph joins them within {evidence.paths[0].hops} hops".replace("1 hops", "one hop"))
    else:
        quiet.append(f"the shortest path between them has {evidence.paths[0].hops} hops")


def _of_shared(evidence: Evidence, active: list[str], quiet: list[str]) -> None:
    shared = evidence.shared
    rare = [item for part in (shared.complexes, shared.terms, shared.pathways) for item in part if item.weight >= _RARE]
    if rare:
        best = max(rare, key=lambda item: (item.weight, item.node.id))
        active.append(f"both have {best.node.name}, which few genes have")
    elif shared.complexes or shared.terms or shared.pathways:
        quiet.append("what they share is common to many genes")
    else:
        quiet.append("they share no feature")


def _direction(contrast: Contrast | None, label: int) -> tuple[list[str], list[str]]:
    """Return clauses on the direction of the cases listed: those that agree with the label, those that do not."""
    if contrast is None or label == NOT_SIGNIFICANT or not contrast.positives:
        return [], []
    name = LABEL_NAMES[label]
    same = sum(case.label == name for case in contrast.positives)
    listed = len(contrast.positives)
    words = {"up": ("raised", "lowered"), "down": ("lowered", "raised")}[name]
    agree = [f"{same} of the {listed} nearest knock-downs that changed it {words[0]} it"] if same else []
    differ = (
        [f"{listed - same} of the {listed} nearest knock-downs that changed it {words[1]} it"] if same < listed else []
    )
    return agree, differ
