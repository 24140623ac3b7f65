"""Hardly any rows, or odd ones: each plug-in answers, or says in one sentence why it cannot learn from them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aroma.errors import ModelError
from aroma.model.ground import Ground
from aroma.model.plugin import Training
from aroma.model.registry import available, plugin
from tests.support.planted import planted

COLUMNS = ("cell_line", "perturbation", "target", "label")
NAMES = [name for name in available() if not plugin(name).embeddings]


def made(*rows: tuple[str, str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema={name: pl.Int8 if name == "label" else pl.String for name in COLUMNS}, orient="row"
    )


ODD = {
    "three rows": made(*(("K562", "RPL3", target, label) for label, target in enumerate(("TP53", "BAX", "MDM2")))),
    "no gene is known": made(*(("X", f"P{i}", f"T{j}", (i * j) % 3) for i in range(8) for j in range(8))),
    "one perturbation": made(*(("K562", "RPL3", f"T{j}", j % 3) for j in range(30))),
    "one target": made(*(("K562", f"P{j}", "TP53", j % 3) for j in range(30))),
    "one line": planted().filter(cell_line="K562").sample(200, seed=1),
    "two changed rows": pl.concat(
        [planted().filter(label=0).head(150), *(planted().filter(label=n).head(1) for n in (1, 2))]
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", ODD)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_odd_rows_are_learned_from_or_refused(ground: Ground, name: str, case: str):
    try:
        model = plugin(name).fit(Training(ground.rows(ODD[case])), ground)
    except ModelError as error:
        assert "give more outcomes" in str(error)  # noqa: PT017 - either outcome is right
        assert name != "boosted-evidence"
        assert case not in {"one line", "two changed rows"}
        return
    asked = ground.rows(pl.concat([ODD[case].head(5), made(("", "", "", 0), ("HeLa", "RPL3", "NOGENE", 0))]))
    assert np.abs(model.predict_proba(asked).sum(axis=1) - 1).max() < 1e-6
    assert all(model.explain(row) for row in asked.iter_rows(named=True))
