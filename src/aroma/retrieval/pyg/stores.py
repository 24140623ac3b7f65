"""PyG's remote backend over a snapshot: a feature store and a graph store that its loaders sample from.

``NeighborLoader(data=remote_backend(...), ...)`` works as with any PyG data set where ``pyg-lib`` or ``torch-sparse``
is installed, which have PyG's own sampling code; neither has wheels on PyPI. Without them give the loader our sampler:
``neighbor_sampler=SnapshotSampler(backend.graph_store, [10, 5])``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch_geometric.data.feature_store import FeatureStore, TensorAttr
from torch_geometric.data.graph_store import EdgeAttr, EdgeLayout, GraphStore

from aroma.errors import IdentifierError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.views import ViewDefinition
from aroma.retrieval.csr import Int64
from aroma.retrieval.pyg.vectors import NodeVectors
from aroma.retrieval.snapshot import Snapshot, open_snapshot
from aroma.retrieval.typed_edges import EdgeType, TypedView, open_typed, places_of


def _read_only() -> NoReturn:
    raise UsageError("a release does not change: nothing can be put into or removed from its stores")


def _reopen(place: _Place) -> tuple[Snapshot, TypedView]:
    snapshot = open_snapshot(Home(place.home), place.release)
    return snapshot, open_typed(snapshot, snapshot.view(place.definition))


def _reopen_graph(place: _Place) -> SnapshotGraphStore:
    return SnapshotGraphStore(*_reopen(place))


def _reopen_features(place: _Place, vectors: NodeVectors | None) -> SnapshotFeatureStore:
    return SnapshotFeatureStore(*_reopen(place), vectors)


class _Place(NamedTuple):
    """What another process needs to map the same files: a loader's workers get this, not the arrays."""

    home: Path
    release: str
    definition: ViewDefinition

    @classmethod
    def of(cls, snapshot: Snapshot, typed: TypedView) -> _Place:
        return cls(snapshot.home.path, snapshot.release, typed.view.definition)


