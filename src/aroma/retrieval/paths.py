"""Paths between genes with the provenance of every hop, from a view of the snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from aroma.kgstore.schema import Relation
from aroma.kgstore.views import ViewDefinition, preset
from aroma.retrieval import search
from aroma.retrieval.evidence_model import Edge, Node, Path, Step
from aroma.retrieval.snapshot import DERIVED, Snapshot, View

_CACHED_EDGES: Final = 50_000
_MEMBER_OF: Final = list(Relation).index(Relation.MEMBER_OF)


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
        self._snapshot, self.options = snapshot, options
        self.view: View = snapshot.view(options.definition) if view is None else view
        self._hub = search.hub_costs(self.view.csr.degrees)
        limits: dict[str, Any] = {"k": options.k, "slack": options.slack, "max_hops": options.max_hops}
        self._limits = limits
        self._single = search.PairSearch(self.view.csr, cost=self._hub, **limits)
        self.edge = lru_cache(maxsize=_CACHED_EDGES)(self._edge)
        self._step = lru_cache(maxsize=_CACHED_EDGES)(self._make_step)
        self.node = lru_cache(maxsize=_CACHED_EDGES)(self._make_node)

    def one(self, perturbation: int | None, target: int | None) -> list[Path]:
        """Return the ranked paths between two release nodes; empty where a node is not in the view."""
        ends = self._local(perturbation), self._local(target)
        if ends[0] is None or ends[1] is None:
            return []
        return self._shown(self._single.search(ends[0], ends[1]), 0)

    def many(self, pairs: Sequence[tuple[int | None, int | None]]) -> list[list[Path]]:
        """Return the ranked paths of many pairs of release nodes, in their order."""
        ends = [(self._local(one), self._local(other)) for one, other in pairs]
        inside = [place for place, both in enumerate(ends) if None not in both]
        found: list[list[Path]] = [[] for _ in pairs]
        if inside:
            chosen = np.array([ends[place] for place in inside], dtype=np.int32)
            table = search.k_shortest_paths(self.view.csr, chosen[:, 0], chosen[:, 1], cost=self._hub, **self._limits)
            for row, place in enumerate(inside):
                found[place] = self._shown(table, row)
        return found

    def _local(self, node: int | None) -> int | None:
        return None if node is None else self.view.local(node)

    def _shown(self, table: search.PathTable, pair: int) -> list[Path]:
        return [
            Path(
                rank=rank,
                hops=path.hops,
                cost=path.cost,
                nodes=[self.node(int(self.view.to_release[number])) for number in path.nodes],
                steps=[self._step(one, other) for one, other in zip(path.nodes, path.nodes[1:], strict=False)],
            )
            for rank, path in enumerate(table.paths(pair), start=1)
        ]

    def _make_node(self, number: int) -> Node:
        nodes = self._snapshot.nodes
        return Node(id=nodes.ids[number], label=nodes.labels[number], name=nodes.shown(number))

    def _make_step(self, one: int, other: int) -> Step:
        start, end = int(self.view.to_release[one]), int(self.view.to_release[other])
        edges: list[Edge] = []
        for number in self.view.edges_between(one, other):
            if number != DERIVED:
                edges.append(self.edge(number))
            elif self.view.definition.permutation_seed is None:  # a permuted step is nobody's statement
                edges += self._memberships(start, end)
        ids = self._snapshot.nodes.ids
        return Step(start=ids[start], end=ids[end], edges=edges)

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
    )
