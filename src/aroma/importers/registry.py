"""The importers by provider name: those of this package and those that a lab's own package adds.

A lab adds a provider without touching this package by an entry point in its own ``pyproject.toml``::

    [project.entry-points."aroma.importers"]
    my_provider = "my_package.my_module:MyImporter"
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Final

from aroma.errors import UsageError
from aroma.importers.base import Importer
from aroma.importers.cell_lines import CellLineImporter
from aroma.importers.complex_portal import ComplexPortalImporter
from aroma.importers.corum import CorumImporter
from aroma.importers.gene_ontology import GeneOntologyImporter
from aroma.importers.hgnc import HgncImporter
from aroma.importers.perturbqa import PerturbQAImporter
from aroma.importers.reactome import ReactomeImporter
from aroma.importers.string_db import StringImporter
from aroma.importers.uniprot import UniProtImporter

ENTRY_POINTS: Final = "aroma.importers"

BUILT_IN: Final[tuple[type[Importer], ...]] = (
    HgncImporter,
    UniProtImporter,
    CellLineImporter,
    StringImporter,
    CorumImporter,
    ComplexPortalImporter,
    GeneOntologyImporter,
    ReactomeImporter,
    PerturbQAImporter,
)


@cache
def importers() -> Mapping[str, Importer]:
    """Return every importer by its provider's name, this package's first.

    Raises:
        UsageError: An entry point cannot be loaded, is no importer, or takes a name that is in use.
    """
    found = {kind.card.name: kind() for kind in BUILT_IN}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        added = _load(point)
        name = added.card.name
        if name in found:
            raise UsageError(f"entry point {point.value!r} adds the provider {name!r}, which is there already")
        found[name] = added
    return MappingProxyType(found)


def importer(name: str) -> Importer:
    """Return one importer.

    Raises:
        UsageError: No provider has that name; the nearest names are suggested.
    """
    known = importers()
    if name not in known:
        raise UsageError(f"there is no provider {name!r}; {suggestion(name, known)}")
    return known[name]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean …`` or, where nothing is near, the list of known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names) or 'none'}"


def reading_order(names: Iterable[str], known: Mapping[str, Importer] | None = None) -> tuple[str, ...]:
    """Return ``names`` so that each provider comes after those it needs (``Importer.after``); ties as registered.

    Raises:
        UsageError: Two importers each want to come after the other.
    """
    every = importers() if known is None else known
    wanted = set(names)
    order: dict[str, None] = {}

    def place(name: str, waiting: tuple[str, ...]) -> None:
        if name in waiting:
            raise UsageError(f"importers wait for each other: {' → '.join((*waiting, name))}; see Importer.after")
        for earlier in every[name].after:
            if earlier in wanted:
                place(earlier, (*waiting, name))
        order.setdefault(name)

    for name in every:
        if name in wanted:
            place(name, ())
    return tuple(order)


def _load(point: EntryPoint) -> Importer:
    try:
        kind = point.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"importer {point.name!r} ({point.value}) cannot be loaded: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Importer)):
        raise UsageError(f"importer {point.name!r} ({point.value}) is no subclass of aroma.importers.base.Importer")
    made: Importer = kind()
    return made
