"""Plug-ins by name: those of this package and those that other packages bring by the entry point ``aroma.models``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

from rapidfuzz import process

from aroma.errors import ModelError, UsageError
from aroma.model.plugin import Plugin

GROUP: Final = "aroma.models"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a plug-in's class stands: ``module:Class``, and the package that brings it."""

    place: str
    package: str


def available() -> Mapping[str, Entry]:
    """Return the plug-ins that are installed, by name, without importing them."""
    found = entry_points(group=GROUP)
    return {
        point.name: Entry(point.value, point.dist.name if point.dist is not None else "unknown")
        for point in sorted(found, key=lambda point: point.name)
    }


def plugin(name: str) -> type[Plugin]:
    """Return the class of a plug-in.

    Raises:
        UsageError: No plug-in has that name.
        ModelError: Its class cannot be imported, or is no plug-in.
    """
    entries = available()
    if name not in entries:
        near = process.extractOne(name, list(entries), score_cutoff=60)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"no plug-in is called {name!r}{hint} There are: {', '.join(entries)}")
    module, _, attribute = entries[name].place.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"plug-in {name} ({entries[name].place}) cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise ModelError(f"plug-in {name} ({entries[name].place}) is no subclass of aroma.model.plugin.Plugin")
    return found
