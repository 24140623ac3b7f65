"""Parts that evidence of many pairs has in common, each made once: as records, or as the JSON text of them.

An object whose parts are JSON text already (``msgspec.Raw``) encodes to the same bytes as one of records, several times
as fast: what is told of a gene is the same for each of its pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar, cast

import msgspec

from aroma.kgstore.views import ViewDefinition
from aroma.retrieval.descriptions import Descriptions
from aroma.retrieval.evidence_model import CellLine, Description, Licence, Node, Shared, ViewRef
from aroma.retrieval.gene_kernels import KERNELS, TERM_SETS, GeneKernels

_KEPT_GENES: Final = 25_000
_KEPT: Final = 50_000
_KEPT_CASES: Final = 100_000
_KEPT_LINES: Final = 256
_MOST_SHARED: Final = 10
_MOST_REASONS: Final = 3
_NAMED_BY: Final = {"go": TERM_SETS}
_encoder: Final = msgspec.json.Encoder()
Part = TypeVar("Part")
Providers = frozenset[str]
Likeness = tuple[float, tuple[float, ...]]
"""How alike two perturbed genes are: the mean of the kernels, and by each."""


class Alike(NamedTuple):
    """What a contrastive case shows of its perturbation, whatever the target."""

    perturbation: Node
    similarity: float
    by_kernel: dict[str, float]
    shared: list[Node]


def encoded(part: Part) -> Part:
    """Return the JSON text of a part, to stand where the part would: records check no types, the encoder copies it."""
    return cast("Part", msgspec.Raw(_encoder.encode(part)))


def plain(part: Part) -> Part:
    """Return the part as it is."""
    return part


class EvidenceParts:
    """Makes parts and keeps recent ones.

    Args:
        descriptions: Of the release.
        kernels: Of the release.
        licences: By provider.
        text: Whether parts are kept as JSON text.
    """

    def __init__(
        self, descriptions: Descriptions, kernels: GeneKernels, licences: dict[str, Licence], *, text: bool
    ) -> None:
        self._descriptions, self._kernels, self._known = descriptions, kernels, licences
        self._nodes = descriptions.snapshot.nodes
        self.leaf: Callable[[Part], Part] = encoded if text else plain
        self.node = lru_cache(maxsize=_KEPT)(self._node)
        self.description = lru_cache(maxsize=_KEPT_GENES)(self._description)
        self.licences = lru_cache(maxsize=_KEPT_LINES)(self._licences)
        self.views = lru_cache(maxsize=_KEPT_LINES)(self._views)
        self._shared = lru_cache(maxsize=_KEPT)(self._make_shared)
        self._alike: dict[tuple[int, int], Alike] = {}

    def shared(self, kernel: str, one: int, other: int) -> tuple[list[Shared], set[str]]:
        """Return what two genes share by a kernel, rarest first, and who says so."""
        found = self._kernels[kernel].common(one, other, _MOST_SHARED)
        providers = self._nodes.providers
        return [self._shared(node, weight) for node, weight in found], {providers[node] for node, _ in found}

    def alike(self, one: int, other: int, likeness: Callable[[], Likeness]) -> Alike:
        """Return what a contrastive case shows of its perturbation; ``likeness`` is asked where that is not kept."""
        found = self._alike.get((one, other))
        if found is None:
            if len(self._alike) >= _KEPT_CASES:
                self._alike.clear()
            found = self._alike[one, other] = self._make_alike(one, other, likeness())
        return found

    def _node(self, number: int) -> Node:
        return self.leaf(self._descriptions.node(number))

    def _description(self, gene: int, role: str) -> tuple[Description, Providers]:
        made = self._descriptions.of(gene, role)
        return self.leaf(made), frozenset(sentence.provider for sentence in made.sentences)

    def _make_shared(self, node: int, weight: float) -> Shared:
        providers = [self._nodes.providers[node]]
        return self.leaf(Shared(node=self._descriptions.node(node), weight=weight, providers=providers))

    def _make_alike(self, one: int, other: int, likeness: Likeness) -> Alike:
        """Name what two genes share; a term only where both are annotated to it, not where regulation leads to it."""
        similarity, by_kernel = likeness
        shared: list[Node] = []
        if one != other:
            best = KERNELS[max(range(len(KERNELS)), key=by_kernel.__getitem__)]
            features = self._kernels[_NAMED_BY.get(best, best)].shared(one, other, _MOST_REASONS)
            shared = [self.node(node) for node, _ in features]
        named = self.leaf(dict(zip(KERNELS, by_kernel, strict=True)))
        return Alike(self.node(other), similarity, named, self.leaf(shared))

    def _licences(self, providers: Providers) -> list[Licence]:
        return self.leaf([self._known[name] for name in sorted(providers) if name in self._known])

    def _views(self, *definitions: ViewDefinition) -> list[ViewRef]:
        return self.leaf([ViewRef(name=one.name, id=one.id) for one in definitions])

    def line(self, line: CellLine) -> tuple[CellLine, Providers]:
        """Return a cell line and who describes it."""
        return self.leaf(line), frozenset(said.partition(".")[0] for said in line.statements)
