"""A gene by its neighbourhood (AROMA, section 4.2): the mean over the nodes within some hops, in two ways.

``encode_subgraphs`` is the paper's way: the induced subgraph of each gene is encoded by itself, so that its nodes hear
only one another, and the mean of its nodes is taken. ``pooled`` is the fast way: the whole graph is encoded once, and
the mean is taken over the same nodes. They differ in what nodes at the rim hear; ``pooling_difference`` measures it.

Subgraphs are encoded many at a time, block beside block, by the compiled attention. The first projection is the same in
every subgraph, so it is done once. In the last layer sum, projection and mean commute: a node counts as often as the
others of its subgraph listen to it, so no message of the last layer is summed and one row a subgraph is projected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from scipy import sparse
from torch import Tensor, nn

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.model.embeddings.attention import GraphAttention
from aroma.model.embeddings.edge_softmax import MessageGraph, attend_forward
from aroma.model.embeddings.gat_inputs import node_inputs
from aroma.model.embeddings.gat_model import GatLinkModel
from aroma.model.embeddings.gat_runs import load_gat
from aroma.model.embeddings.rows import Float32, Int32, Int64, on_parts, parts_of, vectorised
from aroma.retrieval.csr import Csr
from aroma.retrieval.snapshot import Snapshot, View, open_snapshot
from aroma.retrieval.subgraphs import Neighbourhoods, neighbourhood_parts
from aroma.retrieval.vector_store import VectorSet, write_vector_set

_NODES_A_BATCH: Final = 1 << 14
_NONE: Final = np.empty(0, dtype=np.int64)


def pooled(vectors: npt.NDArray[Any], graph: Csr, centres: npt.ArrayLike, hops: int, *, cap: int | None = None) -> Any:
    """Return float32 (centres, dim): of each centre the mean vector of the nodes within ``hops``, itself among them.

    Args:
        vectors: (nodes, dim), of the whole graph.
        graph: The view.
        centres: Node numbers.
        hops: How far.
        cap: Most nodes a centre; the nearest stay.

    Raises:
        UsageError: A number is out of range.
    """
    matrix = np.asarray(vectors, dtype=np.float32)
    found = [np.empty((0, matrix.shape[1]), dtype=np.float32)]
    for part in neighbourhood_parts(graph, centres, hops, cap=cap, edges=False):
        sizes = np.diff(part.node_offsets)
        if len(sizes):
            weights = np.repeat((1 / sizes).astype(np.float32), sizes)
            shape = (len(sizes), len(matrix))
            found.append(sparse.csr_matrix((weights, part.nodes, part.node_offsets), shape=shape) @ matrix)
    return np.concatenate(found)


def encode_subgraphs(
    model: GatLinkModel,
    inputs: npt.NDArray[np.float32],
    graph: Csr,
    centres: npt.ArrayLike,
    hops: int,
    *,
    cap: int | None = None,
) -> npt.NDArray[np.float32]:
    """Return float32 (centres, dim): each centre's induced subgraph encoded by itself, and the mean of its nodes.

    Args:
        model: The trained encoder; on the CPU.
        inputs: float32 (nodes, numbers), of the whole graph.
        graph: The view.
        centres: Node numbers.
        hops: How far.
        cap: Most nodes a centre; the nearest stay.

    Raises:
        UsageError: A number is out of range.
    """
    model.eval()
    parts = neighbourhood_parts(graph, centres, hops, cap=cap)
    with torch.no_grad():
        nodes = torch.from_numpy(np.ascontiguousarray(inputs))
        layers = list(model.encoder.layers)
        if all(isinstance(layer, GraphAttention) for layer in layers):
            encode = _Layers(cast("list[GraphAttention]", layers), nodes)
            found = [encode.pooled(blocks) for blocks in _batches(parts)]
        else:
            found = [_by_encoder(model, nodes, blocks) for blocks in _batches(parts)]
    none = np.empty((0, model.scorer.inputs), dtype=np.float32)
    return np.concatenate([none, *found])


@dataclass(frozen=True)
class _Blocks:
    """Subgraphs beside one another, with no edge between them.

    Attributes:
        nodes: int32: node numbers in the whole graph.
        starts: int64 (blocks + 1): where each subgraph's nodes begin.
        indptr: int64 (nodes + 1): where the sources of a node begin.
        indices: int32: sources, as places in ``nodes``; each node hears itself as well.
    """

    nodes: Int32
    starts: Int64
    indptr: Int64
    indices: Int32

    @property
    def graph(self) -> MessageGraph:
        """The message graph, for forward passes: it has no reverse order."""
        return MessageGraph(self.indptr, self.indices, _NONE, self.indices[:0], _NONE)


def _batches(parts: Iterator[Neighbourhoods]) -> Iterator[_Blocks]:
    waiting: list[_Blocks] = []
    for part in parts:
        if len(part):
            indptr, indices = _lay_out(part.node_offsets, part.edge_offsets, part.edges)
            waiting.append(_Blocks(part.nodes, part.node_offsets, indptr, indices))
        if sum(len(one.nodes) for one in waiting) >= _NODES_A_BATCH:
            yield _beside(waiting)
            waiting = []
    if waiting:
        yield _beside(waiting)


def _beside(blocks: Sequence[_Blocks]) -> _Blocks:
    if len(blocks) == 1:
        return blocks[0]
    shift = np.cumsum([0, *(len(one.nodes) for one in blocks)])
    edges = np.cumsum([0, *(len(one.indices) for one in blocks)])
    return _Blocks(
        np.concatenate([one.nodes for one in blocks]),
        np.concatenate([[0], *(one.starts[1:] + by for one, by in zip(blocks, shift, strict=False))]),
        np.concatenate([[0], *(one.indptr[1:] + by for one, by in zip(blocks, edges, strict=False))]),
        np.concatenate([one.indices + np.int32(by) for one, by in zip(blocks, shift, strict=False)]),
    )


class _Layers:
    """The encoder's layers over blocks; what does not depend on the subgraph is done once for the whole graph."""

    def __init__(self, layers: list[GraphAttention], nodes: Tensor) -> None:
        self._layers = layers
        self._first = _projected(layers[0], nodes)
        last = layers[-1]
        self._last = last.lin.weight.view(last.heads, last.outputs, last.inputs)
        self._last_scores = [
            torch.einsum("hoi,ho->ih", self._last, vector[0]) for vector in (last.att_src, last.att_dst)
        ]

    def pooled(self, blocks: _Blocks) -> npt.NDArray[np.float32]:
        """Return float32 (blocks, dim)."""
        graph, last = blocks.graph, self._layers[-1]
        from_scores, to_scores, values = self._first
        nodes = _heard(self._layers[0], graph, from_scores[blocks.nodes], to_scores[blocks.nodes], values[blocks.nodes])
        for layer in self._layers[1:-1]:
            nodes = _heard(layer, graph, *_projected(layer, nodes))
        scores = [(nodes @ matrix).numpy() for matrix in self._last_scores]
        means = np.zeros((len(blocks.starts) - 1, last.heads, last.inputs), dtype=np.float32)
        rows = (blocks.starts, blocks.indptr, blocks.indices, *scores, nodes.numpy(), np.float32(last.slope), means)
        on_parts(parts_of(blocks.indptr[blocks.starts]), _pool, *rows)
        heads = torch.einsum("bhi,hoi->bho", torch.from_numpy(means), self._last)
        found: npt.NDArray[np.float32] = ((heads.flatten(1) if last.concat else heads.mean(1)) + last.bias).numpy()
        return found


