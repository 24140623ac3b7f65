"""A plug-in whose quality is chosen: the planted truth behind a dial, so that promotion can be tried on any model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from aroma.model.labels import CLASSES, Probabilities
from aroma.model.plugin import Plugin, Progress, Reason, Setting, Training
from tests.support.planted import MODULES, RESPONSE

_MODULE = {gene: name for name, genes in MODULES.items() for gene in genes}
_COLUMN = {0: 1, 1: 0, 2: 2}


class Dialled(Plugin):
    """Says the planted label with a chance; ``error`` of the answers are moved, ``sharpness`` raises the odds."""

    name: ClassVar[str] = "dialled"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "For tests."
    defaults: ClassVar[Mapping[str, Setting]] = {"error": 0.0, "sharpness": 1.0}

    def _fit(self, training: Training, progress: Progress) -> None:
        del training, progress

    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        drawn = np.random.default_rng(5).random((rows.height, 2))
        found = np.full((rows.height, len(CLASSES)), 0.035)
        for place, row in enumerate(rows.iter_rows(named=True)):
            label = RESPONSE.get((_MODULE.get(row["perturbation"], ""), _MODULE.get(row["target"], "")), 0)
            if row["cell_line"] == "Jurkat" and (_MODULE.get(row["perturbation"]), _MODULE.get(row["target"])) == (
                "ribosome",
                "p53",
            ):
                label = 1
            if drawn[place, 0] < float(self.settings["error"]):
                label = int(drawn[place, 1] * 3)
            found[place, _COLUMN[label]] = 0.93
        found **= float(self.settings["sharpness"])
        made: Probabilities = found / found.sum(axis=1, keepdims=True)
        return made

    def _save(self, directory: Path) -> None:
        (directory / "dial.json").write_text("{}")

    def _load(self, directory: Path) -> None:
        assert (directory / "dial.json").exists()

    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        return [Reason("dial", f"said of {row['target']}", 1.0, "up")]


PLACE = "tests.support.dialled:Dialled"
