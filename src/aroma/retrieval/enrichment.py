"""Which terms, complexes and pathways a list of genes shares beyond chance: over-representation.

The test is the hypergeometric one against a background that the user chooses; p-values are adjusted by Benjamini and
Hochberg (1995) over all sets that were tested. Parents and children say the same thing many times over, so the list is
pruned along the ontology: a set is kept only if it is still over-represented without the genes of the better sets that
it is an ancestor or a descendant of (after the *elim* idea of Alexa, Rahnenführer and Lengauer 2006).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.stats import false_discovery_control, hypergeom

from aroma.errors import UsageError
from aroma.kgstore.ontology import ancestors
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.retrieval.gene_kernels import TERM_SETS, GeneKernels, Kernel
from aroma.retrieval.snapshot import Snapshot

KINDS: Final = {"go": TERM_SETS, "complex": "complex", "pathway": "pathway"}
"""Kinds of sets and the kernel part that holds who is in them (at most 1,500 genes a set)."""
_STRUCTURE: Final = {
    "go": (Relation.IS_A, Relation.PART_OF),
    "pathway": (Relation.CHILD_OF,),
}


@dataclass(frozen=True, slots=True)
class EnrichmentOptions:
    """What may be chosen.

    Attributes:
        kinds: Among ``KINDS``.
        smallest: Sets with fewer genes of the background are not tested.
        largest: Nor those with more.
        most: Adjusted p-value up to which a set is reported.
        prune: Prune along the ontology.
    """

    kinds: tuple[str, ...] = ("go", "complex", "pathway")
    smallest: int = 3
    largest: int = 1500
    most: float = 0.05
    prune: bool = True

    def check(self) -> None:
        """Raise ``UsageError`` for a choice that is none."""
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise UsageError(f"kind {(unknown or ['none'])[0]!r} is unknown; there are {', '.join(KINDS)}")
        if not 1 <= self.smallest <= self.largest:
            raise UsageError(f"smallest {self.smallest} and largest {self.largest} leave no set to test")
        if not 0 < self.most <= 1:
            raise UsageError(f"the adjusted p-value to report up to is {self.most}; it is above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class EnrichedSet:
    """A set that the genes share beyond chance.

    Attributes:
        id: Node id of the term, complex or pathway.
        name: Its name.
        kind: ``go``, ``complex`` or ``pathway``.
        overlap: Genes asked about that are in it, node ids.
        size: Genes of the background in it.
        asked: Genes asked about that the background has.
        background: Genes of the background.
        fold: Overlap over what chance gives.
        p: Hypergeometric, one-sided.
        adjusted: After Benjamini-Hochberg over all sets tested.
    """

    id: str
    name: str
    kind: str
    overlap: tuple[str, ...]
    size: int
    asked: int
    background: int
    fold: float
    p: float
    adjusted: float


class Enrichment:
    """The gene sets of one release, ready to be tested against.

    Args:
        snapshot: The release.
        options: See ``EnrichmentOptions``.
    """

    def __init__(self, snapshot: Snapshot, options: EnrichmentOptions | None = None) -> None:
        self.options = options or EnrichmentOptions()
        self.options.check()
        self._snapshot = snapshot
        kernels = GeneKernels(snapshot)
        held = [kernels[KINDS[kind]] for kind in self.options.kinds]
        self.genes: npt.NDArray[np.int32] = np.unique(np.concatenate([kernel.genes for kernel in held]))
        self._members = sparse.hstack([_members(kernel, self.genes) for kernel in held]).tocsc()
        self._sets = np.concatenate([kernel.features for kernel in held])
        self._kinds = np.repeat(np.array(self.options.kinds), [len(kernel.features) for kernel in held])

    def of(self, genes: Sequence[int], background: Iterable[int] | None = None) -> list[EnrichedSet]:
        """Return the sets that ``genes`` share beyond chance, the smallest p-value first.

        Args:
            genes: Release node numbers; those outside the background are left out.
            background: Release node numbers among which the genes were chosen (all that were measured, say); every
                gene that is in any set, where not given.

        Raises:
            UsageError: The background is empty.
        """
        among = np.ones(len(self.genes), dtype=bool)
        if background is not None:
            among = np.isin(self.genes, np.fromiter(background, dtype=np.int32))
            if not among.any():
                raise UsageError("no gene of the background is in any set; give symbols or ids of human genes")
        asked = np.isin(self.genes, np.asarray(genes, dtype=np.int32)) & among
        sizes = self._counts(among)
        overlap = self._counts(asked)
        tested = (sizes >= self.options.smallest) & (sizes <= self.options.largest)
        places = np.flatnonzero(tested)
        if not len(places) or not asked.any():
            return []
        p = hypergeom.sf(overlap[places] - 1, among.sum(), sizes[places], asked.sum())
        adjusted = false_discovery_control(np.clip(p, 0.0, 1.0))
        order = np.lexsort((self._sets[places], sizes[places], p))
        order = order[(adjusted[order] <= self.options.most) & (overlap[places[order]] > 0)]
        chosen = [(int(places[at]), float(p[at]), float(adjusted[at])) for at in order]
        if self.options.prune:
            chosen = self._pruned(chosen, asked, among)
        return [self._described(place, asked, among, p_value, after) for place, p_value, after in chosen]

    def _counts(self, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        found: npt.NDArray[np.int64] = np.asarray(self._members.T @ among.astype(np.int64)).ravel()
        return found

    def _pruned(
        self, chosen: list[tuple[int, float, float]], asked: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]
    ) -> list[tuple[int, float, float]]:
        """Keep a set when it is over-represented without the genes of the better sets that it is related to."""
        kept: list[tuple[int, float, float]] = []
        limit = max((p for _, p, _ in chosen), default=0.0)
        for place, p, adjusted in chosen:
            related = [other for other, _, _ in kept if self._related(place, other)]
            if related:
                members = self._members_of(place)
                explained = np.unique(np.concatenate([self._members_of(other) for other in related]))
                left = np.setdiff1d(members, explained)
                others = among.sum() - among[explained].sum(), asked.sum() - asked[explained].sum()
                again = hypergeom.sf(asked[left].sum() - 1, others[0], among[left].sum(), others[1])
                if not asked[left].any() or again > limit:
                    continue
            kept.append((place, p, adjusted))
        return kept

    def _members_of(self, place: int) -> npt.NDArray[np.int32]:
        found: npt.NDArray[np.int32] = self._members.indices[
            self._members.indptr[place] : self._members.indptr[place + 1]
        ]
        return found

    def _related(self, one: int, other: int) -> bool:
        first, second = int(self._sets[one]), int(self._sets[other])
        return second in self._above.get(first, ()) or first in self._above.get(second, ())

    @cached_property
    def _above(self) -> dict[int, frozenset[int]]:
        """Ancestors of each term and pathway, release node numbers."""
        snapshot = self._snapshot
        edges = read_table(snapshot.home.release(snapshot.release), "edges", ["subject", "relation", "object"])
        numbers = dict(snapshot.nodes.by_id.select("id", "node").iter_rows())
        above: dict[int, frozenset[int]] = {}
        for relations in (_STRUCTURE[kind] for kind in self.options.kinds if kind in _STRUCTURE):
            closure = ancestors(edges, relations).group_by("term").agg("ancestor")
            above.update(
                {numbers[term]: frozenset(numbers[one] for one in found) for term, found in closure.iter_rows()}
            )
        return above

    def _described(
        self, place: int, asked: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_], p: float, adjusted: float
    ) -> EnrichedSet:
        nodes, members = self._snapshot.nodes, self._members_of(place)
        overlap, size = members[asked[members]], int(among[members].sum())
        node = int(self._sets[place])
        expected = size * int(asked.sum()) / int(among.sum())
        return EnrichedSet(
            nodes.ids[node],
            nodes.shown(node),
            str(self._kinds[place]),
            tuple(nodes.ids[int(self.genes[gene])] for gene in overlap),
            size,
            int(asked.sum()),
            int(among.sum()),
            round(len(overlap) / expected, 2),
            p,
            adjusted,
        )


def _members(kernel: Kernel, genes: npt.NDArray[np.int32]) -> Any:
    """Return who is in which set, (genes, sets) of ones."""
    rows = np.searchsorted(genes, kernel.genes)
    counts = np.diff(kernel.rows.indptr)
    ones = np.ones(kernel.rows.nnz, dtype=np.int8)
    shape = (len(genes), len(kernel.features))
    return sparse.csc_matrix((ones, (np.repeat(rows, counts), kernel.rows.indices)), shape=shape)
