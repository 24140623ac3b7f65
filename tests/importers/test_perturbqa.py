"""PerturbQA: outcomes by cell line, names that do not resolve, leaks, and files that are something else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.importers.base import ImportBatch
from aroma.importers.discover import discover
from aroma.importers.perturbqa import PerturbQAImporter, cell_line_of
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import OUTCOMES, load_outcomes, store_outcomes
from tests.support.samples import BUNDLED, REAL, adds_up, gene, read, resolver_of, run_of

FOLDER = BUNDLED / "perturbqa"
LINES = ("HepG2", "Jurkat", "K562", "RPE1")
IMPORTER = PerturbQAImporter()
HEADER = "pert,gene,label,split"


def written(tmp_path: Path, *rows: str, header: str = HEADER, name: str = "K562.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def outcomes(batch: ImportBatch) -> pl.DataFrame:
    assert batch.outcomes is not None
    return batch.outcomes


def reasons(batch: ImportBatch) -> dict[str, dict[str, int]]:
    said: dict[str, dict[str, int]] = json.loads(str(run_of(batch, "outcomes")["reasons"]))
    return said


def sample() -> ImportBatch:
    return read(IMPORTER, *(FOLDER / f"{line}.csv" for line in LINES))


def test_sample_adds_up_and_has_the_papers_pairs() -> None:
    batch = sample()
    assert adds_up(batch)
    frame = outcomes(batch)
    assert dict(frame.schema) == OUTCOMES
    assert set(frame["cell_line"]) == set(LINES)
    assert set(frame["split"]) == {"train", "test"}
    pairs = set(frame.select("cell_line", "perturbation", "target").iter_rows())
    assert ("K562", "TULP1", "ITCH") in pairs
    assert ("Jurkat", "AAMP", "AGPAT1") in pairs
    assert batch.reports["perturbations both in training and held out"] == []


def test_names_stay_as_written_beside_their_genes() -> None:
    frame = outcomes(sample())
    old = frame.filter(pl.col("perturbation") == "AARS")
    assert old.height
    assert set(old["perturbation_gene"]) == {gene("AARS1")}
    assert set(frame.filter(pl.col("target") == "TAZ")["target_gene"]) == {gene("TAFAZZIN")}


def test_a_name_without_a_gene_keeps_its_row_and_counts_as_unresolved(tmp_path: Path) -> None:
    batch = read(IMPORTER, written(tmp_path, "NOTAGENE1,TP53,0,train", "NOTAGENE1,MDM2,1,train", "TP53,MDM2,2,train"))
    assert outcomes(batch)["perturbation_gene"].to_list() == [None, None, gene("TP53")]
    assert run_of(batch, "outcomes")["accepted"] == 1
    assert reasons(batch)["unresolved"] == {"perturbation or target has no gene": 2}
    assert batch.unresolved is not None
    assert batch.unresolved.select("identifier", "rows", "first_line").rows() == [("NOTAGENE1", 2, 2)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("TP53,MDM2,3,train", "label is not 0, 1 or 2"),
        ("TP53,MDM2,up,train", "label is not 0, 1 or 2"),
        ("TP53,MDM2,,train", "label is not 0, 1 or 2"),
        (",MDM2,1,train", "no perturbation"),
        ("TP53,,1,train", "no target gene"),
        ("TP53,MDM2,1,somewhere", "split is not one of train, val, validation, valid, test"),
        ("TP53,MDM2,1", "3 columns instead of 4"),
        ("TP53,MDM2,1,train,more", "5 columns instead of 4"),
        ("TP53,10-unfolded protein response,1,train", "target is a gene set, not a gene"),
        ("YAP1,TEAD1,2,train", "another label for the same pair in an earlier line"),
        ("TP53,MDM2\x00,1,train", "bytes that are not UTF-8 text"),
    ],
)
def test_bad_rows_are_rejected_and_others_kept(tmp_path: Path, row: str, reason: str) -> None:
    batch = read(IMPORTER, written(tmp_path, "YAP1,TEAD1,1,train", row, "YAP1,WWTR1,0,train"))
    assert batch.rejects.select("file", "line", "reason").rows() == [("K562.csv", 3, reason)]
    assert outcomes(batch)["line"].to_list() == [2, 4]
    assert adds_up(batch)


def test_a_repeated_row_is_set_aside(tmp_path: Path) -> None:
    batch = read(IMPORTER, written(tmp_path, "TP53,MDM2,1,train", "TP53,MDM2,1,train"))
    assert reasons(batch)["set_aside"] == {"repeats an earlier line": 1}
    assert outcomes(batch).height == 1


def test_a_perturbation_in_training_and_test_is_reported(tmp_path: Path) -> None:
    batch = read(IMPORTER, written(tmp_path, "TP53,MDM2,1,train", "TP53,BAX,1,test", "YAP1,BAX,1,test"))
    assert batch.reports["perturbations both in training and held out"] == ["K562: TP53"]
    assert outcomes(batch).height == 3


def test_counts_by_label_are_reported(tmp_path: Path) -> None:
    batch = read(IMPORTER, written(tmp_path, "TP53,MDM2,1,train", "TP53,BAX,2,train", "TP53,YAP1,2,train"))
    assert batch.reports["outcomes by cell line"] == {"K562": {"down": 1, "up": 2}}


@pytest.mark.parametrize(
    ("name", "cell_line"),
    [("K562.csv", "K562"), ("RPE1.csv.gz", "RPE1"), ("hepg2.outcomes.csv", "HepG2"), ("THP-1.outcomes.csv", "THP-1")],
)
def test_the_file_name_says_the_cell_line(name: str, cell_line: str) -> None:
    assert cell_line_of(name) == cell_line


def test_other_cell_lines_and_a_column_of_their_own(tmp_path: Path) -> None:
    named = written(tmp_path, "TP53,MDM2,1,train", name="THP-1.outcomes.csv")
    column = written(
        tmp_path,
        "TP53,MDM2,1,train,k562",
        "TP53,MDM2,1,train,A549",
        header=f"{HEADER},cell_line",
        name="x.outcomes.csv",
    )
    batch = read(IMPORTER, named, column)
    assert outcomes(batch)["cell_line"].to_list() == ["THP-1", "K562", "A549"]


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    batch = read(IMPORTER, written(tmp_path, "train,1,MDM2,TP53", header="split,label,gene,pert"))
    assert outcomes(batch).select("perturbation", "target", "label").rows() == [("TP53", "MDM2", 1)]


def test_two_files_of_one_cell_line_fail(tmp_path: Path) -> None:
    files = [written(tmp_path, "TP53,MDM2,1,train", name=name) for name in ("K562.csv", "k562.outcomes.csv")]
    with pytest.raises(InputFileError, match="outcomes of K562"):
        read(IMPORTER, *files)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"<html></html>", "web page"),
        (b"pert,gene,label\nTP53,MDM2,1\n", "no column split"),
        (b"pert,gene,label,split,gene\n", "doubled"),
        (b"pert,gene,label,split\n", "header and no rows"),
        (b"pert,gene,label,split\nTP53,12-oxidative phosphorylation,1,train\n", "gene sets"),
        (gzip.compress((FOLDER / "K562.csv").read_bytes(), mtime=0)[:-30], "damaged or cut off"),
    ],
)
def test_a_file_that_is_something_else_fails(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "K562.csv"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=problem):
        read(IMPORTER, path)


def test_gene_set_files_are_left_alone_and_discovery_says_so(tmp_path: Path) -> None:
    written(tmp_path, "TP53,MDM2,1,train")
    (tmp_path / "gene_sets").mkdir()
    written(tmp_path / "gene_sets", "AAMP,10-unfolded protein response,0,train", name="k562_set-de.csv")
    found = discover(tmp_path, importers={"perturbqa": IMPORTER})
    assert [file.path.name for file in found.selected["perturbqa"]] == ["K562.csv"]
    assert found.reasons() == {"gene_sets/k562_set-de.csv": "no provider has files of this name"}


def test_what_was_read_can_be_stored(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    version = store_outcomes(home, outcomes(sample()))
    assert load_outcomes(home, version.sha256).height == outcomes(sample()).height


@pytest.mark.real_data
def test_real_files_add_up() -> None:
    folder = REAL.parent / "perturbqa"
    if not folder.is_dir():
        pytest.skip("../shared is absent")
    batch = read(IMPORTER, *(folder / f"{line}.csv" for line in LINES), genes=resolver_of(REAL / "hgnc"))
    assert adds_up(batch)
    assert outcomes(batch).height == 498_438
    assert batch.rejects.is_empty()
    assert outcomes(batch)["perturbation_gene"].null_count() < 1_000
