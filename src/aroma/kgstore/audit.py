"""The audit report of a release: what came in, what was turned away and why, what changed, on what licence.

One JSON object, and the same as one self-contained HTML page (no script, nothing fetched).
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

import jinja2
import polars as pl

from aroma.kgstore.counting import provider_counts
from aroma.kgstore.curation import PROVIDER as CURATION
from aroma.kgstore.diff import Diff
from aroma.kgstore.tables import ReleaseTables

SHOWN: Final = 50
"""Examples listed of rejects, unresolved identifiers and name conflicts, each; the tables hold all."""

PAPER_VIEWS: Final = {"gene-kg": (18_479, 752_612), "path-kg": (80_020, 441_176)}
"""Nodes and edges of AROMA's two graphs (appendix F), to stand beside ours."""


def make_audit(manifest: dict[str, Any], tables: ReleaseTables, changes: Diff | None) -> dict[str, Any]:
    """Collect the audit of a release.

    Args:
        manifest: The release's manifest as a dictionary.
        tables: Its tables.
        changes: The diff against the release published before, or None for the first.
    """
    return {
        "release": manifest["id"],
        "created_at": manifest["created_at"],
        "parent": manifest["parent"],
        "accepted_gates": list(manifest["accepted"]),
        "tables": manifest["counts"],
        "counts": provider_counts(tables),
        "sources": tables["sources"].to_dicts(),
        "licence_note": _licence_note(tables["sources"]),
        "import_runs": [_run(row) for row in tables["import_runs"].iter_rows(named=True)],
        "rejects": _rejects(tables["rejects"]),
        "unresolved": _unresolved(tables["unresolved"]),
        "name_conflicts": _conflicts(tables["name_conflicts"]),
        "views": [{"name": name, **size, "paper": PAPER_VIEWS.get(name)} for name, size in manifest["views"].items()],
        "reports": {name: said for name, said in manifest["reports"].items() if name != CURATION},
        "curation": _curation(tables, manifest["reports"].get(CURATION, {})),
        "diff": _diff(changes),
    }


def _run(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "reasons": json.loads(row["reasons"] or "{}")}


def _licence_note(sources: pl.DataFrame) -> str:
    bound = sources.filter(~pl.col("commercial_use").fill_null(value=True))["title"].to_list()
    if not bound:
        return "All providers allow commercial use under their licences."
    return f"Not for commercial use as a whole: {', '.join(bound)} may not be used commercially."


def _rejects(rejects: pl.DataFrame) -> dict[str, Any]:
    by_reason = (
        rejects.group_by("provider", "file", "reason").len("rows").sort("rows", "reason", descending=[True, False])
    )
    return {"rows": rejects.height, "by_reason": by_reason.to_dicts(), "examples": rejects.head(SHOWN).to_dicts()}


def _unresolved(unresolved: pl.DataFrame) -> dict[str, Any]:
    by_reason = unresolved.group_by("provider", "reason").agg(
        pl.len().alias("identifiers"), pl.col("rows").sum().alias("rows")
    )
    costly = unresolved.sort("rows", "identifier", descending=[True, False]).head(SHOWN)
    return {"by_reason": by_reason.sort("provider", "reason").to_dicts(), "costliest": costly.to_dicts()}


def _conflicts(conflicts: pl.DataFrame) -> dict[str, Any]:
    return {"names": conflicts["name"].n_unique(), "examples": conflicts.head(SHOWN).to_dicts()}


def _curation(tables: ReleaseTables, report: dict[str, Any]) -> dict[str, Any] | None:
    """Say what curators put into a release and hid from it, and what they should look at; None where nobody did."""
    said, findings = tables["assertions"], list(report.get("findings", []))
    if not (said.height or findings):
        return None
    lines, edges = tables["retracted_statements"], tables["retracted_edges"]
    return {
        "asserted_edges": tables["edges"].filter(pl.col("provider") == CURATION).height,
        "retracted_edges": edges.filter(pl.col("whole")).height,
        "retracted_statements": lines.height,
        "entries": said.to_dicts(),
        "hidden": lines.select("id", "retraction", "reason").head(SHOWN).to_dicts(),
        "findings": findings,
    }


def _diff(changes: Diff | None) -> dict[str, Any] | None:
    if changes is None:
        return None
    return {
        "against": changes.old,
        "versions": {name: list(pair) for name, pair in changes.versions.items()},
        "file_kind_changes": changes.kinds,
        "summary": changes.summary(),
    }


@cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("aroma.kgstore", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment.get_template("audit.html")


def render_html(said: dict[str, Any]) -> str:
    """Return the audit as one self-contained HTML page."""
    largest = max((run["rows_read"] for run in said["import_runs"]), default=1) or 1
    return _template().render(audit=said, largest=largest)
