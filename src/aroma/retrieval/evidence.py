"""Evidence for a query (cell line, perturbation, target), the same for one pair as for a million.

``EvidenceStore`` opens a release once and answers from its snapshot; no server is needed. Measured outcomes that are
withheld never enter: they are taken out when the store is opened, so changing a withheld label changes no byte.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final

import polars as pl

from aroma.kgstore.home import Home
from aroma.kgstore.outcome_origins import load_origin
from aroma.kgstore.outcomes import load_outcomes
from aroma.kgstore.resolver import Resolution
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.kgstore.views import ViewDefinition
from aroma.retrieval.cell_lines import CellLines
from aroma.retrieval.contrastive import LABEL_NAMES, Case, Contrast, OutcomeIndex
from aroma.retrieval.coverage import gene_flags, pair_flags
from aroma.retrieval.descriptions import Descriptions, Texts
from aroma.retrieval.edge_table import NO_SCORE
from aroma.retrieval.embedding_refs import EmbeddingRefs
from aroma.retrieval.evidence_model import (
    EVIDENCE_VERSION,
    ContrastiveCase,
    Degrees,
    Evidence,
    Interaction,
    Licence,
    Node,
    Path,
    Query,
    Shared,
    SharedFeatures,
    ViewRef,
)
from aroma.retrieval.evidence_model import Contrast as ContrastRecord
from aroma.retrieval.gene_kernels import KERNELS, TERM_SETS, GeneKernels
from aroma.retrieval.gene_names import open_resolver
from aroma.retrieval.outcome_part import open_outcomes
from aroma.retrieval.paths import PathFinder, PathOptions
from aroma.retrieval.snapshot import Snapshot, View, open_snapshot
from aroma.retrieval.withhold import NOTHING, Withhold

GENE_VIEW: Final = "gene-kg"
_MOST_SHARED: Final = 10
_MOST_REASONS: Final = 3
_CHUNK: Final = 2_000
_KEPT: Final = 50_000
_OUTCOMES_PROVIDER: Final = "perturbqa"
_NAMED_BY: Final = {"go": TERM_SETS}


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
        sources = pl.concat([load_origin(home).tables["sources"], own], how="diagonal")
        self._licences = {
            row["provider"]: Licence(
                provider=row["provider"], licence=row["licence"], commercial_use=bool(row["commercial_use"])
            )
            for row in sources.iter_rows(named=True)
        }
        self.resolve = lru_cache(maxsize=_KEPT)(self.resolver.resolve)
        self._shared_node = lru_cache(maxsize=_KEPT)(self._make_shared)
        self._node_of = lru_cache(maxsize=_KEPT)(self.snapshot.nodes.ids.find)
        self._reasons = lru_cache(maxsize=_KEPT)(self._make_reasons)
        self._gene_flags = lru_cache(maxsize=_KEPT)(partial(gene_flags, resolver=self.resolver))

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
        self._withhold = withhold
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
        query = Pair(perturbation, target, cell_line)
        ends = self._ends(query)
        return self._assemble(query, ends, self.paths.one(*ends) if None not in ends else [])

    def many(self, pairs: Iterable[Pair]) -> Iterator[Evidence]:
        """Yield the evidence for many queries in their order, in bounded memory.

        Objects are equal to those of ``evidence``; paths of a chunk are searched together.
        """
        chunk: list[Pair] = []
        for pair in pairs:
            chunk.append(pair)
            if len(chunk) == _CHUNK:
                yield from self._chunk(chunk)
                chunk = []
        yield from self._chunk(chunk)

    def _chunk(self, chunk: Sequence[Pair]) -> Iterator[Evidence]:
        ends = [self._ends(pair) for pair in chunk]
        found = iter(self.paths.many([both for both in ends if None not in both]))
        for pair, both in zip(chunk, ends, strict=True):
            yield self._assemble(pair, both, next(found) if None not in both else [])

    def _ends(self, pair: Pair) -> tuple[int | None, int | None]:
        return self._node(self.resolve(pair.perturbation)), self._node(self.resolve(pair.target))

    def _node(self, found: Resolution) -> int | None:
        return None if found.gene is None else self._node_of(found.gene)

    def _assemble(self, pair: Pair, ends: tuple[int | None, int | None], paths: list[Path]) -> Evidence:
        perturbed, measured = ends
        line = self.cell_lines.find(pair.cell_line)
        resolutions = self.resolve(pair.perturbation), self.resolve(pair.target)
        parts: dict[str, Any] = {
            "perturbation": None if perturbed is None else self.descriptions.of(perturbed, "perturbation"),
            "target": None if measured is None else self.descriptions.of(measured, "target"),
            "paths": paths,
            "shared": SharedFeatures(complexes=[], terms=[], pathways=[]),
            "interaction": None,
            "degrees": [],
            "contrast": None,
        }
        if perturbed is not None and measured is not None:
            parts["shared"] = self._shared(perturbed, measured)
            parts["interaction"] = self._interaction(perturbed, measured)
            parts["degrees"] = self._degrees(perturbed, measured)
            parts["contrast"] = self._contrasted(perturbed, measured, line.name)
        flags = [
            *self._gene_flags(resolutions[0], "perturbation"),
            *self._gene_flags(resolutions[1], "target"),
        ]
        flags += pair_flags(self.snapshot, self.paths.view, ends, paths, line=line, outcomes=self._index is not None)
        whole = Evidence(
            version=EVIDENCE_VERSION,
            release=self.snapshot.release,
            views=[_view_ref(self.paths.view.definition), _view_ref(self._gene_view.definition)],
            query=Query(
                cell_line=pair.cell_line,
                perturbation=pair.perturbation,
                target=pair.target,
                perturbation_id=resolutions[0].gene,
                target_id=resolutions[1].gene,
            ),
            cell_line=line,
            coverage=flags,
            licences=[],
            outcomes=self._index.digest if self._index is not None else None,
            withheld={
                **self._withhold.describe(),
                "outcomes_on_target": self._index.withheld(measured) if self._index and measured is not None else 0,
            },
            embeddings=self.embeddings.of(perturbed, measured),
            **parts,
        )
        return _with_licences(whole, self._licences)

    def _shared(self, one: int, other: int) -> SharedFeatures:
        return SharedFeatures(
            complexes=self._common("complex", one, other),
            terms=self._common(TERM_SETS, one, other),
            pathways=self._common("pathway", one, other),
        )

    def _common(self, kernel: str, one: int, other: int) -> list[Shared]:
        found = self.kernels[kernel].common(one, other, _MOST_SHARED)
        return [self._shared_node(node, weight) for node, weight in found]

    def _make_shared(self, node: int, weight: float) -> Shared:
        return Shared(node=self.descriptions.node(node), weight=weight, providers=[self.snapshot.nodes.providers[node]])

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

    def _degrees(self, one: int, other: int) -> list[Degrees]:
        found = []
        for view in (self.paths.view, self._gene_view):
            counts = [
                0 if (local := view.local(node)) is None else len(view.csr.neighbours(local)) for node in (one, other)
            ]
            found.append(Degrees(view=view.definition.name, perturbation=counts[0], target=counts[1]))
        return found

    def _contrasted(self, one: int, other: int, cell_line: str) -> ContrastRecord | None:
        if self._contrast is None:
            return None
        cases = self._contrast.cases(one, other, cell_line)
        limit = self.options.cases if self.options.cases is not None else len(cases.labels)
        positives, negatives = self._contrast.closest(one, other, cell_line, limit=limit, found=cases)
        changed = int((cases.labels != 0).sum())
        return ContrastRecord(
            positives=[self._case(one, case) for case in positives],
            negatives=[self._case(one, case) for case in negatives],
            positives_total=changed,
            negatives_total=len(cases.labels) - changed,
            withheld=cases.withheld,
        )

    def _case(self, perturbation: int, case: Case) -> ContrastiveCase:
        best = max(range(len(KERNELS)), key=lambda place: case.by_kernel[place])
        shared = [] if case.same_perturbation else self._reasons(KERNELS[best], perturbation, case.perturbation)
        return ContrastiveCase(
            perturbation=self.descriptions.node(case.perturbation),
            cell_line=case.cell_line,
            label=LABEL_NAMES[case.label],
            similarity=case.similarity,
            by_kernel=dict(zip(KERNELS, case.by_kernel, strict=True)),
            same_perturbation=case.same_perturbation,
            shared=list(shared),
        )

    def _make_reasons(self, kernel: str, one: int, other: int) -> list[Node]:
        """Name what two genes share; a term only where both are annotated to it, not where regulation leads to it."""
        features = self.kernels[_NAMED_BY.get(kernel, kernel)].shared(one, other, _MOST_REASONS)
        return [self.descriptions.node(node) for node, _ in features]


@lru_cache(maxsize=64)
def _view_ref(definition: ViewDefinition) -> ViewRef:
    return ViewRef(name=definition.name, id=definition.id)


def _with_licences(evidence: Evidence, known: dict[str, Licence]) -> Evidence:
    """Name the licence of every provider whose data is in the object."""
    used = {edge.provider for path in evidence.paths for step in path.steps for edge in step.edges}
    for description in (evidence.perturbation, evidence.target):
        used |= {sentence.provider for sentence in description.sentences} if description else set()
    for shared in (evidence.shared.complexes, evidence.shared.terms, evidence.shared.pathways):
        used |= {provider for item in shared for provider in item.providers}
    if evidence.interaction is not None:
        used.add(evidence.interaction.edge.provider)
    used |= {statement.partition(".")[0] for statement in evidence.cell_line.statements}
    if evidence.contrast is not None and (evidence.contrast.positives or evidence.contrast.negatives):
        used.add(_OUTCOMES_PROVIDER)
    evidence.licences.extend(known[name] for name in sorted(used) if name in known)
    return evidence


__all__ = ["EvidenceOptions", "EvidenceStore", "Pair", "Relation"]
