"""UniProt FASTA: proteins, sequences, which gene encodes them, and entries that are no good."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.importers.uniprot import UniProtImporter
from aroma.kgstore import schema
from aroma.kgstore.resolver import GeneResolver, Tier
from tests.support.genes import SAMPLES, read, sample_resolver

REAL = Path(__file__).parents[3] / "shared" / "kgdata" / "uniprot"


def entry(accession: str, gene: str | None, residues: str = "MKVLA\nACDE", taxon: str = "9606") -> str:
    name = f" GN={gene}" if gene else ""
    return f">sp|{accession}|X_HUMAN Some protein, long OS=Homo sapiens OX={taxon}{name} PE=1 SV=1\n{residues}\n"


GOOD = entry("P49588", "AARS1")


@pytest.fixture(scope="module")
def resolver() -> GeneResolver:
    return sample_resolver()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "UP000005640_9606.fasta"
    path.write_text(text, newline="")
    return path


def test_the_sample_gives_a_protein_of_each_gene(resolver: GeneResolver) -> None:
    batch = read(UniProtImporter(), SAMPLES / "uniprot" / "UP000005640_9606.fasta", resolver=resolver)
    assert batch.edges is not None
    assert batch.nodes is not None
    assert batch.edges["subject"].n_unique() == 50
    assert batch.nodes.height == batch.edges.height == 51  # DDIT3 has two
    assert batch.rejects.is_empty()
    for table in ("nodes", "edges", "statements", "gene_names", "sequences", "unresolved"):
        frame = getattr(batch, table)
        assert dict(frame.schema) == schema.TABLES[table].columns
        assert not frame.select(schema.TABLES[table].key).is_duplicated().any()


def test_a_protein_has_its_sequence_and_checksum(tmp_path: Path, resolver: GeneResolver) -> None:
    batch = read(UniProtImporter(), write(tmp_path, entry("P49588", "AARS1", "mkvl\r\nACDE*")), resolver=resolver)
    assert batch.nodes is not None
    assert batch.sequences is not None
    assert batch.statements is not None
    (node,) = batch.nodes.to_dicts()
    checksum = hashlib.sha256(b"MKVLACDE*").hexdigest()
    assert (node["id"], node["name"], node["length"]) == ("UniProtKB:P49588", "Some protein, long", 9)
    assert node["sequence_checksum"] == checksum
    assert batch.sequences.rows() == [("UniProtKB:P49588", checksum, "MKVLACDE*")]
    (statement,) = batch.statements.to_dicts()
    assert (statement["subject"], statement["relation"], statement["object"]) == ("HGNC:20", "ENCODES", node["id"])
    assert (statement["original_subject"], statement["original_object"]) == ("AARS1", "P49588")
    assert (statement["line"], statement["id"]) == (1, f"{statement['import_run']}:1")
    assert node["provider_release"] == "undated"


def test_hgncs_cross_reference_comes_before_the_gene_name(tmp_path: Path, resolver: GeneResolver) -> None:
    batch = read(UniProtImporter(), write(tmp_path, entry("P49588", "TP53")), resolver=resolver)
    assert batch.edges is not None
    assert batch.statements is not None
    assert batch.gene_names is not None
    assert batch.edges["subject"].to_list() == ["HGNC:20"]
    assert "GN TP53 stands for HGNC:11998" in batch.statements["note"][0]
    assert batch.gene_names.is_empty()
    assert batch.reports == {"entries whose GN stands for another gene than HGNC's cross-reference": 1}


def test_an_accession_that_hgnc_has_not_is_found_by_gene_name_and_becomes_a_name(
    tmp_path: Path, resolver: GeneResolver
) -> None:
    batch = read(UniProtImporter(), write(tmp_path, entry("Q12345", "AARS")), resolver=resolver)
    assert batch.gene_names is not None
    assert batch.statements is not None
    assert batch.gene_names.select("name", "tier", "gene").rows() == [("Q12345", "UniProt id", "HGNC:20")]
    assert batch.statements["note"].to_list() == ["gene by GN, previous symbol"]


def test_an_accession_of_several_genes_is_encoded_by_each(tmp_path: Path) -> None:
    names = schema.conform(
        "gene_names",
        pl.DataFrame({"name": ["P62805"] * 2, "tier": [str(Tier.UNIPROT_ID)] * 2, "gene": ["HGNC:1", "HGNC:2"]}),
    )
    resolver = GeneResolver(names, {})
    batch = read(UniProtImporter(), write(tmp_path, entry("P62805", "H4C1")), resolver=resolver)
    assert batch.edges is not None
    assert batch.statements is not None
    assert batch.edges["subject"].to_list() == ["HGNC:1", "HGNC:2"]
    assert [one.rsplit(":", 1)[1] for one in batch.statements["id"]] == ["1.1", "1.2"]
    assert batch.runs["accepted"].to_list() == [1]


@pytest.mark.parametrize(
    ("gene", "identifier", "reason"),
    [("NOSUCH", "NOSUCH", "unknown"), ("P21", "P21", "ambiguous"), (None, "Q12345", "no gene name")],
)
def test_an_entry_without_a_known_gene_keeps_its_protein(
    tmp_path: Path, resolver: GeneResolver, gene: str | None, identifier: str, reason: str
) -> None:
    batch = read(UniProtImporter(), write(tmp_path, GOOD + entry("Q12345", gene)), resolver=resolver)
    assert batch.unresolved is not None
    assert batch.nodes is not None
    (row,) = batch.unresolved.to_dicts()
    assert (row["identifier"], row["reason"], row["rows"], row["first_line"]) == (identifier, reason, 1, 4)
    assert bool(row["candidates"]) == (reason == "ambiguous")
    assert batch.nodes.height == 2
    assert batch.runs.select("rows_read", "accepted", "unresolved").rows() == [(2, 1, 1)]


@pytest.mark.parametrize(
    ("bad", "line", "reason"),
    [
        (entry("Q12345", "TP53", "").replace("\n\n", "\n"), 4, "no sequence"),
        (entry("Q12345", "TP53", "MK1L"), 4, "sequence has other characters than letters, * and -"),
        (GOOD, 4, "accession stands on an earlier line"),
        (">just a name\nMK\n", 4, "header is not that of a UniProt entry"),
        (">sp|XX|X_HUMAN A OS=H OX=9606 GN=B\nMK\n", 4, "header is not that of a UniProt entry"),
        (">sp|Q12345|X_HUMAN Some protein GN=TP53\nMK\n", 4, "header has no OX (species)"),
    ],
)
def test_a_bad_entry_is_rejected_by_line_and_the_others_stay(
    tmp_path: Path, resolver: GeneResolver, bad: str, line: int, reason: str
) -> None:
    batch = read(UniProtImporter(), write(tmp_path, GOOD + bad + entry("P04637", "TP53")), resolver=resolver)
    assert batch.rejects.select("line", "reason").rows() == [(line, reason)]
    assert batch.nodes is not None
    assert batch.nodes["id"].to_list() == ["UniProtKB:P49588", "UniProtKB:P04637"]
    assert json.loads(batch.runs["reasons"][0])["rejected"] == {reason: 1}
    assert batch.runs.select("rows_read", "accepted").rows() == [(3, 2)]


def test_lines_before_the_first_header_are_rejected(tmp_path: Path, resolver: GeneResolver) -> None:
    batch = read(UniProtImporter(), write(tmp_path, "MKV\n" + GOOD), resolver=resolver)
    assert batch.rejects.select("line", "reason").rows() == [(1, "text before the first header")]


def test_other_species_are_set_aside_and_alone_are_refused(tmp_path: Path, resolver: GeneResolver) -> None:
    mouse = entry("Q8BGQ7", "Aars1", taxon="10090")
    batch = read(UniProtImporter(), write(tmp_path, GOOD + mouse), resolver=resolver)
    assert batch.runs.select("accepted", "set_aside").rows() == [(1, 1)]
    with pytest.raises(InputFileError, match="line 1: no entry is human"):
        read(UniProtImporter(), write(tmp_path, mouse), resolver=resolver)


def test_a_file_without_headers_is_refused(tmp_path: Path, resolver: GeneResolver) -> None:
    with pytest.raises(InputFileError, match="no line starts with '>'"):
        read(UniProtImporter(), write(tmp_path, "MKVLA\n"), resolver=resolver)


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared is not there")
def test_the_real_file_is_read_whole(resolver: GeneResolver) -> None:
    batch = read(UniProtImporter(), *REAL.iterdir(), resolver=resolver)
    assert batch.nodes is not None
    assert batch.nodes.height == 20647
    assert batch.rejects.is_empty()
