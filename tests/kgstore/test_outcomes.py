"""Outcomes are named by their content; splits are never changed behind a model's back."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aroma.errors import ReleaseError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import (
    OUTCOMES,
    content_hash,
    define_split,
    list_outcomes,
    list_splits,
    load_outcomes,
    load_split,
    store_outcomes,
)


def outcomes(*rows: tuple[str, str, str, int]) -> pl.DataFrame:
    given_rows = rows or (("K562", "TULP1", "ITCH", 0), ("K562", "AAMP", "AGPAT1", 1), ("Jurkat", "AAMP", "ITCH", 2))
    made = [
        {
            "cell_line": cell_line,
            "perturbation": perturbation,
            "target": target,
            "perturbation_gene": f"HGNC:{line}",
            "target_gene": None,
            "label": label,
            "split": "train",
            "data_set": "PerturbQA",
            "line": line,
        }
        for line, (cell_line, perturbation, target, label) in enumerate(given_rows, start=2)
    ]
    return pl.DataFrame(made, schema=OUTCOMES)


def home_at(path: Path) -> Home:
    return Home(path / "home")


def test_stored_rows_come_back(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    version = store_outcomes(home, outcomes())
    assert (version.rows, version.cell_lines) == (3, {"Jurkat": 1, "K562": 2})
    assert version.data_sets == ("PerturbQA",)
    back = load_outcomes(home)
    assert dict(back.schema) == OUTCOMES
    assert sorted(back.rows()) == sorted(outcomes().rows())


def test_same_content_in_another_order_is_the_same_version_and_writes_nothing(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    first = store_outcomes(home, outcomes())
    table = home.outcomes / first.sha256 / "outcomes.parquet"
    before = (table.stat().st_mtime_ns, table.stat().st_ino)
    assert store_outcomes(home, outcomes().reverse()) == first
    assert (table.stat().st_mtime_ns, table.stat().st_ino) == before
    assert sorted(path.name for path in home.outcomes.iterdir()) == [first.sha256]


def test_any_other_value_is_another_version(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    first = store_outcomes(home, outcomes())
    for change in (
        pl.lit(2, dtype=pl.Int8).alias("label"),
        pl.lit("test").alias("split"),
        pl.lit("HGNC:9").alias("target_gene"),
        pl.lit(None, dtype=pl.String).alias("perturbation_gene"),
    ):
        assert store_outcomes(home, outcomes().with_columns(change)).sha256 != first.sha256
    assert len(list_outcomes(home)) == 5


def test_a_version_is_found_by_its_first_digits(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    first = store_outcomes(home, outcomes())
    other = store_outcomes(home, outcomes(("K562", "TP53", "MDM2", 1)))
    assert load_outcomes(home, first.sha256[:10]).height == 3
    assert load_outcomes(home, other.sha256).height == 1
    with pytest.raises(UsageError, match="zzz") as caught:
        load_outcomes(home, "zzz")
    assert first.sha256[:12] in str(caught.value)


def test_first_digits_that_fit_two_versions_are_refused(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    for number in range(17):  # sixteen digits: two of seventeen begin alike
        store_outcomes(home, outcomes(("K562", f"G{number}", "MDM2", 1)))
    firsts = [version.sha256[0] for version in list_outcomes(home)]
    twice = max(firsts, key=firsts.count)
    with pytest.raises(UsageError, match=f"{firsts.count(twice)} versions"):
        load_outcomes(home, twice)


def test_nothing_stored_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--from"):
        load_outcomes(home_at(tmp_path))


def test_a_damaged_table_is_noticed(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    version = store_outcomes(home, outcomes())
    path = home.outcomes / version.sha256 / "outcomes.parquet"
    outcomes(("K562", "TP53", "MDM2", 1)).write_parquet(path)
    with pytest.raises(ReleaseError, match="not what its name says"):
        load_outcomes(home)
    path.write_bytes(b"PAR1")
    with pytest.raises(ReleaseError, match="cannot be read"):
        load_outcomes(home)


def test_what_is_half_written_is_not_listed(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    store_outcomes(home, outcomes())
    (home.outcomes / ".new-cut-off").mkdir()
    assert len(list_outcomes(home)) == 1


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (outcomes().drop("label"), "lack the column label"),
        (outcomes().with_columns(pl.lit(1).alias("extra")), "unknown column extra"),
        (outcomes().clear(), "no rows"),
        (outcomes().with_columns(pl.lit(3, dtype=pl.Int8).alias("label")), "not 0, 1 or 2"),
        (outcomes().with_columns(pl.lit(None, dtype=pl.Int8).alias("label")), "not 0, 1 or 2"),
    ],
)
def test_bad_frames_are_refused(tmp_path: Path, frame: pl.DataFrame, said: str) -> None:
    home = home_at(tmp_path)
    with pytest.raises(UsageError, match=said):
        store_outcomes(home, frame)
    assert not home.outcomes.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ReleaseError, match="cannot be written"):
        store_outcomes(home_at(tmp_path), outcomes())


@given(st.lists(st.text(max_size=4), min_size=2, max_size=4))
def test_the_hash_tells_fields_apart(values: list[str]) -> None:
    whole = pl.DataFrame({f"c{place}": [value] for place, value in enumerate(values)})
    moved = pl.DataFrame({f"c{place}": [value] for place, value in enumerate([values[0] + values[1], "", *values[2:]])})
    assert (content_hash(whole) == content_hash(moved)) == (values[1] == "")


@given(st.lists(st.text("a\\n0u\n\x1f", max_size=3) | st.none(), min_size=4, max_size=4, unique=True))
def test_the_hash_tells_orders_and_nulls_apart(values: list[str | None]) -> None:
    tables = [
        pl.DataFrame({"a": values[:2], "b": values[2:]}, schema={"a": pl.String, "b": pl.String}),
        pl.DataFrame({"a": values[2:], "b": values[:2]}, schema={"a": pl.String, "b": pl.String}),
        pl.DataFrame({"a": values[::2], "b": values[1::2]}, schema={"a": pl.String, "b": pl.String}),
    ]
    assert len({content_hash(table) for table in tables}) == 3


def test_a_split_selects_perturbations_or_pairs(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    whole = define_split(home, "aamp", pl.DataFrame({"cell_line": ["K562"], "perturbation": ["AAMP"]}))
    assert whole.select(outcomes()).select("cell_line", "target").rows() == [("K562", "AGPAT1")]
    pair = define_split(
        home,
        "pair",
        pl.DataFrame({"cell_line": ["K562"] * 2, "perturbation": ["TULP1", "AAMP"], "target": ["ITCH", "X"]}),
    )
    assert pair.select(outcomes())["perturbation"].to_list() == ["TULP1"]
    assert list_splits(home) == ["aamp", "pair"]
    assert load_split(home, "pair").sha256 == pair.sha256
    assert list_outcomes(home) == []


def test_a_split_is_never_changed(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    rows = pl.DataFrame({"cell_line": ["K562", "RPE1"], "perturbation": ["AAMP", "TP53"]})
    first = define_split(home, "held-out", rows)
    assert define_split(home, "held-out", rows.reverse()).sha256 == first.sha256
    with pytest.raises(UsageError, match="another split is called 'held-out'"):
        define_split(home, "held-out", rows.head(1))
    assert load_split(home, "held-out").rows.height == 2


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", "a/b"])
def test_a_split_name_stays_in_its_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        define_split(home_at(tmp_path), name, pl.DataFrame({"cell_line": ["K562"], "perturbation": ["AAMP"]}))


def test_bad_splits_are_refused(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    with pytest.raises(UsageError, match="lacks the column perturbation"):
        define_split(home, "one", pl.DataFrame({"cell_line": ["K562"]}))
    with pytest.raises(UsageError, match="no rows"):
        define_split(home, "one", pl.DataFrame(schema={"cell_line": pl.String, "perturbation": pl.String}))
    with pytest.raises(UsageError, match="without a cell line"):
        define_split(home, "one", pl.DataFrame({"cell_line": [None], "perturbation": ["AAMP"]}))
    with pytest.raises(UsageError, match="there are: none"):
        load_split(home, "one")


def test_a_damaged_split_is_noticed(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    define_split(home, "one", pl.DataFrame({"cell_line": ["K562"], "perturbation": ["AAMP"]}))
    manifest = home.outcomes / "splits" / "one" / "manifest.json"
    manifest.write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(ReleaseError, match="define the split again"):
        load_split(home, "one")
    manifest.write_text("[]")
    with pytest.raises(ReleaseError, match="not a manifest"):
        load_split(home, "one")
