"""A view as PyTorch Geometric's data objects, in a file that holds tensors and texts alone.

Source: ``HeteroData.to_dict`` / ``from_dict`` and ``Data.to_dict`` / ``from_dict`` of torch_geometric 2.8. The
dictionary, not the object, is saved: ``torch.load(weights_only=True)`` refuses classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from aroma.kgstore.tables import write_parquet
from aroma.retrieval.exports.base import ExportOptions, ExportSource
from aroma.retrieval.exports.torch_files import save_tensors, tensor

_FACTS: Final = ("subject", "relation", "object", "provider", "provider_release", "licence", "score", "statements")
EdgeType = tuple[str, str, str]


class PyG:
    """``hetero.pt`` and ``homogeneous.pt``, with the nodes and edges that their numbers stand for."""

    name = "pyg"
    summary = "PyTorch Geometric: HeteroData and Data as dictionaries of tensors, with node and edge tables"
    extra: str | None = "embeddings"
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write ``hetero.pt``, ``homogeneous.pt``, ``nodes.parquet`` and ``edges.parquet``."""
        out.mkdir()
        nodes = numbered_nodes(source.nodes())
        edges = numbered_edges(source.edges(), nodes)
        files = [out / name for name in ("hetero.pt", "homogeneous.pt", "nodes.parquet", "edges.parquet")]
        save_tensors(hetero_dict(nodes, edges), files[0])
        save_tensors(homogeneous_dict(nodes, edges), files[1])
        write_parquet(nodes, files[2])
        write_parquet(edges.select("edge", "edge_type", *_FACTS), files[3])
        source.count("nodes", nodes.height)
        source.count("edges", edges.height)
        source.note("each edge stands once, as stated; T.ToUndirected() adds the other direction")
        source.note(
            "edge_attr is STRING's combined score / 1000; edges that have no score are of types without edge_attr"
        )
        return files


def numbered_nodes(nodes: pl.DataFrame) -> pl.DataFrame:
    """Return the nodes with their numbers, ordered by label, then id.

    Returns:
        ``node`` (Int64, number in the whole), ``label``, ``index`` (Int64, number within the label), ``id``,
        ``symbol``, ``name``.
    """
    ordered = nodes.sort("label", "id").with_row_index("node")
    index = pl.int_range(pl.len(), dtype=pl.Int64).over("label").alias("index")
    return ordered.select(pl.col("node").cast(pl.Int64), "label", index, "id", "symbol", "name")


def numbered_edges(edges: pl.DataFrame, nodes: pl.DataFrame) -> pl.DataFrame:
    """Return the edges with their numbers, ordered by type, then ends and provider.

    Returns:
        ``edge`` (Int64), ``edge_type`` (Int64, number of the type), ``type`` (its three names), ``node`` and
        ``node_to`` (the ends in the whole), ``index`` and ``index_to`` (within their labels), and the edges' columns.
    """
    ends = nodes.select("id", "label", "index", "node")
    found = edges.join(ends, left_on="subject", right_on="id").join(ends, left_on="object", right_on="id", suffix="_to")
    kind = pl.concat_list("label", "relation", "label_to").alias("type")
    ordered = found.with_columns(kind).sort("label", "relation", "label_to", "index", "index_to", "provider")
    numbers = pl.struct("label", "relation", "label_to").rank("dense").cast(pl.Int64) - 1
    return (
        ordered.with_columns(numbers.alias("edge_type"))
        .with_row_index("edge")
        .with_columns(pl.col("edge").cast(pl.Int64))
    )


def hetero_dict(nodes: pl.DataFrame, edges: pl.DataFrame) -> dict[Any, Any]:
    """Return what ``HeteroData.from_dict`` takes.

    By label ``num_nodes``; by edge type ``edge_index``, ``edge`` (row of edges.parquet) and, where every edge has a
    score, ``edge_attr`` (float32, (edges, 1)).
    """
    found: dict[Any, Any] = {
        label: {"num_nodes": count} for label, count in nodes.group_by("label").len().sort("label").rows()
    }
    for (_,), rows in edges.group_by("edge_type", maintain_order=True):
        kind: EdgeType = tuple(rows["type"][0])
        store = {"edge_index": _index(rows, "index", "index_to"), "edge": tensor(rows["edge"].to_numpy(writable=True))}
        if not rows["score"].null_count():
            store["edge_attr"] = tensor((rows["score"].to_numpy() / np.float32(1000)).astype(np.float32)[:, None])
        found[kind] = store
    return found


def homogeneous_dict(nodes: pl.DataFrame, edges: pl.DataFrame) -> dict[str, Any]:
    """Return what ``Data.from_dict`` takes.

    ``num_nodes``, ``node_type``, ``edge_index``, ``edge_type`` (int64 numbers), and their names, ``node_types`` and
    ``edge_types``.
    """
    labels = nodes["label"].unique().sort()
    kinds = edges.group_by("edge_type", maintain_order=True).agg(pl.first("type"))["type"].to_list()
    return {
        "num_nodes": nodes.height,
        "node_type": tensor(np.array(labels.search_sorted(nodes["label"]), dtype=np.int64)),
        "edge_index": _index(edges, "node", "node_to"),
        "edge_type": tensor(edges["edge_type"].to_numpy(writable=True)),
        "node_types": labels.to_list(),
        "edge_types": [tuple(kind) for kind in kinds],
    }


def _index(rows: pl.DataFrame, one: str, other: str) -> Any:
    return tensor(np.stack([rows[one].to_numpy(), rows[other].to_numpy()]).astype(np.int64))
