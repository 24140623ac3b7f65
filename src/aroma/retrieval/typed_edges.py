"""A view's nodes by label and its edges by type, each type as compressed columns: what heterogeneous models read.

An edge type is (source label, relation, target label). Each directed relation has a twin in the other direction,
``rev_<relation>``, as PyG's ``ToUndirected`` names it; relations that have no direction (``INTERACTS_WITH`` and
co-membership) hold both directions in one type. So from any node the whole view is within reach, as in the view itself.
Edges of several providers between the same nodes are one edge here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from aroma.errors import SnapshotError
from aroma.kgstore.schema import Relation
from aroma.kgstore.views import CO_MEMBERSHIP
from aroma.retrieval.columns import open_array
from aroma.retrieval.csr import Int32, Int64
from aroma.retrieval.parts import make_part, open_part
from aroma.retrieval.snapshot import DERIVED, Snapshot, View

EdgeType = tuple[str, str, str]
PERMUTED: Final = "PERMUTED"
"""Relation of all edges of a permuted view: they are nobody's statement."""
REVERSED: Final = "rev_"
_RELATIONS: Final = (*(str(relation) for relation in Relation), CO_MEMBERSHIP, PERMUTED)
_SYMMETRIC: Final = (str(Relation.INTERACTS_WITH), CO_MEMBERSHIP, PERMUTED)


@dataclass(frozen=True)
class TypedView:
    """A view by label and edge type.

    Attributes:
        view: The view.
        nodes: By label: int32, view node numbers, ascending; a node's place in it is its number within the label.
        place: int64, view nodes; number within the label.
        label: int64, view nodes; position in ``labels``.
        edges: By edge type: the sources of all edges and, targets + 1, where each target's edges begin, both int64.
            The sources of target ``t`` are ``sources[starts[t]:starts[t + 1]]``, ascending.
    """

    view: View
    nodes: dict[str, Int32]
    place: Int64
    label: Int64
    edges: dict[EdgeType, tuple[Int64, Int64]]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that the view has nodes of, ascending."""
        return tuple(self.nodes)

    @property
    def edge_types(self) -> tuple[EdgeType, ...]:
        """Edge types that the view has edges of, ascending."""
        return tuple(self.edges)


def open_typed(snapshot: Snapshot, view: View) -> TypedView:
    """Map the typed edges of a view; they are laid out beside its snapshot when first asked for.

    Raises:
        SnapshotError: The files cannot be put in place.
    """
    names = snapshot.nodes.labels.series().gather(view.to_release)
    labels = names.unique().sort().to_list()
    label = names.cast(pl.Enum(labels)).to_physical().cast(pl.Int64).to_numpy()
    place = np.empty(len(label), dtype=np.int64)
    nodes: dict[str, Int32] = {}
    for number, name in enumerate(labels):
        nodes[name] = np.flatnonzero(label == number).astype(np.int32)
        place[nodes[name]] = np.arange(len(nodes[name]))
    directory = snapshot.home.snapshot(snapshot.release) / f"{view.definition.id}.typed"
    try:
        facts = open_part(directory, snapshot.release)
    except SnapshotError:
        _lay_out(snapshot, TypedView(view, nodes, place, label, {}), directory)
        facts = open_part(directory, snapshot.release)
    sources, starts = (open_array(directory / f"{name}.npy", writable=True) for name in ("sources", "starts"))
    edges = {
        (kind["type"][0], kind["type"][1], kind["type"][2]): (
            sources[slice(*kind["sources"])],
            starts[slice(*kind["starts"])],
        )
        for kind in facts["types"]
    }
    return TypedView(view, nodes, place, label, edges)


def _lay_out(snapshot: Snapshot, typed: TypedView, directory: Path) -> None:
    sources, starts, types = [np.empty(0, np.int64)], [np.empty(0, np.int64)], []
    ends = [0, 0]
    for kind, one, other in _by_type(snapshot, typed):
        height, width = len(typed.nodes[kind[0]]), len(typed.nodes[kind[2]])
        targets, column = np.divmod(np.unique(other * height + one), height)
        begins = np.zeros(width + 1, dtype=np.int64)
        np.cumsum(np.bincount(targets, minlength=width), out=begins[1:])
        places = {"sources": [ends[0], ends[0] + len(column)], "starts": [ends[1], ends[1] + len(begins)]}
        types.append({"type": list(kind), **places})
        ends = [places["sources"][1], places["starts"][1]]
        sources.append(column)
        starts.append(begins)

    def fill(target: Path) -> None:
        np.save(target / "sources.npy", np.concatenate(sources))
        np.save(target / "starts.npy", np.concatenate(starts))

    make_part(directory, snapshot.release, {"types": types}, fill)


def _by_type(snapshot: Snapshot, typed: TypedView) -> Iterator[tuple[EdgeType, Int64, Int64]]:
    """Yield each edge type with the places of its sources and targets, repeats among them."""
    subject, relation, object_ = _directed(snapshot, typed.view)
    labels = typed.labels
    found: dict[EdgeType, list[tuple[Int64, Int64]]] = {}
    width = len(labels)
    keys = (typed.label[subject] * len(_RELATIONS) + relation) * width + typed.label[object_]
    for key in np.unique(keys).tolist():
        rest, end = divmod(key, width)
        start, number = divmod(rest, len(_RELATIONS))
        name = _RELATIONS[number]
        chosen = keys == key
        ones, others = typed.place[subject[chosen]], typed.place[object_[chosen]]
        back = name if name in _SYMMETRIC else REVERSED + name
        found.setdefault((labels[start], name, labels[end]), []).append((ones, others))
        found.setdefault((labels[end], back, labels[start]), []).append((others, ones))
    for kind in sorted(found):
        ones, others = (np.concatenate(side) for side in zip(*found[kind], strict=True))
        yield kind, ones, others


def _directed(snapshot: Snapshot, view: View) -> tuple[Int64, Int64, Int64]:
    """Return subject (view node), relation (position in ``_RELATIONS``) and object of all edges behind the view."""
    pairs = view.csr.edge_list().astype(np.int64)
    low, high = np.repeat(pairs, np.diff(view.pair_start), axis=0).T.copy()
    edges = view.pair_edges
    derived = PERMUTED if view.definition.permutation_seed is not None else CO_MEMBERSHIP
    relation = np.full(len(edges), _RELATIONS.index(derived), dtype=np.int64)
    known = edges != DERIVED
    table: Any = snapshot.edges
    relation[known] = table.relation[edges[known]]
    low[known] = np.searchsorted(view.to_release, table.subject[edges[known]])
    high[known] = np.searchsorted(view.to_release, table.object[edges[known]])
    return low, relation, high


def places_of(snapshot: Snapshot, typed: TypedView, label: str, ids: Sequence[str]) -> Int64:
    """Return int64, ids: numbers within a label, -1 for an id that the view has not under this label."""
    asked = pl.DataFrame({"id": list(ids)}, schema={"id": pl.String})
    release = asked.join(snapshot.nodes.by_id, on="id", how="left", maintain_order="left")["node"]
    nodes = release.fill_null(-1).to_numpy()
    numbers = np.minimum(np.searchsorted(typed.view.to_release, nodes), len(typed.view.to_release) - 1)
    here = (typed.view.to_release[numbers] == nodes) & (typed.label[numbers] == typed.labels.index(label))
    found: Int64 = np.where(here, typed.place[numbers], -1)
    return found
