"""Coverage: what is missing from an answer and why. Unknown stays unknown, and is said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aroma.kgstore.resolver import CASE, ISOFORM, MERGED, TWO_TIERS, GeneResolver, Resolution, Tier
from aroma.kgstore.schema import Relation
from aroma.retrieval.evidence_model import CellLine, Flag, Path
from aroma.retrieval.snapshot import Snapshot, View

_KNOWLEDGE = np.array(
    [relation in {Relation.ANNOTATED_TO, Relation.MEMBER_OF, Relation.PARTICIPATES_IN} for relation in Relation]
)
_SURE = {Tier.SYMBOL, Tier.HGNC_ID, Tier.ENSEMBL_ID, Tier.ENTREZ_ID, Tier.UNIPROT_ID}
_SAID = {
    TWO_TIERS: "{asked} was read as {gene}; it is or was a name of {others} as well: make sure which is meant",
    CASE: "{asked} was read as {gene}, whose name differs in upper and lower case",
    MERGED: "{asked} was read as {gene}, into which HGNC merged that entry",
    ISOFORM: "{asked} was read as {gene}: an isoform or chain stands for its gene",
}


def gene_flags(found: Resolution, role: str, resolver: GeneResolver) -> list[Flag]:
    """Say how a gene name resolved where that is not plain: unknown, ambiguous, an old symbol, two tiers."""
    if found.gene is None:
        choices = found.candidates or tuple(resolver.nearest(found.query))
        hint = f"; did you mean {', '.join(choices)}?" if choices else ""
        return [Flag(code=f"{found.reason}-gene", about=role, message=f"{found.query!r} names no gene here{hint}")]
    flags = []
    if found.tier not in _SURE:
        message = f"{found.query!r} was read as {found.symbol} by its {found.tier}"
        flags.append(Flag(code="resolved-by-other-name", about=role, message=message))
    for flag in found.flags:
        said = {"asked": repr(found.query), "gene": found.symbol or found.gene, "others": _others(found, resolver)}
        message = _SAID[flag].format(**said)
        flags.append(Flag(code=flag.replace(" ", "-"), about=role, message=message))
    return flags


def _others(found: Resolution, resolver: GeneResolver) -> str:
    return ", ".join(f"{resolver.symbols.get(gene, '?')} ({gene})" for gene in found.candidates)


def pair_flags(
    snapshot: Snapshot,
    view: View,
    ends: tuple[int | None, int | None],
    paths: list[Path],
    *,
    line: CellLine,
    outcomes: bool,
    annotated: Callable[[int], bool],
) -> list[Flag]:
    """Say what the graph does not know of the pair: no annotation, isolated, no path, unknown cell line."""
    flags = []
    for node, role in zip(ends, ("perturbation", "target"), strict=True):
        if node is None:
            continue
        name = snapshot.nodes.shown(node)
        if not annotated(node):
            said = f"{name} has no GO annotation, complex or pathway in this release"
            flags.append(Flag(code="no-annotation", about=role, message=said))
        if view.local(node) is None:
            said = f"{name} has no edge in view {view.definition.name}"
            flags.append(Flag(code="isolated", about=role, message=said))
    if None not in ends and ends[0] == ends[1]:
        flags.append(Flag(code="same-gene", about="pair", message="perturbation and target are the same gene"))
    elif None not in ends and not paths:
        said = f"no path within the hops allowed in view {view.definition.name}"
        flags.append(Flag(code="no-path", about="pair", message=said))
    if not line.known:
        said = f"cell line {line.name!r} is not described in this release"
        flags.append(Flag(code="unknown-cell-line", about="cell line", message=said))
    if not outcomes:
        said = "no measured outcomes were given, so there is no contrastive evidence"
        flags.append(Flag(code="no-outcomes", about="pair", message=said))
    return flags


def is_annotated(snapshot: Snapshot, node: int) -> bool:
    """Tell whether a gene (release node) has a term, a complex or a pathway."""
    edges = snapshot.edges.of(node)
    return bool(_KNOWLEDGE[snapshot.edges.relation[edges.start : edges.stop]].any())
