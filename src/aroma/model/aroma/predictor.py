"""``aroma``: the language model that reads the evidence, as a plug-in like every other.

Answers are scored, not sampled (``scoring``); the scores are calibrated on training perturbations that neither stage
learned from. ``settings`` says what can be set; ``fitting`` trains. torch is imported only when a model is made.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import polars as pl

from aroma.errors import AromaError, ModelError
from aroma.model.aroma.settings import (
    DEFAULTS,
    RANDOM_WEIGHTS,
    check,
    inherited,
    is_tiny,
    options_of,
    sizes_of,
    stages_of,
)
from aroma.model.class_weights import Weights, learn_weights
from aroma.model.ground import ROWS, TRAINING
from aroma.model.labels import CLASSES, COLUMN_OF_LABEL, Probabilities
from aroma.model.plugin import Plugin, Progress, Reason, Setting, Training, column_of
from aroma.model.scaling import PLAIN, Float64, learn_scaling, scaled
from aroma.model.splits import folds_by_perturbation

if TYPE_CHECKING:
    from aroma.model.aroma.fitting import Fitted
    from aroma.model.aroma.prompting import Prompter, PromptRow
    from aroma.retrieval.evidence import EvidenceStore

_FOLDS: Final = 8
_OUTCOMES: Final = "outcomes.parquet"
_CURVES: Final = "curves.parquet"
_PACKAGES: Final = ("torch", "transformers", "peft", "trl")
_NO_NAME: Final = "(no name)"
_TEMPERATURE: Final = 0.7
_KEPT_PROMPTS: Final = 4096


class AromaPredictor(Plugin):
    """A language model on the evidence's text and on learned vectors of both genes."""

    name: ClassVar[str] = "aroma"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "A language model that reads evidence and embeddings of both genes, trained in two stages."
    providers: ClassVar[tuple[str, ...]] = ("string", "corum", "gene_ontology", "reactome", "uniprot")
    embeddings: ClassVar[tuple[str, ...]] = ("gat:gene-kg", "gat:path-kg", "esm2_t33_650M_UR50D")
    rows_a_part: ClassVar[int] = 1_000
    defaults: ClassVar[Mapping[str, Setting]] = DEFAULTS

    _made: Fitted
    _outcomes: pl.DataFrame
    _prior: dict[str, Float64]
    _scaling: Float64
    _weights: Mapping[str, Weights]
    _failed: dict[tuple[str | None, ...], str]

    # --- learning ------------------------------------------------------------------------------------------------

    def _fit(self, training: Training, progress: Progress) -> None:
        _refuse_missing_packages()
        check(self.settings)
        self.settings |= inherited(self.settings)
        from aroma.model.aroma.fitting import fit_aroma, refuse_foreign_traces, threads_for

        refuse_foreign_traces(replace(training, parameters=self.settings))
        held = self._held_out(training)
        learned = replace(training, rows=training.rows.filter(~pl.Series(held)), parameters=self.settings)
        self._outcomes, self._failed = training.rows, {}
        self._prior = _priors(training.rows)
        with threads_for(self.settings):
            options = options_of(self.settings, self.ground, training.seed)
            self._made = fit_aroma(learned, self.ground, options, progress)
            self._calibrate(training.rows.filter(pl.Series(held)), training.seed, progress)
            self._see(self._evidence())

    def _held_out(self, training: Training) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which rows neither stage learns from: every eighth perturbation, if all classes stay in the others."""
        rows = training.rows
        if not self.settings["calibrate"]:
            return np.zeros(rows.height, dtype=bool)
        held: np.ndarray[Any, np.dtype[np.bool_]] = (folds_by_perturbation(rows, _FOLDS, training.seed) == 0).to_numpy()
        enough = all(rows.filter(pl.Series(part))["label"].n_unique() == len(CLASSES) for part in (held, ~held))
        return held if enough else np.zeros(rows.height, dtype=bool)

    def _calibrate(self, held: pl.DataFrame, seed: int, progress: Progress) -> None:
        """Learn scaling and class weights on rows that the model has not seen; without such rows, none."""
        self._scaling, self._weights = PLAIN, {}
        most = int(sizes_of(self.settings)["calibration_rows"])
        rows = held.sample(min(most, held.height), seed=seed).sort(list(TRAINING), nulls_last=False)
        if rows.is_empty() or rows["label"].n_unique() < len(CLASSES):
            return
        progress("calibrating", 0.9)
        self._see(self._made.store)
        asked = rows.select(list(ROWS))
        found = self._raw(asked)
        good = ~np.isnan(found[:, 0])
        if not good.any():
            raise ModelError(f"no row can be answered, as {next(iter(self._failed.values()))}")
        columns = column_of(rows["label"].to_numpy())
        self._scaling = learn_scaling(found[good], columns[good])
        self._weights = learn_weights(
            rows.filter(pl.Series(good))["cell_line"], scaled(found[good], self._scaling), columns[good]
        )

    def _evidence(self) -> EvidenceStore:
        from aroma.model.aroma.fitting import open_evidence

        return open_evidence(self.ground, self._outcomes)

    def _see(self, store: EvidenceStore) -> None:
        from aroma.model.aroma.prompting import Prompter

        made = self._made
        self._kept: dict[tuple[str | None, ...], PromptRow] = {}
        self._prompter: Prompter = Prompter(store, made.aroma.tokenizer, made.aroma.options, context=made.aroma.context)

    # --- answering -----------------------------------------------------------------------------------------------

    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        from aroma.model.aroma.fitting import threads_for

        with threads_for(self.settings):
            found = scaled(self._raw(rows), self._scaling)
        for place, row in enumerate(rows.iter_rows()):
            if np.isnan(found[place]).any():
                found[place] = self._prior.get(row[0], self._prior["*"])
        return found

    def _raw(self, rows: pl.DataFrame) -> Probabilities:
        """Return probabilities before calibration; NaN for rows that failed, whose reasons are kept."""
        named = rows.with_columns(
            pl.when(pl.col(name) == "").then(pl.lit(_NO_NAME)).otherwise(pl.col(name)).alias(name)
            for name in ("cell_line", "perturbation", "target")
        )
        keys = list(rows.select(list(ROWS)).iter_rows())
        prompts = self._prompts(keys, named)
        for key, prompt in zip(keys, prompts, strict=True):
            self._note(key, prompt.problem)
        try:
            return self._score(prompts)
        except AromaError:
            return self._one_by_one(keys, prompts)

    def _prompts(self, keys: Sequence[tuple[str | None, ...]], named: pl.DataFrame) -> list[PromptRow]:
        """Return the rows' prompts; those of late are kept, as making one costs as much as a short one's answer."""
        known = {key: prompt for key in keys if (prompt := self._kept.get(key)) is not None}
        new = [place for place, key in enumerate(keys) if key not in known]
        made = self._prompter.rows(named[new]) if new else []
        known |= {keys[place]: prompt for place, prompt in zip(new, made, strict=True)}
        self._kept.update(known)
        for key in list(self._kept)[: max(len(self._kept) - _KEPT_PROMPTS, 0)]:
            self._kept.pop(key, None)
        return [known[key] for key in keys]

    def _one_by_one(self, keys: Sequence[tuple[str | None, ...]], prompts: Sequence[PromptRow]) -> Probabilities:
        """Answer rows by themselves after one of them failed; such are noted, and the others answered."""
        found = np.full((len(prompts), len(CLASSES)), np.nan)
        for place, (key, prompt) in enumerate(zip(keys, prompts, strict=True)):
            try:
                found[place] = self._score([prompt])[0]
            except AromaError as error:
                self._note(key, str(error))
        return found

    def _note(self, key: tuple[str | None, ...], problem: str | None) -> None:
        if problem is None:
            self._failed.pop(key, None)
        else:
            self._failed[key] = problem

    def _score(self, prompts: Sequence[PromptRow]) -> Probabilities:
        from aroma.model.aroma.scoring import sample_votes, score_answers, write_reasoning

        made, settings = self._made, sizes_of(self.settings)
        most = int(settings["max_new_tokens"])
        if settings["reasoning"] == "votes":
            votes = sample_votes(
                made.aroma, prompts, made.bank, samples=int(settings["votes"]), temperature=_TEMPERATURE,
                max_new_tokens=most, seed=self.card.seed,
            )  # fmt: skip
            found = votes.probabilities(self._prior["*"].tolist())
            found[[row.problem is not None for row in prompts]] = np.nan
            return found
        reasoning = None
        if settings["reasoning"] == "greedy":
            reasoning = write_reasoning(made.aroma, prompts, made.bank, max_new_tokens=most)
        return score_answers(
            made.aroma, prompts, made.bank, reasoning=reasoning, batch_tokens=int(settings["batch_tokens"])
        )

    def _failures(self, rows: pl.DataFrame) -> pl.Series | None:
        if not self._failed:
            return None
        return pl.Series([self._failed.get(row) for row in rows.select(list(ROWS)).iter_rows()], dtype=pl.String)

    # --- saying why ----------------------------------------------------------------------------------------------

    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        from aroma.model.aroma.fitting import threads_for
        from aroma.model.aroma.reasons import reasons_for

        asked = pl.DataFrame([{name: row[name] for name in ROWS}], schema=ROWS)
        with threads_for(self.settings):
            probabilities = self._probabilities(asked)
            (label,) = self.label(asked, probabilities)
            failed = self._failed.get(asked.row(0))
            towards = CLASSES[int(COLUMN_OF_LABEL[label])]
            most = int(sizes_of(self.settings)["max_new_tokens"])
            return reasons_for(self._made, self._prompter, asked.row(0, named=True), towards, failed, most)

    # --- keeping -------------------------------------------------------------------------------------------------

    def _save(self, directory: Path) -> None:
        from aroma.model.aroma.fitting import SAVED, TAUGHT
        from aroma.model.aroma.storage import AromaCard, save_aroma

        made, card = self._made, self.card
        said = AromaCard.of(
            self.ground,
            made.bank,
            split=card.split,
            training_sha256=card.training_sha256,
            training_rows=card.training_rows,
            withheld_rows=card.withheld_rows,
            stages=stages_of(self.settings),
            licences=dict(card.licences),
            more={"used": made.used, "notes": made.notes},
        )
        save_aroma(made.aroma, directory / SAVED, said)
        self._outcomes.write_parquet(directory / _OUTCOMES)
        made.taught.write_parquet(directory / TAUGHT)
        pl.DataFrame(made.curves, infer_schema_length=None).write_parquet(directory / _CURVES)

    def _load(self, directory: Path) -> None:
        _refuse_missing_packages()
        from aroma.model.aroma.fitting import SAVED, TAUGHT, Fitted, shown_bank
        from aroma.model.aroma.storage import load_aroma

        self._outcomes, self._failed = pl.read_parquet(directory / _OUTCOMES), {}
        self._prior = _priors(self._outcomes)
        loaded = load_aroma(directory / SAVED, self.ground)
        bank = shown_bank(loaded.bank, self.ground, self.settings)
        more = loaded.card.more
        taught = pl.read_parquet(directory / TAUGHT)
        store, used, notes = self._evidence(), dict(more["used"]), list(more["notes"])
        self._made = Fitted(loaded.aroma, bank, store, used, notes=notes, taught=taught)
        self._scaling = np.array(self.card.parameters["scaling"])
        self._weights = self.card.class_weights
        self._see(self._made.store)

    def _class_weights(self) -> Mapping[str, Weights]:
        return self._weights

    def _parameters(self) -> Mapping[str, Any]:
        made = self._made
        random = {"label": RANDOM_WEIGHTS} if is_tiny(self.settings) else {}
        return {
            **inherited(self.settings),
            "scaling": self._scaling.tolist(),
            "modalities_used": list(made.aroma.options.modalities),
            "vectors": {name: said["id"] for name, said in made.bank.card().items()},
            "used": made.used,
            "notes": made.notes,
            **random,
        }


def _priors(rows: pl.DataFrame) -> dict[str, Float64]:
    """Return the class rates of training by cell line, and over all rows as ``*``."""
    found = {"*": rows["label"].to_numpy()}
    found |= {str(line): part["label"].to_numpy() for (line,), part in rows.group_by("cell_line")}
    return {
        line: np.bincount(COLUMN_OF_LABEL[labels], minlength=len(CLASSES)) / len(labels)
        for line, labels in found.items()
    }


def _refuse_missing_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"the plug-in aroma needs {', '.join(missing)}; install: pip install 'aroma-evidence[language-model]'"
        )
