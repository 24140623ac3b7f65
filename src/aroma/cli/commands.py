"""Which modules hold commands, in the order that ``aroma --help`` shows them."""

from __future__ import annotations

import typer


def register_all(app: typer.Typer) -> None:
    """Add every command to ``app``."""
    modules: list[object] = []
    for module in modules:
        module.register(app)  # type: ignore[attr-defined]
