"""Outcomes from files, directories and the home: one shape, and every bad row named."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from aroma.errors import InputFileError, UsageError
from aroma.kgstore.outcomes import OUTCOMES, list_outcomes
from aroma.model.data_sets import read_data_set, read_expression
from aroma.model.ground import Ground
from tests.support.samples import BUNDLED, gene

SAMPLES = BUNDLED / "perturbqa"


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_directory_the_file_and_the_home_agree(ground: Ground):
    directory, stored = read_data_set(ground, SAMPLES), read_data_set(ground)
    assert dict(directory.outcomes.schema) == OUTCOMES
    keys = ["cell_line", "perturbation", "target"]
    assert directory.outcomes.sort(keys).equals(stored.outcomes.sort(keys))
    one = read_data_set(ground, SAMPLES / "K562.csv")
    assert one.outcomes.equals(directory.outcomes.filter(pl.col("cell_line") == "K562"))
    assert "NOTAGENE1" in directory.unresolved
    assert directory.skipped == {}


def test_a_stored_version_by_its_first_digits(ground: Ground):
    version = list_outcomes(ground.home)[-1].sha256
    assert read_data_set(ground, version[:8]).outcomes.equals(read_data_set(ground, "stored").outcomes)


def test_a_table_of_ones_own(ground: Ground, tmp_path: Path):
    file = written(
        tmp_path / "mine.csv",
        "target,cell_line,perturbation,label,difference",
        "TP53,k-562,AARS,2,0.8",
        "MDM2,K562, RPL3 ,0,",
        "TP53,HeLa,RPL3,1.0,-0.25",
        "TP53,he-la,RPL5,0,0.1",
    )
    found = read_data_set(ground, file)
    assert found.outcomes.select("cell_line", "perturbation", "target", "label", "split").rows() == [
        ("K562", "AARS", "TP53", 2, None),
        ("K562", "RPL3", "MDM2", 0, None),
        ("HeLa", "RPL3", "TP53", 1, None),
        ("HeLa", "RPL5", "TP53", 0, None),
    ]
    assert found.outcomes["perturbation_gene"][0] == gene("AARS1")
    assert found.magnitudes is not None
    assert found.magnitudes["difference"].to_list() == [0.8, -0.25, 0.1]
    assert found.problems() == []


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_bad_rows_are_rejects_and_good_ones_stay(ground: Ground, tmp_path: Path, suffix: str):
    rows = [
        ("K562", "RPL3", "TP53", "2"),
        ("K562", "RPL3", "MDM2", "3"),
        ("K562", "RPL3", "BAX", "up"),
        ("K562", "", "TP53", "1"),
        (None, "RPL5", "TP53", "1"),
        ("K562", "RPL3", "TP53", "2"),
        ("K562", "RPL3", "TP53", "1"),
        ("K562", "RPL5", "TP53", None),
    ]
    frame = pl.DataFrame(rows, schema=["cell_line", "perturbation", "target", "label"], orient="row")
    file = tmp_path / f"mine{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(file)
    else:
        text = frame.write_csv().encode()
        file.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    found = read_data_set(ground, file)
    assert found.outcomes.select("perturbation", "target", "label").rows() == [("RPL3", "TP53", 2)]
    assert found.reasons == {
        "another label for the same pair in an earlier line": 1,
        "label is not 0, 1 or 2": 3,
        "no cell line": 1,
        "no perturbation": 1,
    }
    assert found.repeated == 1
    first = 1 if suffix == ".parquet" else 2
    assert found.rejects.filter(pl.col("reason").str.starts_with("label"))["line"].to_list() == [
        first + 1, first + 2, first + 7,
    ]  # fmt: skip
    said = " ".join(found.problems())
    assert "RPL3\\tTP53\\t1" in said
    assert f"line {first + 6}" in said


def test_perturbqas_own_bad_rows_are_named_too(ground: Ground, tmp_path: Path):
    file = written(tmp_path / "K562.csv", "pert,gene,label,split", "RPL3,TP53,2,train", "RPL3,TP53,0,train",
                   "RPL3,MDM2,7,train", "RPL3,TP53,2,train")  # fmt: skip
    found = read_data_set(ground, file)
    assert found.outcomes.height == 1
    assert found.repeated == 1
    assert sorted(found.rejects["line"]) == [3, 4]


def test_two_labels_under_two_names_of_a_gene_are_named(ground: Ground, tmp_path: Path):
    file = written(tmp_path / "o.csv", "cell_line,perturbation,target,label", "K562,AARS,TP53,2", "K562,AARS1,TP53,0",
                   "K562,AARS1,BAX,0", "K562,AARS,BAX,0")  # fmt: skip
    found = read_data_set(ground, file)
    assert found.contradictions["perturbation"].to_list() == ["AARS", "AARS1"]
    assert "2 rows have another label under another name of the same gene (K562 AARS TP53; K562 AARS1 TP53)" in (
        found.problems()
    )


def test_lines_are_spelt_alike_across_files(ground: Ground, tmp_path: Path):
    written(tmp_path / "a.csv", "cell_line,perturbation,target,label", "HeLa,RPL3,TP53,2")
    written(tmp_path / "b.csv", "cell_line,perturbation,target,label", "he-la,RPL5,TP53,2")
    assert read_data_set(ground, tmp_path).outcomes["cell_line"].to_list() == ["HeLa", "HeLa"]


def test_baseline_expression(ground: Ground, tmp_path: Path):
    file = written(tmp_path / "e.csv", "gene,K562,RPE1", "AARS,1.5,0", "NOGENE,2,", "TP53,0.25,3")
    found = read_expression(ground, file)
    assert found.rows() == [(gene("AARS1"), 1.5, 0.0), ("NOGENE", 2.0, None), (gene("TP53"), 0.25, 3.0)]
    with pytest.raises(InputFileError, match=r"K562 of TP53 is 'high', no number"):
        read_expression(ground, written(tmp_path / "f.csv", "gene,K562", "TP53,high"))
    with pytest.raises(InputFileError, match="lacks the column gene"):
        read_expression(ground, written(tmp_path / "g.csv", "symbol,K562", "TP53,1"))


def test_what_is_no_outcomes_is_refused_or_skipped(ground: Ground, tmp_path: Path):
    with pytest.raises(UsageError, match="no such file or directory"):
        read_data_set(ground, tmp_path / "nothing")
    with pytest.raises(UsageError, match="has no file of outcomes"):
        read_data_set(ground, tmp_path)
    other = written(tmp_path / "other.csv", "a,b", "1,2")
    with pytest.raises(InputFileError, match="label"):
        read_data_set(ground, other)
    good = written(tmp_path / "good.csv", "cell_line,perturbation,target,label", "K562,RPL3,TP53,2")
    assert list(read_data_set(ground, tmp_path).skipped) == ["other.csv"]
    (tmp_path / "again.csv").write_text(good.read_text())
    with pytest.raises(UsageError, match="two files have K562, RPL3, TP53"):
        read_data_set(ground, tmp_path)
    bad = written(tmp_path / "bad.csv", "cell_line,perturbation,target,label", "K562,RPL3,TP53,9")
    with pytest.raises(UsageError, match=r"no usable outcome.*label is not 0, 1 or 2.*line 2"):
        read_data_set(ground, bad)
