"""Gene resolver: from any name of a human gene to its node, saying how, and never guessing between two.

Names are compared by key. An identifier's key is its CURIE (version, isoform and species parts taken off); a symbol's
key is the symbol itself, and only if nothing has exactly that spelling, the symbol in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

import polars as pl
from rapidfuzz import process
from rapidfuzz.distance import OSA

from aroma.kgstore import schema
from aroma.kgstore.identifiers import Prefix


class Tier(StrEnum):
    """How a name can stand for a gene, from the surest to the loosest; an earlier tier wins.

    ``MERGED`` and ``WITHDRAWN`` are HGNC's retired entries: their old symbols and old ids (``HGNC:6``). A row of tier
    ``WITHDRAWN`` has a null gene.
    """

    HGNC_ID = "HGNC id"
    ENSEMBL_ID = "Ensembl id"
    ENTREZ_ID = "Entrez id"
    UNIPROT_ID = "UniProt id"
    STRING_ID = "STRING id"
    SYMBOL = "approved symbol"
    PREVIOUS = "previous symbol"
    ALIAS = "alias symbol"
    MERGED = "merged entry"
    WITHDRAWN = "withdrawn entry"


class Namespace(StrEnum):
    """What the names of a column are; ``ANY`` tries identifiers by their form, then symbols."""

    ANY = "any"
    SYMBOL = "symbol"
    HGNC = "hgnc"
    ENSEMBL = "ensembl"
    ENTREZ = "entrez"
    UNIPROT = "uniprot"
    STRING = "string"


UNKNOWN: Final = "unknown"
AMBIGUOUS: Final = "ambiguous"
WITHDRAWN: Final = "withdrawn"
TWO_TIERS: Final = "two tiers"
CASE: Final = "case"
MERGED: Final = "merged"
ISOFORM: Final = "isoform"


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
        flags: ``two tiers`` when a looser tier gives the name to another gene as well (TAZ); ``case`` when only
            another spelling of upper and lower case is known; ``merged`` when HGNC merged the entry into this gene;
            ``isoform`` when an isoform or chain suffix of a UniProt accession was taken off.
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

_TIERS: Final = tuple(Tier)
_RANK: Final = {tier: rank for rank, tier in enumerate(_TIERS)}
_WITHDRAWN_RANK: Final = _RANK[Tier.WITHDRAWN]
_BLANKS: Final = " \t\r\n\u00a0"
_ACCESSION: Final = r"(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})"


@dataclass(frozen=True, slots=True)
class _Form:
    """How identifiers of one namespace look (upper case), and the key prefix they get.

    ``bare`` is the looser form that is understood only where the namespace is said.
    """

    prefix: str
    any_form: str
    bare: str


_FORMS: Final[dict[Namespace, _Form]] = {
    Namespace.HGNC: _Form(Prefix.HGNC, r"^HGNC:([0-9]{1,6})$", r"^(?:HGNC:)?([0-9]{1,6})$"),
    Namespace.ENSEMBL: _Form(
        Prefix.ENSEMBL,
        r"^(?:ENSEMBL:)?(ENSG[0-9]{11})(?:\.[0-9]+)?$",
        r"^(?:ENSEMBL:)?(ENSG[0-9]{11})(?:\.[0-9]+)?$",
    ),
    Namespace.ENTREZ: _Form(
        Prefix.ENTREZ,
        r"^(?:NCBIGENE|ENTREZ|GENEID):([0-9]{1,10})$",
        r"^(?:(?:NCBIGENE|ENTREZ|GENEID):)?([0-9]{1,10})$",
    ),
    Namespace.UNIPROT: _Form(
        Prefix.UNIPROT,
        rf"^(?:UNIPROTKB:)?({_ACCESSION})(?:-[0-9]+)?(?:-PRO_[0-9]+)?$",
        rf"^(?:UNIPROTKB:)?({_ACCESSION})(?:-[0-9]+)?(?:-PRO_[0-9]+)?$",
    ),
    Namespace.STRING: _Form(
        "STRING",
        r"^(?:STRING:)?(?:9606\.)?(ENSP[0-9]{11})(?:\.[0-9]+)?$",
        r"^(?:STRING:)?(?:9606\.)?(ENSP[0-9]{11})(?:\.[0-9]+)?$",
    ),
}
_TIER_FORM: Final = {
    Tier.HGNC_ID: Namespace.HGNC,
    Tier.ENSEMBL_ID: Namespace.ENSEMBL,
    Tier.ENTREZ_ID: Namespace.ENTREZ,
    Tier.UNIPROT_ID: Namespace.UNIPROT,
    Tier.STRING_ID: Namespace.STRING,
    Tier.MERGED: Namespace.HGNC,
    Tier.WITHDRAWN: Namespace.HGNC,
}
_SYMBOL_TIERS: Final = (Tier.SYMBOL, Tier.PREVIOUS, Tier.ALIAS, Tier.MERGED, Tier.WITHDRAWN)
_ISOFORM_FORM: Final = rf"^(?:UNIPROTKB:)?{_ACCESSION}-(?:[0-9]+|PRO_[0-9]+)"
_NEAR_ENOUGH: Final = 0.5
_KEPT_NEAREST: Final = 10_000


class NameTables(NamedTuple):
    """The three indexes of names: ``key``, ``rank`` (of the tier), ``gene`` (null: withdrawn), ``name`` as written."""

    identifiers: pl.DataFrame
    exact: pl.DataFrame
    folded: pl.DataFrame


Hits = Sequence[tuple[int, str | None]]
"""What a key stands for: rank of the tier, gene id."""


class GeneResolver:
    """Resolves names against the ``gene_names`` table of a release or of a build in progress."""

    def __init__(self, gene_names: pl.DataFrame, symbols: Mapping[str, str]) -> None:
        """Build from rows of ``gene_names`` and the approved symbol of each gene id."""
        self._symbols: Mapping[str, str] = dict(symbols)
        self._gene_names = gene_names

    @cached_property
    def tables(self) -> NameTables:
        """The indexes."""
        rows = self._gene_names.select(
            pl.col("name").str.strip_chars(_BLANKS),
            pl.col("tier").cast(pl.String).replace_strict(_RANK, return_dtype=pl.Int8).alias("rank"),
            "gene",
        ).filter(pl.col("name") != "")
        exact = rows.filter(
            pl.col("rank").is_in([_RANK[tier] for tier in _SYMBOL_TIERS])
            & (pl.col("rank").is_in([_RANK[tier] for tier in _SYMBOL_TIERS[:3]]) | ~_looks_like(Namespace.HGNC))
        ).select(pl.col("name").alias("key"), "rank", "gene", "name")
        return NameTables(_identifier_index(rows), exact, exact.with_columns(pl.col("key").str.to_lowercase()))

    @classmethod
    def from_tables(cls, nodes: pl.DataFrame, gene_names: pl.DataFrame) -> GeneResolver:
        """Build from a release's ``nodes`` (``id``, ``label``, ``symbol``) and ``gene_names``.

        The ids of gene nodes are names as well, so that ``HGNC:5`` and ``ENSEMBL:ENSG…`` always stand for themselves.
        """
        genes = nodes.filter(pl.col("label") == str(schema.Label.GENE)).select("id", "symbol")
        tier = (
            pl.when(pl.col("id").str.starts_with(f"{Prefix.HGNC}:"))
            .then(pl.lit(str(Tier.HGNC_ID)))
            .otherwise(pl.lit(str(Tier.ENSEMBL_ID)))
        )
        own = genes.select(pl.col("id").alias("name"), tier.alias("tier"), pl.col("id").alias("gene"))
        columns = ["name", "tier", "gene"]
        known = genes.drop_nulls("symbol")
        return cls(pl.concat([gene_names.select(columns), own]), dict(zip(known["id"], known["symbol"], strict=True)))

    def resolve(self, query: str, namespace: Namespace = Namespace.ANY) -> Resolution:
        """Resolve one name; never raises for an unknown or ambiguous one."""
        text = query.strip(_BLANKS)
        hits: list[tuple[int, str | None]] = []
        for form in _forms(namespace):
            if found := re.fullmatch(_pattern(form, namespace), text.upper()):
                hits += self._identifier_hits.get(f"{_FORMS[form].prefix}:{found[1]}", ())
        case = False
        if namespace in {Namespace.ANY, Namespace.SYMBOL}:
            hits += self._exact_hits.get(text, ())
            case = not hits
            hits = hits or list(self._folded_hits.get(text.lower(), ()))
        return self._decide(query, hits, case=case)

    def resolve_column(self, names: pl.Series, namespace: Namespace = Namespace.ANY) -> pl.DataFrame:
        """Resolve a column: ``RESOLUTION_COLUMNS``, one row a *distinct* non-null name, sorted by ``query``."""
        asked = pl.DataFrame({"query": names.cast(pl.String).drop_nulls().unique().sort()}).with_columns(
            pl.col("query").str.strip_chars(_BLANKS).alias("text")
        )
        upper = pl.col("text").str.to_uppercase()
        parts = []
        for form in _forms(namespace):
            key = upper.str.extract(_pattern(form, namespace), 1)
            keyed = asked.select("query", pl.format("{}:{}", pl.lit(_FORMS[form].prefix), key).alias("key"))
            parts.append(_join(keyed.drop_nulls("key"), self.tables.identifiers))
        if namespace in {Namespace.ANY, Namespace.SYMBOL}:
            parts.append(_join(asked.select("query", pl.col("text").alias("key")), self.tables.exact))
        hits = pl.concat(parts).with_columns(pl.lit(value=False).alias("case"))
        if namespace in {Namespace.ANY, Namespace.SYMBOL}:
            left = asked.join(hits, on="query", how="anti")
            folded = _join(left.select("query", pl.col("text").str.to_lowercase().alias("key")), self.tables.folded)
            hits = pl.concat([hits, folded.with_columns(pl.lit(value=True).alias("case"))])
        return self._decide_all(asked, hits)

    @property
    def symbols(self) -> Mapping[str, str]:
        """Approved symbol of each gene id."""
        return self._symbols

    def nearest(self, query: str, limit: int = 5) -> list[str]:
        """Return approved symbols spelled most like ``query``, for messages; the likest first, then by name."""
        return list(self._likest(query.strip(_BLANKS).upper(), limit))

    @cached_property
    def _likest(self) -> Callable[[str, int], tuple[str, ...]]:
        """Find symbols spelled alike; the last answers are kept, since files repeat their unknown names."""

        @lru_cache(maxsize=_KEPT_NEAREST)
        def likest(text: str, limit: int) -> tuple[str, ...]:
            found = process.extract(
                text, self._spellings, scorer=OSA.normalized_similarity, score_cutoff=_NEAR_ENOUGH, limit=None
            )
            return tuple(symbol for _, _, symbol in sorted(found, key=lambda hit: (-hit[1], hit[2]))[:limit])

        return likest

    def conflicts(self) -> pl.DataFrame:
        """List names that stand in two tiers for different genes, or for several genes in the tier that decides.

        Returns:
            Columns of ``schema.NAME_CONFLICTS``, one row a name and looser tier. Where the deciding tier itself is
            ambiguous, ``gene`` is null and one row has ``other_tier`` equal to ``tier``, with the genes between
            which the name stands.
        """
        named = pl.concat([_conflicts(index.select("key", "rank", "gene", "name")) for index in self.tables[:2]])
        return (
            schema.conform("name_conflicts", named)
            .unique(["name", "tier", "other_tier"], keep="first")
            .sort("name", "tier", "other_tier")
        )

    def _decide(self, query: str, hits: Iterable[tuple[int, str | None]], *, case: bool) -> Resolution:
        """Let the earliest tier decide; several genes in it are ambiguous."""
        rows = list(hits)
        live = [(rank, gene) for rank, gene in rows if gene is not None]
        if not live:
            return Resolution(query, None, None, None, WITHDRAWN if rows else UNKNOWN)
        rank = min(rank for rank, _ in live)
        winners = {gene for at, gene in live if at == rank}
        if len(winners) > 1:
            return Resolution(query, None, None, None, AMBIGUOUS, tuple(sorted(winners)))
        (gene,) = winners
        others = tuple(sorted({other for _, other in live} - winners))
        tier = _TIERS[rank]
        flags = {
            TWO_TIERS: bool(others),
            CASE: case,
            MERGED: tier is Tier.MERGED,
            ISOFORM: tier is Tier.UNIPROT_ID and bool(re.match(_ISOFORM_FORM, query.strip(_BLANKS).upper())),
        }
        return Resolution(
            query, gene, self._symbols.get(gene), tier, None, others, tuple(name for name, on in flags.items() if on)
        )

    def _decide_all(self, asked: pl.DataFrame, hits: pl.DataFrame) -> pl.DataFrame:
        """Do as ``_decide``, for a whole column: ``asked`` has ``query``, ``text``; ``hits`` a row a query and gene."""
        live = hits.drop_nulls("gene").with_columns(
            (pl.col("rank") == pl.col("rank").min().over("query")).alias("wins")
        )
        decided = live.group_by("query").agg(
            pl.col("gene").filter(pl.col("wins")).unique().sort().alias("winners"),
            pl.col("gene").unique().sort().alias("all"),
            pl.col("rank").min(),
            pl.col("case").first(),
        )
        retired = hits.filter(pl.col("gene").is_null()).select("query", pl.lit(value=True).alias("retired")).unique()
        frame = asked.join(decided, on="query", how="left").join(retired, on="query", how="left")
        single = pl.col("winners").list.len() == 1
        frame = frame.with_columns(
            pl.when(single).then(pl.col("winners").list.first()).alias("gene"),
            pl.when(single).then(pl.col("rank")).alias("rank"),
            pl.when(single)
            .then(pl.col("all").list.set_difference(pl.col("winners")).list.sort())
            .otherwise(pl.col("winners"))
            .fill_null(pl.lit([], dtype=schema.TEXTS))
            .alias("candidates"),
        )
        known = {"gene": list(self._symbols), "symbol": list(self._symbols.values())}
        symbols = pl.DataFrame(known, schema=_SYMBOL_SCHEMA)
        return (
            frame.join(symbols, on="gene", how="left")
            .select("query", "gene", "symbol", _tier_name().alias("tier"), _reason(), "candidates", _flags())
            .sort("query")
        )

    @cached_property
    def _identifier_hits(self) -> Mapping[str, Hits]:
        return _as_dict(self.tables.identifiers)

    @cached_property
    def _exact_hits(self) -> Mapping[str, Hits]:
        return _as_dict(self.tables.exact)

    @cached_property
    def _folded_hits(self) -> Mapping[str, Hits]:
        return _as_dict(self.tables.folded)

    @cached_property
    def _spellings(self) -> dict[str, str]:
        """Approved symbols and how they compare."""
        return {symbol: symbol.upper() for symbol in sorted(set(self._symbols.values()))}


_SYMBOL_SCHEMA: Final = {"gene": pl.String(), "symbol": pl.String()}


def _forms(namespace: Namespace) -> tuple[Namespace, ...]:
    if namespace is Namespace.ANY:
        return tuple(_FORMS)
    return (namespace,) if namespace in _FORMS else ()


def _pattern(form: Namespace, asked: Namespace) -> str:
    return _FORMS[form].any_form if asked is Namespace.ANY else _FORMS[form].bare


def _looks_like(form: Namespace) -> pl.Expr:
    return pl.col("name").str.to_uppercase().str.contains(_FORMS[form].any_form)


def _identifier_index(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of identifier tiers by key; retired entries only by their old id, their symbols are symbols."""
    parts = []
    for tier, form in _TIER_FORM.items():
        pattern = _FORMS[form].any_form if tier in {Tier.MERGED, Tier.WITHDRAWN} else _FORMS[form].bare
        key = pl.col("name").str.to_uppercase().str.extract(pattern, 1)
        keyed = rows.filter(pl.col("rank") == _RANK[tier]).select(
            pl.format("{}:{}", pl.lit(_FORMS[form].prefix), key).alias("key"), "rank", "gene", "name"
        )
        parts.append(keyed.drop_nulls("key"))
    return pl.concat(parts)


