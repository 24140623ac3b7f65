"""Reading predictions: each kind of bad row is counted and named, and the good rows go on."""

from __future__ import annotations

import gzip

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from aroma.errors import InputFileError, UsageError
from aroma.model.evaluation.predictions import KEY, answers, read_predictions
from aroma.model.ground import Ground
from aroma.model.labels import PROBABILITY_COLUMNS

HEADER = "cell_line,perturbation,target,p_down,p_not_significant,p_up,label\n"
GOOD = "K562,TP53,MDM2,0.7,0.2,0.1,1\n"


@pytest.fixture(scope="module")
def ground(sample_home) -> Ground:
    return Ground(sample_home)


def read(tmp_path, body: str, header: str = HEADER, name: str = "mine.csv"):
    path = tmp_path / name
    path.write_text(header + body)
    return read_predictions(path)


def test_good_rows_stand_as_they_are(tmp_path):
    found = read(tmp_path, GOOD + "RPE1,TP53,MDM2,0.1,0.8,0.1,0\n")
    assert found.name == "mine"
    assert found.problems == ()
    assert found.rows.columns == [*KEY, *PROBABILITY_COLUMNS, "label"]
    assert found.rows["label"].to_list() == [1, 0]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("K562,TP53,BAX,NaN,0.2,0.1,1", "no number"),
        ("K562,TP53,BAX,,0.2,0.1,1", "missing"),
        ("K562,TP53,BAX,high,0.2,0.1,1", "no number"),
        ("K562,TP53,BAX,inf,0.2,0.1,1", "no number"),
        ("K562,TP53,BAX,-0.2,0.9,0.3,1", "between 0 and 1"),
        ("K562,TP53,BAX,0.2,0.2,0.1,1", "sum to one"),
        ("K562,TP53,BAX,0.7,0.2,0.1,3", "label is not 0"),
        ("K562,TP53,BAX,0.7,0.2,0.1,-1", "label is not 0"),
        ("K562,TP53,BAX,0.7,0.2,0.1,up", "label is not 0"),
        ("K562,TP53,BAX,0.7,0.2,0.1,", "label is not 0"),
        (",TP53,BAX,0.7,0.2,0.1,1", "no cell line"),
        ("K562,,BAX,0.7,0.2,0.1,1", "no perturbation"),
        ("K562,TP53,,0.7,0.2,0.1,1", "no target"),
        ("K562,TP53,MDM2,0.7,0.2,0.1,1", "repeat an earlier row"),
        ("K562,TP53,MDM2,0.1,0.8,0.1,0", "another answer"),
    ],
)
def test_a_bad_row_is_counted_and_named(tmp_path, row, what):
    found = read(tmp_path, GOOD + row + "\n")
    assert found.rows.height == 1
    assert found.rows["label"].to_list() == [1]
    (problem,) = found.problems
    assert problem.rows == 1
    assert what in problem.what
    assert what in problem.sentence()
    if problem.what != "repeat an earlier row":
        assert "line 3" in problem.sentence()


def test_labels_as_floats_and_small_rounding_are_fine(tmp_path):
    found = read(tmp_path, "K562,TP53,MDM2,0.3333,0.3333,0.3333,2.0\n")
    assert found.problems == ()
    assert found.rows["label"].to_list() == [2]
    assert found.rows.select(pl.sum_horizontal(PROBABILITY_COLUMNS)).item() == pytest.approx(1.0)


def test_without_labels_the_largest_probability_counts_and_is_said(tmp_path):
    found = read(tmp_path, "K562,TP53,MDM2,0.1,0.2,0.7\n", HEADER.replace(",label", ""))
    assert found.rows["label"].to_list() == [2]
    assert "largest probability" in found.problems[0].what


