"""Splits: what each forbids, that choices depend on nothing but the seed, and what training gives away."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import load_outcomes
from aroma.model.data_sets import data_set_of
from aroma.model.ground import Ground
from aroma.model.leakage import leakage
from aroma.model.splits import Fold, folds_by_perturbation, make_folds, store_fold
from tests.support.planted import planted

KEYS = ["cell_line", "perturbation", "target"]


def table(ground: Ground, *rows: tuple[str, str, str, int, str | None]) -> pl.DataFrame:
    """Outcomes of these rows; three more in a line of their own, so that every fold has all labels."""
    more = [("RPE1", "AAMP", target, label, "train") for target, label in (("BAX", 0), ("MDM2", 1), ("TP53", 2))]
    frame = pl.DataFrame([*rows, *more], schema=[*KEYS, "label", "split"], orient="row")
    return data_set_of(ground, frame, "test").outcomes


def seen(rows: pl.DataFrame, *columns: str) -> set[tuple[str, ...]]:
    return set(rows.select(columns).unique().rows())


def whole(fold: Fold) -> int:
    return fold.training.height + fold.test.height + fold.left_out


def test_dev_holds_out_a_share_of_each_lines_perturbations(planted_outcomes):
    (fold,) = make_folds(planted_outcomes, "dev", seed=1)
    cells = seen(fold.test, "cell_line", "perturbation")
    assert not cells & seen(fold.training, "cell_line", "perturbation")
    assert whole(fold) == planted_outcomes.height
    for line in ("HepG2", "Jurkat", "K562"):
        assert len({name for where, name in cells if where == line}) == round(0.15 * 24)
    shuffled = planted_outcomes.sample(fraction=1, shuffle=True, seed=5)
    (again,) = make_folds(shuffled, "dev", seed=1)
    assert again.test.sort(KEYS).equals(fold.test.sort(KEYS))
    (other,) = make_folds(planted_outcomes, "dev", seed=2)
    assert cells != seen(other.test, "cell_line", "perturbation")


def test_folds_cover_every_row_once(planted_outcomes):
    for split, key in (("by-perturbation:4", "perturbation"), ("unseen-target:4", "target")):
        folds = make_folds(planted_outcomes, split)
        assert len(folds) == 4
        assert pl.concat([fold.test for fold in folds]).sort(KEYS).equals(planted_outcomes.sort(KEYS))
        groups = ["cell_line", key] if key == "perturbation" else [key]
        assert all(not seen(fold.test, *groups) & seen(fold.training, *groups) for fold in folds)


def test_strict_leaves_out_the_test_perturbations_of_every_line(planted_outcomes):
    (dev,), (strict,) = make_folds(planted_outcomes, "dev"), make_folds(planted_outcomes, "strict:dev")
    assert strict.test.equals(dev.test)
    assert not seen(strict.test, "perturbation") & seen(strict.training, "perturbation")
    assert strict.left_out == dev.training.height - strict.training.height > 0
    assert whole(strict) == planted_outcomes.height
    assert strict.name == "strict-dev-seed0"
    assert make_folds(planted_outcomes, "strict")[0].test.equals(dev.test)


def test_unseen_line_in_turn_or_by_name(planted_outcomes):
    folds = make_folds(planted_outcomes, "unseen-line")
    assert [fold.name for fold in folds] == ["unseen-line-HepG2", "unseen-line-Jurkat", "unseen-line-K562"]
    for fold in folds:
        assert len(seen(fold.test, "cell_line")) == 1
        assert not seen(fold.test, "cell_line") & seen(fold.training, "cell_line")
    assert make_folds(planted_outcomes, "unseen-line:k-562")[0].test.equals(folds[2].test)
    with pytest.raises(UsageError, match="no outcome is of that line; there are: HepG2, Jurkat, K562"):
        make_folds(planted_outcomes, "unseen-line:RPE1")


def test_official_and_what_it_leaves_out(sample_home: Home):
    outcomes = load_outcomes(sample_home)
    (fold,) = make_folds(outcomes, "official")
    assert set(fold.training["split"]) == {"train"}
    assert set(fold.test["split"]) == {"test"}
    (strict,) = make_folds(outcomes, "strict")
    assert strict.name == "strict-official"
    assert strict.test.equals(fold.test)
    (dev,) = make_folds(outcomes, "dev")
    assert set(dev.test["split"]) == {"train"}
    assert dev.left_out == fold.test.height


def test_a_perturbation_on_both_sides_is_refused_by_name(ground: Ground):
    outcomes = table(ground, ("K562", "RPL3", "TP53", 2, "train"), ("K562", "RPL3", "BAX", 0, "test"))
    with pytest.raises(UsageError, match=r"1 perturbations are in training and in test: RPL3 K562; move"):
        make_folds(outcomes, "official")


def test_the_same_gene_under_two_names_is_one_perturbation(ground: Ground):
    outcomes = table(ground, ("K562", "AARS", "TP53", 2, "train"), ("K562", "AARS1", "BAX", 0, "test"))
    with pytest.raises(UsageError, match="are in training and in test: AARS1 K562"):
        make_folds(outcomes, "official")
    elsewhere = table(ground, ("K562", "AARS", "TP53", 2, "train"), ("HepG2", "AARS1", "TP53", 0, "test"))
    (fold,) = make_folds(elsewhere, "official")
    found = leakage(fold)
    assert (found.perturbation_elsewhere, found.perturbation_elsewhere_by_name) == (1, 0)
    assert (found.pair_elsewhere, found.same_label_elsewhere) == (1, 0)
    assert "1 of them under another name" in " ".join(found.sentences())
    (strict,) = make_folds(elsewhere, "strict:official")
    assert strict.training.height == fold.training.height - 1


def test_leaks_are_counted(ground: Ground):
    rows = [
        ("K562", "RPL3", "TP53", 2, "train"),
        ("HepG2", "RPL3", "TP53", 2, "test"),
        ("HepG2", "RPL3", "MDM2", 0, "test"),
        ("K562", "AARS", "BAX", 0, "test"),
        ("K562", "AARS1", "BAX", 0, "test"),
    ]
    (fold,) = make_folds(table(ground, *rows), "official")
    found = leakage(fold)
    assert found.test_rows == 4
    assert (found.pair_elsewhere, found.same_label_elsewhere) == (1, 1)
    assert found.perturbation_elsewhere == found.perturbation_elsewhere_by_name == 2
    assert found.repeated == 2
    assert found.duplicates == 0
    assert found.perturbation_same_line == 0
    assert found.target_unseen == 4
    assert found.examples["pair_elsewhere"] == ["HepG2 RPL3 TP53"]
    twice = Fold("x", "stored", fold.training, fold.training)
    assert leakage(twice).duplicates == fold.training.height


def test_empty_folds_and_missing_classes_are_said(ground: Ground, planted_outcomes):
    with pytest.raises(UsageError, match="split official has no test row: no outcome has the split 'test'; use dev"):
        make_folds(planted_outcomes.with_columns(split=pl.lit("train")), "official")
    with pytest.raises(UsageError, match="split official leaves no training row"):
        make_folds(planted_outcomes, "official")
    with pytest.raises(UsageError, match="has no test row: use fewer folds"):
        make_folds(planted_outcomes, "by-perturbation:99")
    with pytest.raises(UsageError, match="no training row is up; a model needs rows of each label"):
        make_folds(planted_outcomes.filter(pl.col("label") != 2), "dev")
    with pytest.raises(UsageError, match="'one' is no number of folds"):
        make_folds(planted_outcomes, "by-perturbation:one")
    with pytest.raises(UsageError, match="there is no split 'devv'; there are: all, official, dev"):
        make_folds(planted_outcomes, "devv")


@pytest.mark.parametrize("split", ["dev", "strict:dev", "unseen-line:K562"])
def test_a_stored_split_is_the_same_split(planted_outcomes, tmp_path: Path, split: str):
    home = Home(tmp_path / "home")
    (fold,) = make_folds(planted_outcomes, split)
    stored = store_fold(home, fold, planted_outcomes, "mine")
    assert stored.rows.height == fold.withheld
    (again,) = make_folds(planted_outcomes, "mine", home=home)
    assert again.training.sort(KEYS).equals(fold.training.sort(KEYS))
    assert again.test.sort(KEYS).equals(fold.test.sort(KEYS))
    assert again.left_out == fold.left_out
    with pytest.raises(UsageError, match="another split is called 'mine'"):
        store_fold(home, make_folds(planted_outcomes, "dev", seed=9)[0], planted_outcomes, "mine")


def test_training_folds_keep_a_perturbation_together(ground: Ground):
    rows = ground.rows(planted())
    folds = folds_by_perturbation(rows, 4, seed=1)
    together = rows.with_columns(fold=folds).group_by("perturbation").agg(pl.col("fold").n_unique())
    assert set(together["fold"]) == {1}
    assert set(folds) == {0, 1, 2, 3}