def _join(asked: pl.DataFrame, index: pl.DataFrame) -> pl.DataFrame:
    return asked.join(index.select("key", "rank", "gene"), on="key", how="inner").select("query", "rank", "gene")


def _as_dict(index: pl.DataFrame) -> Mapping[str, Hits]:
    hits: dict[str, list[tuple[int, str | None]]] = {}
    for key, rank, gene in index.select("key", "rank", "gene").iter_rows():
        hits.setdefault(key, []).append((rank, gene))
    return hits


def _tier_name() -> pl.Expr:
    return pl.col("rank").replace_strict(
        {rank: str(tier) for tier, rank in _RANK.items()}, default=None, return_dtype=pl.String
    )


def _reason() -> pl.Expr:
    return (
        pl.when(pl.col("gene").is_not_null())
        .then(pl.lit(None, dtype=pl.String))
        .when(pl.col("winners").is_not_null())
        .then(pl.lit(AMBIGUOUS))
        .when(pl.col("retired"))
        .then(pl.lit(WITHDRAWN))
        .otherwise(pl.lit(UNKNOWN))
        .alias("reason")
    )


def _flags() -> pl.Expr:
    has_gene = pl.col("gene").is_not_null()
    isoform = pl.col("text").str.to_uppercase().str.contains(_ISOFORM_FORM)
    conditions = {
        TWO_TIERS: has_gene & (pl.col("candidates").list.len() > 0),
        CASE: has_gene & pl.col("case"),
        MERGED: pl.col("rank") == _RANK[Tier.MERGED],
        ISOFORM: (pl.col("rank") == _RANK[Tier.UNIPROT_ID]) & isoform,
    }
    return (
        pl.concat_list([pl.when(condition).then(pl.lit(name)) for name, condition in conditions.items()])
        .list.drop_nulls()
        .alias("flags")
    )


