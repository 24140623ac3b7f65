"""Labelling of single cells against scipy and a planted response; predicted expression reduced by the same rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from scipy.stats import false_discovery_control, mannwhitneyu

from aroma.cli.app import run
from aroma.errors import InputFileError, UsageError
from aroma.model.anndata_outcomes import Labelling, as_predictions, label_cells, rank_sum
from aroma.model.data_sets import read_data_set

anndata = pytest.importorskip("anndata")
GENES = [f"G{number}" for number in range(60)]
UP, DOWN = range(5), range(5, 10)


def cells(seed: int = 0, each: int = 80, profiles: bool = False):
    """Poisson counts of controls and two perturbations; RPL3 takes G0-G4 up and G5-G9 down, PSMA1 does nothing."""
    chance = np.random.default_rng(seed)
    names = ["non-targeting"] * each * 2 + ["RPL3"] * each + ["PSMA1"] * each + ["AAMP"] * 3 + [None]
    rate = np.tile(chance.uniform(0.5, 6, len(GENES)), (len(names), 1)) * chance.uniform(0.5, 2, (len(names), 1))
    hit = np.array([name == "RPL3" for name in names])
    rate[np.ix_(hit, list(UP))] *= 4
    rate[np.ix_(hit, list(DOWN))] /= 5
    counts = chance.poisson(rate)
    import pandas as pd

    obs = pd.DataFrame({"perturbation": names, "line": "K562"}, index=[str(n) for n in range(len(names))])
    return anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=GENES))


def test_rank_sums_are_scipys():
    chance = np.random.default_rng(1)
    control, perturbed = chance.poisson(2, (70, 9)).astype(float), chance.poisson(3, (25, 9)).astype(float)
    control[:, 7], perturbed[:, 7] = 1.0, 1.0  # all equal
    control[:, 8], perturbed[:, 8] = chance.random(70), chance.random(25)  # no ties
    z, p = rank_sum(np.sort(control, axis=0), perturbed)
    for gene in range(9):
        if gene == 7:
            assert (z[gene], p[gene]) == (0, 1)
            continue
        said = mannwhitneyu(perturbed[:, gene], control[:, gene], alternative="two-sided", method="asymptotic")
        assert p[gene] == pytest.approx(said.pvalue, rel=1e-9)
        assert np.sign(z[gene]) == np.sign(said.statistic - 70 * 25 / 2)


def test_labels_follow_the_rule_step_by_step():
    data = cells()
    found = label_cells(data, Labelling(cell_line="K562")).rows.filter(pl.col("perturbation") == "RPL3")
    counts = data.X.toarray().astype(float)
    values = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 10_000).round(9)  # ties stay ties
    control = values[(data.obs["perturbation"] == "non-targeting").to_numpy()]
    own = values[(data.obs["perturbation"] == "RPL3").to_numpy()]
    p = mannwhitneyu(own, control, axis=0, method="asymptotic").pvalue
    adjusted = false_discovery_control(p)
    difference = own.mean(axis=0) - control.mean(axis=0)
    assert found["target"].to_list() == GENES
    assert np.allclose(found["p_adjusted"].to_numpy(), adjusted)
    assert np.allclose(found["difference"].to_numpy(), difference)
    expected = np.where(adjusted < 0.05, np.where(difference > 0, 2, 1), 0)
    assert found["label"].to_list() == expected.tolist()


def test_the_planted_response_is_found_and_nothing_else():
    found = label_cells(cells(each=200), Labelling(cell_line="K562"))
    hit = found.rows.filter(pl.col("perturbation") == "RPL3")
    assert set(hit.filter(pl.col("label") == 2)["target"]) >= {GENES[n] for n in UP}
    assert set(hit.filter(pl.col("label") == 1)["target"]) >= {GENES[n] for n in DOWN}
    none = found.rows.filter(pl.col("perturbation") == "PSMA1")
    assert (none["label"] != 0).sum() <= 3
    assert found.skipped == {"K562 AAMP": "3 cells, fewer than 10"}
    assert found.controls == {"K562": 400}
    assert set(found.rows["perturbation"]) == {"RPL3", "PSMA1"}


def test_predicted_cells_rank_as_the_rule_does():
    labelled = label_cells(cells(), Labelling(cell_line="K562"))
    table = as_predictions(labelled)
    total = table.select(pl.sum_horizontal("p_down", "p_not_significant", "p_up"))
    assert np.allclose(total.to_series().to_numpy(), 1)
    assert table["label"].to_list() == labelled.rows["label"].to_list()
    changed = (table["p_down"] + table["p_up"]).to_numpy()
    own = (table["perturbation"] == "RPL3").to_numpy()
    order = np.argsort(changed[own])
    size = labelled.rows["z"].abs().to_numpy()[own]
    assert (np.diff(size[order]) >= -1e-9).all()
    assert changed[own][(table["label"] != 0).to_numpy()[own]].min() >= 0.5
    assert changed[own][(table["label"] == 0).to_numpy()[own]].max() <= 0.5
    up = table.filter(pl.col("label") == 2)
    assert (up["p_up"] > up["p_down"]).all()


def test_mean_profiles_are_labelled_by_their_difference():
    """GEARS and TxPert write one profile a perturbation: there is no test to make, and none is claimed."""
    import pandas as pd

    values = np.zeros((3, 4))
    values[1] = [1.0, -1.0, 0.05, 0.0]
    obs = pd.DataFrame({"condition": ["ctrl", "RPL3+ctrl", "RPL3+PSMA1"]}, index=list("abc"))
    data = anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=GENES[:4]))
    how = Labelling("condition", None, "K562", normalised=True, minimum_cells=1, minimum_difference=0.1)
    found = label_cells(data, how)
    one = found.rows.filter(pl.col("perturbation") == "RPL3")
    assert one["label"].to_list() == [2, 1, 0, 0]
    assert one["p_adjusted"].null_count() == 4
    assert set(found.rows["perturbation"]) == {"RPL3", "RPL3+PSMA1"}
    table = as_predictions(found).filter(pl.col("perturbation") == "RPL3")
    assert table["p_up"].arg_max() == 0
    assert table["p_down"].arg_max() == 1


def test_what_cannot_be_labelled_is_said(tmp_path: Path):
    data = cells()
    with pytest.raises(UsageError, match="no controls in column perturbation: no cell has 'NTX'"):
        label_cells(data, Labelling(control="NTX"))
    with pytest.raises(
        InputFileError, match="obs has no column 'gene'; expected one of its columns: perturbation, line"
    ):
        label_cells(data, Labelling(perturbation_column="gene"))
    with pytest.raises(InputFileError, match="has no layer 'raw'"):
        label_cells(data, Labelling(layer="raw"))
    with pytest.raises(UsageError, match="no perturbation can be labelled"):
        label_cells(data, Labelling(minimum_cells=1000))
    broken = cells()
    broken.X.data[0] = np.nan
    with pytest.raises(InputFileError, match="values that are no numbers"):
        label_cells(broken, Labelling())
    broken.X.data[0] = 1.5
    with pytest.raises(InputFileError, match="values that are no counts"):
        label_cells(broken, Labelling())
    (tmp_path / "x.h5ad").write_text("no")
    assert run(["outcomes", "from-anndata", str(tmp_path / "x.h5ad"), "--out", str(tmp_path / "x.csv")]) == 2


def test_the_command_writes_outcomes_that_models_read(ground, tmp_path: Path, capsys):
    data = cells()
    data.var_names = ["TP53", "MDM2", "RPL3", *GENES[3:]]
    data.write_h5ad(tmp_path / "screen.h5ad")
    out = tmp_path / "outcomes.csv"
    asked = ["outcomes", "from-anndata", str(tmp_path / "screen.h5ad"), "--out", str(out), "--cell-line-column", "line"]
    assert run([*asked, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rows"] == said["down"] + said["up"] + said["not_significant"] == 119  # RPL3 on itself is left out
    found = read_data_set(ground, out)
    assert found.outcomes.height == 119
    assert found.magnitudes is not None
    assert found.outcomes.filter(target="TP53", perturbation="RPL3")["label"].to_list() == [2]
    assert run([*asked[:-4], "--out", str(tmp_path / "p.parquet"), "--as-predictions"]) == 0
    table = pl.read_parquet(tmp_path / "p.parquet")
    assert table.columns == ["cell_line", "perturbation", "target", "p_down", "p_not_significant", "p_up", "label"]
    assert set(table["cell_line"]) == {"screen"}
