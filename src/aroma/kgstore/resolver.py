"""Gene resolver: from any name of a human gene to its node, saying how, and never guessing between two."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import polars as pl


class Tier(StrEnum):
    """How a name can stand for a gene, from the surest to the loosest; an earlier tier wins."""

    HGNC_ID = "HGNC id"
    ENSEMBL_ID = "Ensembl id"
    ENTREZ_ID = "Entrez id"
    UNIPROT_ID = "UniProt id"
    STRING_ID = "STRING id"
    SYMBOL = "approved symbol"
    PREVIOUS = "previous symbol"
    ALIAS = "alias symbol"


class Namespace(StrEnum):
    """What the names of a column are; ``ANY`` tries identifiers by their form, then symbols."""

    ANY = "any"
    SYMBOL = "symbol"
    HGNC = "hgnc"
    ENSEMBL = "ensembl"
    ENTREZ = "entrez"
    UNIPROT = "uniprot"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a name stands for.

    Attributes:
        query: The name as asked.
        gene: Node id (``HGNC:…`` or ``ENSEMBL:…``), or None.
        symbol: Approved symbol of that gene, or None.
        tier: How it was resolved, or None.
        reason: Why there is no gene: ``unknown``, ``ambiguous``, ``withdrawn``; None when there is one.
        candidates: Gene ids between which an ambiguous name stands, and for a flagged name the other genes.
        flags: ``two tiers`` when a looser tier gives the name to another gene as well (TAZ).
    """

    query: str
    gene: str | None
    symbol: str | None
    tier: Tier | None
    reason: str | None = None
    candidates: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


RESOLUTION_COLUMNS = {
    "query": pl.String(),
    "gene": pl.String(),
    "symbol": pl.String(),
    "tier": pl.String(),
    "reason": pl.String(),
    "candidates": pl.List(pl.String()),
    "flags": pl.List(pl.String()),
}


class GeneResolver:
    """Resolves names against the ``gene_names`` table of a release or of a build in progress."""

    def __init__(self, gene_names: pl.DataFrame, symbols: dict[str, str]) -> None:
        """Build from rows of ``gene_names`` and the approved symbol of each gene id."""
        raise NotImplementedError

    def resolve(self, query: str, namespace: Namespace = Namespace.ANY) -> Resolution:
        """Resolve one name; never raises for an unknown or ambiguous one."""
        raise NotImplementedError

    def resolve_column(self, names: pl.Series, namespace: Namespace = Namespace.ANY) -> pl.DataFrame:
        """Resolve a column: ``RESOLUTION_COLUMNS``, one row a *distinct* non-null name, sorted by ``query``."""
        raise NotImplementedError

    def nearest(self, query: str, limit: int = 5) -> list[str]:
        """Return approved symbols spelled most like ``query``, for messages."""
        raise NotImplementedError
