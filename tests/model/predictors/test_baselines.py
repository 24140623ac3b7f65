"""Baselines against brute force: rates, votes, other lines, linked heads, and the average of calibrated members."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aroma.errors import UsageError
from aroma.model.class_weights import best_weights, macro_f1
from aroma.model.ground import Ground
from aroma.model.labels import COLUMN_OF_LABEL
from aroma.model.plugin import Training
from aroma.model.predictors.cases import CaseTable, Voting
from aroma.model.predictors.rates import OTHER_PSEUDO, OWN_PSEUDO, Rates
from aroma.model.registry import plugin
from aroma.model.splits import make_folds
from aroma.retrieval.gene_kernels import KERNELS
from tests.support.planted import planted


@pytest.fixture(scope="module")
def rows(ground: Ground) -> pl.DataFrame:
    return ground.rows(planted())


@pytest.fixture(scope="module")
def dev(planted_outcomes):
    return make_folds(planted_outcomes, "dev")[0]


def loss(probabilities, labels) -> float:
    columns = COLUMN_OF_LABEL[labels.to_numpy()]
    return float(-np.log(probabilities[np.arange(len(columns)), columns]).mean())


def test_a_rate_is_shrunk_to_other_lines_and_these_to_the_line(rows):
    rates = Rates.of(rows)
    asked = rows.filter(cell_line="K562", target="TP53").head(1)
    columns = pl.Series(COLUMN_OF_LABEL[rows["label"].to_numpy()])
    table = rows.with_columns(column=columns)

    def counts(**where) -> np.ndarray:
        chosen = table.filter(**where)["column"].to_numpy()
        return np.bincount(chosen, minlength=3).astype(float)

    own, everywhere, line = counts(cell_line="K562", target="TP53"), counts(target="TP53"), counts(cell_line="K562")
    overall = (counts() + 1) / (counts() + 1).sum()
    base = (line + 3 * overall) / (line.sum() + 3)
    other = everywhere - own
    prior = (other + OTHER_PSEUDO * base) / (other.sum() + OTHER_PSEUDO)
    expected = (own + OWN_PSEUDO * prior) / (own.sum() + OWN_PSEUDO)
    assert rates.probabilities(asked)[0] == pytest.approx(expected, rel=1e-12)
    unseen = asked.with_columns(cell_line=pl.lit("HeLa"), target=pl.lit("NOGENE"), target_gene=pl.lit(None, pl.String))
    assert rates.probabilities(unseen)[0] == pytest.approx(overall, rel=1e-12)


def test_rates_less_some_rows_are_rates_of_the_others(rows):
    part = rows.sample(fraction=0.3, seed=1)
    rest = rows.join(part, on=["cell_line", "perturbation", "target"], how="anti")
    assert np.allclose(Rates.of(rows).without(part).probabilities(part), Rates.of(rest).probabilities(part))


def test_a_lookup_says_nothing_within_a_gene(ground, dev):
    model = plugin("gene-frequency").fit(Training(dev.training), ground)
    found = dev.test.with_columns(p=pl.Series(model.predict_proba(dev.test)[:, 1]))
    assert found.group_by("cell_line", "target").agg(pl.col("p").n_unique())["p"].max() == 1


@pytest.mark.parametrize(
    "voting",
    [Voting(), Voting("go", 0.5, 3, 0.4, 0.7), Voting("string", 2.0, 1, 0.0, 1.0), Voting("complex", 1.0, 5, 1.0, 0.0)],
)
def test_votes_equal_the_brute_force(ground, rows, voting):
    table = CaseTable.of(rows, ground)
    asked = pl.concat([rows.sample(25, seed=2).drop("label"), ground.rows(unknown())], how="vertical")
    found = table.votes(asked, voting)
    for place, row in enumerate(asked.iter_rows(named=True)):
        assert found[place] == pytest.approx(by_hand(ground, rows, row, voting), abs=2e-4)
        cases, weights = table.of_row(row, voting)
        told = np.bincount(table.cases["column"].to_numpy()[cases], weights, minlength=3)
        assert found[place] == pytest.approx(told, abs=1e-6)


def unknown() -> pl.DataFrame:
    asked = [("K562", "NOGENE", "TP53"), ("HeLa", "RPL3", "TP53"), ("K562", "RPL3", "NOGENE")]
    return pl.DataFrame(asked, schema=["cell_line", "perturbation", "target"], orient="row")


def by_hand(ground: Ground, rows: pl.DataFrame, row, voting: Voting) -> np.ndarray:
    names = KERNELS if voting.kernel == "mean" else (voting.kernel,)
    cases = []
    for case in rows.filter(pl.col("target") == row["target"]).sort("cell_line", "perturbation").iter_rows(named=True):
        same, foreign = case["perturbation"] == row["perturbation"], case["cell_line"] != row["cell_line"]
        if same and not foreign:
            continue
        genes = pl.Series([row["perturbation_gene"], case["perturbation_gene"]], dtype=pl.String)
        one, other = ground.nodes_of(genes)
        alike = [float(ground.kernels[name].similarity(int(one), np.array([other]))[0]) for name in names]
        weight = voting.same if same else float(np.mean(alike)) ** (1 / voting.temperature)
        cases.append((weight * (voting.other_lines if foreign else 1.0), COLUMN_OF_LABEL[case["label"]]))
    cases.sort(key=lambda case: -case[0])
    kept = cases[: voting.top_n] if voting.top_n else cases
    total = np.zeros(3)
    for weight, column in kept:
        total[column] += weight
    return total


@pytest.mark.parametrize("name", ["core-voting", "nearest-perturbation", "stamp-heads", "calibrated-average"])
def test_related_perturbations_tell_more_than_rates(ground, dev, name):
    """The response is planted by module, so that what related perturbations did must help on unseen ones."""
    lookup = plugin("gene-frequency").fit(Training(dev.training), ground).predict_proba(dev.test)
    found = plugin(name).fit(Training(dev.training), ground).predict_proba(dev.test)
    assert loss(found, dev.test["label"]) < loss(lookup, dev.test["label"]) - 0.05


def test_the_same_pair_in_other_lines_tells_more_than_rates(ground, dev, planted_outcomes):
    (strict,) = make_folds(planted_outcomes, "strict:dev")
    losses = {}
    for fold in (dev, strict):
        for name in ("gene-frequency", "line-transfer"):
            model = plugin(name).fit(Training(fold.training), ground)
            losses[fold.kind, name] = loss(model.predict_proba(fold.test), fold.test["label"])
    assert losses["dev", "line-transfer"] < losses["dev", "gene-frequency"] - 0.05
    assert losses["strict", "line-transfer"] == pytest.approx(losses["strict", "gene-frequency"], abs=1e-9)


def test_heads_for_a_line_never_seen_tell_more_than_rates(ground, planted_outcomes, tmp_path):
    fold = make_folds(planted_outcomes, "unseen-line")[0]
    lookup = plugin("gene-frequency").fit(Training(fold.training), ground).predict_proba(fold.test)
    model = plugin("stamp-heads").fit(Training(fold.training), ground)
    found = model.predict_proba(fold.test)
    assert loss(found, fold.test["label"]) < loss(lookup, fold.test["label"]) - 0.02
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        plugin("stamp-heads").load(tmp_path / "model", ground).predict_proba(fold.test), found
    )


def test_an_explanation_names_the_other_line(ground, dev):
    model = plugin("line-transfer").fit(Training(dev.training), ground)
    elsewhere = dev.training.filter(pl.col("label") == 2).select("perturbation", "target").unique()
    row = dev.test.join(elsewhere, on=["perturbation", "target"], how="semi").sort("target").row(0, named=True)
    reasons = model.explain(row)
    assert any(f"{row['target']} went up when {row['perturbation']} was perturbed in" in r.text for r in reasons)


def test_magnitude_is_learned_where_it_is_known(ground, dev):
    chance = np.random.default_rng(0)
    size = np.where(dev.training["perturbation"].str.starts_with("RP").to_numpy(), 2.0, 0.3)
    known = dev.training.select("cell_line", "perturbation", "target").with_columns(
        difference=pl.Series(size * np.exp(0.1 * chance.standard_normal(len(size))))
    )
    model = plugin("stamp-heads").fit(Training(dev.training, magnitudes=known), ground)
    found = model.predict(dev.test)
    assert (found["magnitude"] > 0).all()
    assert model.card.parameters["magnitude"] is True
    without = plugin("stamp-heads").fit(Training(dev.training), ground)
    assert "magnitude" not in without.predict(dev.test).columns


def test_the_average_is_of_its_members(ground, dev):
    settings = {"members": "gene-frequency, line-transfer", "folds": "2"}
    model = plugin("calibrated-average").fit(Training(dev.training, parameters=settings), ground)
    shares = model.card.parameters["shares"]
    assert list(shares) == ["gene-frequency", "line-transfer"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
    for wrong in ("", "calibrated-average", "gene-frequency,gene-frequency"):
        with pytest.raises(UsageError, match="give names of other plug-ins, each once"):
            plugin("calibrated-average").fit(Training(dev.training, parameters={"members": wrong}), ground)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("kernel", "blast", "there are mean, go, complex, pathway, string"),
        ("temperature", "0", "give a number above 0"),
        ("temperature", "hot", "give a number"),
        ("temperature", "nan", "give a number"),
        ("top_n", "-1", "give 0 or more"),
        ("top_n", "1.5", "give a whole number"),
    ],
)
def test_settings_that_do_not_fit_are_refused(ground, dev, setting, value, said):
    with pytest.raises(UsageError, match=said):
        plugin("core-voting").fit(Training(dev.training, parameters={setting: value}), ground)


def test_a_kernels_licence_goes_on_the_card(ground, dev):
    model = plugin("core-voting").fit(Training(dev.training, parameters={"kernel": "complex"}), ground)
    assert list(model.card.licences) == ["corum"]
    assert "NC" in model.card.licences["corum"]


def test_weights_find_the_best_macro_f1():
    chance = np.random.default_rng(3)
    columns = chance.choice(3, size=4000, p=[0.06, 0.88, 0.06]).astype(np.int8)
    scores = np.full((4000, 3), [0.05, 0.9, 0.05]) * np.exp(0.8 * chance.standard_normal((4000, 3)))
    scores[np.arange(4000), columns] *= 6
    probabilities = scores / scores.sum(axis=1, keepdims=True)

    def f1(weights) -> float:
        table = np.zeros((3, 3))
        np.add.at(table, (columns, (probabilities * weights).argmax(axis=1)), 1)
        return float(macro_f1(table))

    found = f1(best_weights(probabilities, columns))
    tried = [f1((down, 1.0, up)) for down in np.geomspace(0.3, 12, 15) for up in np.geomspace(0.3, 12, 15)]
    assert found >= max(tried) - 0.005
    assert best_weights(probabilities[columns == 1], columns[columns == 1]) == (1.0, 1.0, 1.0)
