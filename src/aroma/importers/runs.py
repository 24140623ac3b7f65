"""The import run: one reading of one file, as a row of the import_runs table."""

from __future__ import annotations

import json
from collections.abc import Mapping

import polars as pl

from aroma.importers.addresses import at_version
from aroma.importers.base import Importer, ProviderFile
from aroma.importers.lines import TextFile
from aroma.kgstore import schema


def run_id(provider: str, kind: str, sha256: str) -> str:
    """Return the id of the import run of a file: the same file gives the same id everywhere."""
    return f"{provider}.{kind}.{sha256[:12]}"


def run_row(
    importer: Importer,
    file: ProviderFile,
    text: TextFile,
    *,
    accepted: int,
    rejected: Mapping[str, int],
    set_aside: Mapping[str, int] | None = None,
    unresolved: Mapping[str, int] | None = None,
) -> pl.DataFrame:
    """Return one row of ``import_runs``; ``rows_read`` is the sum of the four counts, so nothing is lost unseen."""
    reasons = {"rejected": rejected, "set_aside": set_aside or {}, "unresolved": unresolved or {}}
    totals = {name: sum(counts.values()) for name, counts in reasons.items()}
    url = next((kind.url for kind in importer.files if kind.kind == file.kind), "")
    row = {
        "id": run_id(importer.card.name, file.kind, text.sha256),
        "provider": importer.card.name,
        "kind": file.kind,
        "file": text.name,
        "url": at_version(url, file.version),
        "sha256": text.sha256,
        "bytes": text.size,
        "version": file.version,
        "version_found": file.version_found,
        "licence": importer.card.licence,
        "parser_version": importer.parser_version,
        "rows_read": accepted + sum(totals.values()),
        "accepted": accepted,
        **totals,
        "reasons": json.dumps({name: dict(sorted(counts.items())) for name, counts in reasons.items()}),
        "retrieved_at": text.retrieved_at,
    }
    return schema.conform("import_runs", pl.DataFrame([row]))


def count_reasons(frame: pl.DataFrame) -> dict[str, int]:
    """Count the rows of a rejects-like frame by its ``reason`` column."""
    return {str(reason): int(rows) for reason, rows in frame.group_by("reason").len().sort("reason").iter_rows()}
