"""``gat-head``: a small classifier on embeddings of the two genes, the paper's own baseline without a language model.

Of each encoder the perturbation's and the target's vectors are projected, and their product is taken (a gated bilinear
form); all that and the cell line go through one hidden layer. A gene without a vector has a learned "absent" one, and a
flag. Training needs torch; answering does not: it is done a row at a time in one order of summing, so that a row's
answer is the same whatever else is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import ModelError
from aroma.model.class_weights import Weights, learn_weights
from aroma.model.labels import CLASSES, Probabilities
from aroma.model.plugin import Plugin, Progress, Reason, Setting, Training, column_of
from aroma.model.predictors.gat_head_network import Network, fit_network
from aroma.model.predictors.gene_vectors import GeneVectors, open_gene_vectors
from aroma.model.splits import folds_by_perturbation

_FOLDS: Final = 5
_FILE: Final = "network.safetensors"


class GatHead(Plugin):
    """A classifier on the vectors of both genes."""

    name: ClassVar[str] = "gat-head"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "A small network on graph (and protein) embeddings of the two genes; no outcome of others."
    providers: ClassVar[tuple[str, ...]] = ("string", "corum", "gene_ontology", "reactome")
    embeddings: ClassVar[tuple[str, ...]] = ("gat:gene-kg", "gat:path-kg")
    defaults: ClassVar[Mapping[str, Setting]] = {
        "encoders": "gat:gene-kg,gat:path-kg", "width": 64, "hidden": 128, "epochs": 8, "rate": 1e-3, "batch": 4096,
    }  # fmt: skip

    _network: Network
    _weights: Mapping[str, Weights]

    def _fit(self, training: Training, progress: Progress) -> None:
        vectors, lines = self._vectors(), self.card.cell_lines
        rows, labels = training.rows, column_of(training.rows["label"].to_numpy())
        held = (folds_by_perturbation(rows, _FOLDS, training.seed) == 0).to_numpy()
        ends, codes = self._ends(rows, vectors), _codes(rows, lines)
        part = fit_network(
            vectors,
            ends[~held],
            codes[~held],
            labels[~held],
            len(lines),
            self.settings,
            training.seed,
            watch=(ends[held], codes[held], labels[held]),
            progress=progress,
        )
        unseen = part.network.probabilities(vectors, ends[held], codes[held])
        self._weights = learn_weights(rows.filter(pl.Series(held))["cell_line"], unseen, labels[held])
        settings = {**self.settings, "epochs": part.best_epoch + 1}
        self._network = fit_network(vectors, ends, codes, labels, len(lines), settings, training.seed).network

    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        vectors = self._vectors()
        return self._network.probabilities(vectors, self._ends(rows, vectors), _codes(rows, self.card.cell_lines))

    def _save(self, directory: Path) -> None:
        from safetensors.numpy import save_file

        save_file(
            {name: np.ascontiguousarray(array) for name, array in self._network.arrays().items()}, directory / _FILE
        )

    def _load(self, directory: Path) -> None:
        from safetensors.numpy import load_file

        self._network = Network(load_file(directory / _FILE))
        ids = self.card.parameters.get("encoder_ids", [])
        if [one.card.id for one in self._vectors().sets] != list(ids):
            raise ModelError(
                f"{directory}: was trained on the encoders {', '.join(ids)}, which this home's "
                f"{self.settings['encoders']} are not; embed with the same options, or train again"
            )

    def _class_weights(self) -> Mapping[str, Weights]:
        return self._weights

    def _parameters(self) -> Mapping[str, Any]:
        return {"encoder_ids": [one.card.id for one in self._vectors().sets]}

    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        """Return, for each encoder and gene, how far the answer moves when its vector is taken for absent."""
        asked = pl.DataFrame([dict(row)], schema_overrides={name: pl.String for name in row if name != "label"})
        vectors = self._vectors()
        ends, codes = self._ends(asked, vectors), _codes(asked, self.card.cell_lines)
        whole = self._network.probabilities(vectors, ends, codes)[0]
        found = []
        for place, encoder in enumerate(vectors.sets):
            for side, role in enumerate(("perturbation", "target")):
                without = ends.copy()
                without[:, side, place] = -1
                moved = whole - self._network.probabilities(vectors, without, codes)[0]
                towards = CLASSES[int(np.abs(moved).argmax())]
                known = ends[0, side, place] >= 0
                said = (
                    f"{encoder.card.name} of the {role} {row[role]}"
                    if known
                    else f"no vector of the {role} {row[role]}"
                )
                found.append(Reason("embeddings", said, float(np.abs(moved).sum()), towards, (encoder.card.id,)))
        nothing = self._network.probabilities(vectors, np.full_like(ends, -1), codes)[0]
        base = f"without any vector, a row of {row['cell_line']} would be {CLASSES[int(nothing.argmax())]}"
        found.append(Reason("base rate", base, float(np.abs(nothing - 1 / 3).sum()), CLASSES[int(nothing.argmax())]))
        return found

    def _vectors(self) -> GeneVectors:
        return open_gene_vectors(self.ground, tuple(str(self.settings["encoders"]).split(",")))

    def _ends(self, rows: pl.DataFrame, vectors: GeneVectors) -> npt.NDArray[np.int32]:
        """Return int32 (rows, 2, encoders): which row of each encoder's vectors each gene has; -1 for none."""
        sides = [vectors.rows_of(rows[f"{side}_gene"]) for side in ("perturbation", "target")]
        return np.stack(sides, axis=1)


def _codes(rows: pl.DataFrame, lines: tuple[str, ...]) -> npt.NDArray[np.int32]:
    """Return int32 numbers of cell lines; that after the last for a line that was not trained on."""
    codes = {name: place for place, name in enumerate(lines)}
    found: npt.NDArray[np.int32] = (
        rows["cell_line"].fill_null("").replace_strict(codes, default=len(lines), return_dtype=pl.Int32).to_numpy()
    )
    return found
