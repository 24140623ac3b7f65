"""CORUM: two column layouts and CORUM 5's, subunits with all their oddities, and every kind of bad input."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.importers.base import ImportContext
from aroma.importers.corum import CorumImporter
from tests.support.samples import BUNDLED, REAL, adds_up, as_file, gene, read, resolver_of, run_of

ALL = BUNDLED / "corum" / "allComplexes.3.0.txt"
CORE = BUNDLED / "corum" / "coreComplexes.4.1.txt"
IMPORTER = CorumImporter()
HEADER = ALL.read_text().splitlines()[0]
COLUMNS = HEADER.split("\t")
FIVE = (
    "complex_id", "complex_name", "synonyms", "organism", "cell_line", "pmid", "comment_complex", "comment_members",
    "comment_disease", "subunits_uniprot_id", "subunits_gene_name", "purification_methods", "functions_go_id",
    "functions_go_name",
)  # fmt: skip


def row(**values: str) -> str:
    given = {
        "ComplexID": "1",
        "ComplexName": "A complex",
        "Organism": "Human",
        "subunits(UniProt IDs)": "P04637;Q00987",
        "subunits(Entrez IDs)": "7157;4193",
        **values,
    }
    return "\t".join(given.get(column, "None") for column in COLUMNS)


def written(tmp_path: Path, *rows: str, header: str = HEADER, name: str = ALL.name) -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def with_subunits(tmp_path: Path, uniprot: str, entrez: str = "None"):
    subunits = {"subunits(UniProt IDs)": uniprot, "subunits(Entrez IDs)": entrez}
    return read(IMPORTER, written(tmp_path, row(**subunits)))


def test_the_3_0_layout():
    batch = read(IMPORTER, ALL)
    run = run_of(batch, "all")
    assert (run["version"], run["accepted"], run["rejected"], run["set_aside"]) == ("3.0", 10, 1, 1)
    assert adds_up(batch)
    node = batch.nodes.filter(pl.col("id") == "CORUM:191").row(0, named=True)
    assert node["synonyms"] == ["20S core particle", "proteasome core complex"]
    assert node["evidence"] == ["MI:0071 molecular sieving"]
    assert (node["references"], node["xrefs"]) == (["PMID:1508181"], ["GO:0005839"])
    assert node["statement"] == f"{run['id']}:5"
    members = batch.edges.filter(pl.col("object") == "CORUM:191")
    assert set(members["subject"]) == {gene("PSMA1"), gene("PSMB5")}


def test_the_4_1_layout_and_what_changed_between_the_samples():
    batch = read(IMPORTER, CORE)
    assert run_of(batch, "core")["version"] == "4.1"
    edges = batch.edges.filter(pl.col("object") == "CORUM:1141")
    assert edges["evidence"].to_list() == [["MI:0006|MI:0096"]] * 2
    assert edges["references"].to_list() == [["PMID:9659921"]] * 2
    before = set(read(IMPORTER, ALL).nodes["id"])
    after = set(batch.nodes["id"])
    assert after - before == {"CORUM:7012"}
    assert before - after == {"CORUM:181", "CORUM:5301"}


def test_corum_5_layout_with_line_breaks_in_comments(tmp_path):
    values = {
        "complex_id": "9001",
        "complex_name": "p53-MDM2 complex",
        "organism": "Human",
        "pmid": "1535557;8875929",
        "comment_complex": '"First line.\nSecond line."',
        "subunits_uniprot_id": "P04637;Q00987",
        "purification_methods": "MI:0019-coimmunoprecipitation;MI:0096-pull down",
        "functions_go_id": "GO:0072331;GO:0072331",
    }
    first = "\t".join(values.get(column, "") for column in FIVE)
    second = "\t".join({**values, "complex_id": "9002", "comment_complex": "x"}.get(column, "") for column in FIVE)
    batch = read(IMPORTER, written(tmp_path, first, second, header="\t".join(FIVE), name="corum_allComplexes.5.1.txt"))
    assert batch.nodes["id"].to_list() == ["CORUM:9001", "CORUM:9002"]
    assert batch.nodes["description"].to_list() == ["First line. Second line.", "x"]
    assert batch.nodes["references"].to_list()[0] == ["PMID:1535557", "PMID:8875929"]
    assert batch.nodes["xrefs"].to_list()[0] == ["GO:0072331"]
    assert batch.statements["line"].to_list() == [2, 2, 4, 4]
    assert set(batch.statements["evidence"]) == {"MI:0019|MI:0096"}
    assert run_of(batch, "all")["rows_read"] == 2


def test_isoforms_blanks_none_and_repeats(tmp_path):
    batch = with_subunits(tmp_path, " P04637-2;None; ;P04637-2;Q00987-;P05067-PRO_0000000092;P04637")
    said = batch.statements.select("id", "subject", "original_subject", "note").rows(named=True)
    run = run_of(batch, "all")["id"]
    assert [each["id"] for each in said] == [f"{run}:2.1", f"{run}:2.2"]
    assert [each["subject"] for each in said] == [gene("TP53"), gene("MDM2")]
    assert "P04637-2 taken as P04637" in said[0]["note"]
    assert "2 subunits of one gene" in said[0]["note"]
    assert batch.unresolved.select("identifier", "reason").rows() == [("P05067-PRO_0000000092", "unknown")]


def test_the_gene_id_beside_an_unknown_accession_decides(tmp_path):
    batch = with_subunits(tmp_path, "A0A000AAA0;Q00987", "7157;4193")
    assert batch.statements["subject"].to_list() == [gene("TP53"), gene("MDM2")]
    assert batch.statements["note"].to_list() == ["gene by the NCBI gene id beside the accession", None]
    assert batch.reports["complexes and subunits"]["found by NCBI gene id only"] == 1


def test_lists_of_unequal_length_are_not_paired_by_place(tmp_path):
    batch = with_subunits(tmp_path, "A0A000AAA0;Q00987", "7157")
    assert batch.statements["subject"].to_list() == [gene("MDM2")]
    assert batch.unresolved["identifier"].to_list() == ["A0A000AAA0"]


def test_what_is_no_accession_is_listed_as_such(tmp_path):
    batch = with_subunits(tmp_path, "tp53 protein;Q00987")
    assert batch.unresolved.select("identifier", "reason").rows() == [("tp53 protein", "not a UniProt accession")]


def test_a_complex_without_any_gene_has_no_node(tmp_path):
    batch = read(
        IMPORTER,
        written(
            tmp_path,
            row(),
            row(ComplexID="2", **{"subunits(UniProt IDs)": "A0A000AAA0", "subunits(Entrez IDs)": "None"}),
        ),
    )
    assert batch.nodes["id"].to_list() == ["CORUM:1"]
    assert run_of(batch, "all")["unresolved"] == 1
    assert adds_up(batch)


def test_quoted_fields_are_unquoted():
    batch = read(IMPORTER, ALL)
    node = batch.nodes.filter(pl.col("id") == "CORUM:5302").row(0, named=True)
    assert node["description"] == 'Called "fragment" because most subunits are missing here.'


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(ComplexID="x7"), "complex id is not a number"),
        (row(ComplexID="1"), "complex id stands in an earlier line"),
        (row(ComplexID="2", ComplexName="None"), "complex has no name"),
        (
            row(ComplexID="2", **{"subunits(UniProt IDs)": "None; ", "subunits(Entrez IDs)": ""}),
            "complex has no subunit",
        ),
        ("2\ttoo short\tHuman", "3 columns instead of 20"),
        ("", "1 columns instead of 20"),
        (row(ComplexID="2", ComplexName="nul\x00"), "bytes that are not UTF-8 text"),
    ],
)
def test_a_bad_row_is_rejected_with_its_line_and_the_others_are_kept(tmp_path, bad, reason):
    batch = read(IMPORTER, written(tmp_path, row(), bad, row(ComplexID="3")))
    assert batch.rejects.select("line", "reason").rows() == [(3, reason)]
    assert batch.nodes["id"].to_list() == ["CORUM:1", "CORUM:3"]
    assert adds_up(batch)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<html><body>moved</body></html>", "line 1: the file is a web page"),
        (b"ComplexID\tComplexName\n1\tx\n", "line 1: the header does not fit a CORUM file"),
        (f"{HEADER}\n".encode(), "line 2: the file has a header and no rows"),
        (gzip.compress(ALL.read_bytes(), mtime=0)[:-200], "the gzip stream is damaged or cut off"),
        (f"{HEADER}\n{row(Organism='Mouse')}\n".encode(), "line 2: the file has no human complex; .* Mouse; expected"),
    ],
)
def test_a_file_of_another_form_fails_naming_it(tmp_path, content, message):
    path = tmp_path / ALL.name
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=message) as raised:
        read(IMPORTER, path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (("allComplexes.3.0.txt", "coreComplexes.4.1.txt.gz"), "coreComplexes.4.1.txt.gz"),
        (("allComplexes.4.1.txt", "coreComplexes.4.1.txt"), "allComplexes.4.1.txt"),
        (("allComplexes.10.0.txt", "coreComplexes.4.1.txt"), "allComplexes.10.0.txt"),
    ],
)
def test_one_file_is_chosen_the_newest_and_of_one_version_all_complexes(names, best):
    files = tuple(as_file(IMPORTER, Path(name)) for name in names)
    assert [file.path.name for file in IMPORTER.select(files)] == [best]
    assert [file.path.name for file in IMPORTER.select(files[::-1])] == [best]


@pytest.mark.real_data
@pytest.mark.skipif(not (REAL / "corum").is_dir(), reason="needs ../shared/kgdata")
@pytest.mark.parametrize(
    ("name", "kind", "rows", "human"),
    [("allComplexes.3.0.txt.gz", "all", 3633, 2390), ("coreComplexes.4.1.txt.gz", "core", 3694, 3694)],
)
def test_real_files(name, kind, rows, human):
    file = as_file(IMPORTER, REAL / "corum" / name)
    batch = IMPORTER.read((file,), ImportContext(resolver_of(REAL / "hgnc")))
    run = run_of(batch, kind)
    assert adds_up(batch)
    assert (run["rows_read"], run["rows_read"] - run["set_aside"]) == (rows, human)
    assert run["accepted"] > 0.99 * human
    assert batch.statements["id"].is_unique().all()
    assert batch.edges.select("subject", "object").is_unique().all()
