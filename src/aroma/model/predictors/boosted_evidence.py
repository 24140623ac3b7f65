"""``boosted-evidence``: gradient boosting over what the graph and the measured outcomes say of a pair."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import UsageError
from aroma.model.evidence_features import boosting, expression
from aroma.model.evidence_features.answer import asked_features
from aroma.model.evidence_features.layers import Float32, Layers, open_layers
from aroma.model.evidence_features.learn import THREADS, Fitted, fit_parts, training_table
from aroma.model.evidence_features.linear import shares_of
from aroma.model.evidence_features.observations import FOLDS, UNKNOWN, with_keys
from aroma.model.evidence_features.state import Learned, View
from aroma.model.evidence_features.store import load_learned, save_learned
from aroma.model.evidence_features.table import NAMES
from aroma.model.labels import Probabilities
from aroma.model.plugin import Plugin, Progress, Reason, Setting, Training
from aroma.model.predictors.boosted_evidence_reasons import KIND_OF, reasons_for
from aroma.retrieval.csr import Int32

_KNOWN: Final = "known-line"
_UNSEEN: Final = "unseen-line"
_MODELS: Final = 3
"""Models whose mean is taken; each leaves out ``FOLDS / _MODELS`` folds."""
_FEW: Final = 64
"""Rows up to which one thread answers sooner than two."""
_KINDS: Final = frozenset(kind.replace(" ", "-") for kind in KIND_OF)
_SHARES: Final = shares_of((*NAMES, *expression.NAMES))


class BoostedEvidence(Plugin):
    """Trees over rates, votes, processes and factorisations; see ``docs/explanation/boosted-evidence.md``."""

    name: ClassVar[str] = "boosted-evidence"
    version: ClassVar[str] = "3"
    summary: ClassVar[str] = "Boosted trees over graph kernels, matrix factorisation, Gaussian processes and rates."
    providers: ClassVar[tuple[str, ...]] = ("gene_ontology", "corum", "reactome", "string")
    defaults: ClassVar[Mapping[str, Setting]] = {"without": "", "lines": "all"}

    _learned: Learned
    _view: View
    _boosted: Mapping[str, boosting.Boosted]
    _weights: Mapping[str, tuple[float, float, float]]
    _expression: pl.DataFrame | None

    @cached_property
    def _layers(self) -> Layers:
        return open_layers(self.ground, self._without)

    @cached_property
    def _without(self) -> frozenset[str]:
        """Kinds of evidence and providers that are left out, to see what they are worth."""
        asked = frozenset(part.strip() for part in str(self.settings["without"]).split(",") if part.strip())
        known = {*_KINDS, *self.providers}
        if strange := sorted(asked - known):
            raise UsageError(
                f"setting without of {self.name}: there is no evidence {strange[0]!r}; there is: "
                f"{', '.join(sorted(known))}"
            )
        return asked

    @cached_property
    def _emptied(self) -> npt.NDArray[np.bool_]:
        """Columns of the kinds that are left out."""
        return np.array([kind.replace(" ", "-") in self._without for kind in KIND_OF])

    def _nodes(self, keys: Iterable[str]) -> Int32:
        """Return the release node number of each key of a gene; -1 for names that do not resolve."""
        return self.ground.nodes_of(pl.Series(list(keys), dtype=pl.String))

    def _fit(self, training: Training, progress: Progress) -> None:
        self._expression = expression.checked(training.expression)
        asked = self._asked if training.rows["cell_line"].n_unique() > 1 else {_KNOWN}
        fitted = fit_parts(
            self._layers, training.rows, self._nodes, training.seed, progress,
            known=_KNOWN in asked, unseen=_UNSEEN in asked,
        )  # fmt: skip
        self._learned = fitted.learned
        seen = self._learned.seen
        self._view = fitted.views[seen.whole]
        boosted: dict[str, boosting.Boosted] = {}
        weights: dict[str, tuple[float, float, float]] = {}
        if _KNOWN in asked:
            progress("boosting", 0.5)
            boosted[_KNOWN], unseen = self._boost(fitted, range(FOLDS), seen.fold % _MODELS)
            for code, line in enumerate(self._learned.codes.lines):
                mine = seen.line == code
                weights[line] = boosting.class_weights(unseen[mine], seen.label[mine])
            weights["*"] = boosting.class_weights(unseen, seen.label)
        if _UNSEEN in asked:  # one line alone says nothing of what another would do
            progress("boosting for other lines", 0.8)
            boosted[_UNSEEN], unseen = self._boost(fitted, range(FOLDS, seen.whole), seen.line)
            weights["*"] = boosting.class_weights(unseen, seen.label)
        self._boosted, self._weights = boosted, weights

    @property
    def _asked(self) -> frozenset[str]:
        """Which models the setting ``lines`` asks for."""
        chosen = {"all": {_KNOWN, _UNSEEN}, "known": {_KNOWN}, "unseen": {_UNSEEN}}.get(str(self.settings["lines"]))
        if chosen is None:
            raise UsageError(f"setting lines of {self.name} is {self.settings['lines']!r}; give all, known or unseen")
        return frozenset(chosen)

    def _boost(self, fitted: Fitted, views: range, part: npt.NDArray[Any]) -> tuple[boosting.Boosted, Probabilities]:
        seen = fitted.learned.seen
        table = self._widened(training_table(fitted, views), seen.line, seen.perturbation, seen.target)
        return boosting.boost(table, seen.label, part, _SHARES, seed=self.card.seed, threads=THREADS)

    def _widened(self, table: Float32, line: Int32, perturbation: Int32, target: Int32) -> Float32:
        """Return the table with the columns of baseline expression."""
        codes = self._learned.codes
        names = [np.array(part, dtype=object) for part in (codes.lines, codes.perturbations, codes.targets)]
        sides = (names[place][code] for place, code in enumerate((line, perturbation, target)))
        return self._laid_out(table, expression.columns(self._expression, codes.lines, *sides))

    def _laid_out(self, table: Float32, expressed: Float32) -> Float32:
        wide = np.concatenate([table, expressed], axis=1)
        wide[:, self._emptied] = 0.0
        return wide

    def features(self, rows: pl.DataFrame) -> Float32:
        """Return the float32 (rows, columns) features of rows (columns of ``ROWS``), known to unknown lines alike."""
        keyed = with_keys(rows)
        genes = pl.concat([keyed["_perturbation"].rename("key"), keyed["_target"].rename("key")]).unique().sort()
        nodes = dict(zip(genes.to_list(), self._nodes(genes).tolist(), strict=True))
        lines, asked = self._learned.codes.lines, rows
        if _UNSEEN not in self._boosted:  # a line never seen is answered as if it were the first
            known = pl.col("cell_line").is_in(list(lines))
            asked = rows.with_columns(pl.when(known).then("cell_line").otherwise(pl.lit(lines[0])).alias("cell_line"))
        elif _KNOWN not in self._boosted:
            asked = rows.with_columns(cell_line=pl.lit(""))
        table = asked_features(self._learned, self._view, asked, nodes)
        sides = (keyed[name].to_numpy() for name in ("cell_line", "_perturbation", "_target"))
        return self._laid_out(table, expression.columns(self._expression, self._learned.codes.lines, *sides))

    def _model_of(self, rows: pl.DataFrame) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
        """Return the rows that each model answers."""
        line = self._learned.codes.lines_of(rows)
        strange = (line == UNKNOWN) & (_UNSEEN in self._boosted) | (_KNOWN not in self._boosted)
        return {_KNOWN: np.flatnonzero(~strange), _UNSEEN: np.flatnonzero(strange)}

    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        table = self.features(rows)
        found = np.zeros((rows.height, 3))
        for name, mine in self._model_of(rows).items():
            if len(mine):
                threads = THREADS if len(mine) > _FEW else 1
                found[mine] = self._boosted[name].probabilities(table[mine], threads)
        return found

    def _class_weights(self) -> Mapping[str, tuple[float, float, float]]:
        return self._weights

    def _providers(self) -> tuple[str, ...]:
        return tuple(name for name in self.providers if name not in self._without)

    def _parameters(self) -> Mapping[str, Any]:
        return {"boosting": boosting.SETTINGS, "folds": FOLDS, "columns": len(NAMES), "models": _MODELS}

    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        asked = pl.DataFrame([dict(row)], schema=dict.fromkeys(row, pl.String))
        table = self.features(asked)
        name = next(name for name, mine in self._model_of(asked).items() if len(mine))
        contributions = self._boosted[name].contributions(table[0])
        changed = float(1 - self._boosted[name].probabilities(table, 1)[0, 1])
        return reasons_for(self.ground, self._learned, self._providers(), row, table[0], contributions, changed)

    def _save(self, directory: Path) -> None:
        save_learned(directory, self._learned, self._view)
        for name, one in self._boosted.items():
            one.save(directory, name)
        if self._expression is not None:
            self._expression.write_parquet(directory / expression.FILE)

    def _load(self, directory: Path) -> None:
        self._learned, self._view = load_learned(directory, self._layers)
        names = [name for name in (_KNOWN, _UNSEEN) if (directory / f"{name}.json").exists()]
        self._boosted = {name: boosting.Boosted.load(directory, name) for name in names}
        self._weights = self.card.class_weights
        path = directory / expression.FILE
        self._expression = pl.read_parquet(path) if path.exists() else None
