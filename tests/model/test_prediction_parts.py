"""Predictions of a long file go on after a kill, and rows that failed are asked again."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from aroma.model.ground import Ground
from aroma.model.labels import PROBABILITY_COLUMNS
from aroma.model.plugin import Training
from aroma.model.predicting import predict_file
from aroma.model.predictors.gene_frequency import GeneFrequency
from tests.support.planted import planted


class Fragile(GeneFrequency):
    """Gene frequency that remembers what it was asked, and fails on some targets."""

    rows_a_part = 40
    asked: list[int]
    bad: str | None = None

    def _probabilities(self, rows):
        self.asked = [*getattr(self, "asked", []), rows.height]
        return super()._probabilities(rows)

    def _failures(self, rows):
        return rows.select(
            pl.when(pl.col("target") == (self.bad or "")).then(pl.lit("its prompt is too long")).alias("why")
        )["why"]


@pytest.fixture
def model(ground: Ground) -> Fragile:
    return Fragile.fit(Training(ground.rows(planted())), ground)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    planted().select("cell_line", "perturbation", "target").head(100).write_csv(path)
    return path


def parts(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if ".parts-" in path.name]


def test_a_run_that_was_stopped_goes_on_where_it_was(model, pairs, tmp_path):
    out = tmp_path / "out.parquet"

    def stop(done: int, _all: int) -> None:
        if done == 80:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(model, pairs, out, progress=stop)
    assert not out.exists()
    (place,) = parts(tmp_path)
    assert len(list(place.glob("*.parquet"))) == 2
    (place / "000001.parquet").write_bytes(b"half a part")
    model.asked = []
    counts = predict_file(model, pairs, out)
    assert model.asked == [40, 20]
    assert counts["pairs"] == 100
    assert parts(tmp_path) == []
    whole = tmp_path / "whole.parquet"
    model.rows_a_part = 1000
    predict_file(model, pairs, whole)
    assert pl.read_parquet(out).equals(pl.read_parquet(whole))


def test_rows_that_failed_are_flagged_counted_and_asked_again(model, pairs, tmp_path):
    out = tmp_path / "out.parquet"
    model.bad = "TP53"
    failing = pl.read_csv(pairs).filter(target="TP53").height
    assert failing
    counts = predict_file(model, pairs, out)
    assert counts["failed"] == failing
    found = pl.read_parquet(out)
    flags = found.filter(target="TP53")["flags"].to_list()
    assert flags == [["failed: its prompt is too long"]] * failing
    assert found.select(pl.sum_horizontal(PROBABILITY_COLUMNS).is_not_nan().all()).item()
    assert parts(tmp_path)
    model.bad, model.asked = None, []
    again = predict_file(model, pairs, out)
    assert sum(model.asked) == failing
    assert "failed" not in again
    assert pl.read_parquet(out).filter(target="TP53")["flags"].list.len().sum() == 0
    assert parts(tmp_path) == []
    assert found.select("cell_line", "perturbation", "target").equals(
        pl.read_parquet(out).select("cell_line", "perturbation", "target")
    )
