"""Gene Ontology: bad OBO lines cost themselves only; NOT, ND, alternative and obsolete terms in annotations."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import fastobo
import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.importers.base import ImportBatch
from aroma.importers.gene_ontology import GeneOntologyImporter
from aroma.importers.lines import open_text
from aroma.importers.obo import OboFile, read_obo
from tests.support.samples import BUNDLED, REAL, adds_up, gene, read, resolver_of, run_of

GO = BUNDLED / "go"
OLD, NEW = GO / "go-basic.2021-12-15.obo", GO / "go-basic.2022-07-01.obo"
GAF = GO / "goa_human.2022-09-12.gaf"
IMPORTER = GeneOntologyImporter()
HEADER = "format-version: 1.2\ndata-version: releases/2021-12-15\ndefault-namespace: gene_ontology\nontology: go\n"


def frames(*texts: str) -> str:
    return HEADER + "".join(f"\n[Term]\n{text.strip()}\n" for text in texts)


def term(number: int, *lines: str, namespace: str = "biological_process") -> str:
    return "\n".join([f"id: GO:{number:07}", f"name: term {number}", f"namespace: {namespace}", *lines])


def obo_of(tmp_path: Path, text: str) -> OboFile:
    path = tmp_path / OLD.name
    path.write_text(text)
    return read_obo(open_text(path))


def with_terms(tmp_path: Path, text: str) -> ImportBatch:
    """Read terms together with one annotation to GO:0000001."""
    (tmp_path / OLD.name).write_text(text)
    return read(IMPORTER, tmp_path / OLD.name, gaf_of(tmp_path, row(term="GO:0000001")))


def row(**values: str) -> str:
    given = {
        "db": "UniProtKB",
        "object_id": "P04637",
        "symbol": "TP53",
        "qualifier": "involved_in",
        "term": "GO:0006915",
        "reference": "PMID:10802651",
        "evidence": "IDA",
        "with_from": "",
        "aspect": "P",
        "name": "",
        "synonyms": "",
        "type": "protein",
        "taxon": "taxon:9606",
        "date": "20200131",
        "assigned_by": "UniProt",
        "extension": "",
        "form": "",
    } | values
    return "\t".join(given.values())


def gaf_of(tmp_path: Path, *rows: str, header: str = "!gaf-version: 2.2\n!date-generated: 2022-09-12\n") -> Path:
    path = tmp_path / GAF.name
    path.write_text(header + "\n".join(rows) + "\n")
    return path


def annotated(tmp_path: Path, *rows: str, header: str = "!gaf-version: 2.2\n!date-generated: 2022-09-12\n"):
    return read(IMPORTER, OLD, gaf_of(tmp_path, *rows, header=header))


def reasons(batch: ImportBatch, kind: str) -> dict[str, dict[str, int]]:
    said: dict[str, dict[str, int]] = json.loads(str(run_of(batch, kind)["reasons"]))
    return said


def annotations(batch: ImportBatch) -> pl.DataFrame:
    assert batch.statements is not None
    return batch.statements.filter(pl.col("relation").str.contains("ANNOTATED_TO"))


def node(batch: ImportBatch, term_id: str) -> dict[str, object]:
    assert batch.nodes is not None
    return batch.nodes.row(by_predicate=pl.col("id") == term_id, named=True)


def test_sample_adds_up_and_has_what_it_should() -> None:
    batch = read(IMPORTER, OLD, GAF)
    assert adds_up(batch)
    assert reasons(batch, "obo")["rejected"] == {"not a well-formed xref line of OBO": 1}
    said = reasons(batch, "gaf")
    assert said["rejected"] == {"5 columns instead of 17": 1}
    assert said["set_aside"] == {
        "ND: no biological data": 2,
        "ComplexPortal entry, not a gene": 1,
        "annotation to an obsolete term without a single replacement": 1,
        "another species": 1,
        "repeats an earlier line's statement": 1,
    }
    assert said["unresolved"] == {"unknown": 1}


def test_the_papers_paths_are_in_the_sample() -> None:
    batch = read(IMPORTER, NEW, GAF)
    assert batch.edges is not None
    pairs = set(batch.edges.select("subject", "object").iter_rows())
    for path in (
        ("TULP1", "GO:0001917", "DRAM2", "GO:0006915", "ITCH"),
        ("TULP1", "GO:0005546", "PFN1", "GO:0005938", "ITCH"),
        ("TULP1", "GO:0001917", "SAG", "GO:0002031", "GO:0031623", "ITCH"),
        ("AAMP", "GO:0005829", "ABHD5", "GO:0003841", "AGPAT1"),
        ("AAMP", "GO:0010595", "ZNF580", "GO:0032757", "GO:0001819", "AGPAT1"),
    ):
        ids = [step if step.startswith("GO:") else gene(step) for step in path]
        for one, other in itertools.pairwise(ids):
            assert (one, other) in pairs or (other, one) in pairs, (one, other)


def test_versions_come_from_the_headers() -> None:
    assert IMPORTER.header_version("obo", open_text(OLD)) == "2021-12-15"
    assert IMPORTER.header_version("gaf", open_text(GAF)) == "2022-09-12"


@pytest.mark.parametrize(
    ("line", "version"),
    [("!generated: 2019-05-02", "2019-05-02"), ("!Generated: 2018-01-01 10:00", "2018-01-01"), ("!note: x", None)],
)
def test_gaf_version_has_several_spellings(tmp_path: Path, line: str, version: str | None) -> None:
    path = gaf_of(tmp_path, row(), header=f"!gaf-version: 2.1\n{line}\n")
    assert IMPORTER.header_version("gaf", open_text(path)) == version


def test_term_keeps_what_obo_says() -> None:
    batch = read(IMPORTER, OLD, GAF)
    apoptosis = node(batch, "GO:0006915")
    assert apoptosis["name"] == "apoptotic process"
    assert apoptosis["namespace"] == "biological_process"
    assert apoptosis["synonyms"] == ["apoptosis", "type I programmed cell death"]
    assert apoptosis["previous"] == ["GO:0006917", "GO:0008632"]
    assert apoptosis["obsolete"] is False
    gone = node(batch, "GO:0008181")
    assert (gone["obsolete"], gone["replaced_by"], gone["consider"]) == (True, [], ["GO:0051726", "GO:0006974"])
    assert gone["description"] == 'OBSOLETE. Keeping a cell from growing into a "tumor".'
    assert node(batch, "GO:0008189")["replaced_by"] == ["GO:0043066"]


def test_statement_is_the_clauses_own_line() -> None:
    batch = read(IMPORTER, OLD, GAF)
    assert batch.statements is not None
    lines = OLD.read_text().splitlines()
    run = run_of(batch, "obo")["id"]
    structure = batch.statements.filter(pl.col("import_run") == run)
    assert structure.height > 90
    for line, relation, target in structure.select("line", "relation", "object").iter_rows():
        written = "is_a" if relation == "IS_A" else f"relationship: {relation.lower()}"
        assert lines[line - 1].startswith(f"{written}")
        assert target in lines[line - 1]


def test_a_bad_line_costs_itself(tmp_path: Path) -> None:
    read_ = obo_of(tmp_path, frames(term(1, "xref: EC 2.7.1.190", "is_a: GO:0000002"), term(2)))
    assert read_.rejects.rows() == [(10, "not a well-formed xref line of OBO", "xref: EC 2.7.1.190")]
    assert read_.clauses.filter(pl.col("term") == "GO:0000001")["tag"].to_list() == ["id", "name", "namespace", "is_a"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('def: "no end', "not a well-formed def line of OBO"),
        ('synonym: "x" BAD []', "not a well-formed synonym line of OBO"),
        ("is_a:", "not a well-formed is_a line of OBO"),
        ("is_obsolete: maybe", "not a well-formed is_obsolete line of OBO"),
        ("no tag", "not a line of OBO"),
        ("odd: tag", "not a line of OBO"),
        ("name: again", "second name of a term"),
        ("namespace: molecular_function", "second namespace of a term"),
        ("comment: \x00", "bytes that are not UTF-8 text"),
        ("id: GO:0000009", "line after a second id in one frame; its [Term] line is missing"),
    ],
)
def test_bad_lines_have_a_reason(tmp_path: Path, line: str, reason: str) -> None:
    read_ = obo_of(tmp_path, frames(term(1, line), term(2)))
    assert read_.rejects.select("line", "reason").rows() == [(10, reason)]
    assert read_.clauses.height == 6


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("is_a: GO:0000001", "a term stands in relation to itself"),
        ("is_a: GO:9999999", "related term is not in the file"),
        ("relationship: part_of GO:9999999", "related term is not in the file"),
        ("alt_id: EC:1", "alt_id is not a GO id"),
    ],
)
def test_lines_that_make_no_sense_are_rejected(tmp_path: Path, line: str, reason: str) -> None:
    batch = with_terms(tmp_path, frames(term(1, line), term(2)))
    assert reasons(batch, "obo")["rejected"] == {reason: 1}
    assert batch.rejects["line"].to_list() == [10]
    assert batch.nodes is not None
    assert batch.nodes.height == 2


def test_a_namespace_that_is_not_gos_is_rejected_and_the_term_kept(tmp_path: Path) -> None:
    batch = with_terms(tmp_path, frames(term(1, namespace="nowhere")))
    assert reasons(batch, "obo")["rejected"] == {"namespace is not one of GO's three": 1}
    assert node(batch, "GO:0000001")["namespace"] is None
    assert annotations(batch).height == 1


def test_a_frame_without_a_readable_id_is_rejected_line_by_line(tmp_path: Path) -> None:
    read_ = obo_of(tmp_path, frames("id GO:0000001\nname: lost", term(2)))
    assert read_.rejects["reason"].to_list() == ["not a line of OBO", "line of a term without a readable id"]
    assert read_.clauses["term"].unique().to_list() == ["GO:0000002"]


def test_a_second_frame_of_a_term_is_rejected(tmp_path: Path) -> None:
    read_ = obo_of(tmp_path, frames(term(1), term(1)))
    assert set(read_.rejects["reason"]) == {"line of a term whose id stands in an earlier frame"}
    assert (read_.rejects.height, read_.clauses.height) == (3, 3)


def test_a_frame_header_that_is_not_readable_loses_its_frame_only(tmp_path: Path) -> None:
    text = frames(term(1), term(2)).replace("[Term]", "[Trem]", 1)
    read_ = obo_of(tmp_path, text)
    assert read_.rejects.height == 4
    assert read_.clauses["term"].unique().to_list() == ["GO:0000002"]


def test_relations_that_are_not_read_are_counted_by_type(tmp_path: Path) -> None:
    text = frames(
        term(1, "relationship: has_part GO:0000002", "relationship: occurs_in CL:0000540", "is_a: CHEBI:1"),
        term(2),
        "id: CHEBI:1\nname: x",
    )
    said = reasons(with_terms(tmp_path, text), "obo")
    assert said["rejected"] == {}
    assert said["set_aside"] == {
        "relationship has_part is not used": 1,
        "relationship occurs_in is not used": 1,
        "term of another ontology": 3,
    }


def test_each_relation_becomes_its_type(tmp_path: Path) -> None:
    kinds = ("part_of", "regulates", "positively_regulates", "negatively_regulates")
    links = [f"relationship: {kind} GO:0000002 ! term 2" for kind in kinds]
    batch = with_terms(tmp_path, frames(term(1, "is_a: GO:0000002", *links), term(2)))
    assert batch.edges is not None
    structure = batch.edges.filter(pl.col("subject") == "GO:0000001")
    assert set(structure["relation"]) == {"IS_A", *(kind.upper() for kind in kinds)}


def test_plain_lines_mean_what_fastobo_says() -> None:
    """The fast way and the library agree on every line of the sample."""
    ours = read_obo(open_text(OLD)).clauses
    text = "\n".join(line for line in OLD.read_text().splitlines() if line != "xref: EC 2.3.1.51") + "\n"
    theirs = set()
    for frame in fastobo.loads(text):
        if not isinstance(frame, fastobo.term.TermFrame):
            continue
        theirs.add((str(frame.id), "id", str(frame.id)))
        for clause in frame:
            tag = clause.raw_tag()
            value = {"def": "definition", "name": "name", "relationship": "term"}.get(tag)
            said = clause.synonym.desc if tag == "synonym" else getattr(clause, value) if value else clause.raw_value()
            theirs.add((str(frame.id), tag, str(said)))
    unused = {"xref", "comment"}
    assert set(ours.select("term", "tag", "value").rows()) == {each for each in theirs if each[1] not in unused}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<html><body>404</body></html>", "web page"),
        ("ontology: go\n\n[Term]\nid: GO:0000001\n", "OBO header"),
        (HEADER, "no \\[Term\\] frame"),
        ("", "empty"),
    ],
)
def test_a_file_that_is_no_ontology_fails(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / OLD.name).write_text(text)
    with pytest.raises(InputFileError, match=problem) as caught:
        read(IMPORTER, tmp_path / OLD.name, GAF)
    assert OLD.name in str(caught.value)


@pytest.mark.parametrize("sample", [OLD, GAF])
def test_a_truncated_gzip_fails(tmp_path: Path, sample: Path) -> None:
    cut = tmp_path / f"{sample.name}.gz"
    cut.write_bytes(gzip.compress(sample.read_bytes())[:-40])
    other = GAF if sample == OLD else OLD
    with pytest.raises(InputFileError, match="damaged or cut off"):
        read(IMPORTER, *((cut, other) if sample == OLD else (other, cut)))


def test_not_is_never_positive(tmp_path: Path) -> None:
    batch = annotated(tmp_path, row(qualifier="NOT|involved_in"), row(qualifier="NOT", term="GO:0006412"), row())
    assert annotations(batch)["relation"].to_list() == ["NOT_ANNOTATED_TO", "NOT_ANNOTATED_TO", "ANNOTATED_TO"]
    assert annotations(batch)["qualifier"].to_list() == ["NOT|involved_in", "NOT", "involved_in"]


def test_nd_is_no_annotation(tmp_path: Path) -> None:
    batch = annotated(
        tmp_path, row(term="GO:0008150", evidence="ND"), row(term="GO:0008150", evidence="ND", qualifier="NOT")
    )
    assert annotations(batch).is_empty()
    assert reasons(batch, "gaf")["set_aside"] == {"ND: no biological data": 2}


def test_an_annotation_keeps_its_columns(tmp_path: Path) -> None:
    batch = annotated(tmp_path, row(with_from="UniProtKB:Q00987|HGNC:6973", form="UniProtKB:P04637-2"))
    said = annotations(batch).row(0, named=True)
    assert said["subject"] == gene("TP53")
    assert (said["original_subject"], said["original_object"]) == ("P04637", "GO:0006915")
    assert (said["evidence"], said["reference"], said["date"]) == ("IDA", "PMID:10802651", "2020-01-31")
    assert (said["assigned_by"], said["with_from"]) == ("UniProt", "UniProtKB:Q00987|HGNC:6973")
    assert said["note"] == "gene product form UniProtKB:P04637-2"
    assert said["line"] == 3


def test_alternative_and_obsolete_terms_move_and_say_so(tmp_path: Path) -> None:
    batch = annotated(
        tmp_path,
        row(term="GO:0006917"),
        row(term="GO:0008189", aspect="F"),
        row(term="GO:0008181", aspect="F"),
        row(term="GO:9999999"),
    )
    said = annotations(batch).sort("line")
    assert said["object"].to_list() == ["GO:0006915", "GO:0043066"]
    assert said["original_object"].to_list() == ["GO:0006917", "GO:0008189"]
    assert said["note"].to_list() == [
        "GO:0006917 is an alternative id of GO:0006915",
        "GO:0008189 is obsolete and replaced by GO:0043066",
    ]
    assert reasons(batch, "gaf")["set_aside"] == {"annotation to an obsolete term without a single replacement": 1}
    assert batch.rejects.filter(pl.col("file") == GAF.name).select("line", "reason").rows() == [
        (6, "term is not in the ontology file")
    ]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"term": "GO:123"}, "GO id is not GO: and seven digits"),
        ({"evidence": "XYZ"}, "evidence code is not one of GO's"),
        ({"aspect": "X"}, "aspect is not P, F or C"),
        ({"aspect": "F"}, "aspect is not that of the term"),
        ({"taxon": "9606"}, "taxon is not taxon: and a number"),
        ({"date": "20201332"}, "date is not YYYYMMDD"),
        ({"date": "2020"}, "date is not YYYYMMDD"),
        ({"qualifier": "is not; really"}, "qualifier is not understood"),
        ({"reference": ""}, "no reference"),
        ({"object_id": ""}, "no identifier in column 2"),
        ({"db": "Nonsense"}, "database of column 1 is not known"),
        ({"name": "a\tb"}, "18 columns instead of 17"),
        ({"name": "\x00"}, "bytes that are not UTF-8 text"),
    ],
)
def test_malformed_rows_are_rejected_and_others_kept(tmp_path: Path, values: dict[str, str], reason: str) -> None:
    batch = annotated(tmp_path, row(**values), row())
    assert reasons(batch, "gaf")["rejected"] == {reason: 1}
    rejected = batch.rejects.filter(pl.col("file") == GAF.name).row(0, named=True)
    assert (rejected["line"], rejected["reason"]) == (3, reason)
    assert annotations(batch).height == 1
    assert adds_up(batch)


def test_unknown_genes_are_listed_never_guessed(tmp_path: Path) -> None:
    lost = row(object_id="A0A0A0MT99", symbol="NOTAGENE1")
    batch = annotated(tmp_path, lost, row(object_id="A0A0A0MT99", symbol="NOTAGENE1", term="GO:0006412"), row())
    assert batch.unresolved is not None
    assert batch.unresolved.select("identifier", "reason", "rows", "first_line").rows() == [
        ("UniProtKB:A0A0A0MT99", "unknown", 2, 3)
    ]
    assert annotations(batch).height == 1


def test_the_symbol_helps_where_the_accession_is_unknown(tmp_path: Path) -> None:
    said = annotations(annotated(tmp_path, row(object_id="A0A0A0MT99", symbol="MDM2"))).row(0, named=True)
    assert (said["subject"], said["note"]) == (gene("MDM2"), "gene by its symbol MDM2")


def test_other_databases_of_genes_are_read(tmp_path: Path) -> None:
    batch = annotated(
        tmp_path, row(db="HGNC", object_id="HGNC:6973"), row(db="NCBIGene", object_id="7157", symbol="TP53")
    )
    assert set(annotations(batch)["subject"]) == {gene("MDM2"), gene("TP53")}


def test_no_gene_databases_are_set_aside(tmp_path: Path) -> None:
    batch = annotated(tmp_path, row(db="RNAcentral", object_id="URS1_9606"), row(db="ComplexPortal", object_id="CPX-1"))
    assert annotations(batch).is_empty()
    assert sum(reasons(batch, "gaf")["set_aside"].values()) == 2


def test_the_first_taxon_counts(tmp_path: Path) -> None:
    batch = annotated(
        tmp_path, row(taxon="taxon:9606|taxon:11676"), row(taxon="taxon:11676|taxon:9606", date="20210101")
    )
    assert annotations(batch)["line"].to_list() == [3]
    assert reasons(batch, "gaf")["set_aside"] == {"another species": 1}


def test_other_species_only_fails(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no human annotation") as caught:
        annotated(tmp_path, row(taxon="taxon:10090"))
    assert caught.value.line == 3


@pytest.mark.parametrize("header", ["", "!gaf-version: 1.0\n", "!gpa-version: 2.0\n"])
def test_another_header_fails(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputFileError, match="GAF 2 header") as caught:
        annotated(tmp_path, row(), header=header)
    assert caught.value.line == 1


def test_a_header_alone_fails(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="header and no rows"):
        annotated(tmp_path)


def test_a_repeated_statement_counts_once_and_another_reference_is_another(tmp_path: Path) -> None:
    batch = annotated(tmp_path, row(), row(), row(reference="PMID:1"))
    assert annotations(batch)["line"].to_list() == [3, 5]
    assert batch.edges is not None
    edge = batch.edges.row(by_predicate=pl.col("subject") == gene("TP53"), named=True)
    assert edge["references"] == ["PMID:10802651", "PMID:1"]
    assert edge["evidence"] == ["IDA", "IDA"]


def test_rows_without_the_last_two_columns_are_read(tmp_path: Path) -> None:
    assert annotations(annotated(tmp_path, row().rstrip("\t"))).height == 1


@pytest.mark.real_data
def test_real_files_add_up() -> None:
    if not REAL.is_dir():
        pytest.skip("../shared is absent")
    batch = read(
        IMPORTER,
        REAL / "go" / "go-basic.2021-12-15.obo.gz",
        REAL / "go" / "goa_human.2022-09-12.gaf.gz",
        genes=resolver_of(REAL / "hgnc"),
    )
    assert adds_up(batch)
    assert reasons(batch, "obo")["rejected"] == {"not a well-formed xref line of OBO": 1}
    assert batch.reports["terms"] == {"live": 43_789, "obsolete": 3_472, "alternative ids": 3_496, "without a name": 0}
    assert run_of(batch, "gaf")["rows_read"] == 348_116
    assert annotations(batch).height > 345_000