def _projected(layer: GraphAttention, nodes: Tensor) -> tuple[Float32, Float32, Float32]:
    values = layer.lin(nodes).view(-1, layer.heads, layer.outputs)
    from_scores, to_scores = ((values * vector).sum(-1).numpy() for vector in (layer.att_src, layer.att_dst))
    return from_scores, to_scores, values.numpy()


def _heard(
    layer: GraphAttention, graph: MessageGraph, from_scores: Float32, to_scores: Float32, values: Float32
) -> Tensor:
    sums, _ = attend_forward(graph, from_scores, to_scores, values, layer.slope)
    return nn.functional.elu(torch.from_numpy(sums).flatten(1).add_(layer.bias), inplace=True)


def _by_encoder(model: GatLinkModel, nodes: Tensor, blocks: _Blocks) -> npt.NDArray[np.float32]:
    """Encode blocks by any encoder's own layers."""
    encoded = model.encoder(nodes[torch.from_numpy(blocks.nodes)], blocks.graph).numpy()
    sizes = np.diff(blocks.starts)
    return (np.add.reduceat(encoded, blocks.starts[:-1], axis=0) / sizes[:, None]).astype(np.float32)


@vectorised
def _lay_out(node_offsets: Int64, edge_offsets: Int64, edges: Int32) -> tuple[Int64, Int32]:
    """Return rows of sources over all nodes of a part, each node's own place first."""
    nodes = node_offsets[-1]
    indptr = np.zeros(nodes + 1, dtype=np.int64)
    for block in range(len(node_offsets) - 1):
        for edge in range(edge_offsets[block], edge_offsets[block + 1]):
            indptr[node_offsets[block] + edges[0, edge] + 1] += 1
    for node in range(nodes):
        indptr[node + 1] += indptr[node] + 1
    indices = np.empty(indptr[-1], dtype=np.int32)
    free = indptr[:-1].copy()
    for node in range(nodes):
        indices[free[node]] = node
        free[node] += 1
    for block in range(len(node_offsets) - 1):
        first = node_offsets[block]
        for edge in range(edge_offsets[block], edge_offsets[block + 1]):
            row = first + edges[0, edge]
            indices[free[row]] = first + edges[1, edge]
            free[row] += 1
    return indptr, indices


