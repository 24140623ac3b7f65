"""The exam of every plug-in: those that are installed sit it without a line of their own, and so does the example.

A new plug-in: a class that ``aroma.models`` names (docs/how-to/add-a-model.md). What fails here says what is missing.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from aroma.errors import ModelError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import load_outcomes, store_outcomes
from aroma.model.ground import Ground
from aroma.model.labels import CLASSES, PROBABILITY_COLUMNS
from aroma.model.plugin import CARD, Card, Plugin, Training, column_of, read_card
from aroma.model.registry import available, plugin
from aroma.model.splits import make_folds
from tests.support.planted import planted
from tests.support.samples import SAMPLES

EXAMPLE = "busy-perturbations"
SUFFIXES = {".json", ".parquet", ".npy", ".safetensors", ".txt", ".j2", ".jinja"}
"""Formats that hold data and no code; prompt and chat templates are rendered in a sandbox."""

SETTINGS: dict[str, dict[str, Any]] = {"aroma": {"rows": 240, "epochs": 11, "rate": 0.004, "interaction": "gated"}}
"""Settings with which a plug-in sits the exam, where its usual ones do not learn the planted response."""
QUICK: dict[str, dict[str, Any]] = {"aroma": {"rows": 48, "epochs": 1}}
"""Settings of models that are made again to be compared, where those above take more than a few seconds a fit."""

each_plugin = pytest.mark.parametrize("name", [*available(), EXAMPLE])


@cache
def plugin_class(name: str) -> type[Plugin]:
    if name != EXAMPLE:
        return plugin(name)
    place = SAMPLES / "lab_plugin" / "src" / "lab_plugin" / "__init__.py"
    spec = importlib.util.spec_from_file_location("lab_plugin", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[Plugin] = module.BusyPerturbations
    return found


def fit(name: str, training: Training, ground: Ground, *, quick: bool = False, **more: Any) -> Plugin:
    """Fit a plug-in as it sits the exam, or quickly."""
    settings = SETTINGS.get(name, {})
    return plugin_class(name).fit(
        replace(training, parameters=QUICK.get(name, settings) if quick else settings), ground, **more
    )


@pytest.fixture(scope="session")
def ground(home_with_vectors: Home) -> Ground:
    return Ground(home_with_vectors)


@pytest.fixture(scope="session")
def rows(ground: Ground) -> pl.DataFrame:
    """Training rows: a planted response over the sample's genes, some of which the release has not."""
    made = ground.rows(planted())
    assert made["target_gene"].null_count()
    return made


@pytest.fixture(scope="session")
def training(rows: pl.DataFrame) -> tuple[Training, pl.DataFrame]:
    """What is trained on and what is held out, by perturbation."""
    outcomes = rows.with_columns(split=pl.lit("train"))
    (fold,) = make_folds(outcomes, "dev")
    return Training(fold.training, seed=3, split=fold.name, withheld=fold.withheld), fold.test


@pytest.fixture(scope="session")
def fitted(ground: Ground, training: tuple[Training, pl.DataFrame]) -> Callable[[str], Plugin]:
    """A fitted model of a plug-in, made once; not to be changed."""
    return cache(lambda name: fit(name, training[0], ground))


@pytest.fixture(scope="session")
def quickly_fitted(
    fitted: Callable[[str], Plugin], ground: Ground, training: tuple[Training, pl.DataFrame]
) -> Callable[[str], Plugin]:
    """What a model made again is compared with; for most plug-ins the same as ``fitted``."""
    return cache(lambda name: fit(name, training[0], ground, quick=True) if name in QUICK else fitted(name))


def unknown_rows() -> pl.DataFrame:
    """Rows with a perturbation, a target, a line or all of them that nothing knows."""
    asked = [
        ("K562", "NOGENE1", "TP53"),
        ("K562", "RPL3", "NOGENE2"),
        ("MCF-9", "RPL3", "TP53"),
        ("MCF-9", "NOGENE1", "NOGENE2"),
        ("K562", "AAMP", "ZNF580"),
        ("k-562", "RPL3", "TP53"),
        (None, None, None),
    ]
    return pl.DataFrame(asked, schema=["cell_line", "perturbation", "target"], orient="row")


@each_plugin
def test_says_what_it_is(name, fitted):
    cls = plugin_class(name)
    assert cls.name == name
    assert cls.version
    assert cls.licence
    assert len(cls.summary) > 20
    assert cls.__doc__
    assert all(isinstance(value, bool | int | float | str) for value in cls.defaults.values())


