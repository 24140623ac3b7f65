"""Models put to one question: which rows are asked, what each model answers, and the baselines on the same rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from aroma.errors import UsageError
from aroma.model.data_sets import read_data_set
from aroma.model.evaluation.calibration import prevalence
from aroma.model.evaluation.metrics import Floats, Scored, scored
from aroma.model.evaluation.predictions import Predictions, Problem, answers, laid_out
from aroma.model.ground import ROWS, TRAINING, Ground
from aroma.model.labels import COLUMN_OF_LABEL, PROBABILITY_COLUMNS
from aroma.model.plugin import Training
from aroma.model.predictors.rates import key_of
from aroma.model.registry import plugin
from aroma.model.splits import TEST, Fold, make_folds

RATE_BASELINE: Final = "gene-frequency"
LINE_BASELINE: Final = "line-transfer"
Say = Callable[[str], None]
"""Called with what is being done."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        name: Of the split.
        folds: Each with its training and test rows.
        asked: Test rows of all folds: columns of ``ROWS``, ``label`` (Int8), ``fold`` (its name).
        outcomes: All outcomes that the folds were made of.
        source: Where they come from.
        problems: Sentences on outcomes that were not used.
    """

    name: str
    folds: tuple[Fold, ...]
    asked: pl.DataFrame
    outcomes: pl.DataFrame
    source: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """One model's answers.

    Attributes:
        name: What tables call it.
        kind: ``baseline``, ``plug-in`` or ``file``.
        rows: The probabilities and ``label``, one for each asked row; null where there is none.
        seconds: Of fitting and of predicting, where it was done here.
        card: What the model says of itself, by fold, where it was trained here.
    """

    name: str
    kind: str
    rows: pl.DataFrame
    seconds: dict[str, float]
    card: dict[str, Any]


def ask(
    ground: Ground, outcomes: str | Path, *, split: str | None = None, training: str | Path | None = None, seed: int = 0
) -> Question:
    """Return the question that outcomes and a split, or outcomes and training rows, make.

    Args:
        ground: The release.
        outcomes: File, directory, ``stored`` or a stored version.
        split: Name of a split (``aroma.model.splits``); else the official one, where the outcomes have one.
        training: Outcomes to train baselines and plug-ins on, instead of a split.
        seed: Of the split.

    Raises:
        UsageError: There is nothing to train on, or nothing to ask.
    """
    data = read_data_set(ground, outcomes)
    if training is not None:
        if split is not None:
            raise UsageError("give --training or --split, not both: a split says what is trained on")
        folds = [_against(ground, data.outcomes, training)]
    elif split is None and not (data.outcomes["split"] == TEST).any():
        raise UsageError(
            f"{data.name} says of no row that it is for testing, so the baselines have nothing to train on; "
            "give --training DIR, or --split (dev, by-perturbation:5, unseen-line, …)"
        )
    else:
        folds = make_folds(data.outcomes, split or "official", seed=seed, home=ground.home)
    tests = [fold.test.select(*ROWS, "label").with_columns(fold=pl.lit(fold.name)) for fold in folds]
    asked = pl.concat(tests).with_columns(pl.col("label").cast(pl.Int8))
    if asked.is_empty():
        raise UsageError(f"split {split} asks nothing: it withholds no row; choose dev, official or another one")
    name = "--training" if training is not None else (split or "official")
    return Question(name, tuple(folds), asked, data.outcomes, data.name, tuple(data.problems()))


def _against(ground: Ground, outcomes: pl.DataFrame, training: str | Path) -> Fold:
    """Return a fold of given training rows; test rows are those marked so, else all; none is ever trained on."""
    given = read_data_set(ground, training).outcomes
    marked = outcomes.filter(pl.col("split") == TEST)
    test = marked if marked.height else outcomes
    learned = given.filter(pl.col("split").fill_null("") != TEST)
    keys = [pl.col("cell_line"), key_of("perturbation").alias("p"), key_of("target").alias("t")]
    names = ["cell_line", "p", "t"]
    kept = learned.with_columns(keys[1:]).join(test.select(keys), on=names, how="anti").drop("p", "t")
    if kept.is_empty():
        raise UsageError(
            f"--training {training}: every row is asked in --outcomes too, so nothing is left to train on; "
            "give other rows, or --split official"
        )
    return Fold("--training", "given", kept, test, learned.height - kept.height)


def baselines(question: Question) -> tuple[str, ...]:
    """Return the baselines that stand beside every number: ``line-transfer`` where any pair is trained elsewhere."""
    for fold in question.folds:
        keys = [key_of("perturbation").alias("p"), key_of("target").alias("t")]
        both = fold.test.select("cell_line", *keys).join(
            fold.training.select("cell_line", *keys), on=["p", "t"], how="inner", suffix="_other"
        )
        if both.filter(pl.col("cell_line") != pl.col("cell_line_other")).height:
            return RATE_BASELINE, LINE_BASELINE
    return (RATE_BASELINE,)


def run_plugin(
    ground: Ground, question: Question, name: str, *, seed: int = 0, parameters: dict[str, Any] | None = None,
    label: str | None = None, say: Say = lambda _text: None,
) -> Trial:  # fmt: skip
    """Fit a plug-in on each fold's training rows and return its answers to the fold's test rows.

    Args:
        ground: The release.
        question: What is asked.
        name: Of the plug-in.
        seed: Of its random choices.
        parameters: Its settings; the others keep their defaults.
        label: What tables call it; else its name.
        say: Told what is being done.
    """
    found, cards = [], {}
    spent = {"fit": 0.0, "predict": 0.0}
    for fold in question.folds:
        say(f"{label or name}: fitting on {fold.training.height:,} rows ({fold.name})")
        training = Training(
            fold.training.select(pl.col(column).cast(dtype) for column, dtype in TRAINING.items()),
            seed=seed,
            split=fold.name,
            withheld=fold.withheld,
            parameters=parameters or {},
        )
        start = time.perf_counter()
        model = plugin(name).fit(training, ground)
        fitted = time.perf_counter()
        found.append(model.predict(fold.test.select(list(ROWS))).select(*PROBABILITY_COLUMNS, "label"))
        spent["fit"] += fitted - start
        spent["predict"] += time.perf_counter() - fitted
        card = model.card
        cards[fold.name] = {
            "version": card.version,
            "licence": card.licence,
            "licences": dict(card.licences),
            "seed": card.seed,
            "parameters": dict(card.parameters),
            "training_rows": card.training_rows,
            "training_sha256": card.training_sha256,
        }
    kind = "baseline" if name in {RATE_BASELINE, LINE_BASELINE} and not parameters else "plug-in"
    return Trial(label or name, kind, pl.concat(found), {k: round(v, 3) for k, v in spent.items()}, cards)


def run_file(ground: Ground, question: Question, predictions: Predictions) -> tuple[Trial, tuple[Problem, ...]]:
    """Return what a predictions file answers to the question, and what of it does not fit."""
    found = answers(ground, predictions, question.asked, question.outcomes)
    return Trial(predictions.name, "file", found.rows, {}, {}), predictions.problems + found.problems


@dataclass(frozen=True, slots=True)
class Compared:
    """All models on the same rows.

    Attributes:
        rows: The asked rows that every model answers, keyed: ``perturbation`` and ``target`` are genes' ids where they
            have one, so that a gene is one symbol in every line; the columns of ``ROWS`` stand beside as written.
        scored: By model, in the order of ``trials``.
        trials: The models.
        answered: How many of the asked rows each model answers.
        asked: How many rows were asked.
        rate: float64 (rows), training rate at which the row's target changes, by ``gene-frequency``.
        trained_shares: float64 (3), shares of the classes in training.
    """

    rows: pl.DataFrame
    scored: tuple[Scored, ...]
    trials: tuple[Trial, ...]
    answered: tuple[int, ...]
    asked: int
    rate: Floats
    trained_shares: Floats


def compare(question: Question, trials: Sequence[Trial]) -> Compared:
    """Lay all models out on the rows that every one of them answers.

    Raises:
        UsageError: No row is answered by all, or the rate baseline is not among the models.
    """
    every = np.ones(question.asked.height, dtype=bool)
    answered = []
    for trial in trials:
        have = laid_out(trial.rows["label"])
        answered.append(int(have.sum()))
        every &= have
    if not every.any():
        said = ", ".join(f"{trial.name} {count:,}" for trial, count in zip(trials, answered, strict=True))
        raise UsageError(
            f"no row is answered by every model (of {question.asked.height:,} asked: {said}); "
            "look at the names of cell lines and genes, and at --split"
        )
    kept = question.asked.filter(pl.Series(every))
    keyed = kept.with_columns(perturbation=key_of("perturbation"), target=key_of("target"))
    first = scored(keyed, trials[0].rows.filter(pl.Series(every)))
    laid = [first]
    for trial in trials[1:]:
        answer = trial.rows.filter(pl.Series(every))
        laid.append(
            first.with_probabilities(
                answer.select(PROBABILITY_COLUMNS).to_numpy().astype(np.float64),
                COLUMN_OF_LABEL[answer["label"].to_numpy()],
            )
        )
    baseline = next((rows for trial, rows in zip(trials, laid, strict=True) if trial.name == RATE_BASELINE), None)
    if baseline is None:
        raise UsageError(f"no model is compared without {RATE_BASELINE} beside it; add it to the plug-ins")
    trained = pl.concat([fold.training.select("label") for fold in question.folds])["label"].to_numpy()
    shares = prevalence(COLUMN_OF_LABEL[trained])
    return Compared(
        kept, tuple(laid), tuple(trials), tuple(answered), question.asked.height, baseline.change_score, shares
    )
