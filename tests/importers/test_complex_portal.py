"""Complex Portal: proteins become members, other participants are counted, and every kind of bad input."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.importers.complex_portal import NO_PROTEIN, OTHER_SPECIES, ComplexPortalImporter
from tests.support.samples import SAMPLES, adds_up, as_file, gene, read, run_of

SAMPLE = SAMPLES / "complex_portal" / "9606.tsv"
IMPORTER = ComplexPortalImporter()
HEADER, *ROWS = SAMPLE.read_text().splitlines()


@pytest.fixture(scope="module")
def batch():
    return read(IMPORTER, SAMPLE)


def test_sample_is_read_whole(batch):
    run = run_of(batch, "complextab")
    assert adds_up(batch)
    assert (run["rows_read"], run["accepted"], run["rejected"], run["set_aside"]) == (7, 4, 1, 2)
    assert OTHER_SPECIES in str(run["reasons"])
    assert NO_PROTEIN in str(run["reasons"])
    assert batch.rejects.select("line", "reason").rows() == [(8, "complex id is not CPX- and a number")]


def test_a_complex_and_its_members(batch):
    node = batch.nodes.filter(pl.col("id") == "ComplexPortal:CPX-900001").row(0, named=True)
    assert (node["name"], node["licence"]) == ("YAP1-TEAD1 complex", "CC0 1.0")
    assert node["synonyms"] == ["YAP-TEAD", "YAP1/TEAD1"]
    assert (node["xrefs"], node["references"]) == (["GO:0035329"], ["PMID:18579750"])
    said = batch.statements.filter(pl.col("object") == node["id"])
    assert said["subject"].to_list() == [gene("YAP1"), gene("TEAD1")]
    assert said["original_subject"].to_list() == ["P46937-2", "P28347"]
    assert said["evidence"].to_list() == ["ECO:0000353"] * 2
    assert said["with_from"].to_list() == ["intact:EBI-1"] * 2
    assert said["note"].to_list() == ["P46937-2 taken as P46937", None]


def test_stoichiometry_is_kept_as_qualifier(batch):
    edges = batch.edges.filter(pl.col("object") == "ComplexPortal:CPX-900003")
    assert edges["qualifiers"].to_list() == [["stoichiometry 2"]] * 2


def test_participants_that_are_no_proteins_are_counted(batch):
    assert batch.reports["participants set aside"] == {
        "a complex within the complex": 3,
        "a small molecule": 1,
        "an RNA": 1,
    }


def test_proteins_outside_the_sample_are_listed(batch):
    assert batch.unresolved["identifier"].to_list() == ["Q13485", "Q15796"]
    assert batch.unresolved["first_line"].to_list() == [2, 2]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("CPX-1\tonly two", "2 columns instead of 19"),
        (ROWS[0], "complex id stands in an earlier line"),
        (ROWS[1].replace("YAP1-TEAD1 complex", "-"), "complex has no name"),
        (ROWS[1].replace("\t9606\t", "\thuman\t"), "taxonomy identifier is not a number"),
    ],
)
def test_a_bad_row_is_rejected_with_its_line_and_the_others_are_kept(tmp_path, bad, reason):
    path = tmp_path / "9606.tsv"
    path.write_text("\n".join([HEADER, ROWS[0], bad, ROWS[2]]) + "\n")
    batch = read(IMPORTER, path)
    assert batch.rejects.select("line", "reason").rows() == [(3, reason)]
    assert batch.nodes["id"].to_list() == ["ComplexPortal:CPX-1", "ComplexPortal:CPX-900002"]
    assert adds_up(batch)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<!doctype html><html></html>", "line 1: the file is a web page"),
        (b"#Complex ac\tname\nCPX-1\tx\n", "line 1: the header does not fit ComplexTAB; missing: Recommended name"),
        (f"{HEADER}\n".encode(), "line 2: the file has a header and no rows"),
        (gzip.compress(SAMPLE.read_bytes(), mtime=0)[:-100], "the gzip stream is damaged or cut off"),
        (f"{HEADER}\n{ROWS[5]}\n".encode(), "line 2: the file has no human complex"),
    ],
)
def test_a_file_of_another_form_fails_naming_it(tmp_path, content, message):
    path = tmp_path / "9606.tsv"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=message) as raised:
        read(IMPORTER, path)
    assert str(path) in str(raised.value)


def test_a_date_in_the_name_is_the_version():
    assert as_file(IMPORTER, Path("9606.2025-06-30.tsv.gz")).version == "2025-06-30"
