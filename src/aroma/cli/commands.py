"""Which modules hold commands, in the order that ``aroma --help`` shows them."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import typer

MODULES: Final = (
    "download",
    "build",
    "refresh",
    "releases",
    "migrate",
    "query",
    "curate",
    "genes",
    "retrieval",
    "serve",
    "search",
    "similar",
    "enrich",
    "export",
    "evaluate",
    "gene_sets",
    "mcp",
    "models",
    "traces",
    "promote",
    "lineage",
    "outcomes",
    "embed",
    "runs",
    "worker",
    "schedule",
    "status",
    "tokens",
    "backup",
    "doctor",
)


def register_all(app: typer.Typer) -> None:
    """Add every command to ``app``."""
    for name in MODULES:
        import_module(f"aroma.cli.{name}").register(app)
