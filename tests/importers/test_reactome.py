"""Reactome: human pathways, their hierarchy and members; every kind of bad input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.importers.base import ImportBatch
from aroma.importers.discover import discover
from aroma.importers.reactome import ReactomeImporter
from tests.support.samples import BUNDLED, REAL, adds_up, gene, read, resolver_of, run_of

FOLDER = BUNDLED / "reactome"
PATHWAYS = FOLDER / "ReactomePathways.txt"
RELATIONS = FOLDER / "ReactomePathwaysRelation.txt"
LOWEST = FOLDER / "UniProt2Reactome.txt"
ALL_LEVELS = FOLDER / "UniProt2Reactome_All_Levels.txt"
REACTIONS = FOLDER / "UniProt2ReactomeReactions.txt"
IMPORTER = ReactomeImporter()
CYCLE = "R-HSA-1640170"


def written(tmp_path: Path, name: str, *rows: str) -> Path:
    path = tmp_path / name
    path.write_text("\n".join(rows) + "\n")
    return path


def member(
    accession: str = "P04637",
    event: str = CYCLE,
    name: str = "Cell Cycle",
    evidence: str = "TAS",
    species: str = "Homo sapiens",
) -> str:
    return "\t".join([accession, event, f"https://reactome.org/PathwayBrowser/#/{event}", name, evidence, species])


def with_members(tmp_path: Path, *rows: str) -> ImportBatch:
    return read(IMPORTER, PATHWAYS, RELATIONS, written(tmp_path, LOWEST.name, *rows))


def reasons(batch: ImportBatch, kind: str) -> dict[str, dict[str, int]]:
    said: dict[str, dict[str, int]] = json.loads(str(run_of(batch, kind)["reasons"]))
    return said


def statements(batch: ImportBatch, relation: str = "PARTICIPATES_IN") -> pl.DataFrame:
    assert batch.statements is not None
    return batch.statements.filter(pl.col("relation") == relation)


def test_sample_adds_up() -> None:
    batch = read(IMPORTER, PATHWAYS, RELATIONS, LOWEST, REACTIONS)
    assert adds_up(batch)
    assert reasons(batch, "pathways")["set_aside"] == {"another species": 2}
    assert reasons(batch, "relations")["set_aside"] == {"another species": 1}
    assert reasons(batch, "lowest")["set_aside"] == {"another species": 1}
    assert reasons(batch, "lowest")["unresolved"] == {"unknown": 1}
    assert batch.rejects.is_empty()


def test_the_hierarchy_goes_from_child_to_parent() -> None:
    batch = read(IMPORTER, PATHWAYS, RELATIONS, LOWEST)
    pairs = set(statements(batch, "CHILD_OF").select("subject", "object").iter_rows())
    assert ("REACTOME:R-HSA-72766", "REACTOME:R-HSA-392499") in pairs  # translation, in metabolism of proteins
    assert not any("R-MMU" in one + other for one, other in pairs)


def test_pathways_know_their_top_level() -> None:
    nodes = read(IMPORTER, PATHWAYS, RELATIONS, LOWEST).nodes
    assert nodes is not None
    top = dict(nodes.select("id", "namespace").iter_rows())
    assert top["REACTOME:R-HSA-156902"] == "Metabolism of proteins"
    assert top["REACTOME:R-HSA-392499"] == "Metabolism of proteins"


def test_a_pathway_under_two_top_levels_names_both(tmp_path: Path) -> None:
    rows = [*RELATIONS.read_text().splitlines(), "R-HSA-168256\tR-HSA-156902"]
    nodes = read(IMPORTER, PATHWAYS, written(tmp_path, RELATIONS.name, *rows), LOWEST).nodes
    assert nodes is not None
    found = nodes.row(by_predicate=pl.col("id") == "REACTOME:R-HSA-156902", named=True)
    assert found["namespace"] == "Immune System; Metabolism of proteins"


def test_members_keep_evidence_and_original_ids() -> None:
    found = statements(read(IMPORTER, PATHWAYS, RELATIONS, LOWEST))
    iea = found.filter(pl.col("evidence") == "IEA")
    assert iea.select("subject", "object", "original_subject", "original_object").rows() == [
        (gene("NUDT21"), "REACTOME:R-HSA-72203", "O43809", "R-HSA-72203")
    ]
    isoform = found.filter(pl.col("original_subject") == "P04637-2").row(0, named=True)
    assert (isoform["subject"], isoform["note"]) == (gene("TP53"), "P04637-2 taken as P04637")


def test_lowest_level_is_preferred_and_discovery_says_so() -> None:
    found = discover(FOLDER, importers={"reactome": IMPORTER})
    assert [file.kind for file in found.selected["reactome"]] == ["pathways", "relations", "lowest", "reactions"]
    assert "not read together with" in found.reasons()[ALL_LEVELS.name]
    batch = read(IMPORTER, PATHWAYS, RELATIONS, LOWEST, ALL_LEVELS)
    assert batch.reports["membership"] == "lowest level"
    assert "all_levels" not in batch.runs["kind"].to_list()


def test_all_levels_are_read_where_they_are_alone() -> None:
    batch = read(IMPORTER, PATHWAYS, RELATIONS, ALL_LEVELS)
    assert batch.reports["membership"] == "all levels"
    pairs = set(statements(batch).select("subject", "object").iter_rows())
    assert (gene("RPL3"), "REACTOME:R-HSA-392499") in pairs
    assert adds_up(batch)


def test_reactions_become_nodes_of_their_own() -> None:
    batch = read(IMPORTER, PATHWAYS, RELATIONS, LOWEST, REACTIONS)
    assert batch.nodes is not None
    reactions = batch.nodes.filter(pl.col("label") == "Reaction")
    assert reactions["id"].sort().to_list() == [
        "REACTOME:R-HSA-2064932",
        "REACTOME:R-HSA-3786258",
        "REACTOME:R-HSA-381111",
    ]
    assert statements(batch).filter(pl.col("object") == "REACTOME:R-HSA-2064932").height == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (member(event="R-HSA-x"), "event id is not R-, three letters and a number"),
        (member(accession="not one"), "not a UniProt accession"),
        (member(event="R-HSA-999999"), "pathway is not in the pathways file"),
        (member(evidence=""), "no evidence code"),
        (member(name=" "), "event has no name"),
        (member(species="Mus musculus"), "species and identifier disagree"),
        (member(event="R-MMU-72766"), "species and identifier disagree"),
        ("P04637\t" + CYCLE, "2 columns instead of 6"),
        (member(name="\x00"), "bytes that are not UTF-8 text"),
    ],
)
def test_malformed_members_are_rejected_and_others_kept(tmp_path: Path, row: str, reason: str) -> None:
    batch = with_members(tmp_path, member("Q00987"), row, member("P38936"))
    assert batch.rejects.select("file", "line", "reason").rows() == [(LOWEST.name, 2, reason)]
    assert statements(batch).height == 2
    assert adds_up(batch)


def test_repeated_members_are_set_aside_and_other_evidence_is_another_statement(tmp_path: Path) -> None:
    batch = with_members(tmp_path, member(), member(), member(evidence="IEA"))
    assert statements(batch)["line"].to_list() == [1, 3]
    assert reasons(batch, "lowest")["set_aside"] == {"repeats an earlier line's statement": 1}
    assert batch.edges is not None
    edge = batch.edges.row(by_predicate=pl.col("relation") == "PARTICIPATES_IN", named=True)
    assert edge["evidence"] == ["TAS", "IEA"]


def test_unknown_proteins_are_listed(tmp_path: Path) -> None:
    batch = with_members(
        tmp_path, member("A0A0B4J2F0"), member("A0A0B4J2F0", "R-HSA-69481", "G2/M Checkpoints"), member()
    )
    assert batch.unresolved is not None
    assert batch.unresolved.select("identifier", "reason", "rows", "first_line").rows() == [
        ("A0A0B4J2F0", "unknown", 2, 1)
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("R-HSA-1640170\tR-HSA-999999", "child is not in the pathways file"),
        ("R-HSA-999999\tR-HSA-1640170", "parent is not in the pathways file"),
        ("R-HSA-1640170\tR-HSA-1640170", "a pathway is its own parent"),
        ("R-HSA-1640170\tR-MMU-72766", "parent and child are of different species"),
        ("x\tR-HSA-1640170", "parent id is not R-, three letters and a number"),
        ("R-HSA-1640170", "1 columns instead of 2"),
    ],
)
def test_bad_relations_are_rejected_and_others_kept(tmp_path: Path, row: str, reason: str) -> None:
    rows = RELATIONS.read_text().splitlines()
    batch = read(IMPORTER, PATHWAYS, written(tmp_path, RELATIONS.name, *rows, row, rows[1]), LOWEST)
    assert batch.rejects.select("line", "reason").rows() == [(len(rows) + 1, reason)]
    assert statements(batch, "CHILD_OF").height == 21
    assert reasons(batch, "relations")["set_aside"]["repeats an earlier line's statement"] == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("R-HSA-12\t\tHomo sapiens", "pathway has no name"),
        ("R-HSA-12\tx\tMus musculus", "species and identifier disagree"),
        ("R-HSA-1640170\tCell Cycle\tHomo sapiens", "pathway id stands in an earlier line"),
        ("12\tx\tHomo sapiens", "pathway id is not R-, three letters and a number"),
    ],
)
def test_bad_pathways_are_rejected_and_others_kept(tmp_path: Path, row: str, reason: str) -> None:
    rows = [*PATHWAYS.read_text().splitlines(), row]
    batch = read(IMPORTER, written(tmp_path, PATHWAYS.name, *rows), RELATIONS, LOWEST)
    assert batch.rejects["reason"].to_list() == [reason]
    assert run_of(batch, "pathways")["accepted"] == 28


@pytest.mark.parametrize("bad", [PATHWAYS, RELATIONS, LOWEST])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"pathway\tname\tspecies\tx\n", "first line is not one of Reactome's"),
        (gzip.compress(LOWEST.read_bytes(), mtime=0)[:-30], "damaged or cut off"),
    ],
)
def test_a_file_that_is_not_reactomes_fails(tmp_path: Path, bad: Path, content: bytes, problem: str) -> None:
    path = tmp_path / bad.name
    path.write_bytes(content)
    files = [path if file == bad else file for file in (PATHWAYS, RELATIONS, LOWEST)]
    with pytest.raises(InputFileError, match=problem) as caught:
        read(IMPORTER, *files)
    assert bad.name in str(caught.value)


def test_files_of_another_kind_under_the_name_fail(tmp_path: Path) -> None:
    path = written(tmp_path, RELATIONS.name, *PATHWAYS.read_text().splitlines())
    with pytest.raises(InputFileError, match="relations file") as caught:
        read(IMPORTER, PATHWAYS, path, LOWEST)
    assert caught.value.line == 1


def test_other_species_only_fails(tmp_path: Path) -> None:
    mouse = member("P47962", "R-MMU-72766", "Translation", "IEA", "Mus musculus")
    with pytest.raises(InputFileError, match="no human row"):
        with_members(tmp_path, mouse)


@pytest.mark.real_data
def test_real_files_add_up() -> None:
    if not REAL.is_dir():
        pytest.skip("../shared is absent")
    folder = REAL / "reactome"
    names = ("ReactomePathways", "ReactomePathwaysRelation", "UniProt2Reactome")
    batch = read(IMPORTER, *(folder / f"{name}.txt.gz" for name in names), genes=resolver_of(REAL / "hgnc"))
    assert adds_up(batch)
    assert run_of(batch, "pathways")["accepted"] == 2_751
    assert run_of(batch, "relations")["accepted"] == 2_769
    assert run_of(batch, "lowest")["rows_read"] == 51_056
    assert statements(batch).height > 48_000
