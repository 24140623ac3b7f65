"""Enrichment by names: lists of genes as users write them, with what could not be resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.node_names import resolver_of
from aroma.kgstore.user_tables import read_user_table
from aroma.retrieval.enrichment import EnrichedSet, Enrichment, EnrichmentOptions
from aroma.retrieval.snapshot import open_snapshot


@dataclass(frozen=True, slots=True)
class EnrichmentAnswer:
    """What a list of genes shares.

    Attributes:
        release: Release id.
        asked: Genes that were tested.
        background: Genes of the background that are in any set.
        unresolved: Names that were left out, and why.
        symbols: Symbol of each gene asked about, by id.
        sets: The sets, the smallest p-value first.
    """

    release: str
    asked: int
    background: int
    unresolved: Mapping[str, str]
    symbols: Mapping[str, str]
    sets: Sequence[EnrichedSet]


def enrich_names(
    home: Home,
    names: Sequence[str],
    background: Sequence[str] | None = None,
    options: EnrichmentOptions | None = None,
    *,
    release: str | None = None,
) -> EnrichmentAnswer:
    """Test a list of genes by any of their names.

    Args:
        home: Where the release is.
        names: Gene symbols, aliases or ids.
        background: The same, of all genes that could have been in the list; those in any set where not given.
        options: See ``EnrichmentOptions``.
        release: Release, or None for the published one.

    Raises:
        UsageError: No gene is given, or none of the background is in any set.
    """
    if not names:
        raise UsageError("no gene is given; name some, or give a file by --genes")
    snapshot = open_snapshot(home, release)
    resolver = resolver_of(home, snapshot.release)
    enrichment = Enrichment(snapshot, options)
    resolved = {name: resolver.resolve(name) for name in dict.fromkeys(names)}
    ids = dict.fromkeys(found.gene for found in resolved.values() if found.gene is not None)
    numbers = {gene: number for gene in ids if (number := snapshot.nodes.ids.find(gene)) is not None}
    among = None
    if background is not None:
        genes = {resolver.resolve(name).gene for name in background} | set(ids)
        among = [number for gene in genes if gene and (number := snapshot.nodes.ids.find(gene)) is not None]
    sets = enrichment.of(list(numbers.values()), among)
    return EnrichmentAnswer(
        snapshot.release,
        sets[0].asked if sets else len(numbers),
        sets[0].background if sets else len(enrichment.genes if among is None else among),
        {name: found.reason or "unknown" for name, found in resolved.items() if found.gene is None},
        {gene: snapshot.nodes.shown(number) for gene, number in numbers.items()},
        sets,
    )


def read_gene_names(path: Path) -> list[str]:
    """Read a column of gene names.

    Raises:
        InputFileError: The file cannot be read or has no column ``gene`` (or ``symbol``, ``target``).
    """
    frame = read_user_table(path, required={"gene": ("symbol", "target", "genes")})
    return frame["gene"].drop_nulls().to_list()
