"""STRING: symmetric folding, names to genes, channels left out, and every kind of bad input."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError, UsageError
from aroma.importers.base import ImportContext, ProviderFile
from aroma.importers.string_db import StringImporter
from aroma.importers.string_statements import NO_CHANNELS_REASON, NOT_REPRODUCED_REASON, SELF_REASON
from tests.support.samples import BUNDLED, REAL, adds_up, as_file, gene, read, resolver, resolver_of, run_of

DIRECTORY = BUNDLED / "string"
LINKS = DIRECTORY / "9606.protein.links.v12.0.txt"
FULL = DIRECTORY / "9606.protein.links.full.v12.0.txt"
INFO = DIRECTORY / "9606.protein.info.v12.0.txt"
HEADER = "protein1 protein2 combined_score\n"
IMPORTER = StringImporter()


def protein(symbol: str) -> str:
    """STRING id of a protein of the sample, by its preferred name there."""
    rows = (line.split("\t") for line in INFO.read_text().splitlines()[1:])
    return next(row[0] for row in rows if row[1] == symbol)


def edge(batch, first: str, second: str) -> dict:
    ends = sorted((gene(first), gene(second)))
    (row,) = batch.edges.filter((pl.col("subject") == ends[0]) & (pl.col("object") == ends[1])).iter_rows(named=True)
    return row


def links_of(tmp_path: Path, *rows: str, header: str = HEADER, name: str = "9606.protein.links.v12.0.txt") -> Path:
    path = tmp_path / name
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def both():
    return read(IMPORTER, LINKS, FULL, INFO)


def test_sample_is_read_whole(both):
    assert adds_up(both)
    run = run_of(both, "links")
    assert (run["rows_read"], run["rejected"], run["set_aside"], run["unresolved"]) == (134, 1, 1, 2)
    assert both.edges.height == 66
    assert both.rejects.select("line", "reason").rows() == [(43, "score is not a whole number from 0 to 1000")]


def test_both_directions_are_one_edge_with_both_lines(both):
    row = edge(both, "TULP1", "PFN1")
    lines = [statement for statement in row["statements"] if statement.startswith("string.links.")]
    assert len(lines) == 2
    assert row["subject"] < row["object"]
    said = both.statements.filter(pl.col("id").is_in(lines))
    assert set(said["original_subject"]) <= {protein("TULP1"), protein("PFN1")}
    assert (said["subject"] == row["subject"]).all()


def test_line_numbers_are_those_of_the_file(both):
    rows = LINKS.read_text().splitlines()
    for row in both.statements.filter(pl.col("import_run").str.contains("links")).iter_rows(named=True):
        first, second, score = rows[row["line"] - 1].split()
        assert {first, second} == {row["original_subject"], row["original_object"]}
        assert int(score) == row["score"]
        assert row["id"].endswith(f":{row['line']}")


def test_unequal_directions_are_counted_and_the_edge_takes_the_higher(both):
    report = both.reports["directions of links"]
    assert report["pairs with unequal scores"] == 1
    assert "819 and 822" in report["examples of unequal scores"][0]
    assert edge(both, "TP53", "MDM2")["score"] == 822


def test_links_give_the_score_and_full_the_channels(tmp_path):
    raised = tmp_path / LINKS.name
    raised.write_text(
        "".join(
            line.rsplit(" ", 1)[0] + " 999\n" if protein("SAG") in line else line
            for line in LINKS.read_text().splitlines(keepends=True)
        )
    )
    batch = read(IMPORTER, raised, FULL, INFO)
    row = edge(batch, "TULP1", "SAG")
    own = edge(read(IMPORTER, LINKS, FULL, INFO), "TULP1", "SAG")
    assert row["score"] == 999
    assert row["score_full"] == own["score_full"] == own["score"]
    assert row["score_experiments"] == own["score_experiments"] > 0
    compared = batch.reports["links and full compared"]
    assert compared["with another combined score"] == 1
    assert compared["mean difference of those (first - second)"] == 999 - own["score"]


def test_an_edge_only_in_full_takes_its_score_and_version_from_there(tmp_path):
    path = tmp_path / "9606.protein.links.v12.0.union.txt"
    path.write_text(LINKS.read_text())
    batch = read(IMPORTER, path, FULL, INFO)
    row = edge(batch, "ABHD5", "EGFR")
    assert row["score"] == row["score_full"]
    assert row["provider_release"] == "12.0"
    assert edge(batch, "TULP1", "SAG")["provider_release"] == "12.0.union"
    assert batch.reports["links and full compared"]["edges only in full"] == 1
    assert run_of(batch, "links")["url"] == ""
    assert "v12.0/" in run_of(batch, "full")["url"]


def test_old_preferred_name_resolves_and_the_string_id_becomes_a_gene_name(both):
    names = dict(both.gene_names.select("name", "gene").iter_rows())
    assert names[protein("AARS")] == gene("AARS1")
    assert set(both.gene_names["tier"]) == {"STRING id"}


def test_annotation_becomes_the_description_of_the_gene(both):
    rows = both.descriptions.filter(pl.col("node") == gene("TULP1"))
    assert rows["text"].to_list() == [
        "Tubby-related protein 1; needed for the survival and function of photoreceptors."
    ]
    assert both.descriptions["node"].is_unique().all()


def test_self_pairs_are_set_aside_and_an_unknown_protein_is_listed(both):
    assert SELF_REASON in str(run_of(both, "links")["reasons"])
    row = both.unresolved.row(0, named=True)
    assert (row["identifier"], row["rows"]) == ("9606.ENSP00000999999", 2)


def test_two_proteins_of_one_gene_give_one_edge_and_no_loop(tmp_path):
    info = tmp_path / INFO.name
    info.write_text(INFO.read_text() + "9606.ENSP00000999998\tTP53\t300\tannotation not available\n")
    other, tp53, mdm2 = "9606.ENSP00000999998", protein("TP53"), protein("MDM2")
    links = links_of(tmp_path, f"{tp53} {mdm2} 700", f"{other} {mdm2} 800", f"{tp53} {other} 900")
    batch = read(IMPORTER, links, info)
    assert batch.edges.select("score", pl.col("statements").list.len()).rows() == [(800, 2)]
    assert "both proteins are of one gene" in str(run_of(batch, "links")["reasons"])


def test_one_direction_is_enough(tmp_path):
    batch = read(IMPORTER, links_of(tmp_path, f"{protein('TP53')} {protein('MDM2')} 700"), INFO)
    assert batch.edges.height == 1
    assert batch.reports["directions of links"]["pairs in one direction only"] == 1


def test_ensembl_name_without_hgnc_gene_keeps_its_own_node(tmp_path):
    info = tmp_path / INFO.name
    info.write_text(INFO.read_text() + "9606.ENSP00000999997\tENSG00000999997\t300\tA protein.\n")
    batch = read(IMPORTER, links_of(tmp_path, f"{protein('TP53')} 9606.ENSP00000999997 700"), info)
    assert batch.nodes["id"].to_list() == ["ENSEMBL:ENSG00000999997"]
    assert batch.edges["subject"].to_list() == ["ENSEMBL:ENSG00000999997"]
    assert batch.gene_names.filter(pl.col("tier") == "Ensembl id")["name"].to_list() == ["ENSG00000999997"]


def test_aliases_decide_before_the_preferred_name_and_never_between_two(tmp_path):
    aliases = tmp_path / "9606.protein.aliases.v12.0.txt"
    tp53, mdm2, bax = protein("TP53"), protein("MDM2"), protein("BAX")
    aliases.write_text(
        "#string_protein_id\talias\tsource\n"
        f"{tp53}\t{gene('CDKN1A')}\tEnsembl_HGNC_hgnc_id\n"
        f"{tp53}\tP04637\tUniProt_AC\n"
        f"{mdm2}\t{gene('EGFR')}\tEnsembl_HGNC_hgnc_id\n{mdm2}\t{gene('SAG')}\tEnsembl_HGNC_hgnc_id\n"
        f"{bax}\tapoptosis\tEnsembl_description\n"
    )
    batch = read(IMPORTER, links_of(tmp_path, f"{tp53} {bax} 700", f"{mdm2} {bax} 500"), INFO, aliases)
    assert {batch.edges["subject"][0], batch.edges["object"][0]} == {gene("CDKN1A"), gene("BAX")}
    lost = batch.unresolved.filter(pl.col("import_run").str.contains("links")).row(0, named=True)
    assert (lost["reason"], lost["candidates"]) == ("ambiguous", sorted([gene("EGFR"), gene("SAG")]))
    assert run_of(batch, "aliases")["set_aside"] == 1
    assert adds_up(batch)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{a} {b} 1001", "score is not a whole number from 0 to 1000"),
        ("{a} {b} -1", "score is not a whole number from 0 to 1000"),
        ("{a} {b} 7.5", "score is not a whole number from 0 to 1000"),
        ("{a} {b} ", "score is not a whole number from 0 to 1000"),
        ("{a} {b}", "2 columns instead of 3"),
        ("{a} {b} 700 1", "4 columns instead of 3"),
        ("{a}  700", "a protein id is missing"),
        ("", "1 columns instead of 3"),
        ("ENSP00000269305 {b} 700", "protein id is not 9606.ENSP and 11 digits"),
        ("9606.TP53 {b} 700", "protein id is not 9606.ENSP and 11 digits"),
    ],
)
def test_a_bad_row_is_rejected_with_its_line_and_the_others_are_kept(tmp_path, row, reason):
    tp53, mdm2 = protein("TP53"), protein("MDM2")
    good = f"{tp53} {protein('BAX')} 700"
    batch = read(IMPORTER, links_of(tmp_path, good, row.format(a=tp53, b=mdm2), good.replace("700", "600")), INFO)
    assert batch.rejects.select("line", "reason", "file").rows() == [(3, reason, "9606.protein.links.v12.0.txt")]
    assert batch.statements["line"].to_list() == [2, 4]
    assert adds_up(batch)


def test_both_readers_agree(tmp_path, both):
    """Windows line ends send a file through the line-by-line reader."""
    slow = tmp_path / LINKS.name
    slow.write_bytes(LINKS.read_bytes().replace(b"\n", b"\r\n"))
    batch = read(IMPORTER, slow, FULL, INFO)
    columns = ["line", "subject", "object", "score"]
    there = both.statements.filter(pl.col("import_run").str.contains("links")).select(columns)
    here = batch.statements.filter(pl.col("import_run").str.contains("links")).select(columns)
    assert here.equals(there)
    assert batch.rejects["line"].to_list() == both.rejects["line"].to_list()


def test_another_species_is_set_aside_and_alone_is_an_error(tmp_path):
    mouse = "10090.ENSMUSP00000104298 10090.ENSMUSP00000020399 900"
    human = f"{protein('TP53')} {protein('MDM2')} 700"
    batch = read(IMPORTER, links_of(tmp_path, human, mouse), INFO)
    assert "another species" in str(run_of(batch, "links")["reasons"])
    with pytest.raises(InputFileError, match=r"line 2: the file has no human pair; expected .*9606\.ENSP"):
        read(IMPORTER, links_of(tmp_path, mouse), INFO)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html></html>", "line 1: the file is a web page"),
        (b"protein1\tprotein2\tcombined_score\n", "line 1: the header does not fit"),
        (b"a b c\n1 2 3\n", "line 1: the header does not fit"),
        (HEADER.encode(), "line 2: the file has a header and no rows"),
        (gzip.compress(LINKS.read_bytes(), mtime=0)[:-300], "the gzip stream is damaged or cut off"),
    ],
)
def test_a_file_of_another_form_fails_naming_it(tmp_path, content, message):
    path = tmp_path / "9606.protein.links.v12.0.txt"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=message) as raised:
        read(IMPORTER, path, INFO)
    assert str(path) in str(raised.value)


def test_wrong_info_header_and_mouse_info_fail(tmp_path):
    info = tmp_path / INFO.name
    info.write_text("protein\tname\n")
    with pytest.raises(InputFileError, match=r"line 1: the header does not fit STRING's protein\.info"):
        read(IMPORTER, LINKS, info)
    info.write_text(INFO.read_text().replace("9606.ENSP", "10090.ENSP"))
    with pytest.raises(InputFileError, match="line 2: the file has no human protein"):
        read(IMPORTER, LINKS, info)


def test_pairs_without_names_and_names_without_pairs_fail():
    with pytest.raises(InputFileError, match=r"expected 9606\.protein\.info"):
        read(IMPORTER, LINKS)
    with pytest.raises(InputFileError, match=r"expected 9606\.protein\.links"):
        read(IMPORTER, INFO)


def test_an_excluded_channel_leaves_only_rows_with_channels(both):
    batch = read(IMPORTER, LINKS, FULL, INFO, exclude_channels=("textmining",))
    assert run_of(batch, "links")["accepted"] == 0
    assert NO_CHANNELS_REASON in str(run_of(batch, "links")["reasons"])
    before, after = edge(both, "TULP1", "SAG"), edge(batch, "TULP1", "SAG")
    assert after["score"] < before["score"]
    assert after["score_textmining"] == before["score_textmining"] > 0
    note = batch.statements.filter(pl.col("note").is_not_null())["note"][0]
    assert note.startswith("combined score ")
    assert adds_up(batch)


def test_a_row_whose_channels_do_not_explain_its_score_is_not_guessed_at(tmp_path):
    full = tmp_path / FULL.name
    lines = FULL.read_text().splitlines()
    lines[1] = lines[1].rsplit(" ", 1)[0] + " 200"
    full.write_text("\n".join(lines) + "\n")
    batch = read(IMPORTER, full, INFO, exclude_channels=("database",))
    assert NOT_REPRODUCED_REASON in str(run_of(batch, "full")["reasons"])
    assert 2 not in batch.statements["line"].to_list()


def test_an_unknown_channel_is_a_wrong_use():
    with pytest.raises(UsageError, match="did you mean 'textmining'"):
        read(IMPORTER, FULL, INFO, exclude_channels=("text-mining",))


def test_detailed_and_physical_files_are_understood(tmp_path):
    pair = f"{protein('TP53')} {protein('MDM2')}"
    channels = "neighborhood fusion cooccurence coexpression experimental database textmining"
    header = f"protein1 protein2 {channels} combined_score\n"
    detailed = links_of(
        tmp_path, f"{pair} 0 0 0 62 900 800 990 999", header=header, name="9606.protein.links.detailed.v12.0.txt"
    )
    row = read(IMPORTER, detailed, INFO).edges.row(0, named=True)
    assert (row["score"], row["score_experiments"], row["score_homology"]) == (999, 900, None)
    physical = links_of(tmp_path, f"{pair} 999", name="9606.protein.physical.links.v12.0.txt")
    assert read(IMPORTER, physical, INFO).edges["qualifiers"].to_list() == [["physical"]]


def chosen(*names: str) -> list[str]:
    files = tuple(as_file(IMPORTER, Path(name)) for name in names)
    return [f"{file.kind} {file.version}" for file in IMPORTER.select(files)]


def test_files_are_chosen_to_fit_each_other():
    union, full = "9606.protein.links.v12.0.union.txt.gz", "9606.protein.links.full.v12.0.txt.gz"
    info, old = "9606.protein.info.v12.0.txt.gz", "9606.protein.links.v11.0.txt.gz"
    assert chosen(union, full, info) == ["links 12.0.union", "full 12.0", "info 12.0"]
    assert chosen(old, full, info) == ["links 11.0", "info 12.0"]
    assert chosen(full, "9606.protein.links.detailed.v12.0.txt", info) == ["full 12.0", "info 12.0"]
    physical = "9606.protein.physical.links.v12.0.txt"
    assert chosen(union, physical, info) == ["links 12.0.union", "info 12.0"]
    assert chosen(physical, info) == ["physical 12.0", "info 12.0"]


def test_names_of_another_version_are_told(tmp_path):
    path = tmp_path / "9606.protein.links.v11.0.txt"
    path.write_text(LINKS.read_text())
    batch = read(IMPORTER, path, INFO)
    assert batch.reports["files of different STRING versions"] == {"links": "11.0", "info": "12.0"}


def test_same_files_give_the_same_tables(both):
    again = IMPORTER.read(tuple(as_file(IMPORTER, path) for path in (LINKS, FULL, INFO)), ImportContext(resolver()))
    for name in ("edges", "statements", "gene_names", "descriptions", "unresolved", "rejects"):
        assert getattr(again, name).equals(getattr(both, name)), name


@pytest.mark.real_data
@pytest.mark.skipif(not (REAL / "string").is_dir(), reason="needs ../shared/kgdata")
def test_real_files():
    files: tuple[ProviderFile, ...] = tuple(
        as_file(IMPORTER, REAL / "string" / name)
        for name in (
            "9606.protein.links.v12.0.union.txt.gz",
            "9606.protein.links.full.v12.0.txt.gz",
            "9606.protein.info.v12.0.txt.gz",
        )
    )
    batch = IMPORTER.read(IMPORTER.select(files), ImportContext(resolver_of(REAL / "hgnc")))
    assert adds_up(batch)
    assert run_of(batch, "links")["rows_read"] == 1_305_102
    assert run_of(batch, "full")["rows_read"] == 346_269
    assert batch.statements["id"].is_unique().all()
    assert batch.edges.select("subject", "object").is_unique().all()
    assert batch.edges.height > 600_000
