"""The neighbourhood of a node as PyG's ``Data`` or ``HeteroData``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
import torch
from torch_geometric.data.data import Data
from torch_geometric.data.hetero_data import HeteroData

from aroma.errors import UsageError
from aroma.kgstore.views import ViewDefinition
from aroma.retrieval import subgraphs
from aroma.retrieval.csr import Int8, Int32, Int64
from aroma.retrieval.neighbourhoods import local_number, node_number
from aroma.retrieval.pyg.draw import among
from aroma.retrieval.pyg.vectors import NodeVectors
from aroma.retrieval.snapshot import Snapshot
from aroma.retrieval.typed_edges import EdgeType, TypedView, open_typed


@dataclass(frozen=True)
class _Found:
    """A neighbourhood: view nodes by hops, then number; and edges by type, as places among them."""

    nodes: Int32
    hops: Int8
    total: int
    edges: dict[EdgeType, tuple[Int64, Int64]]


@overload
def neighbourhood_data(
    snapshot: Snapshot,
    name: str,
    *,
    view: str | ViewDefinition = ...,
    hops: int = ...,
    limit: int = ...,
    vectors: NodeVectors | None = ...,
    heterogeneous: Literal[False] = ...,
) -> Data: ...


@overload
def neighbourhood_data(
    snapshot: Snapshot,
    name: str,
    *,
    view: str | ViewDefinition = ...,
    hops: int = ...,
    limit: int = ...,
    vectors: NodeVectors | None = ...,
    heterogeneous: Literal[True],
) -> HeteroData: ...


def neighbourhood_data(
    snapshot: Snapshot,
    name: str,
    *,
    view: str | ViewDefinition = "gene-kg",
    hops: int = 1,
    limit: int = 1000,
    vectors: NodeVectors | None = None,
    heterogeneous: bool = False,
) -> Data | HeteroData:
    """Return the subgraph that the nodes within some hops of a node induce.

    Both kinds carry ``release``, ``view_name``, ``view_id``, ``hops``, ``total`` (nodes within reach) and ``cut``
    (whether the limit left some out; see ``subgraphs`` for which stay), and for each node ``node_id`` (list of CURIEs),
    ``node`` (number in the release), ``hop`` and ``degree`` (in the view), all int64; with vectors also ``x`` (float32)
    and ``x_known`` (bool). ``Data`` has the centre first, ``node_type`` and ``edge_type`` as positions in
    ``node_types`` and ``edge_types``; ``HeteroData`` has a store for each label and edge type that occurs. Edge types
    are those of ``typed_edges``: each edge stands in both directions.

    Args:
        snapshot: The opened release.
        name: A gene by any name, or a node id.
        view: Preset name or definition.
        hops: How far, 0 to 32.
        limit: Most nodes, the centre among them.
        vectors: What becomes ``x``.
        heterogeneous: ``HeteroData`` instead of ``Data``.

    Raises:
        IdentifierError: ``name`` means no node, or one that has no edge in the view.
        UsageError: A number is out of range, or no preset has that name.
    """
    if limit < 1:
        raise UsageError(f"limit is {limit}; it must leave room for the centre itself, so be 1 or more")
    number = node_number(snapshot, name)
    typed = open_typed(snapshot, snapshot.view(view))
    found = _find(typed, local_number(snapshot, typed.view, number), hops, limit)
    data = _hetero(snapshot, typed, found, vectors) if heterogeneous else _plain(snapshot, typed, found, vectors)
    definition = typed.view.definition
    data.release, data.view_name, data.view_id = snapshot.release, definition.name, definition.id
    data.hops, data.total, data.cut = hops, found.total, found.total > len(found.nodes)
    return data


def _find(typed: TypedView, centre: int, hops: int, limit: int) -> _Found:
    reached = subgraphs.neighbourhoods(typed.view.csr, [centre], hops, cap=limit, edges=False, threads=1)
    nodes = reached.nodes
    order = {label: np.flatnonzero(typed.label[nodes] == at) for at, label in enumerate(typed.labels)}
    inside = {label: typed.place[nodes[chosen]] for label, chosen in order.items()}
    edges: dict[EdgeType, tuple[Int64, Int64]] = {}
    for kind, (sources, starts) in typed.edges.items():
        place = np.full(len(typed.nodes[kind[0]]), -1, dtype=np.int64)
        place[inside[kind[0]]] = order[kind[0]]
        rows, columns, _ = among(sources, starts, inside[kind[2]], place)
        if len(rows):
            edges[kind] = rows, order[kind[2]][columns]
    return _Found(nodes, reached.hops, int(reached.total[0]), edges)


def _describe(
    snapshot: Snapshot, typed: TypedView, found: _Found, chosen: Int64, vectors: NodeVectors | None
) -> dict[str, object]:
    """Return what both kinds say of some of the nodes."""
    nodes = found.nodes[chosen]
    release = typed.view.to_release[nodes]
    ids = [snapshot.nodes.ids[int(node)] for node in release]
    said: dict[str, object] = {
        "node_id": ids,
        "node": torch.from_numpy(release.astype(np.int64)),
        "hop": torch.from_numpy(found.hops[chosen].astype(np.int64)),
        "degree": torch.from_numpy(typed.view.csr.degrees[nodes].astype(np.int64)),
        "num_nodes": len(nodes),
    }
    if vectors is not None:
        rows = vectors.rows_of(ids)
        said |= {"x": torch.from_numpy(vectors.take(rows)), "x_known": torch.from_numpy(rows >= 0)}
    return said


def _plain(snapshot: Snapshot, typed: TypedView, found: _Found, vectors: NodeVectors | None) -> Data:
    none = np.empty((2, 0), dtype=np.int64)
    ends = [np.stack(side) for side in found.edges.values()]
    types = np.repeat(np.arange(len(ends)), [part.shape[1] for part in ends]).astype(np.int64)
    data = Data(edge_index=torch.from_numpy(np.concatenate([none, *ends], axis=1)))
    data.edge_type, data.edge_types = torch.from_numpy(types), list(found.edges)
    data.node_type, data.node_types = torch.from_numpy(typed.label[found.nodes]), list(typed.labels)
    data.update(_describe(snapshot, typed, found, np.arange(len(found.nodes)), vectors))
    return data


def _hetero(snapshot: Snapshot, typed: TypedView, found: _Found, vectors: NodeVectors | None) -> HeteroData:
    data = HeteroData()
    labels, place = typed.label[found.nodes], np.empty(len(found.nodes), dtype=np.int64)
    for at, label in enumerate(typed.labels):
        chosen = np.flatnonzero(labels == at)
        place[chosen] = np.arange(len(chosen))
        if len(chosen):
            data[label].update(_describe(snapshot, typed, found, chosen, vectors))
    for kind, ends in found.edges.items():
        data[kind].edge_index = torch.from_numpy(place[np.stack(ends)])
    return data
