"""Descriptions of a gene for its role, composed from the graph, each sentence with the lines that support it.

AROMA takes two written summaries a gene (as perturbed, as target) from SUMMER. Ours are composed from what the release
says, so that every sentence can be traced and follows the next refresh; a lab can put its own texts in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from aroma.errors import InputFileError
from aroma.kgstore.schema import Relation
from aroma.kgstore.user_tables import read_user_table
from aroma.retrieval.edge_table import NO_SCORE
from aroma.retrieval.evidence_model import Description, Sentence
from aroma.retrieval.gene_kernels import TERM_SETS, GeneKernels
from aroma.retrieval.snapshot import Snapshot, View

ROLES: Final = ("perturbation", "target")
_KEPT: Final = 50_000
_CUT_OFF: Final = "[...]"
"""How STRING ends a text that it cut; the sentence that was cut is left out."""
_MOST_TERMS: Final = 4
_MOST_PARTNERS: Final = 5
_RELATIONS: Final = tuple(Relation)
_ASPECTS: Final = (
    ("biological_process", "{gene} is annotated to the biological processes {terms}."),
    ("molecular_function", "{gene} is annotated to the molecular functions {terms}."),
    ("cellular_component", "{gene} is annotated to the cellular components {terms}."),
)
_OPENING: Final = {
    "perturbation": "The perturbed gene {gene} ({name}) is knocked down.",
    "target": "The target gene {gene} ({name}) is read out.",
}
Texts = Mapping[tuple[str, str], str]
"""A lab's own texts: (gene id, role) to text."""