@each_plugin
def test_probabilities_sum_to_one(name, fitted, training):
    found = fitted(name).predict_proba(training[1])
    assert found.shape == (training[1].height, 3)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-6


@each_plugin
def test_is_better_than_the_class_rates_on_rows_it_learned_from(name, fitted, training):
    rows = training[0].rows
    columns = column_of(rows["label"].to_numpy())
    rates = np.bincount(columns, minlength=3) / len(columns)
    found = fitted(name).predict_proba(rows)
    assert -np.log(found[np.arange(len(columns)), columns]).mean() < -np.log(rates[columns]).mean()


@each_plugin
def test_same_seed_same_model(name, quickly_fitted, ground, training):
    again = fit(name, training[0], ground, quick=True)
    assert np.array_equal(quickly_fitted(name).predict_proba(training[1]), again.predict_proba(training[1]))
    assert quickly_fitted(name).card.class_weights == again.card.class_weights
    assert quickly_fitted(name).card.training_sha256 == again.card.training_sha256


@each_plugin
def test_order_and_repeats_of_training_rows_do_not_matter(name, quickly_fitted, ground, training):
    given, held = training
    rows = pl.concat([given.rows, given.rows.sample(fraction=0.3, seed=1)]).sample(fraction=1, shuffle=True, seed=2)
    again = fit(name, Training(rows, given.seed, given.split, given.withheld), ground, quick=True)
    assert np.array_equal(quickly_fitted(name).predict_proba(held), again.predict_proba(held))


@each_plugin
def test_saved_and_loaded_it_answers_the_same(name, fitted, ground, training, tmp_path):
    model, asked = fitted(name), pl.concat([training[1], ground.rows(unknown_rows())], how="diagonal")
    model.save(tmp_path / "model")
    loaded = plugin_class(name).load(tmp_path / "model", ground)
    assert np.array_equal(model.predict_proba(asked), loaded.predict_proba(asked))
    assert model.predict(asked).equals(loaded.predict(asked))
    row = asked.row(0, named=True)
    assert model.explain(row) == loaded.explain(row)
    assert loaded.settings == model.settings


@each_plugin
def test_nothing_saved_can_run(name, fitted, tmp_path):
    fitted(name).save(tmp_path / "model")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= SUFFIXES
    assert set(read_card(tmp_path / "model").files) == {
        path.relative_to(tmp_path / "model").as_posix() for path in files
    } - {CARD}
    for path in files:
        assert not path.read_bytes().startswith(b"\x80"), f"{path.name} begins as a pickle does"
        if path.suffix == ".npy":
            np.load(path, allow_pickle=False)


@each_plugin
def test_card_is_complete(name, fitted, ground, training, tmp_path):
    model = fitted(name)
    model.save(tmp_path / "model")
    card = read_card(tmp_path / "model")
    assert {field.name for field in fields(Card)} <= set(json.loads((tmp_path / "model" / CARD).read_text()))
    assert (card.plugin, card.version, card.release) == (name, model.version, ground.release)
    assert (card.split, card.seed, card.withheld_rows) == ("dev-seed0", 3, training[1].height)
    assert card.training_rows == training[0].rows.height
    assert card.cell_lines == ("HepG2", "Jurkat", "K562")
    assert set(card.licences) >= set(model._providers()) & set(ground.licences)
    assert all(card.licences.values())
    assert card.parameters.items() >= model.settings.items()
    assert card.made_at


@each_plugin
def test_unknown_genes_and_lines_are_answered_and_flagged(name, fitted, ground):
    found = fitted(name).predict(ground.rows(unknown_rows()))
    assert found.height == unknown_rows().height
    assert np.abs(found.select(PROBABILITY_COLUMNS).to_numpy().sum(axis=1) - 1).max() < 1e-6
    assert found["flags"].to_list() == [
        ["unknown perturbation"],
        ["unknown target"],
        ["unknown cell line"],
        ["unknown perturbation", "unknown target", "unknown cell line"],
        [],
        [],
        ["unknown perturbation", "unknown target", "unknown cell line"],
    ]
    spelt = fitted(name).predict(ground.rows(unknown_rows().with_columns(cell_line=pl.lit("K562"))))
    assert found.row(5, named=True)["p_up"] == spelt.row(5, named=True)["p_up"]


