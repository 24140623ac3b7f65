"""CSV files for ``neo4j-admin database import full``: the same database that ``aroma build`` fills over Bolt.

Source: Neo4j's operations manual, "Import": header fields ``:ID``, ``:LABEL``, ``:START_ID``, ``:END_ID``, ``:TYPE``
and ``name:type``; arrays are split at ``--array-delimiter``; an unquoted empty field is a property that is not there.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import polars as pl

from aroma.kgstore import projection, schema
from aroma.kgstore.publications import Publication, read_publications
from aroma.kgstore.schema import Column, Label
from aroma.kgstore.tables import ReleaseTables
from aroma.retrieval.exports.base import ExportOptions, ExportSource

ARRAY_DELIMITER: Final = "\x1f"
"""Unit separator: no provider's text has it. The command line writes it as ``U+001F``."""
_DESCRIBED: Final[dict[str, Column]] = {
    **schema.NODES,
    "description_source": pl.String(),
    "path_degree": pl.Int64(),
    "synonym_text": pl.String(),
}
_NODE_COLUMNS: Final[dict[str, dict[str, Column]]] = {
    **{str(label): _DESCRIBED for label in Label},
    projection.SOURCE: schema.SOURCES,
    projection.IMPORT_RUN: schema.IMPORT_RUNS,
    projection.UNRESOLVED: schema.UNRESOLVED,
    projection.NAME_CONFLICT: schema.NAME_CONFLICTS,
    projection.ASSERTION: schema.ASSERTIONS,
}
_TYPES: Final[dict[Column, str]] = {
    pl.String(): "string",
    pl.Boolean(): "boolean",
    pl.Int16(): "int",
    pl.Int32(): "int",
    pl.Int64(): "long",
    schema.TEXTS: "string[]",
}
_ENDS: Final = {"subject": ":START_ID", "object": ":END_ID", "relation": ":TYPE"}
_SLICE: Final = 200_000


class Neo4jAdmin:
    """One CSV file a label and a relationship type, and the command that imports them."""

    name = "neo4j-admin"
    summary = "CSV files and the command for neo4j-admin database import full"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write ``nodes-*.csv``, ``relationships-*.csv``, ``import.args`` and ``import.sh`` into ``out``."""
        out.mkdir()
        tables = _tables(source)
        files = _Files(out)
        for nodes in projection.project_nodes(tables):
            files.add_nodes(nodes.label, _decoded(nodes))
        files.add_nodes(projection.RELEASE, _release_row(source, tables))
        for (relation,), rows in tables["edges"].group_by("relation", maintain_order=True):
            files.add_relationships(str(relation), rows.drop("content"))
        for relation, rows in _run_edges(source, tables):
            files.add_relationships(relation, rows)
        source.count("nodes", files.nodes)
        source.count("relationships", files.relationships)
        return files.finish()


class _Files:
    """The CSV files as they are written, and what the import must be told of them."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._options: list[str] = []
        self._written: list[Path] = []
        self._several_lines = False
        self.nodes = self.relationships = 0

    def add_nodes(self, label: str, rows: pl.DataFrame) -> None:
        """Write the nodes of one label; ``rows`` has ``id`` and their properties."""
        if rows.is_empty():
            return
        self.nodes += rows.height
        labelled = rows.select(pl.col("id"), pl.lit(label).alias(":LABEL"), pl.exclude("id"))
        self._write("nodes", label, labelled, {"id": "id:ID", ":LABEL": ":LABEL"})

    def add_relationships(self, relation: str, rows: pl.DataFrame) -> None:
        """Write the edges of one type; ``rows`` has ``subject``, ``relation``, ``object`` and their properties."""
        if rows.is_empty():
            return
        self.relationships += rows.height
        self._write("relationships", relation, rows, _ENDS)

    def finish(self) -> list[Path]:
        """Write the command beside the CSV files, and return all files."""
        given = ["--id-type=string", "--array-delimiter=U+001F"]
        if self._several_lines:
            given.append("--multiline-fields=true")
        arguments, script = self._out / "import.args", self._out / "import.sh"
        arguments.write_text("".join(f"{option}\n" for option in (*given, *self._options)))
        command = " ".join(map(shlex.quote, ("database", "import", "full", f"@{arguments.name}")))
        script.write_text(
            "#!/bin/sh\n"
            "# Fills the database neo4j, or the one named by DATABASE; more options can be given, such as\n"
            "# --overwrite-destination. Run it where neo4j-admin of the stopped server is found.\n"
            'set -eu\ncd "$(dirname "$0")"\n'
            f'exec "${{NEO4J_ADMIN:-neo4j-admin}}" {command} "$@" "${{DATABASE:-neo4j}}"\n'
        )
        script.chmod(0o755)
        return [*self._written, arguments, script]

    def _write(self, kind: str, name: str, rows: pl.DataFrame, fixed: dict[str, str]) -> None:
        said = [column for column in rows.columns if column in fixed or rows[column].null_count() < rows.height]
        header = {c: fixed.get(c) or f"{c}:{_TYPES[rows.schema[c]]}" for c in said}
        path = self._out / f"{kind}-{name}.csv"
        with path.open("wb") as stream:
            for start in range(0, rows.height, _SLICE):
                part = _flat(rows.slice(start, _SLICE).select(said))
                self._several_lines |= _has_line_ends(part)
                part.rename(header).write_csv(stream, include_header=start == 0)
        self._options.append(f"--{kind}={path.name}")
        self._written.append(path)


