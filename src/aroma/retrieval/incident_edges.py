"""The edges at one node of a release, counted by relation and provider and turned over page by page.

Views leave edges out (a score floor, a degree cap); a curator who looks at a gene wants all that the release says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from aroma.kgstore.schema import Relation
from aroma.retrieval.edge_table import NO_SCORE
from aroma.retrieval.evidence_model import Edge, Node
from aroma.retrieval.paths import edge_record
from aroma.retrieval.snapshot import Snapshot

_RELATIONS: Final = tuple(str(relation) for relation in Relation)


@dataclass(frozen=True, slots=True)
class Incident:
    """One edge at a node: the node at its other end, the edge, and whether it ends here."""

    other: Node
    edge: Edge
    is_incoming: bool


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """A page of the edges at a node.

    Attributes:
        counts: Edges by (relation, provider), all of them, the most first.
        total: Edges that fit what was asked.
        offset: How many of those stand before this page.
        items: Strongest STRING scores first, then by relation and the other end's name.
    """

    counts: dict[tuple[str, str], int]
    total: int
    offset: int
    items: list[Incident]


def incident_edges(
    snapshot: Snapshot,
    node: int,
    *,
    relation: str | None = None,
    name: str = "",
    offset: int = 0,
    limit: int = 100,
) -> IncidentPage:
    """Return a page of the edges that start or end at a node.

    Args:
        snapshot: The opened release.
        node: Release node number.
        relation: Only this relationship type.
        name: Only edges whose other end's name or id holds this text, in any case.
        offset: Skip so many.
        limit: At most so many.
    """
    numbers = _numbers(snapshot, node)
    table = snapshot.edges
    kinds = [(_RELATIONS[table.relation[number]], table.provider(int(number))) for number in numbers]
    counts = dict(Counter(kinds).most_common())
    others = np.where(table.subject[numbers] == node, table.object[numbers], table.subject[numbers])
    kept = [
        place
        for place, (said, _) in enumerate(kinds)
        if (relation is None or said == relation) and _fits(snapshot, int(others[place]), name)
    ]
    kept.sort(key=lambda place: _order(snapshot, int(numbers[place]), kinds[place][0], int(others[place])))
    items = [
        Incident(
            other=snapshot.nodes.node(int(others[place])),
            edge=edge_record(table.row(int(numbers[place]))),
            is_incoming=int(table.object[numbers[place]]) == node,
        )
        for place in kept[offset : offset + limit]
    ]
    return IncidentPage(counts=counts, total=len(kept), offset=offset, items=items)


def _numbers(snapshot: Snapshot, node: int) -> npt.NDArray[np.int64]:
    """Return int64 edge numbers at a node: those that start there, then those that end there."""
    starting = np.array(snapshot.edges.of(node), dtype=np.int64)
    ending = np.flatnonzero(snapshot.edges.object == node)
    return np.unique(np.concatenate([starting, ending]))


def _fits(snapshot: Snapshot, node: int, name: str) -> bool:
    asked = name.strip().casefold()
    return not asked or asked in snapshot.nodes.shown(node).casefold() or asked in snapshot.nodes.ids[node].casefold()


def _order(snapshot: Snapshot, number: int, relation: str, other: int) -> tuple[int, int, str, str]:
    score = int(snapshot.edges.score[number])
    strength = -score if score != NO_SCORE else 1
    return (_RELATIONS.index(relation), strength, snapshot.nodes.shown(other), snapshot.nodes.ids[other])
