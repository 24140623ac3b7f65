"""How far a run is, on standard error: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from aroma.cli.output import progress

if TYPE_CHECKING:
    from aroma.jobs.watching import Progress, Show

_LINE_SECONDS: Final = 10.0
_TOLD_BY_NOTES: Final = frozenset({"refresh"})
"""Runs of one shard, whose notes say how far they are."""
_THOUSAND: Final = 1000.0


@contextmanager
def shown_progress() -> Iterator[Show]:
    """Yield what shows a run's progress while the body runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines().show
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[said]}"))
    with Bar(*columns, console=console, transient=True) as bar:
        yield _Bars(bar).show


class _Bars:
    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, said="")
        self._note = ""

    def show(self, now: Progress) -> None:
        name = str(now.run.facts.get("encoder", {}).get("name", now.run.kind))
        total = max(now.run.cost, 1)
        done = now.done if now.run.cost else total
        self._bar.update(self._task, description=name, total=total, completed=done, said=said_of(now))
        if now.note and now.note != self._note:
            self._bar.console.print(now.note, style="yellow", markup=False)
        self._note = now.note


class _Lines:
    def __init__(self) -> None:
        self._next, self._note = time.monotonic() + _LINE_SECONDS, ""

    def show(self, now: Progress) -> None:
        if now.note and now.note != self._note:
            progress(now.note)
        self._note = now.note
        if time.monotonic() >= self._next and now.run.kind not in _TOLD_BY_NOTES:
            self._next = time.monotonic() + _LINE_SECONDS
            progress(f"{100 * now.done / max(now.run.cost, 1):.0f} %, {said_of(now)}")


def said_of(now: Progress) -> str:
    """Return shards, rate and time left in a few words."""
    shards = now.run.shards
    words = [f"{shards.get('done', 0)}/{sum(shards.values())} shards"]  # type: ignore[call-overload]
    if now.run.workers:
        words.append(f"{len(now.run.workers)} at work")
    if now.rate is not None:
        words.append(f"{_short(now.rate)} {unit_of(now.run.kind, now.run.facts)}/s")
    if now.left is not None:
        words.append(f"{duration(now.left)} left")
    return ", ".join(words)


def unit_of(kind: str, facts: object) -> str:
    """Return what the cost of a run counts."""
    if kind != "embed":
        return "epochs"
    encoder = facts.get("encoder", {}) if isinstance(facts, dict) else {}
    return "residues" if encoder.get("kind") == "protein" else "tokens"


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"


def _short(number: float) -> str:
    for unit in ("", "k", "M"):
        if number < _THOUSAND:
            return f"{number:.3g}{unit}"
        number /= _THOUSAND
    return f"{number:.3g}G"
