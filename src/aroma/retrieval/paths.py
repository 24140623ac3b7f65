"""Paths between genes with the provenance of every hop, from a view of the snapshot."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np

from aroma.kgstore.schema import Relation
from aroma.kgstore.views import ViewDefinition, preset
from aroma.retrieval import search
from aroma.retrieval.evidence_model import Edge, Node, Path, Step
from aroma.retrieval.evidence_parts import Providers, encoded, plain
from aroma.retrieval.snapshot import DERIVED, Snapshot, View

_KEPT_EDGES: Final = 50_000
_KEPT_STEPS: Final = 100_000
_MEMBER_OF: Final = list(Relation).index(Relation.MEMBER_OF)
Told = tuple[list[Path], Set[str]]
"""Paths, and the providers of their edges."""


@dataclass(frozen=True, slots=True)
class PathOptions:
    """How paths are searched; part of the answer.

    Attributes:
        view: Preset name or definition.
        k: Paths a pair.
        slack: Hops that a path may have more than the shortest.
        max_hops: Most hops.
    """

    view: str | ViewDefinition = "path-kg"
    k: int = 3
    slack: int = 1
    max_hops: int = 6

    @property
    def definition(self) -> ViewDefinition:
        """The view's definition."""
        return preset(self.view) if isinstance(self.view, str) else self.view


class PathFinder:
    """Finds ranked paths between release nodes in one view."""

    def __init__(self, snapshot: Snapshot, options: PathOptions, view: View | None = None) -> None:
        """Search in ``view``, or in the snapshot's own where none is given."""
        self.options = options
        self.view: View = snapshot.view(options.definition) if view is None else view
        self._hub = search.hub_costs(self.view.csr.degrees)
        limits: dict[str, Any] = {"k": options.k, "slack": options.slack, "max_hops": options.max_hops}
        self._limits = limits
        self._single = search.PairSearch(self.view.csr, cost=self._hub, **limits)
        self._records = PathParts(snapshot, self.view, text=False)
        self._texts = PathParts(snapshot, self.view, text=True)
        self.edge, self.node = self._records.edge, self._records.node
        self.degree = lru_cache(maxsize=_KEPT_EDGES)(self._degree)

    def one(self, perturbation: int | None, target: int | None) -> list[Path]:
        """Return the ranked paths between two release nodes; empty where a node is not in the view."""
        return self.told(perturbation, target)[0]

    def many(self, pairs: Sequence[tuple[int | None, int | None]]) -> list[list[Path]]:
        """Return the ranked paths of many pairs of release nodes, in their order."""
        return [paths for paths, _ in self.told_many(pairs)]

    def told(self, perturbation: int | None, target: int | None, *, text: bool = False) -> Told:
        """Return the ranked paths between two release nodes and the providers of their edges.

        Args:
            perturbation: Release node.
            target: Release node.
            text: Whether what is in a path stands there as JSON text (``evidence_parts.encoded``).
        """
        ends = self._local(perturbation), self._local(target)
        if ends[0] is None or ends[1] is None:
            return [], frozenset()
        return self._shown(self._single.search(ends[0], ends[1]), 0, self._texts if text else self._records)

    def told_many(self, pairs: Sequence[tuple[int | None, int | None]], *, text: bool = False) -> Iterator[Told]:
        """Search for many pairs at once, then yield ``told`` of each in their order."""
        ends = [(self._local(one), self._local(other)) for one, other in pairs]
        inside = [both for both in ends if None not in both]
        chosen = np.array(inside, dtype=np.int32).reshape(-1, 2)
        table = search.k_shortest_paths(self.view.csr, chosen[:, 0], chosen[:, 1], cost=self._hub, **self._limits)
        parts = self._texts if text else self._records
        rows = iter(range(len(inside)))
        for both in ends:
            yield ([], frozenset()) if None in both else self._shown(table, next(rows), parts)

    def _local(self, node: int | None) -> int | None:
        return None if node is None else self.view.local(node)

    def _degree(self, node: int) -> int:
        """Return the neighbours of a release node in the view; 0 where the view does not have it."""
        local = self.view.local(node)
        return 0 if local is None else int(self.view.csr.degrees[local])

    def _shown(self, table: search.PathTable, pair: int, parts: PathParts) -> Told:
        paths, providers = [], set[str]()
        for rank, path in enumerate(table.paths(pair), start=1):
            steps = [parts.step(one, other) for one, other in itertools.pairwise(path.nodes)]
            providers.update(*(said for _, said in steps))
            nodes = [parts.local_node(number) for number in path.nodes]
            paths.append(
                Path(rank=rank, hops=path.hops, cost=path.cost, nodes=nodes, steps=[step for step, _ in steps])
            )
        return paths, providers


class PathParts:
    """Nodes and steps of paths in one view, recent ones kept: as records, or as the JSON text of them."""

    def __init__(self, snapshot: Snapshot, view: View, *, text: bool) -> None:
        self._snapshot, self._view = snapshot, view
        self._leaf = encoded if text else plain
        self.edge = self._edge if text else lru_cache(maxsize=_KEPT_EDGES)(self._edge)
        self.node = lru_cache(maxsize=_KEPT_EDGES)(self._make_node)
        self.local_node = lru_cache(maxsize=_KEPT_EDGES)(self._local_node)
        self.step = lru_cache(maxsize=_KEPT_STEPS if text else _KEPT_EDGES)(self._make_step)
        self._sets: dict[Providers, Providers] = {}

    def _make_node(self, number: int) -> Node:
        return self._leaf(self._snapshot.nodes.node(number))

    def _local_node(self, local: int) -> Node:
        return self.node(int(self._view.to_release[local]))

    def _make_step(self, one: int, other: int) -> tuple[Step, Providers]:
        start, end = int(self._view.to_release[one]), int(self._view.to_release[other])
        edges: list[Edge] = []
        for number in self._view.edges_between(one, other):
            if number != DERIVED:
                edges.append(self.edge(number))
            elif self._view.definition.permutation_seed is None:  # a permuted step is nobody's statement
                edges += self._memberships(start, end)
        ids = self._snapshot.nodes.ids
        providers = frozenset(edge.provider for edge in edges)
        step = self._leaf(Step(start=ids[start], end=ids[end], edges=edges))
        return step, self._sets.setdefault(providers, providers)

    def _edge(self, number: int) -> Edge:
        return edge_record(self._snapshot.edges.row(number))

    def _memberships(self, one: int, other: int) -> list[Edge]:
        """Return the membership edges behind a derived step: both genes' edges to each complex that they share."""
        complexes: list[dict[int, int]] = []
        table = self._snapshot.edges
        for node in (one, other):
            edges = table.of(node)
            members = edges.start + np.flatnonzero(table.relation[edges.start : edges.stop] == _MEMBER_OF)
            complexes.append({int(table.object[number]): int(number) for number in members})
        both = sorted(set(complexes[0]) & set(complexes[1]))
        return [self.edge(side[node]) for node in both for side in complexes]


def edge_record(row: dict[str, Any]) -> Edge:
    """Turn a row of the snapshot's edge table into the record that evidence carries."""
    return Edge(
        subject=row["subject"],
        relation=row["relation"],
        object=row["object"],
        provider=row["provider"],
        provider_release=row["provider_release"],
        licence=row["licence"],
        statements=row["statements"],
        evidence=row["evidence"],
        references=row["references"],
        qualifiers=row["qualifiers"],
        score=row["score"],
        since=row["since"],
        curation=row.get("curation", msgspec.UNSET),
    )