def test_not_one_good_row_is_an_error_with_the_reason(tmp_path):
    with pytest.raises(UsageError, match=r"mine\.csv has no usable prediction.*no number.*line 2"):
        read(tmp_path, "K562,TP53,MDM2,x,0.2,0.1,1\n")
    with pytest.raises(InputFileError, match="p_up"):
        read(tmp_path, "K562,TP53,MDM2,0.7,0.3,1\n", HEADER.replace("p_up,", ""))


def test_parquet_with_nan_and_gzip_are_read_alike(tmp_path):
    frame = pl.DataFrame(
        {
            "cell_line": ["K562"] * 3,
            "pert": ["TP53", "BAX", "MDM2"],
            "gene": ["MDM2"] * 3,
            "p_down": [0.7, float("nan"), 0.2],
            "p_not_significant": [0.2, 0.5, 0.3],
            "p_up": [0.1, 0.5, 0.5],
            "label": [1, 0, 2],
        }
    )
    frame.write_parquet(tmp_path / "mine.parquet")
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    one, two = read_predictions(tmp_path / "mine.parquet"), read_predictions(tmp_path / "mine.csv.gz")
    assert_frame_equal(one.rows, two.rows)
    assert [problem.rows for problem in one.problems] == [problem.rows for problem in two.problems] == [1]


def test_a_million_rows_with_nan_are_judged_in_one_pass(tmp_path):
    size = 1_000_000
    rng = np.random.default_rng(0)
    down = rng.random(size)
    down[::1000] = np.nan
    frame = pl.DataFrame(
        {
            "cell_line": ["K562"] * size,
            "perturbation": [f"P{number // 1000}" for number in range(size)],
            "target": [f"T{number % 1000}" for number in range(size)],
            "p_down": down,
            "p_not_significant": 1 - down,
            "p_up": 0.0,
            "label": (down > 0.5).astype(int),
        }
    )
    frame.write_parquet(tmp_path / "large.parquet")
    found = read_predictions(tmp_path / "large.parquet")
    assert found.rows.height == size - 1000
    assert [problem.rows for problem in found.problems] == [1000]


def test_answers_are_found_by_name_by_gene_and_by_spelling_of_the_line(ground, tmp_path):
    asked = ground.rows(
        pl.DataFrame(
            [("K562", "TP53", "MDM2"), ("K562", "TP53", "BAX"), ("RPE1", "TP53", "MDM2")],
            schema=list(KEY),
            orient="row",
        )
    )
    measured = pl.concat([asked, ground.rows(pl.DataFrame([("K562", "ATF4", "BAX")], schema=list(KEY), orient="row"))])
    found = read(
        tmp_path,
        "K-562,P53,MDM2,0.7,0.2,0.1,1\n"  # another name of the gene, another spelling of the line
        "K562,ATF4,BAX,0.1,0.8,0.1,0\n"  # measured, not asked
        "K562,SDHA,BAX,0.1,0.8,0.1,0\n"  # not measured
        "HeLa,TP53,MDM2,0.1,0.8,0.1,0\n",  # no such line
    )
    got = answers(ground, found, asked, measured)
    assert got.rows["label"].to_list() == [1, None, None]
    said = {problem.what: problem for problem in got.problems}
    assert said["no outcome is of the cell line (HeLa)"].rows == 1
    assert said["answer a row that is not evaluated here (a training row)"].rows == 1
    assert said["answer a pair that was not measured"].rows == 1
    assert said["are asked and have no usable prediction"].rows == 2
    assert "K562 TP53 BAX" in said["are asked and have no usable prediction"].sentence()


def test_the_name_as_written_goes_before_another_name_of_the_gene(ground, tmp_path):
    asked = ground.rows(pl.DataFrame([("K562", "TP53", "MDM2")], schema=list(KEY), orient="row"))
    found = read(tmp_path, "K562,P53,MDM2,0.7,0.2,0.1,1\nK562,TP53,MDM2,0.1,0.2,0.7,2\n")
    assert answers(ground, found, asked, asked).rows["label"].to_list() == [2]
