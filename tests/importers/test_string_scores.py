"""STRING's combined score, checked on rows that STRING published."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.errors import UsageError
from aroma.importers.lines import open_text
from aroma.importers.string_pairs import read_pairs
from aroma.importers.string_scores import CHANNELS, check_channels, combined_score, fit_formula
from aroma.kgstore import schema
from tests.support.samples import REAL

# Rows of 9606.protein.links.full.v12.0: transferred co-expression, experiments, transferred experiments,
# transferred text mining, combined.
PUBLISHED = [
    {"coexpression_transferred": 45, "experiments_transferred": 134, "textmining_transferred": 81, "score": 173},
    {"experiments_transferred": 128, "textmining_transferred": 70, "score": 154},
    {
        "coexpression": 49,
        "coexpression_transferred": 111,
        "experiments_transferred": 49,
        "textmining_transferred": 69,
        "score": 151,
    },
]


def rows(*given: dict[str, int]) -> pl.DataFrame:
    every = [{name: row.get(name.removeprefix("score_"), 0) for name in schema.CHANNEL_COLUMNS} for row in given]
    frame = pl.DataFrame(every, schema=schema.CHANNEL_COLUMNS)
    return frame.with_columns(pl.Series("score", [row.get("score", 0) for row in given], dtype=pl.Int16))


def score(given: dict[str, int], *, excluded: tuple[str, ...] = (), homology: bool = False) -> int:
    return rows(given).select(combined_score(excluded=excluded, homology_corrected=homology)).item()


@pytest.mark.parametrize("row", PUBLISHED)
def test_published_rows_are_reproduced(row):
    assert score(row) == row["score"]


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_lone_channel_is_the_combined_score_and_without_it_the_prior_is_left(channel):
    assert score({channel: 900}) in {899, 900}
    assert score({channel: 900}, excluded=(channel,)) in {40, 41}


def test_transferred_scores_go_with_their_channel():
    both = {"experiments": 500, "experiments_transferred": 300, "database": 700}
    assert score(both, excluded=("experiments",)) == score({"database": 700})
    assert score(both, excluded=("database",)) == score({"experiments": 500, "experiments_transferred": 300})


def test_channels_below_the_prior_count_nothing():
    assert score({"fusion": 40, "database": 500}) == score({"database": 500})


def test_homology_weakens_cooccurrence_and_text_mining_only():
    kin = {"homology": 1000, "cooccurence": 800, "textmining": 900, "experiments": 300}
    assert score(kin, homology=True) == score({"experiments": 300})
    assert score(kin, homology=False) > 900


def test_the_formula_is_told_by_the_file():
    kin = {"homology": 900, "textmining": 900, "experiments": 300}
    for homology in (True, False):
        made = rows({**kin, "score": score(kin, homology=homology)}, {"database": 500, "score": 500})
        fitted = fit_formula(made)
        assert (fitted.homology_corrected, fitted.reproduced) == (homology, 1.0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("textmining_transferred", "use 'textmining'"),
        ("cooccurrence", "did you mean 'cooccurence'"),
        ("homology", "channels are neighborhood"),
    ],
)
def test_what_is_no_channel_is_refused_with_a_hint(name, hint):
    with pytest.raises(UsageError, match=hint):
        check_channels([name])


def test_channel_names_are_understood_in_any_case():
    assert check_channels(["TextMining", " database "]) == {"textmining", "database"}


@pytest.mark.real_data
@pytest.mark.skipif(not (REAL / "string").is_dir(), reason="needs ../shared/kgdata")
def test_every_row_of_the_real_full_file_is_reproduced():
    pairs = read_pairs(open_text(REAL / "string" / "9606.protein.links.full.v12.0.txt.gz"), "full")
    fitted = fit_formula(pairs.rows)
    assert fitted.reproduced == 1.0
    exact = pairs.rows.select(combined_score(homology_corrected=fitted.homology_corrected) == pl.col("score"))
    assert exact.to_series().mean() > 0.998