class SnapshotGraphStore(GraphStore):
    """The typed edges of a view in CSC layout, tensors over the mapped files.

    Nodes are numbered within their label, in the order of their ids; ``places`` and ``ids`` translate.

    Attributes:
        release: Release id.
        view_id: The view's id.
        typed: The view by label and edge type.
    """

    def __init__(self, snapshot: Snapshot, typed: TypedView) -> None:
        super().__init__()
        self.snapshot, self.typed = snapshot, typed
        self.release, self.view_id = snapshot.release, typed.view.definition.id

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen_graph, (_Place.of(self.snapshot, self.typed),)

    def places(self, label: str, ids: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return int64 numbers within the label, and a bool mask of the ids that the view has.

        The number of an id that it has not is -1: take it out by the mask before a loader sees it.

        Raises:
            IdentifierError: The view has no nodes of that label.
        """
        found = torch.from_numpy(places_of(self.snapshot, self.typed, self._known(label), list(ids)))
        return found, found >= 0

    def ids(self, label: str, places: torch.Tensor | None = None) -> list[str]:
        """Return the ids of nodes given by their numbers within the label (``n_id`` of a batch), or of all.

        Raises:
            IdentifierError: The view has no nodes of that label.
        """
        nodes = self.typed.nodes[self._known(label)]
        chosen = nodes if places is None else nodes[places.numpy()]
        ids: list[str] = self.snapshot.nodes.ids.series().gather(self.typed.view.to_release[chosen]).to_list()
        return ids

    def _known(self, label: str) -> str:
        if label not in self.typed.nodes:
            name = self.typed.view.definition.name
            raise IdentifierError(f"view {name} has no {label!r} nodes; it has {', '.join(self.typed.labels)}")
        return label

    def get_all_edge_attrs(self) -> list[EdgeAttr]:
        """Return the edge types with their sizes."""
        return [self._attr(kind) for kind in self.typed.edge_types]

    def _attr(self, kind: EdgeType) -> EdgeAttr:
        size = len(self.typed.nodes[kind[0]]), len(self.typed.nodes[kind[2]])
        return EdgeAttr(kind, EdgeLayout.CSC, is_sorted=True, size=size)

    def _get_edge_index(self, edge_attr: EdgeAttr) -> tuple[torch.Tensor, torch.Tensor] | None:
        found = self.typed.edges.get(edge_attr.edge_type)
        if found is None or edge_attr.layout != EdgeLayout.CSC:
            return None
        return torch.from_numpy(found[0]), torch.from_numpy(found[1])

    def _put_edge_index(self, edge_index: Any, edge_attr: EdgeAttr) -> bool:
        _read_only()

    def _remove_edge_index(self, edge_attr: EdgeAttr) -> bool:
        _read_only()


class SnapshotFeatureStore(FeatureStore):
    """What is known of a view's nodes, by label.

    Attributes of each label: ``degree`` (int64, number of neighbours in the view), ``node`` (int64, node number of the
    release) and, where vectors are given, ``x_known`` (bool) and ``x`` (float32). A label of which no node has a vector
    has no ``x``. ``unused`` counts the vectors whose ids the view has not.
    """

    def __init__(self, snapshot: Snapshot, typed: TypedView, vectors: NodeVectors | None = None) -> None:
        super().__init__()
        self.snapshot, self.typed, self.vectors = snapshot, typed, vectors
        self._rows: dict[str, Int64] = {}
        self.unused = 0
        if vectors is not None:
            ids = snapshot.nodes.ids.series().gather(typed.view.to_release)
            rows = vectors.rows_of(ids.to_list())
            self._rows = {label: rows[nodes] for label, nodes in typed.nodes.items()}
            self.unused = len(vectors.ids) - int((rows >= 0).sum())

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen_features, (_Place.of(self.snapshot, self.typed), self.vectors)

    def get_all_tensor_attrs(self) -> list[TensorAttr]:
        """Return the attributes of every label."""
        return [TensorAttr(label, name) for label in self.typed.labels for name in self._names(label)]

    def _names(self, label: str) -> list[str]:
        names = ["degree", "node"]
        if label in self._rows:
            names.append("x_known")
            if (self._rows[label] >= 0).any():
                names.append("x")
        return names

    def _get_tensor(self, attr: TensorAttr) -> torch.Tensor:
        label, name = str(attr.group_name), str(attr.attr_name)
        if label not in self.typed.nodes or name not in self._names(label):
            raise KeyError(f"{label!r} nodes have no {name!r} here")
        chosen = _chosen(attr.index)
        if name == "x" and self.vectors is not None:
            return torch.from_numpy(self.vectors.take(self._rows[label][chosen]))
        if name == "x_known":
            return torch.from_numpy(self._rows[label][chosen] >= 0)
        nodes = self.typed.nodes[label][chosen]
        values = self.typed.view.csr.degrees[nodes] if name == "degree" else self.typed.view.to_release[nodes]
        return torch.from_numpy(values.astype(np.int64))

    def _get_tensor_size(self, attr: TensorAttr) -> tuple[int, ...] | None:
        label = str(attr.group_name)
        if label not in self.typed.nodes or attr.attr_name not in self._names(label):
            return None
        nodes = len(self.typed.nodes[label])
        return (nodes, self.vectors.matrix.shape[1]) if attr.attr_name == "x" and self.vectors else (nodes,)

    def _put_tensor(self, tensor: Any, attr: TensorAttr) -> bool:
        _read_only()

    def _remove_tensor(self, attr: TensorAttr) -> bool:
        _read_only()


def _chosen(index: Any) -> Any:
    """Return a PyG index, which may be a tensor, an array, a slice, a number, None or not set, for numpy."""
    if isinstance(index, torch.Tensor):
        return index.numpy()
    if isinstance(index, int):
        return np.array([index])
    return index if isinstance(index, np.ndarray | slice) else slice(None)


class Backend(NamedTuple):
    """Both stores, in the order in which PyG's loaders take them."""

    feature_store: SnapshotFeatureStore
    graph_store: SnapshotGraphStore


def remote_backend(
    snapshot: Snapshot, view: str | ViewDefinition = "path-kg", vectors: NodeVectors | None = None
) -> Backend:
    """Return the stores of a view, for PyG's loaders: ``NeighborLoader(data=remote_backend(...), ...)``.

    Args:
        snapshot: The opened release.
        view: Preset name or definition.
        vectors: What becomes ``x``; without it batches have structure only.

    Raises:
        UsageError: No preset has that name.
        SnapshotError: The files cannot be put in place.
    """
    typed = open_typed(snapshot, snapshot.view(view))
    return Backend(SnapshotFeatureStore(snapshot, typed, vectors), SnapshotGraphStore(snapshot, typed))
