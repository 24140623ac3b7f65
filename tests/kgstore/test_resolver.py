"""The gene resolver: which tier decides, what is flagged, and that it never guesses."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aroma.kgstore import schema
from aroma.kgstore.resolver import RESOLUTION_COLUMNS, GeneResolver, Namespace, Resolution, Tier

SYMBOLS = {
    "HGNC:20": "AARS1",
    "HGNC:11577": "TAFAZZIN",
    "HGNC:24042": "WWTR1",
    "HGNC:10540": "P2RY11",
    "HGNC:11998": "TP53",
    "HGNC:6973": "MDM2",
    "HGNC:1": "ALPHA1",
    "HGNC:2": "BETA1",
}
ROWS = [
    *((gene, Tier.HGNC_ID, gene) for gene in SYMBOLS),
    *((symbol, Tier.SYMBOL, gene) for gene, symbol in SYMBOLS.items()),
    ("AARS", Tier.PREVIOUS, "HGNC:20"),
    ("AlaRS", Tier.ALIAS, "HGNC:20"),
    ("TAZ", Tier.PREVIOUS, "HGNC:11577"),
    ("TAZ", Tier.ALIAS, "HGNC:24042"),
    ("P53", Tier.ALIAS, "HGNC:11998"),
    ("SHARED", Tier.ALIAS, "HGNC:1"),
    ("SHARED", Tier.ALIAS, "HGNC:2"),
    ("OLDSHARED", Tier.PREVIOUS, "HGNC:1"),
    ("OLDSHARED", Tier.PREVIOUS, "HGNC:2"),
    ("OLDSHARED", Tier.ALIAS, "HGNC:20"),
    ("MDM2", Tier.PREVIOUS, "HGNC:1"),
    ("ENSG00000141510", Tier.ENSEMBL_ID, "HGNC:11998"),
    ("7157", Tier.ENTREZ_ID, "HGNC:11998"),
    ("P04637", Tier.UNIPROT_ID, "HGNC:11998"),
    ("P62805", Tier.UNIPROT_ID, "HGNC:1"),
    ("P62805", Tier.UNIPROT_ID, "HGNC:2"),
    ("9606.ENSP00000269305", Tier.STRING_ID, "HGNC:11998"),
    ("GONE1", Tier.MERGED, "HGNC:20"),
    ("HGNC:999", Tier.MERGED, "HGNC:20"),
    ("LOST1", Tier.WITHDRAWN, None),
    ("HGNC:998", Tier.WITHDRAWN, None),
]


def names_table(rows: list[tuple[str, Tier, str | None]]) -> pl.DataFrame:
    return schema.conform(
        "gene_names",
        pl.DataFrame(
            {
                "name": [name for name, _, _ in rows],
                "tier": [str(tier) for _, tier, _ in rows],
                "gene": [gene for _, _, gene in rows],
            },
            schema={"name": pl.String, "tier": pl.String, "gene": pl.String},
        ).with_columns(pl.lit("hgnc").alias("provider"), pl.lit("hgnc.complete_set.0").alias("import_run")),
    )


@pytest.fixture(scope="module")
def resolver() -> GeneResolver:
    return GeneResolver(names_table(ROWS), SYMBOLS)


@pytest.mark.parametrize(
    ("query", "gene", "tier"),
    [
        ("TP53", "HGNC:11998", Tier.SYMBOL),
        (" TP53 ", "HGNC:11998", Tier.SYMBOL),
        ("AARS", "HGNC:20", Tier.PREVIOUS),
        ("AlaRS", "HGNC:20", Tier.ALIAS),
        ("HGNC:20", "HGNC:20", Tier.HGNC_ID),
        ("hgnc:20", "HGNC:20", Tier.HGNC_ID),
        ("ENSG00000141510", "HGNC:11998", Tier.ENSEMBL_ID),
        ("ENSG00000141510.12", "HGNC:11998", Tier.ENSEMBL_ID),
        ("ENSEMBL:ENSG00000141510", "HGNC:11998", Tier.ENSEMBL_ID),
        ("NCBIGene:7157", "HGNC:11998", Tier.ENTREZ_ID),
        ("P04637", "HGNC:11998", Tier.UNIPROT_ID),
        ("UniProtKB:P04637", "HGNC:11998", Tier.UNIPROT_ID),
        ("9606.ENSP00000269305", "HGNC:11998", Tier.STRING_ID),
        ("ENSP00000269305", "HGNC:11998", Tier.STRING_ID),
        ("P2RY11", "HGNC:10540", Tier.SYMBOL),  # has the form of a UniProt accession
    ],
)
def test_each_tier_is_found_by_form(resolver: GeneResolver, query: str, gene: str, tier: Tier) -> None:
    found = resolver.resolve(query)
    assert (found.gene, found.tier, found.reason, found.flags) == (gene, tier, None, ())
    assert found.symbol == SYMBOLS[gene]


def test_a_name_in_two_tiers_goes_to_the_earlier_one_and_is_flagged(resolver: GeneResolver) -> None:
    assert resolver.resolve("TAZ") == Resolution(
        "TAZ", "HGNC:11577", "TAFAZZIN", Tier.PREVIOUS, None, ("HGNC:24042",), ("two tiers",)
    )
    approved = resolver.resolve("MDM2")
    assert (approved.gene, approved.tier, approved.candidates) == ("HGNC:6973", Tier.SYMBOL, ("HGNC:1",))
    assert approved.flags == ("two tiers",)


@pytest.mark.parametrize("query", ["SHARED", "shared", "OLDSHARED", "P62805"])
def test_two_genes_in_the_deciding_tier_are_ambiguous(resolver: GeneResolver, query: str) -> None:
    found = resolver.resolve(query)
    assert (found.gene, found.tier, found.reason) == (None, None, "ambiguous")
    assert found.candidates == ("HGNC:1", "HGNC:2")


def test_case_is_ignored_only_when_no_spelling_fits(resolver: GeneResolver) -> None:
    found = resolver.resolve("tp53")
    assert (found.gene, found.tier, found.flags) == ("HGNC:11998", Tier.SYMBOL, ("case",))
    assert resolver.resolve("Taz").flags == ("two tiers", "case")


def test_isoforms_are_taken_off_and_said(resolver: GeneResolver) -> None:
    found = resolver.resolve("P04637-2")
    assert (found.gene, found.tier, found.flags) == ("HGNC:11998", Tier.UNIPROT_ID, ("isoform",))


@pytest.mark.parametrize("query", ["GONE1", "HGNC:999"])
def test_a_merged_entry_resolves_to_its_successor(resolver: GeneResolver, query: str) -> None:
    found = resolver.resolve(query)
    assert (found.gene, found.tier, found.flags) == ("HGNC:20", Tier.MERGED, ("merged",))


@pytest.mark.parametrize("query", ["LOST1", "lost1", "HGNC:998"])
def test_a_withdrawn_entry_without_successor_says_so(resolver: GeneResolver, query: str) -> None:
    assert resolver.resolve(query) == Resolution(query, None, None, None, "withdrawn")


@pytest.mark.parametrize("query", ["", " ", "NOSUCH", "HGNC:12345", "7157", "ENSG00000000001", "9606.ENSP1"])
def test_what_is_not_known_stays_unknown(resolver: GeneResolver, query: str) -> None:
    assert resolver.resolve(query) == Resolution(query, None, None, None, "unknown")


@pytest.mark.parametrize(
    ("query", "namespace", "gene"),
    [
        ("7157", Namespace.ENTREZ, "HGNC:11998"),
        ("20", Namespace.HGNC, "HGNC:20"),
        ("TP53", Namespace.SYMBOL, "HGNC:11998"),
        ("ENSP00000269305", Namespace.STRING, "HGNC:11998"),
        ("P04637-3", Namespace.UNIPROT, "HGNC:11998"),
        ("P04637", Namespace.SYMBOL, None),
        ("TP53", Namespace.ENSEMBL, None),
        ("ENSG00000141510.3", Namespace.ENSEMBL, "HGNC:11998"),
    ],
)
def test_a_namespace_limits_what_a_name_can_be(
    resolver: GeneResolver, query: str, namespace: Namespace, gene: str | None
) -> None:
    assert resolver.resolve(query, namespace).gene == gene
    assert resolver.resolve_column(pl.Series([query]), namespace)["gene"].to_list() == [gene]


def test_a_column_gives_one_sorted_row_a_distinct_name(resolver: GeneResolver) -> None:
    frame = resolver.resolve_column(pl.Series(["TP53", None, "AARS", "TP53", "NOSUCH"]))
    assert frame.schema == RESOLUTION_COLUMNS
    assert frame["query"].to_list() == ["AARS", "NOSUCH", "TP53"]
    assert frame["reason"].to_list() == [None, "unknown", None]
    assert resolver.resolve_column(pl.Series([], dtype=pl.String)).schema == RESOLUTION_COLUMNS


def test_an_empty_resolver_knows_nothing() -> None:
    bare = GeneResolver(schema.empty("gene_names"), {})
    assert bare.resolve("TP53").reason == "unknown"
    assert bare.resolve_column(pl.Series(["TP53"]))["reason"].to_list() == ["unknown"]
    assert bare.conflicts().is_empty()
    assert bare.nearest("TP53") == []


def test_from_tables_knows_genes_that_hgnc_has_not() -> None:
    nodes = pl.DataFrame(
        {"id": ["ENSEMBL:ENSG00000999999", "GO:1"], "label": ["Gene", "GOTerm"], "symbol": [None, None]}
    )
    found = GeneResolver.from_tables(nodes, schema.empty("gene_names")).resolve("ENSG00000999999.1")
    assert (found.gene, found.symbol, found.tier) == ("ENSEMBL:ENSG00000999999", None, Tier.ENSEMBL_ID)


def test_conflicts_list_two_tiers_and_ambiguous_names(resolver: GeneResolver) -> None:
    rows = {(row["name"], row["other_tier"]): row for row in resolver.conflicts().iter_rows(named=True)}
    assert set(rows) == {
        ("MDM2", "previous symbol"),
        ("OLDSHARED", "alias symbol"),
        ("OLDSHARED", "previous symbol"),
        ("P62805", "UniProt id"),
        ("SHARED", "alias symbol"),
        ("TAZ", "alias symbol"),
    }
    assert rows["TAZ", "alias symbol"] == {
        "name": "TAZ",
        "tier": "previous symbol",
        "gene": "HGNC:11577",
        "other_tier": "alias symbol",
        "other_genes": ["HGNC:24042"],
    }
    assert rows["OLDSHARED", "previous symbol"]["gene"] is None
    assert rows["OLDSHARED", "previous symbol"]["other_genes"] == ["HGNC:1", "HGNC:2"]


def test_nearest_offers_the_likest_symbols_first(resolver: GeneResolver) -> None:
    assert resolver.nearest("TP35")[0] == "TP53"
    assert resolver.nearest("tafazin", limit=1) == ["TAFAZZIN"]
    assert resolver.nearest("#####") == []


GENES = st.sampled_from(["HGNC:1", "HGNC:2", "HGNC:3"])
NAMES = st.sampled_from(["TAZ", "Taz", "taz", "P2RY11", "HGNC:1", "HGNC:9", "P04637-2", "ENSG00000141510", "b"])
ROW = st.one_of(
    st.tuples(NAMES, st.sampled_from([tier for tier in Tier if tier is not Tier.WITHDRAWN]), GENES),
    st.tuples(NAMES, st.just(Tier.WITHDRAWN), st.none()),
)


@given(st.lists(ROW, max_size=12), NAMES, st.sampled_from(list(Namespace)))
def test_column_and_single_agree_and_never_guess(
    rows: list[tuple[str, Tier, str | None]], query: str, namespace: Namespace
) -> None:
    resolver = GeneResolver(names_table(rows), {"HGNC:1": "ONE"})
    one = resolver.resolve(query, namespace)
    (row,) = resolver.resolve_column(pl.Series([query]), namespace).iter_rows(named=True)
    assert Resolution(**{**row, "candidates": tuple(row["candidates"]), "flags": tuple(row["flags"])}) == one
    assert (one.gene is None) == (one.reason is not None) == (one.tier is None)
    if one.gene is not None:
        deciding = {
            gene
            for name, tier, gene in rows
            if tier == one.tier and (name == query or (name.lower() == query.lower() and "case" in one.flags))
        }
        # An identifier's key drops the species, version and isoform parts, so only exact names are compared here.
        assert deciding <= {one.gene}
    if one.reason == "ambiguous":
        assert len(one.candidates) > 1