@each_plugin
def test_a_rows_answer_depends_on_nothing_else_that_is_asked(name, fitted, ground, training):
    model, asked = fitted(name), training[1]
    whole = model.predict_proba(asked)
    order = np.random.default_rng(0).permutation(asked.height)
    assert np.array_equal(model.predict_proba(asked[order.tolist()]), whole[order])
    twice = pl.concat([asked, asked.head(20)])
    assert np.array_equal(model.predict_proba(twice), np.concatenate([whole, whole[:20]]))
    for place in (0, asked.height // 2, asked.height - 1):
        assert np.array_equal(model.predict_proba(asked[place : place + 1])[0], whole[place])


@each_plugin
def test_no_rows_no_answers(name, fitted, training):
    assert fitted(name).predict_proba(training[1].clear()).shape == (0, 3)
    assert fitted(name).predict(training[1].clear()).height == 0


@each_plugin
def test_what_is_not_in_training_has_no_influence(name, quickly_fitted, ground, training, tmp_path):
    """A home whose stored outcomes say the contrary gives the same model: only training rows are looked at."""
    home = Home(tmp_path / "home")
    shutil.copytree(ground.home.path, home.path)
    stored = load_outcomes(home)
    store_outcomes(home, stored.with_columns(label=((pl.col("label") + 1) % 3).cast(pl.Int8)))
    again = fit(name, training[0], Ground(home), quick=True)
    assert np.array_equal(quickly_fitted(name).predict_proba(training[1]), again.predict_proba(training[1]))


@each_plugin
@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_save_leaves_nothing(name, fitted, ground, fault, tmp_path, monkeypatch):
    model = fitted(name)
    write = model._save

    def interrupted(directory: Path) -> None:
        write(directory)
        raise fault

    monkeypatch.setattr(model, "_save", interrupted)
    with pytest.raises((KeyboardInterrupt, ModelError)):
        model.save(tmp_path / "models" / "one")
    assert list((tmp_path / "models").iterdir()) == []
    monkeypatch.undo()
    model.save(tmp_path / "models" / "one")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["one"]


@each_plugin
def test_an_interrupted_fit_leaves_nothing(name, quickly_fitted, ground, training, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def stop(_what: str, _share: float) -> None:
        raise KeyboardInterrupt

    before = sorted(path for path in ground.home.path.rglob("*") if path.suffix not in {".npy", ".json"})
    try:
        fit(name, training[0], ground, quick=True, progress=stop)
    except KeyboardInterrupt:
        again = fit(name, training[0], ground, quick=True)
        assert np.array_equal(quickly_fitted(name).predict_proba(training[1]), again.predict_proba(training[1]))
    assert list(tmp_path.iterdir()) == []
    assert sorted(path for path in ground.home.path.rglob("*") if path.suffix not in {".npy", ".json"}) == before


@each_plugin
def test_explains(name, fitted, ground, training):
    asked = [*training[1].head(4).iter_rows(named=True), *ground.rows(unknown_rows()).iter_rows(named=True)]
    for row in asked:
        reasons = fitted(name).explain(row)
        assert reasons, f"no reason for {row}"
        assert sum(reason.share for reason in reasons) <= 1 + 1e-3
        assert all(0 < reason.share <= 1 for reason in reasons)
        assert [reason.share for reason in reasons] == sorted((reason.share for reason in reasons), reverse=True)
        assert all(reason.kind and reason.text for reason in reasons)
        assert all(reason.towards in {*CLASSES, "changed"} for reason in reasons)
        assert len(fitted(name).explain(row, limit=1)) == 1


@each_plugin
def test_a_setting_that_is_not_there_is_refused(name, ground, training):
    with pytest.raises(UsageError, match=f"plug-in {name} has no setting 'no_such'"):
        plugin_class(name).fit(Training(training[0].rows, parameters={"no_such": "1"}), ground)


@each_plugin
def test_rows_of_two_labels_or_without_a_class_are_refused(name, ground, training):
    rows = training[0].rows
    turned = rows.head(1).with_columns(label=pl.lit(1, pl.Int8) if rows["label"][0] != 1 else pl.lit(2, pl.Int8))
    with pytest.raises(ModelError, match="has two labels in training"):
        plugin_class(name).fit(Training(pl.concat([rows, turned])), ground)
    with pytest.raises(ModelError, match="no training row is up"):
        plugin_class(name).fit(Training(rows.filter(pl.col("label") != 2)), ground)
    with pytest.raises(ModelError, match="there are no training rows"):
        plugin_class(name).fit(Training(rows.clear()), ground)
