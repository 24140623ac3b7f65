"""Showing answers: JSON on standard output or tables for people; progress and errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

_errors = Console(stderr=True, highlight=False, soft_wrap=True)


def console() -> Console:
    """Return a console on standard output as it is now (tests replace it)."""
    return Console(highlight=False, soft_wrap=True)


def progress(message: str) -> None:
    """Show one line of progress on standard error."""
    _errors.print(message, style="dim", markup=False)


def print_json(value: object) -> None:
    """Write one JSON object and a line end on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Show rows as a table; lists are joined by commas, nothing is cut."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console().print(table)


def report_error(message: str, *, exit_code: int, kind: str, as_json: bool) -> None:
    """Show an error as one sentence on standard error; with ``--json`` as an object on standard output too."""
    if as_json:
        print_json({"error": {"kind": kind, "message": message, "exit_code": exit_code}})
    _errors.print(f"aroma: {message}", style="bold red", markup=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
