"""Evidence for a query (cell line, perturbation, target), the same for one pair as for a million.

``EvidenceStore`` opens a release once and answers from its snapshot; no server is needed. Measured outcomes that are
withheld never enter: they are taken out when the store is opened, so changing a withheld label changes no byte.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final

import msgspec
import polars as pl

from aroma.kgstore.home import Home
from aroma.kgstore.outcome_origins import load_origin
from aroma.kgstore.outcomes import load_outcomes
from aroma.kgstore.resolver import Resolution
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.retrieval.cell_lines import CellLines
from aroma.retrieval.contrastive import LABEL_NAMES, Contrast, OutcomeIndex
from aroma.retrieval.coverage import gene_flags, is_annotated, pair_flags
from aroma.retrieval.curation_notes import retractions_at, retractions_by_node
from aroma.retrieval.descriptions import ROLES, Descriptions, Texts
from aroma.retrieval.edge_table import NO_SCORE
from aroma.retrieval.embedding_refs import EmbeddingRefs
from aroma.retrieval.evidence_model import (
    EVIDENCE_VERSION,
    ContrastiveCase,
    Degrees,
    Evidence,
    Interaction,
    Licence,
    Query,
    SharedFeatures,
)
from aroma.retrieval.evidence_model import Contrast as ContrastRecord
from aroma.retrieval.evidence_parts import EvidenceParts
from aroma.retrieval.gene_kernels import TERM_SETS, GeneKernels
from aroma.retrieval.gene_names import open_resolver
from aroma.retrieval.outcome_part import open_outcomes
from aroma.retrieval.paths import PathFinder, PathOptions, Told
from aroma.retrieval.snapshot import Snapshot, View, open_snapshot
from aroma.retrieval.withhold import NOTHING, Withhold

GENE_VIEW: Final = "gene-kg"
_CHUNK: Final = 16_000
"""Pairs whose paths are searched together: the more, the more of them start at one gene, which is searched once."""
_KEPT: Final = 50_000
_OUTCOMES_PROVIDER: Final = "perturbqa"
_SHARED: Final = {"complexes": "complex", "terms": TERM_SETS, "pathways": "pathway"}
_NOTHING_SHARED: Final[dict[str, Any]] = {
    "shared": SharedFeatures(complexes=[], terms=[], pathways=[]),
    "interaction": None,
    "degrees": [],
    "contrast": None,
}


@dataclass(frozen=True, slots=True)
class EvidenceOptions:
    """What may be chosen about evidence; part of the answer.

    Attributes:
        paths: View, k, slack and most hops of the paths.
        cases: Positives and negatives listed, at most this many of each; None lists all.
        kept: Perturbations whose similarities are kept; changes speed and memory (50 KB each), no answer.
    """

    paths: PathOptions = field(default_factory=PathOptions)
    cases: int | None = 5
    kept: int = 512


@dataclass(frozen=True, slots=True)
class Pair:
    """One question: names as written."""

    perturbation: str
    target: str
    cell_line: str


class EvidenceStore:
    """A release opened for evidence.

    Args:
        home: Where the release is.
        release: Release, or None for the published one.
        outcomes: Measured outcomes (``aroma.kgstore.outcomes``) for contrastive evidence, or None for none. By the
            sha256 of a stored version, they are laid out once and mapped, where nothing is withheld.
        withhold: Outcomes that may not be seen.
        texts: A lab's own descriptions (``descriptions.read_texts``).
        options: See ``EvidenceOptions``.

    Raises:
        ReleaseError: Nothing is published, there is no such release, or the stored outcomes are damaged.
        UsageError: No stored outcomes have that sha256, or something to withhold is unknown.
    """

    def __init__(
        self,
        home: Home,
        release: str | None = None,
        *,
        outcomes: pl.DataFrame | str | None = None,
        withhold: Withhold = NOTHING,
        texts: Texts | None = None,
        options: EvidenceOptions | None = None,
    ) -> None:
        self.options = options or EvidenceOptions()
        self.snapshot: Snapshot = open_snapshot(home, release)
        self.kernels = GeneKernels(self.snapshot)
        self.resolver = open_resolver(self.snapshot)
        self.descriptions = Descriptions(self.snapshot, self.kernels, texts)
        self.paths = PathFinder(self.snapshot, self.options.paths)
        self.cell_lines = CellLines(self.snapshot)
        self.embeddings = EmbeddingRefs(self.snapshot)
        self._see(outcomes, withhold)
        self._gene_view = self.snapshot.view(GENE_VIEW)
        own = read_table(home.release(self.snapshot.release), "sources")
        self._retracted = retractions_by_node(home.release(self.snapshot.release))
        sources = pl.concat([load_origin(home).tables["sources"], own], how="diagonal")
        licences = {
            row["provider"]: Licence(
                provider=row["provider"], licence=row["licence"], commercial_use=bool(row["commercial_use"])
            )
            for row in sources.iter_rows(named=True)
        }
        self._records, self._texts = (
            EvidenceParts(self.descriptions, self.kernels, licences, text=text) for text in (False, True)
        )
        self.resolve = lru_cache(maxsize=_KEPT)(self.resolver.resolve)
        self._node_of = lru_cache(maxsize=_KEPT)(self.snapshot.nodes.ids.find)
        self._gene_flags = lru_cache(maxsize=_KEPT)(partial(gene_flags, resolver=self.resolver))
        self._annotated = lru_cache(maxsize=_KEPT)(partial(is_annotated, self.snapshot))
        self._gene_degree = lru_cache(maxsize=_KEPT)(partial(_degree, self._gene_view))

    def variant(
        self,
        *,
        options: EvidenceOptions | None = None,
        outcomes: pl.DataFrame | str | None = None,
        withhold: Withhold | None = None,
        view: View | None = None,
    ) -> EvidenceStore:
        """Return a store over the same opened release with other options, or another choice of outcomes.

        Args:
            options: Taken instead of this store's own.
            outcomes: All measured outcomes, or their sha256; needed with ``withhold``, since a store keeps only what
                may be seen.
            withhold: Outcomes that the new store may not see.
            view: A view of ``options`` laid out already (``Snapshot.derive``).
        """
        other = copy.copy(self)
        if options is not None:
            other.options = options
            if options.paths != self.options.paths:
                other.paths = PathFinder(self.snapshot, options.paths, view)
        if withhold is not None:
            other._see(outcomes, withhold)  # noqa: SLF001 - of the same class
        return other

    @property
    def outcomes_digest(self) -> str | None:
        """Hash of the outcomes that may be seen; None where none were given."""
        return None if self._index is None else self._index.digest

    def _see(self, outcomes: pl.DataFrame | str | None, withhold: Withhold) -> None:
        self._withheld = withhold.describe()
        self._index = self._contrast = None
        if isinstance(outcomes, str) and withhold != NOTHING:
            outcomes = load_outcomes(self.snapshot.home, outcomes)
        if outcomes is not None:
            self._index = (
                open_outcomes(self.snapshot.home, self.snapshot, outcomes)
                if isinstance(outcomes, str)
                else OutcomeIndex(outcomes, self.snapshot.nodes, withhold, self.resolver)
            )
            self._contrast = Contrast(self._index, self.kernels, kept=self.options.kept)

    def evidence(self, perturbation: str, target: str, cell_line: str) -> Evidence:
        """Return the evidence for one query; an unknown gene gives an object that says so, not an error."""
        return self._one(Pair(perturbation, target, cell_line), text=False)

    def many(self, pairs: Iterable[Pair]) -> Iterator[Evidence]:
        """Yield the evidence for many queries in their order, in bounded memory.

        Objects are equal to those of ``evidence``; paths of a chunk are searched together.
        """
        return self._many(pairs, text=False)

    def encoded(self, perturbation: str, target: str, cell_line: str) -> Evidence:
        """Return ``evidence`` for ``to_json`` alone: the bytes are the same, but its parts are JSON text, kept.

        ``query`` and ``coverage`` are records, and lists have their length.
        """
        return self._one(Pair(perturbation, target, cell_line), text=True)

    def many_encoded(self, pairs: Iterable[Pair]) -> Iterator[Evidence]:
        """Yield ``encoded`` for many queries in their order, in bounded memory."""
        return self._many(pairs, text=True)

    def _one(self, query: Pair, *, text: bool) -> Evidence:
        ends = self._ends(query)
        return self._assemble(query, ends, self.paths.told(*ends, text=text), self._texts if text else self._records)

    def _many(self, pairs: Iterable[Pair], *, text: bool) -> Iterator[Evidence]:
        parts, waiting = self._texts if text else self._records, iter(pairs)
        while chunk := list(itertools.islice(waiting, _CHUNK)):
            ends = [self._ends(pair) for pair in chunk]
            for pair, both, found in zip(chunk, ends, self.paths.told_many(ends, text=text), strict=True):
                yield self._assemble(pair, both, found, parts)

    def _ends(self, pair: Pair) -> tuple[int | None, int | None]:
        return self._node(self.resolve(pair.perturbation)), self._node(self.resolve(pair.target))

    def _node(self, found: Resolution) -> int | None:
        return None if found.gene is None else self._node_of(found.gene)

    def _assemble(self, pair: Pair, ends: tuple[int | None, int | None], found: Told, parts: EvidenceParts) -> Evidence:
        perturbed, measured = ends
        paths, providers = found
        line = self.cell_lines.find(pair.cell_line)
        told_line, line_providers = parts.line(line)
        resolutions = self.resolve(pair.perturbation), self.resolve(pair.target)
        told = [None if one is None else parts.description(one, role) for one, role in zip(ends, ROLES, strict=True)]
        used = set(providers).union(line_providers, *(said[1] for said in told if said is not None))
        pairwise = _NOTHING_SHARED
        if perturbed is not None and measured is not None:
            pairwise = self._pairwise(perturbed, measured, line.name, used, parts)
        flags = [*self._gene_flags(resolutions[0], "perturbation"), *self._gene_flags(resolutions[1], "target")]
        flags += pair_flags(
            self.snapshot,
            self.paths.view,
            ends,
            paths,
            line=line,
            outcomes=self._index is not None,
            annotated=self._annotated,
        )
        on_target = self._index.withheld(measured) if self._index and measured is not None else 0
        return Evidence(
            version=EVIDENCE_VERSION,
            release=self.snapshot.release,
            views=parts.views(self.paths.view.definition, self._gene_view.definition),
            query=Query(
                cell_line=pair.cell_line,
                perturbation=pair.perturbation,
                target=pair.target,
                perturbation_id=resolutions[0].gene,
                target_id=resolutions[1].gene,
            ),
            perturbation=told[0] and told[0][0],
            target=told[1] and told[1][0],
            cell_line=told_line,
            paths=paths,
            coverage=flags,
            licences=parts.licences(frozenset(used)),
            outcomes=self._index.digest if self._index is not None else None,
            withheld={**self._withheld, "outcomes_on_target": on_target},
            embeddings=self.embeddings.of(perturbed, measured),
            retractions=retractions_at(self._retracted, [found.gene for found in resolutions]) or msgspec.UNSET,
            **pairwise,
        )

    def _pairwise(self, one: int, other: int, line: str, used: set[str], parts: EvidenceParts) -> dict[str, Any]:
        """Return what needs both genes, by field; adds to ``used`` the providers."""
        shared = {}
        for name, kernel in _SHARED.items():
            shared[name], providers = parts.shared(kernel, one, other)
            used |= providers
        interaction = self._interaction(one, other)
        if interaction is not None:
            used.add(interaction.edge.provider)
        contrast = self._contrasted(one, other, line, parts)
        if contrast is not None and (contrast.positives or contrast.negatives):
            used.add(_OUTCOMES_PROVIDER)
        degrees = [
            Degrees(view=view, perturbation=degree(one), target=degree(other))
            for view, degree in (
                (self.paths.view.definition.name, self.paths.degree),
                (self._gene_view.definition.name, self._gene_degree),
            )
        ]
        return {
            "shared": SharedFeatures(**shared),
            "interaction": interaction,
            "degrees": degrees,
            "contrast": contrast,
        }

    def _interaction(self, one: int, other: int) -> Interaction | None:
        view = self._gene_view
        ends = view.local(one), view.local(other)
        if ends[0] is None or ends[1] is None or one == other:
            return None
        try:
            numbers = view.edges_between(ends[0], ends[1])
        except KeyError:
            return None
        scored = [number for number in numbers if number >= 0 and self.snapshot.edges.score[number] >= 0]
        if not scored:
            return None
        table = self.snapshot.edges
        full = int(table.score_full[scored[0]])
        return Interaction(
            score=int(table.score[scored[0]]),
            score_full=full if full != NO_SCORE else None,
            channels=table.channel_scores(scored[0]),
            edge=self.paths.edge(scored[0]),
        )

    def _contrasted(self, one: int, other: int, cell_line: str, parts: EvidenceParts) -> ContrastRecord | None:
        if self._contrast is None or self._index is None:
            return None
        found = self._contrast.nearest(one, other, cell_line, self.options.cases)
        return ContrastRecord(
            positives=[self._case(one, row, parts) for row in found.positives],
            negatives=[self._case(one, row, parts) for row in found.negatives],
            positives_total=found.positives_total,
            negatives_total=found.negatives_total,
            withheld=self._index.withheld(other),
        )

    def _case(self, perturbation: int, row: int, parts: EvidenceParts) -> ContrastiveCase:
        assert self._contrast is not None
        other, line, label = self._contrast.index.row(row)
        alike = parts.alike(perturbation, other, partial(self._contrast.likeness, perturbation, row))
        return ContrastiveCase(
            perturbation=alike.perturbation,
            cell_line=line,
            label=LABEL_NAMES[label],
            similarity=alike.similarity,
            by_kernel=alike.by_kernel,
            same_perturbation=other == perturbation,
            shared=alike.shared,
        )


def _degree(view: View, node: int) -> int:
    local = view.local(node)
    return 0 if local is None else int(view.csr.degrees[local])


__all__ = ["EvidenceOptions", "EvidenceStore", "Pair", "Relation"]