class Descriptions:
    """Composes descriptions from a snapshot; keeps those of recent genes.

    Args:
        snapshot: The opened release.
        kernels: Its kernels; they know how rare a term is.
        texts: A lab's own texts, which take the place of the composed ones.
    """

    def __init__(self, snapshot: Snapshot, kernels: GeneKernels, texts: Texts | None = None) -> None:
        self.snapshot = self._snapshot = snapshot
        self._kernels, self._texts = kernels, texts or {}
        self.of = lru_cache(maxsize=_KEPT)(self._compose)
        self._known = lru_cache(maxsize=_KEPT)(self._facts)
        self.node = lru_cache(maxsize=_KEPT)(snapshot.nodes.node)

    def _compose(self, gene: int, role: str) -> Description:
        node = self.node(gene)
        own = self._texts.get((node.id, role))
        if own is not None:
            sentences = [Sentence(text=own, kind="own text", provider="given file", statements=[])]
            return Description(gene=node, role=role, sentences=sentences)
        return Description(gene=node, role=role, sentences=[self._opening(gene, role), *self._known(gene)])

    def _facts(self, gene: int) -> tuple[Sentence, ...]:
        """Return the sentences that do not depend on the role."""
        return (*self._text(gene), *self._memberships(gene), *self._terms(gene), *self._partners(gene))

    def _opening(self, gene: int, role: str) -> Sentence:
        nodes = self._snapshot.nodes
        text = _OPENING[role].format(gene=nodes.shown(gene), name=nodes.names[gene])
        return Sentence(text=text, kind="name", provider=nodes.providers[gene], statements=[nodes.statements[gene]])

    def _text(self, gene: int) -> list[Sentence]:
        nodes = self._snapshot.nodes
        text = nodes.texts[gene].strip()
        if not text:
            return []
        whole = text[: text.rfind(". ") + 1] if text.endswith(_CUT_OFF) and ". " in text else text
        ended = whole if whole.endswith((".", _CUT_OFF)) else f"{whole}."
        return [
            Sentence(
                text=ended,
                kind="annotation text",
                provider=nodes.text_providers[gene],
                statements=[nodes.text_statements[gene]],
            )
        ]

    def _memberships(self, gene: int) -> list[Sentence]:
        found = []
        for relation, kind, sentence in (
            (Relation.MEMBER_OF, "complexes", "It is a member of the complexes {names}."),
            (Relation.PARTICIPATES_IN, "pathways", "It takes part in the pathways {names}."),
        ):
            edges = self._direct(gene, relation)
            if edges:
                found.append(self._listed(gene, edges, kind, sentence))
        return found

    def _terms(self, gene: int) -> list[Sentence]:
        weight = self._kernels[TERM_SETS].weights_of(gene)  # without what a NOT denies
        table, spaces = self._snapshot.edges, self._snapshot.nodes.namespaces
        said = [(int(table.object[edge]), edge) for edge in self._direct(gene, Relation.ANNOTATED_TO)]
        said.sort(key=lambda item: (-weight.get(item[0], 0.0), item[0]))
        found = []
        for aspect, sentence in _ASPECTS:
            fitting = [edge for term, edge in said if weight.get(term, 0.0) > 0 and spaces[term] == aspect]
            if fitting:
                found.append(
                    self._listed(gene, fitting, aspect.replace("_", " "), sentence.replace("{terms}", "{names}"))
                )
        return found

    def _listed(self, gene: int, edges: list[int], kind: str, sentence: str) -> Sentence:
        shown = edges[:_MOST_TERMS]
        nodes = self._snapshot.nodes
        names = _joined(
            [nodes.shown(int(self._snapshot.edges.object[edge])) for edge in shown], len(edges) - len(shown)
        )
        table = self._snapshot.edges
        return Sentence(
            text=sentence.format(gene=nodes.shown(gene), names=names),
            kind=kind,
            provider=table.provider(shown[0]),
            statements=[statement for edge in shown for statement in table.statement_ids(edge)],
        )

    def _partners(self, gene: int) -> list[Sentence]:
        view = self._snapshot.view("gene-kg")
        local = view.local(gene)
        if local is None:
            return []
        table = self._snapshot.edges
        best = self._strongest(view, local)
        if not best:
            return []
        shown = best[:_MOST_PARTNERS]
        names = [f"{self._snapshot.nodes.shown(node)} ({-score})" for score, node, _ in shown]
        return [
            Sentence(
                text=f"Its strongest STRING partners (score of 1000) are {_joined(names, len(best) - len(shown))}.",
                kind="partners",
                provider="string",
                statements=[statement for _, _, edge in shown for statement in table.statement_ids(edge)],
            )
        ]

    def _strongest(self, view: View, local: int) -> list[tuple[int, int, int]]:
        """Return (minus score, release node, edge) of the scored partners of a view node, strongest first."""
        pairs = view.pairs_of(local)
        counts = view.pair_start[pairs + 1] - view.pair_start[pairs]
        owner = np.repeat(np.arange(len(pairs)), counts)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        edges = view.pair_edges[view.pair_start[pairs][owner] + within]
        nodes = view.to_release[view.csr.neighbours(local)][owner]
        scores = np.where(edges >= 0, self._snapshot.edges.score[np.maximum(edges, 0)], NO_SCORE)
        known = np.flatnonzero(scores != NO_SCORE)
        order = known[np.lexsort((edges[known], nodes[known], -scores[known]))]
        _, first = np.unique(nodes[order], return_index=True)  # one edge a partner, its strongest
        chosen = order[np.sort(first)]
        return list(zip((-scores[chosen]).tolist(), nodes[chosen].tolist(), edges[chosen].tolist(), strict=True))

    def _direct(self, gene: int, relation: Relation) -> list[int]:
        edges = self._snapshot.edges.of(gene)
        codes = self._snapshot.edges.relation[edges.start : edges.stop]
        return [edges.start + int(place) for place in np.flatnonzero(codes == _RELATIONS.index(relation))]


def _joined(names: list[str], more: int) -> str:
    """Return "a, b and c", or "a, b, c and 4 more"."""
    if more > 0:
        return f"{', '.join(names)} and {more} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def read_texts(path: Path) -> dict[tuple[str, str], str]:
    """Read a lab's own descriptions: CSV or Parquet with ``gene`` (id), ``role`` and ``text``.

    Raises:
        InputFileError: Unreadable, a missing column or value, or a role other than ``perturbation`` and ``target``.
    """
    frame = read_user_table(path, required={"gene": (), "role": (), "text": ()}, line="line")
    wrong = frame.filter(~pl.col("role").is_in(ROLES).fill_null(value=False))
    if (holes := frame.filter(pl.any_horizontal(pl.col("gene", "text").is_null()))).height:
        raise InputFileError("no gene, or no text", file=path, line=int(holes["line"][0]), expected="gene,role,text")
    if wrong.height:
        raise InputFileError(
            f"role {wrong['role'][0]!r}", file=path, line=int(wrong["line"][0]), expected=" or ".join(ROLES)
        )
    return {(gene, role): text for gene, role, text in frame.select("gene", "role", "text").iter_rows()}
