"""Files of pairs in every shape that is understood, and those that are refused."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.errors import InputFileError
from aroma.retrieval.pairs import read_pairs

EXPECTED = [(0, "TULP1", "ITCH", "RPE1"), (1, "007", "", "RPE1")]


def test_csv_with_a_cell_line_keeps_text_as_it_is(tmp_path):
    path = tmp_path / "any.csv"
    path.write_text("perturbation,target,cell_line,label\nTULP1,ITCH,RPE1,1\n007,,RPE1,0\n")
    assert read_pairs(path).rows() == EXPECTED


def test_perturbqa_names_its_cell_line_by_the_file(tmp_path):
    path = tmp_path / "RPE1.csv"
    path.write_text("pert,gene,label\nTULP1,ITCH,1\n007,,0\n")
    assert read_pairs(path).rows() == EXPECTED


def test_parquet_in_any_column_order(tmp_path):
    path = tmp_path / "pairs.parquet"
    pl.DataFrame({"cell_line": ["RPE1"] * 2, "target": ["ITCH", None], "perturbation": ["TULP1", "007"]}).write_parquet(
        path
    )
    assert read_pairs(path).rows() == EXPECTED


def test_a_header_alone_is_no_error(tmp_path):
    path = tmp_path / "K562.csv"
    path.write_text("perturbation,target\n")
    assert read_pairs(path).height == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"perturbation\nTULP1\n", "has no column target"),
        ("a.csv", b"x,y\n1,2\n", "has no column perturbation, target"),
        ("a.parquet", b"not parquet", "cannot be read"),
        ("none.csv", None, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_name(tmp_path, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputFileError, match=said) as caught:
        read_pairs(path)
    assert name in str(caught.value)
