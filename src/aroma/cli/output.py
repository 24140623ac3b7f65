"""Showing answers: JSON on standard output or tables for people; progress and errors on standard error."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aroma.observe import logs

_errors = Console(stderr=True, highlight=False, soft_wrap=True)
_log = logging.getLogger("aroma.command")


def console() -> Console:
    """Return a console on standard output as it is now (tests replace it)."""
    return Console(highlight=False, soft_wrap=True)


def progress(message: str) -> None:
    """Show one line of progress on standard error."""
    if logs.is_json():
        _log.info("%s", message)
        return
    _errors.print(message, style="dim", markup=False)


def print_json(value: object) -> None:
    """Write one JSON object and a line end on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Show rows as a table, or one below the other where the columns would be too narrow to read.

    Lists are joined by commas; nothing is cut.
    """
    screen = console()
    cells = [[_cell(value) for value in row] for row in rows]
    if cells and _words_width(columns, cells) > screen.width:
        _print_records(screen, title, columns, cells)
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(escape(cell) for cell in row))
    screen.print(table)


def _words_width(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """Return how wide a table must be so that no word is broken, and no column is a tower of short lines."""
    width = 1
    for place, column in enumerate(columns):
        values = [row[place] for row in cells]
        longest_word = max(len(word) for value in (column, *values) for word in value.split() or [""])
        width += max(longest_word, min(max(map(len, values)), 24)) + 3
    return width


def _print_records(screen: Console, title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    if title:
        screen.print(title, style="italic", markup=False)
    label = max(len(column) for column in columns)
    for number, row in enumerate(cells, start=1):
        grid = Table(title=f"[bold]{number}[/bold]", title_justify="left", box=None, show_header=False, pad_edge=False)
        grid.add_column(width=label, style="bold")
        grid.add_column(overflow="fold")
        for column, cell in zip(columns, row, strict=True):
            if cell:
                grid.add_row(column, escape(cell))
        screen.print(grid)


def report_error(message: str, *, exit_code: int, kind: str, as_json: bool, **details: object) -> None:
    """Show an error as one sentence on standard error; with ``--json`` as an object on standard output too."""
    if as_json:
        print_json({"error": {"kind": kind, "message": message, "exit_code": exit_code, **details}})
    if logs.is_json():
        _log.error("%s", message, extra={"fields": {"kind": kind, "exit_code": exit_code, **details}})
        return
    _errors.print(f"aroma: {message}", style="bold red", markup=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
