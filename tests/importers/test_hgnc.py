"""HGNC's files: genes, all tiers of names, retired entries, and rows that are no good."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.importers.hgnc import HgncImporter
from aroma.kgstore import schema
from aroma.kgstore.resolver import GeneResolver, Tier
from tests.support.genes import hgnc_sample, read, sample_resolver

HEADER = (
    "hgnc_id\tsymbol\tname\tlocus_group\tstatus\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id\tuniprot_ids"
)
AARS1 = (
    'HGNC:20\tAARS1\talanyl-tRNA synthetase 1\tprotein-coding gene\tApproved\t"CMT2N|AlaRS"\tAARS\t16'
    "\tENSG00000090861\tP49588"
)
REAL = Path(__file__).parents[3] / "shared" / "kgdata" / "hgnc"


def write(tmp_path: Path, *rows: str, header: str = HEADER, name: str = "hgnc_complete_set.2024-07-23.txt") -> Path:
    path = tmp_path / name
    path.write_bytes("\n".join([header, *rows, ""]).encode("utf-8", errors="surrogateescape"))
    return path


def test_the_sample_gives_a_node_and_all_names_of_a_gene() -> None:
    batch = hgnc_sample()
    assert batch.nodes is not None
    (node,) = batch.nodes.filter(pl.col("id") == "HGNC:20").to_dicts()
    assert (node["symbol"], node["previous"], node["synonyms"]) == ("AARS1", ["AARS"], ["CMT2N", "AlaRS"])
    assert node["xrefs"] == ["ENSEMBL:ENSG00000090861", "NCBIGene:16", "UniProtKB:P49588"]
    assert (node["label"], node["namespace"], node["provider_release"]) == ("Gene", "protein-coding gene", "2024-07-23")
    assert node["statement"] == f"{node['import_run']}:3"
    assert batch.gene_names is not None
    names = set(batch.gene_names.filter(pl.col("gene") == "HGNC:20").select("name", "tier").rows())
    assert names == {
        ("HGNC:20", "HGNC id"),
        ("AARS1", "approved symbol"),
        ("AARS", "previous symbol"),
        ("CMT2N", "alias symbol"),
        ("AlaRS", "alias symbol"),
        ("16", "Entrez id"),
        ("ENSG00000090861", "Ensembl id"),
        ("P49588", "UniProt id"),
    }
    assert batch.edges is None
    for table in ("nodes", "gene_names"):
        frame = getattr(batch, table)
        assert not frame.select(schema.TABLES[table].key).is_duplicated().any()


@pytest.mark.parametrize(
    ("query", "gene", "reason"),
    [
        ("AARS", "HGNC:20", None),
        ("TAZ", "HGNC:11577", None),
        ("EIF2A", "HGNC:3254", None),
        ("P21", None, "ambiguous"),
        ("A12M1", None, "withdrawn"),
        ("HGNC:1", None, "withdrawn"),
        ("HGNC:4608", "HGNC:5238", None),
    ],
)
def test_the_sample_shows_each_way_a_name_can_go(query: str, gene: str | None, reason: str | None) -> None:
    found = sample_resolver().resolve(query)
    assert (found.gene, found.reason) == (gene, reason)


def test_runs_count_every_row() -> None:
    runs = {row["kind"]: row for row in hgnc_sample().runs.to_dicts()}
    assert (runs["complete_set"]["rows_read"], runs["complete_set"]["accepted"]) == (52, 52)
    assert (runs["withdrawn"]["rows_read"], runs["withdrawn"]["accepted"]) == (8, 8)


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path, "tRNA synthetase\tx\tHGNC:20\tAARS1", header="\ufeffname\tlocation\thgnc_id\tsymbol")
    nodes = read(HgncImporter(), path).nodes
    assert nodes is not None
    assert nodes.select("id", "symbol", "name").rows() == [("HGNC:20", "AARS1", "tRNA synthetase")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("20\tX" + "\t" * 8, "HGNC id is not HGNC: and a number"),
        ("HGNC:21\t" + "\t" * 8, "no symbol"),
        (AARS1, "HGNC id stands on an earlier line"),
        ("HGNC:21\tX", "2 columns instead of 10"),
        ("HGNC:21\tX\t\udcff" + "\t" * 7, "bytes that are not UTF-8 text"),
        ('HGNC:21\tX\t"open' + "\t" * 7, "quotes that do not match"),
        ("", "empty line"),
    ],
)
def test_a_bad_row_is_rejected_by_line_and_the_others_stay(tmp_path: Path, row: str, reason: str) -> None:
    last = AARS1.replace("HGNC:20", "HGNC:99").replace("AARS1", "LAST1")
    batch = read(HgncImporter(), write(tmp_path, AARS1, row, last))
    assert batch.rejects.select("line", "reason").rows() == [(3, reason)]
    assert batch.nodes is not None
    assert batch.nodes["id"].to_list() == ["HGNC:20", "HGNC:99"]
    (run,) = batch.runs.to_dicts()
    assert (run["rows_read"], run["accepted"], run["rejected"]) == (3, 2, 1)
    assert json.loads(run["reasons"])["rejected"] == {reason: 1}


def test_rows_that_are_not_approved_are_set_aside(tmp_path: Path) -> None:
    gone = AARS1.replace("HGNC:20", "HGNC:21").replace("Approved", "Entry Withdrawn")
    batch = read(HgncImporter(), write(tmp_path, AARS1, gone))
    assert batch.runs["set_aside"].to_list() == [1]
    assert batch.rejects.is_empty()


def test_malformed_cross_references_are_left_out_and_counted(tmp_path: Path) -> None:
    batch = read(HgncImporter(), write(tmp_path, AARS1.replace("\t16\t", "\tsixteen\t")))
    assert batch.nodes is not None
    assert batch.nodes["xrefs"].to_list() == [["ENSEMBL:ENSG00000090861", "UniProtKB:P49588"]]
    assert batch.reports == {"cross-references left out because they are malformed": {"entrez_id": 1}}


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("symbol\tname", ["A\tB"]),
        (HEADER, []),
        ("<!DOCTYPE html>", ["<p>"]),
        ("\n", ["\n"]),
        ("hgnc_id\tsym\rbol", ["A"]),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, header: str, rows: list[str]) -> None:
    path = write(tmp_path, *rows, header=header)
    with pytest.raises(InputFileError, match="hgnc_complete_set"):
        read(HgncImporter(), path)


def withdrawn_names(tmp_path: Path, *rows: str) -> GeneResolver:
    complete = write(tmp_path, AARS1, AARS1.replace("HGNC:20", "HGNC:7").replace("AARS1", "SEVEN"))
    header = "HGNC_ID\tSTATUS\tWITHDRAWN_SYMBOL\tMERGED_INTO_REPORT(S) (i.e HGNC_ID|SYMBOL|STATUS)"
    retired = write(tmp_path, *rows, header=header, name="withdrawn.txt")
    batch = read(HgncImporter(), complete, retired)
    assert batch.nodes is not None
    assert batch.gene_names is not None
    return GeneResolver.from_tables(batch.nodes, batch.gene_names)


def test_merges_are_followed_to_the_approved_entry(tmp_path: Path) -> None:
    resolver = withdrawn_names(
        tmp_path,
        "HGNC:1\tMerged/Split\tONE~withdrawn\tHGNC:2|TWO|Merged/Split",
        "HGNC:2\tMerged/Split\tTWO\tHGNC:20|AARS1|Approved",
        "HGNC:3\tMerged/Split\tTHREE\tHGNC:20|AARS1|Approved, HGNC:7|SEVEN|Approved",
        "HGNC:4\tMerged/Split\tFOUR\tHGNC:5|FIVE|Merged/Split",
        "HGNC:5\tMerged/Split\tFIVE\tHGNC:4|FOUR|Merged/Split",
    )
    for name in ("ONE", "TWO", "HGNC:1"):
        found = resolver.resolve(name)
        assert (found.gene, found.tier, found.flags) == ("HGNC:20", Tier.MERGED, ("merged",))
    assert resolver.resolve("THREE").candidates == ("HGNC:20", "HGNC:7")
    assert resolver.resolve("FOUR").reason == "withdrawn"  # two entries that name each other


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared is not there")
def test_the_real_files_are_read_whole() -> None:
    batch = read(HgncImporter(), *sorted(REAL.iterdir()))
    assert batch.runs.sort("kind")["accepted"].to_list() == [43837, 5176]
    assert batch.rejects.is_empty()
