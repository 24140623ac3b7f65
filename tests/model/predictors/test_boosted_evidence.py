"""The plug-in on the bundled sample: same answers alone and in a batch, after loading, with strangers in the rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import load_outcomes
from aroma.model.evidence_features.table import NAMES
from aroma.model.ground import Ground
from aroma.model.plugin import Training
from aroma.model.predictors.boosted_evidence import BoostedEvidence


@pytest.fixture(scope="module")
def ground(sample_home: Home) -> Ground:
    return Ground(sample_home)


@pytest.fixture(scope="module")
def rows(ground: Ground) -> pl.DataFrame:
    return ground.rows(load_outcomes(ground.home).select("cell_line", "perturbation", "target", "label"))


@pytest.fixture(scope="module")
def held(rows: pl.DataFrame) -> pl.DataFrame:
    names = rows["perturbation"].unique().sort()[::6]
    return rows.filter(pl.col("perturbation").is_in(names.to_list()) & (pl.col("cell_line") == "K562"))


@pytest.fixture(scope="module")
def model(ground: Ground, rows: pl.DataFrame, held: pl.DataFrame) -> BoostedEvidence:
    trained = rows.join(held, on=["cell_line", "perturbation"], how="anti")
    return BoostedEvidence.fit(Training(trained, seed=3), ground)


@pytest.fixture(scope="module")
def asked(ground: Ground, held: pl.DataFrame) -> pl.DataFrame:
    """Rows never seen, a line never seen, genes not trained on, and names that mean nothing."""
    strange = pl.DataFrame(
        {
            "cell_line": ["HEK293T", "K562", "K562", "A375"],
            "perturbation": [held["perturbation"][0], "NOGENE1", held["perturbation"][0], "NOGENE1"],
            "target": [held["target"][0], held["target"][0], "NOGENE2", "NOGENE2"],
        }
    )
    return pl.concat([held.drop("label"), ground.rows(strange)])


def test_one_pair_has_the_features_that_it_has_in_a_batch(model: BoostedEvidence, asked: pl.DataFrame):
    batch = model.features(asked)
    alone = np.concatenate([model.features(asked[place]) for place in range(asked.height)])
    np.testing.assert_array_equal(batch, alone)


def test_probabilities_do_not_depend_on_the_other_rows(model: BoostedEvidence, asked: pl.DataFrame):
    batch = model.predict_proba(asked)
    alone = np.concatenate([model.predict_proba(asked[place]) for place in range(asked.height)])
    np.testing.assert_array_equal(batch, alone)


def test_strangers_are_answered_from_what_is_known(model: BoostedEvidence, asked: pl.DataFrame):
    answered = model.predict(asked).tail(4)
    assert np.isfinite(answered.select("p_down", "p_not_significant", "p_up").to_numpy()).all()
    assert answered["flags"].to_list() == [
        ["unknown cell line"],
        ["unknown perturbation"],
        ["unknown target"],
        ["unknown perturbation", "unknown target", "unknown cell line"],
    ]


def test_save_and_load_give_identical_answers(model: BoostedEvidence, asked: pl.DataFrame, tmp_path):
    model.save(tmp_path / "model")
    loaded = BoostedEvidence.load(tmp_path / "model", model.ground)
    np.testing.assert_array_equal(model.features(asked), loaded.features(asked))
    np.testing.assert_array_equal(model.predict_proba(asked), loaded.predict_proba(asked))
    assert model.predict(asked).equals(loaded.predict(asked))
    row = asked.row(0, named=True)
    assert model.explain(row) == loaded.explain(row)


def test_the_same_seed_gives_the_same_model(model: BoostedEvidence, rows: pl.DataFrame, held, asked):
    trained = rows.join(held, on=["cell_line", "perturbation"], how="anti")
    again = BoostedEvidence.fit(Training(trained.sample(fraction=1.0, shuffle=True, seed=9), seed=3), model.ground)
    np.testing.assert_array_equal(model.predict_proba(asked), again.predict_proba(asked))


def test_an_explanation_names_related_perturbations_and_what_they_share(model: BoostedEvidence, asked: pl.DataFrame):
    told = [reason for row in asked.head(20).iter_rows(named=True) for reason in model.explain(row, limit=20)]
    kinds = {reason.kind for reason in told}
    assert {"rates", "related perturbations", "process", "factorisation"} <= kinds
    assert any("both " in reason.text for reason in told if reason.kind == "related perturbations")
    assert {reason.towards for reason in told} <= {"changed", "not significant", "up", "down"}


def test_one_line_alone_can_be_trained_on_and_answers_for_others(ground: Ground, rows: pl.DataFrame, asked):
    single = rows.filter(pl.col("cell_line") == "HepG2")
    model = BoostedEvidence.fit(Training(single, seed=1), ground)
    assert np.isfinite(model.predict_proba(asked)).all()


def test_baseline_expression_stands_in_the_columns_of_a_line_never_seen(ground: Ground, rows: pl.DataFrame, asked):
    genes = pl.concat([rows["target_gene"], rows["perturbation_gene"]]).unique().drop_nulls().sort()
    level = np.linspace(0, 5, len(genes))
    lines = ["HepG2", "Jurkat", "K562", "HEK293T"]
    table = pl.DataFrame({"gene": genes, **{line: level + place for place, line in enumerate(lines)}})
    trained = rows.filter(pl.col("cell_line").is_in(lines))
    model = BoostedEvidence.fit(Training(trained, seed=1, expression=table), ground)
    row = asked.filter(pl.col("cell_line") == "HEK293T")
    target = table.filter(pl.col("gene") == row["target_gene"][0])["HEK293T"][0]
    np.testing.assert_allclose(model.features(row)[0, -4:-2], [target, 2.0], rtol=1e-6)


def test_evidence_that_is_left_out_moves_nothing_and_binds_nobody(ground: Ground, rows: pl.DataFrame, asked):
    settings = {"without": "factorisation, related-perturbations,corum", "lines": "known"}
    model = BoostedEvidence.fit(Training(rows, seed=1, parameters=settings), ground)
    told = [reason for row in asked.head(10).iter_rows(named=True) for reason in model.explain(row, limit=20)]
    assert {reason.kind for reason in told}.isdisjoint({"factorisation", "related perturbations"})
    assert "corum" not in model.card.licences
    assert "string" in model.card.licences
    assert np.isfinite(model.predict_proba(asked)).all()


def test_without_any_graph_nothing_is_alike(ground: Ground, rows: pl.DataFrame, asked):
    settings = {"without": "gene_ontology,corum,reactome,string", "lines": "known"}
    model = BoostedEvidence.fit(Training(rows, seed=1, parameters=settings), ground)
    assert not model.features(asked)[:, NAMES.index("similarity_best")].any()
    assert not model.card.licences


@pytest.mark.parametrize("lines", ["known", "unseen"])
def test_models_for_known_and_for_unseen_lines_are_the_same_made_alone(
    model: BoostedEvidence, rows: pl.DataFrame, held: pl.DataFrame, asked: pl.DataFrame, lines: str
):
    trained = rows.join(held, on=["cell_line", "perturbation"], how="anti")
    alone = BoostedEvidence.fit(Training(trained, seed=3, parameters={"lines": lines}), model.ground)
    theirs = asked.filter(pl.col("cell_line").is_in(["HEK293T", "A375"]) == (lines == "unseen"))
    np.testing.assert_array_equal(model.predict_proba(theirs), alone.predict_proba(theirs))
    assert np.isfinite(alone.predict_proba(asked)).all()


@pytest.mark.parametrize("settings", [{"without": "astrology"}, {"lines": "some"}])
def test_settings_that_mean_nothing_are_refused(ground: Ground, rows: pl.DataFrame, settings: dict[str, str]):
    with pytest.raises(UsageError, match=next(iter(settings.values()))):
        BoostedEvidence.fit(Training(rows, parameters=settings), ground)