@vectorised
def _pool(
    starts: Int64,
    indptr: Int64,
    indices: Int32,
    from_scores: Float32,
    to_scores: Float32,
    nodes: Float32,
    slope: float,
    means: Float32,
    low: int,
    high: int,
) -> None:
    """Sum the last layer's inputs over each block, each as often as it is listened to, by the number of nodes."""
    heads, numbers = means.shape[1], means.shape[2]
    for block in range(low, high):
        first, end = starts[block], starts[block + 1]
        heard = np.zeros((end - first, heads), dtype=np.float32)
        for node in range(first, end):
            for head in range(heads):
                most, total = np.float32(-np.inf), np.float32(0)
                for edge in range(indptr[node], indptr[node + 1]):
                    score = from_scores[indices[edge], head] + to_scores[node, head]
                    most = max(most, score if score > 0 else score * slope)
                for edge in range(indptr[node], indptr[node + 1]):
                    score = from_scores[indices[edge], head] + to_scores[node, head]
                    total += np.exp((score if score > 0 else score * slope) - most)
                for edge in range(indptr[node], indptr[node + 1]):
                    score = from_scores[indices[edge], head] + to_scores[node, head]
                    weight = np.exp((score if score > 0 else score * slope) - most) / total
                    heard[indices[edge] - first, head] += weight
        for node in range(first, end):
            for head in range(heads):
                share = heard[node - first, head] / np.float32(end - first)
                for number in range(numbers):
                    means[block, head, number] += share * nodes[node, number]


# --- vector sets -------------------------------------------------------------------------------------------------


