"""From what a person types to a node id: an id as it is, a gene by any of its names."""

from __future__ import annotations

import polars as pl

from aroma.errors import IdentifierError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.resolver import GeneResolver
from aroma.kgstore.tables import read_table, scan_table


def published_resolver(home: Home) -> GeneResolver:
    """Return the gene resolver of the published release.

    Raises:
        ReleaseError: Nothing is published.
    """
    return resolver_of(home, require_published(home).release)


def resolver_of(home: Home, release: str) -> GeneResolver:
    """Return the gene resolver of one release.

    Raises:
        ReleaseError: A table of the release cannot be read.
    """
    directory = home.release(release)
    return GeneResolver.from_tables(
        read_table(directory, "nodes", ["id", "label", "symbol"]), read_table(directory, "gene_names")
    )


def node_id(home: Home, name: str) -> str:
    """Return the id of the node that ``name`` means in the published release.

    An id of a node that a later release dropped is taken as it is, so that its history can still be asked for.

    Raises:
        IdentifierError: ``name`` is neither an id nor a name of exactly one gene.
    """
    directory = home.release(require_published(home).release)
    if scan_table(directory, "nodes").filter(pl.col("id") == name).select("id").collect().height:
        return name
    resolver = published_resolver(home)
    found = resolver.resolve(name)
    if found.gene is not None:
        return found.gene
    if ":" in name and found.reason == "unknown":
        return name
    choices = found.candidates or tuple(resolver.nearest(name))
    hint = f"; did you mean {', '.join(choices)}?" if choices else ""
    raise IdentifierError(f"{name!r} names no gene here ({found.reason}){hint}")