def _tables(source: ExportSource) -> ReleaseTables:
    """Return what a database holds of the export, edges and nodes of its view alone."""
    nodes = source.nodes()
    frames = {name: source.table(name) for name in projection.PROJECTED if name not in {"nodes", "edges"}}
    frames["descriptions"] = frames["descriptions"].join(nodes.select(node="id"), on="node", how="semi")
    unread = {name: source.height(name) for name in schema.TABLES if name not in projection.PROJECTED}
    return ReleaseTables({**frames, "nodes": nodes, "edges": _without_blanks(source.edges())}, unread)


def _without_blanks(edges: pl.DataFrame) -> pl.DataFrame:
    """Return edges whose lists of nothing but empty strings are null, as the projection leaves them out."""
    lists = [name for name, dtype in edges.schema.items() if dtype == schema.TEXTS]
    return edges.with_columns(
        pl.when(pl.col(name).list.join("", ignore_nulls=True) != "").then(pl.col(name)).alias(name) for name in lists
    )


def _decoded(nodes: projection.Nodes) -> pl.DataFrame:
    """Return the properties of projected nodes as columns."""
    columns = {"id": pl.String(), **_NODE_COLUMNS[nodes.label]}
    struct = nodes.frame["text"].str.json_decode(pl.Struct(columns))
    return struct.struct.unnest()


def _release_row(source: ExportSource, tables: ReleaseTables) -> pl.DataFrame:
    entries = [entry for entry in read_publications(source.home) if entry.release == source.release]
    entry = entries[-1] if entries else Publication(0, source.release, None, "")
    return pl.DataFrame([projection.release_properties(entry, tables.counts(), "published")])


def _run_edges(source: ExportSource, tables: ReleaseTables) -> list[tuple[str, pl.DataFrame]]:
    """Return which runs the release includes, and whose file each of them read."""
    runs = tables["import_runs"].select(run="id", provider="provider")
    included = runs.select(pl.lit(source.release).alias("subject"), pl.col("run").alias("object"))
    read = runs.select(pl.col("run").alias("subject"), pl.col("provider").alias("object"))
    return [
        (relation, rows.with_columns(pl.lit(relation).alias("relation")))
        for relation, rows in ((projection.INCLUDES, included), (projection.READ_FROM, read))
    ]


def _flat(rows: pl.DataFrame) -> pl.DataFrame:
    lists = [name for name, dtype in rows.schema.items() if dtype == schema.TEXTS]
    return rows.with_columns(pl.col(name).list.join(ARRAY_DELIMITER) for name in lists)


def _has_line_ends(rows: pl.DataFrame) -> bool:
    texts = [pl.col(name).str.contains(r"[\r\n]").any() for name, dtype in rows.schema.items() if dtype == pl.String]
    return bool(texts) and any(rows.select(texts).row(0))