def publish_pooled(home: Home, source: VectorSet, hops: int, *, exact: bool = False) -> VectorSet:
    """Publish the neighbourhood vectors of a view's genes, made from a ``gat:<view>`` set.

    Args:
        home: Where.
        source: The vectors of the view's nodes.
        hops: How far; 1 in the paper.
        exact: Encode each subgraph (``gat-subgraph:<view>:<hops>``), else pool over the whole graph's vectors
            (``gat-pooled:<view>:<hops>``).

    Raises:
        UsageError: ``source`` is no set of a graph encoder.
        ModelError: With ``exact``: the trained model is not there.
    """
    snapshot, view = _view_of(home, source)
    genes = np.flatnonzero(snapshot.nodes.labels.series().gather(view.to_release).to_numpy() == "Gene")
    name = f"{'gat-subgraph' if exact else 'gat-pooled'}:{view.definition.name}:{hops}"
    card = replace(source.card, name=name, dtype="float32", parameters=_pooled_parameters(source, hops))
    ids = snapshot.nodes.ids.series().gather(view.to_release[genes])
    of = source.items().select("id", "input_sha256")
    items = pl.DataFrame({"id": ids}).join(of, on="id", how="left", maintain_order="left")
    items = items.with_columns(problem=pl.lit(None, dtype=pl.String))

    def fill(matrix: npt.NDArray[Any]) -> None:
        matrix[:] = _exact(home, source, snapshot, view, genes, hops) if exact else _fast(source, view, genes, hops)

    return write_vector_set(home, source.release, card, items, fill, facts={"of": source.card.id, "hops": hops})


def pooling_difference(home: Home, source: VectorSet, hops: int, *, genes: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Compare the two ways on a sample of genes.

    Returns:
        ``genes`` compared; quantiles (``0.05``, ``0.5``, ``0.95``) of the cosine between a gene's two vectors
        (``cosine``), and of the same once the sample's mean is taken from each (``centred``), as a part that all
        vectors share says nothing of a gene; ``found_first``, the share of genes whose fast vector is nearer to their
        own exact one than to any other's.
    """
    snapshot, view = _view_of(home, source)
    every = np.flatnonzero(snapshot.nodes.labels.series().gather(view.to_release).to_numpy() == "Gene")
    chosen = np.sort(np.random.default_rng(seed).permutation(every)[:genes])
    exact, fast = _exact(home, source, snapshot, view, chosen, hops), _fast(source, view, chosen, hops)
    one, other = _unit(exact - exact.mean(0)), _unit(fast - fast.mean(0))
    first = (other @ one.T).argmax(1) == np.arange(len(chosen))
    return {
        "genes": len(chosen),
        "hops": hops,
        "cosine": _quantiles((_unit(exact) * _unit(fast)).sum(1)),
        "centred": _quantiles((one * other).sum(1)),
        "found_first": float(first.mean()),
    }


def _view_of(home: Home, source: VectorSet) -> tuple[Snapshot, View]:
    if source.card.kind != "graph" or "view" not in source.card.parameters or "of" in source.card.parameters:
        raise UsageError(f"{source.card.name}: not the vectors of a view's nodes; give a set called gat:VIEW")
    snapshot = open_snapshot(home, source.release)
    return snapshot, snapshot.view(source.card.parameters["view"])


def _pooled_parameters(source: VectorSet, hops: int) -> dict[str, Any]:
    view = source.card.parameters
    return {"of": source.card.id, "hops": hops, "view": view["view"], "view_id": view["view_id"]}


def _fast(source: VectorSet, view: View, genes: Int64, hops: int) -> Any:
    return pooled(source.vectors, view.csr, genes, hops)


def _exact(
    home: Home, source: VectorSet, snapshot: Snapshot, view: View, genes: Int64, hops: int
) -> npt.NDArray[np.float32]:
    model, options = load_gat(home, source)
    return encode_subgraphs(model, node_inputs(snapshot, view, options).matrix, view.csr, genes, hops)


def _unit(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def _quantiles(values: npt.NDArray[Any]) -> dict[str, float]:
    return {str(share): float(np.quantile(values, share)) for share in (0.05, 0.5, 0.95)}
