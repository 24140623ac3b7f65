"""Small release tables, written down as the rows that a test is about."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from aroma.kgstore import schema
from aroma.kgstore.assemble import edges_from_statements, with_content
from aroma.kgstore.tables import ReleaseTables

Statement = tuple[str, str, str]


def statements(
    rows: Iterable[Statement],
    *,
    provider: str = "string",
    run: str = "string.links.aaaaaaaaaaaa",
    first_line: int = 2,
    **columns: object,
) -> pl.DataFrame:
    """Return statements for (subject, relation, object) rows, one a line of a made-up file."""
    made = [
        {
            "id": f"{run}:{line}",
            "import_run": run,
            "line": line,
            "provider": provider,
            "subject": subject,
            "relation": relation,
            "object": object_,
            "original_subject": subject,
            "original_object": object_,
            **columns,
        }
        for line, (subject, relation, object_) in enumerate(rows, start=first_line)
    ]
    return schema.conform("statements", pl.DataFrame(made))


def nodes(*rows: tuple[str, str], provider: str = "hgnc", **columns: object) -> pl.DataFrame:
    """Return nodes for (id, label) rows; symbol and name are made from the id."""
    made = [
        {
            "id": id_,
            "label": label,
            "symbol": id_.partition(":")[2] if label == "Gene" else None,
            "name": f"name of {id_}",
            "provider": provider,
            "provider_release": "1",
            "licence": "CC0",
            "import_run": f"{provider}.x.bbbbbbbbbbbb",
            "statement": f"{provider}.x.bbbbbbbbbbbb:{line}",
            **columns,
        }
        for line, (id_, label) in enumerate(rows, start=2)
    ]
    return schema.conform("nodes", pl.DataFrame(made))


def run_rows(*rows: tuple[str, str, int]) -> pl.DataFrame:
    """Return import runs for (provider, kind, accepted rows)."""
    made = [
        {
            "id": f"{provider}.{kind}.aaaaaaaaaaaa",
            "provider": provider,
            "kind": kind,
            "file": f"{provider}.{kind}.txt",
            "sha256": "a" * 64,
            "bytes": 10,
            "version": "1",
            "version_found": "file name",
            "licence": "CC0",
            "rows_read": accepted,
            "accepted": accepted,
            "rejected": 0,
            "unresolved": 0,
            "set_aside": 0,
            "reasons": "{}",
        }
        for provider, kind, accepted in rows
    ]
    return schema.conform("import_runs", pl.DataFrame(made))


def release(
    node_frames: Iterable[pl.DataFrame],
    statement_frames: Iterable[pl.DataFrame],
    *,
    version: str = "1",
    runs: pl.DataFrame | None = None,
    **tables: pl.DataFrame,
) -> ReleaseTables:
    """Return release tables whose edges are folded from the statements."""
    said = pl.concat([schema.empty("statements"), *statement_frames])
    edges = with_content(edges_from_statements(said, provider_release=version, licence="CC0"), said)
    frames = {"nodes": pl.concat(list(node_frames)), "statements": said, "edges": edges, **tables}
    if runs is not None:
        frames["import_runs"] = runs
    return ReleaseTables.of(frames)
