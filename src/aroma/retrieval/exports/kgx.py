"""KGX tab files and Biolink JSON lines.

Source: the KGX specification (https://biolink.github.io/kgx/kgx_format.html): two files, one record a line, ``|``
between the values of a list, no quoting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from aroma.kgstore import schema
from aroma.retrieval.exports.base import ExportOptions, ExportSource
from aroma.retrieval.exports.biolink import PREFIX_NOTE, biolink_edges, biolink_nodes
from aroma.retrieval.exports.json_lines import json_lines

_SLICE: Final = 100_000
"""Edges that are put into text at a time, so that memory stays bounded."""


class Kgx:
    """Nodes and edges as KGX tab files."""

    name = "kgx"
    summary = "KGX tab files (nodes.tsv, edges.tsv) in the Biolink Model's words"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write ``nodes.tsv`` and ``edges.tsv`` into the directory ``out``."""
        return _write(source, out, "tsv")


class BiolinkJsonl:
    """Nodes and edges as KGX JSON lines."""

    name = "biolink-jsonl"
    summary = "KGX JSON lines (nodes.jsonl, edges.jsonl) in the Biolink Model's words"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write ``nodes.jsonl`` and ``edges.jsonl`` into the directory ``out``."""
        return _write(source, out, "jsonl")


def _write(source: ExportSource, out: Path, suffix: str) -> list[Path]:
    out.mkdir()
    nodes, edges = source.nodes(), source.edges()
    node_file, edge_file = out / f"nodes.{suffix}", out / f"edges.{suffix}"
    _write_rows(biolink_nodes(nodes), node_file, append=False)
    ends = nodes.select("id", "label", "namespace")
    count = 0
    for part in edges.iter_slices(_SLICE):
        rows = biolink_edges(part, ends)
        _write_rows(rows, edge_file, append=count > 0)
        count += rows.height
    if not count:
        _write_rows(biolink_edges(schema.empty("edges"), ends), edge_file, append=False)
    source.count("nodes", nodes.height)
    source.count("edges", count)
    if nodes["id"].str.starts_with("REACTOME:").any():
        source.note(PREFIX_NOTE)
    return [node_file, edge_file]


def _write_rows(rows: pl.DataFrame, path: Path, *, append: bool) -> None:
    with path.open("ab" if append else "wb") as stream:
        if path.suffix == ".jsonl":
            lines = json_lines(rows)
            lines.to_frame().write_csv(stream, include_header=False, quote_style="never")
            return
        _flat(rows).write_csv(stream, include_header=not append, separator="\t", quote_style="never")


def _flat(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a frame without lists, tabs and line ends; a ``|`` that separates nothing becomes a ``/``."""
    flat = []
    for name, dtype in rows.schema.items():
        column = pl.col(name)
        if dtype == schema.TEXTS:
            one_line = column.list.eval(_one_line(pl.element()))
            flat.append(one_line.list.join("|").alias(name))
        elif dtype == pl.String:
            flat.append(_one_line(column).alias(name))
        else:
            flat.append(column)
    return rows.select(flat)


def _one_line(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(r"[\t\r\n]+", " ").str.replace_all("|", "/", literal=True)
