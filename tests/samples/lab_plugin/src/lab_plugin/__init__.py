"""A plug-in in a package of its own: how often a perturbation changes anything at all, whatever the target."""

import json
from typing import ClassVar

import numpy as np
import polars as pl

from aroma.model.labels import CLASSES
from aroma.model.plugin import Plugin, Reason, column_of


class BusyPerturbations(Plugin):
    """Class rates of the perturbation, shrunk towards the rates of all training rows."""

    name = "busy-perturbations"
    version = "1"
    summary = "How often a perturbation changes anything at all, whatever the target."
    defaults: ClassVar = {"pseudo_rows": 5.0}

    def _fit(self, training, progress):
        columns = column_of(training.rows["label"].to_numpy())
        table = training.rows.select("perturbation", pl.Series("column", columns)).group_by("perturbation", "column")
        self._counts = {}
        for perturbation, column, count in table.len().sort("perturbation", "column").iter_rows():
            self._counts.setdefault(perturbation, [0, 0, 0])[column] = count
        self._rates = (np.bincount(columns, minlength=3) / len(columns)).tolist()

    def _probabilities(self, rows):
        counts = np.array([self._counts.get(name, [0, 0, 0]) for name in rows["perturbation"]])
        pseudo = self.settings["pseudo_rows"]
        return (counts + pseudo * np.array(self._rates)) / (counts.sum(axis=1, keepdims=True) + pseudo)

    def _save(self, directory):
        (directory / "counts.json").write_text(json.dumps({"counts": self._counts, "rates": self._rates}))

    def _load(self, directory):
        said = json.loads((directory / "counts.json").read_text())
        self._counts, self._rates = said["counts"], said["rates"]

    def _explain(self, row):
        counts = np.array(self._counts.get(row["perturbation"], [0, 0, 0]))
        text = f"{row['perturbation']} changed {counts[0] + counts[2]} of {counts.sum()} targets in training"
        return [Reason("rates", text, 1.0, CLASSES[int((counts + self._rates).argmax())])]
