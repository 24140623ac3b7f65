"""Tables that users bring: every shape that is understood, and what is said of the others."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aroma.errors import InputFileError
from aroma.kgstore.user_tables import read_every_column, read_user_table

PAIR = {"perturbation": ("pert",), "target": ("gene",)}


def written(tmp_path: Path, content: bytes, name: str = "a.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"perturbation,target\nTULP1,ITCH\nA,B\n"),
        ("no_last_line_end.csv", b"perturbation,target\nTULP1,ITCH\nA,B"),
        ("windows.csv", b"perturbation,target\r\nTULP1,ITCH\r\nA,B\r\n"),
        ("old_mac.csv", b"perturbation,target\rTULP1,ITCH\rA,B\r"),
        ("mark.csv", b"\xef\xbb\xbfpert,gene\nTULP1,ITCH\nA,B\n"),
        ("order.csv", b"gene,note,pert\nITCH,x,TULP1\nB,,A\n"),
        ("tab.tsv", b"pert\tgene\nTULP1\tITCH\nA\tB\n"),
        ("tab_by_content.csv", b"pert\tgene\nTULP1\tITCH\nA\tB\n"),
        ("semicolon.csv", b"pert;gene\nTULP1;ITCH\nA;B\n"),
        ("blank.csv", b"\n\npert, gene\n TULP1 ,ITCH\n\n  \nA,B\n\n"),
        ("quoted.csv", b'"pert","gene"\n"TULP1","ITCH"\n"A","B"\n'),
        ("packed.csv.gz", gzip.compress(b"pert,gene\nTULP1,ITCH\nA,B\n", mtime=0)),
        ("packed_without_suffix.csv", gzip.compress(b"pert,gene\nTULP1,ITCH\nA,B\n", mtime=0)),
    ],
)
def test_every_shape_gives_the_same_table(tmp_path: Path, name: str, content: bytes) -> None:
    frame = read_user_table(written(tmp_path, content, name), required=PAIR)
    assert frame.schema == {"perturbation": pl.String, "target": pl.String}
    assert frame.rows() == [("TULP1", "ITCH"), ("A", "B")]


def test_a_row_of_empty_values_is_a_row(tmp_path: Path) -> None:
    frame = read_user_table(written(tmp_path, b"pert,gene\nTULP1,ITCH\n\n,\n , \nA,B\n"), required=PAIR, line="n")
    assert frame.rows() == [("TULP1", "ITCH", 2), (None, None, 4), (None, None, 5), ("A", "B", 6)]


def test_own_names_count_before_others_and_optional_columns_follow(tmp_path: Path) -> None:
    path = written(tmp_path, b"pert,perturbation,gene,p\nX,TULP1,ITCH,0.5\nX,A,,\n")
    frame = read_user_table(
        path, required=PAIR, optional={"p": (), "cell_line": ()}, dtypes={"p": pl.Float64()}, line="line"
    )
    assert frame.columns == ["perturbation", "target", "p", "line"]
    assert frame.rows() == [("TULP1", "ITCH", 0.5, 2), ("A", None, None, 3)]


def test_parquet_by_content_and_by_suffix(tmp_path: Path) -> None:
    frame = pl.DataFrame({"gene": ["ITCH", ""], "pert": ["TULP1", "A"], "p": [0.5, None]})
    for name in ("a.parquet", "a.csv"):
        frame.write_parquet(tmp_path / name)
        read = read_user_table(tmp_path / name, required=PAIR, optional={"p": ()}, dtypes={"p": pl.Float32()}, line="n")
        assert read.rows() == [("TULP1", "ITCH", 0.5, 1), ("A", None, None, 2)]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b'a\n"x\ny"\n\nz\n', [2, 5]),
        (b'a,b\n"x\ny",1\n\nz,2\n', [2, 5]),
        (b"\na,b\nx,1\n\nz,2\n", [3, 5]),
        (b"a\nx\n\nz\n", [2, 4]),
    ],
)
def test_lines_are_those_of_the_file(tmp_path: Path, content: bytes, lines: list[int]) -> None:
    frame = read_user_table(written(tmp_path, content), required={"a": ()}, line="line")
    assert frame["line"].to_list() == lines


@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        (b"", "", "the file is empty"),
        (b" \r\n\r\n", "", "the file is empty"),
        (gzip.compress(b"", mtime=0), "", "the file is empty"),
        (gzip.compress(b"pert,gene\nA,B\n" * 50, mtime=0)[:-12], "", "its gzip is damaged"),
        (b"pert,gene\nA,B\nA,\x00\n", ", line 3", "NUL byte"),
        (b"pert,gene\nA,B\nA,\xe9\n", ", line 3", "byte 0xe9 is not UTF-8"),
        ("pert,gene\nA,B\n".encode("utf-16"), ", line 1", "it is UTF-16"),
        (b"pert,gene\nA,B\nA,B,C\n", ", line 3", "3 values under 2 columns"),
        (b'pert,gene\nA,B\nA,"B\nC,D\n', ", line 3", "never ends"),
        (b"pert,gene,pert\nA,B,C\n", ", line 1", "column 'pert' twice"),
        (b"pert\nA\n", ", line 1", "has no column target"),
        (b"\nperturbatoin,gene\nA,B\n", ", line 2", "is 'perturbatoin' meant as 'perturbation'?"),
        (b"a,b\n1,2\n", ", line 1", "expected columns perturbation or pert, target or gene"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, content: bytes, place: str, said: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputFileError) as caught:
        read_user_table(path, required=PAIR)
    assert str(caught.value).startswith(f"{path}{place}: ")
    assert said in str(caught.value)


def test_a_value_of_another_type_is_named_with_line_and_column(tmp_path: Path) -> None:
    path = written(tmp_path, b"p\n0.5\n\nhigh\n")
    with pytest.raises(InputFileError, match="line 4: column p: 'high'; expected Float64"):
        read_user_table(path, required={"p": ()}, dtypes={"p": pl.Float64()})


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "."])
def test_what_is_no_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputFileError, match="cannot be read"):
        read_user_table(tmp_path / name, required=PAIR)


def test_every_column_as_the_file_names_it(tmp_path: Path) -> None:
    frame = read_every_column(written(tmp_path, b"x,y\n007,\n"))
    assert frame.to_dict(as_series=False) == {"x": ["007"], "y": [None]}


@given(st.binary(max_size=60))
def test_no_bytes_give_anything_but_a_table_or_an_input_file_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(b"pert,gene\n" + content)
    try:
        frame = read_user_table(path, required=PAIR, line="line")
    except InputFileError:
        return
    assert frame.columns == ["perturbation", "target", "line"]
    assert frame["line"].is_sorted()
