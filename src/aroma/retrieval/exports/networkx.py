"""Node-link JSON, as ``networkx.node_link_graph`` reads it.

Source: networkx's ``readwrite.json_graph.node_link`` (3.4 or newer, where edges stand under ``edges``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import polars as pl

from aroma.retrieval.exports.base import ExportOptions, ExportSource
from aroma.retrieval.exports.json_lines import json_lines

_SLICE: Final = 100_000
_NODE: Final = ("id", "label", "symbol", "name", "namespace", "obsolete", "provider", "provider_release", "licence")
_EDGE: Final = (
    "relation", "provider", "provider_release", "licence", "score", "evidence", "references", "qualifiers",
    "statements", "import_runs", "since",
)  # fmt: skip


class NetworkX:
    """A directed multigraph: the key of an edge is its relation and provider."""

    name = "networkx"
    summary = "Node-link JSON for networkx.node_link_graph: a directed multigraph with provenance"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write one JSON file."""
        nodes, edges = source.nodes(), source.edges()
        graph = {"release": source.release, "view": source.definition.name, "view_id": source.definition.id}
        with out.open("w", encoding="utf-8") as stream:
            stream.write(f'{{"directed":true,"multigraph":true,"graph":{json.dumps(graph)},\n"nodes":[\n')
            stream.write(",\n".join(json_lines(nodes.select(_NODE)).to_list()))
            stream.write('\n],\n"edges":[')
            separator = "\n"
            for part in edges.iter_slices(_SLICE):
                stream.write(separator + ",\n".join(json_lines(_links(part)).to_list()))
                separator = ",\n"
            stream.write("\n]}\n")
        source.count("nodes", nodes.height)
        source.count("edges", edges.height)
        return [out]


def _links(edges: pl.DataFrame) -> pl.DataFrame:
    key = pl.concat_str("relation", "provider", separator="/").alias("key")
    return edges.select(pl.col("subject").alias("source"), pl.col("object").alias("target"), key, *_EDGE)