def _conflicts(index: pl.DataFrame) -> pl.DataFrame:
    """Conflicts within one index (``key``, ``rank``, ``gene``, ``name``): see ``GeneResolver.conflicts``."""
    live = index.drop_nulls("gene")
    tiers = live.group_by("key", "rank").agg(pl.col("gene").unique().sort().alias("genes"), pl.col("name").min())
    tiers = tiers.with_columns(pl.col("rank").min().over("key").alias("first"))
    deciding = tiers.filter(pl.col("rank") == pl.col("first"))
    winners = deciding.select(
        "key", pl.col("genes").alias("winners"), pl.col("name").alias("shown"), pl.col("genes").list.len().alias("many")
    )
    looser = (
        tiers.filter(pl.col("rank") > pl.col("first"))
        .join(winners, on="key")
        .with_columns(pl.col("genes").list.set_difference(pl.col("winners")).list.sort().alias("other_genes"))
        .filter(pl.col("other_genes").list.len() > 0)
    )
    unclear = deciding.join(winners, on="key").filter(pl.col("many") > 1)
    rows = pl.concat([looser, unclear.with_columns(pl.col("genes").alias("other_genes"))], how="diagonal_relaxed")
    names = {rank: str(tier) for tier, rank in _RANK.items()}
    return rows.select(
        pl.col("shown").alias("name"),
        pl.col("first").replace_strict(names, return_dtype=pl.String).alias("tier"),
        pl.when(pl.col("many") == 1).then(pl.col("winners").list.first()).alias("gene"),
        pl.col("rank").replace_strict(names, return_dtype=pl.String).alias("other_tier"),
        "other_genes",
    )
