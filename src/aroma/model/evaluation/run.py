"""``evaluate``: models and predictions files on one split, the baselines always beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aroma.errors import UsageError
from aroma.model.evaluation import bootstrap
from aroma.model.evaluation.permutation import LEAST_SEEDS, against_permutations
from aroma.model.evaluation.predictions import Predictions, Problem, read_predictions
from aroma.model.evaluation.results import Options, results
from aroma.model.evaluation.strata import all_strata
from aroma.model.evaluation.trials import (
    RATE_BASELINE,
    Question,
    Say,
    Trial,
    ask,
    baselines,
    compare,
    run_file,
    run_plugin,
)
from aroma.model.ground import Ground
from aroma.model.leakage import leakage
from aroma.model.registry import plugin

_MOST_DRAWS = 100_000


def _silent(_text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is evaluated.

    Attributes:
        outcomes: File, directory, ``stored`` or a stored version.
        predictions: Predictions files.
        plugins: Names of plug-ins to fit and ask.
        split: Name of a split; else the official one.
        training: Outcomes to train on, instead of a split.
        parameters: Settings by plug-in.
        seed: Of splits, fits and draws.
        draws: Bootstrap draws; 0 for no intervals.
        mentions: File of mention counts (``gene,count``) for popularity.
        changed_share: Share of changed rows for which probabilities are corrected as well.
        permutations: Permuted graphs that each plug-in is fitted on as well; 0 for none, else 5 or more.
        strata: Whether rows are parted by popularity, degree, hops and coverage.
    """

    outcomes: str | Path
    predictions: tuple[Path, ...] = ()
    plugins: tuple[str, ...] = ()
    split: str | None = None
    training: str | Path | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0
    draws: int = bootstrap.DRAWS
    mentions: Path | None = None
    changed_share: float | None = None
    permutations: int = 0
    strata: bool = True


def evaluate(ground: Ground, request: Request, say: Say = _silent) -> dict[str, Any]:
    """Return the results of ``results``, with what was asked, what could not be used, and what training gives away.

    Raises:
        UsageError: Nothing to evaluate, an option out of range, or no row that all models answer.
        InputFileError: A file that cannot be read.
        ModelError: A plug-in that cannot be fitted.
    """
    _check(request)
    files = _named([read_predictions(path) for path in request.predictions], request.plugins)
    question = ask(ground, request.outcomes, split=request.split, training=request.training, seed=request.seed)
    beside = baselines(question)
    trials = [_fit(ground, question, name, request, say) for name in beside]
    trials += [_fit(ground, question, name, request, say) for name in request.plugins if name not in beside]
    problems: list[Problem] = []
    for file in files:
        trial, said = run_file(ground, question, file)
        trials.append(trial)
        problems += said
    compared = compare(question, trials)
    strata = all_strata(ground, compared.rows, request.mentions) if request.strata else []
    found = results(compared, strata, Options(request.draws, request.seed, request.changed_share), say)
    if request.permutations:
        chosen = [name for name in request.plugins if name not in beside]
        found["permutations"] = [
            against_permutations(
                ground, question, compared, name, dict(request.parameters.get(name, {})), request.permutations, say
            )
            for name in chosen
        ]
    return _about(ground, question, request, beside, problems) | found


def _check(request: Request) -> None:
    if not request.predictions and not request.plugins:
        raise UsageError("nothing to evaluate; give a predictions file, or --plugin NAME (aroma models lists them)")
    if not 0 <= request.draws <= _MOST_DRAWS:
        raise UsageError(f"--draws {request.draws}: give 0 (no intervals) to {_MOST_DRAWS:,}; 1000 is usual")
    if request.changed_share is not None and not 0 < request.changed_share < 1:
        raise UsageError(f"--prevalence {request.changed_share}: give a share between 0 and 1, as 0.02")
    if request.permutations and request.permutations < LEAST_SEEDS:
        raise UsageError(f"--permutations {request.permutations}: give {LEAST_SEEDS} or more, fewer say nothing")
    for name in {*request.plugins, *request.parameters}:
        plugin(name)
    if request.permutations and not request.plugins:
        raise UsageError("--permutations fits a plug-in on permuted graphs; give --plugin NAME")


def _named(files: list[Predictions], taken: tuple[str, ...]) -> list[Predictions]:
    """Give files of one name different names."""
    used = {RATE_BASELINE, "line-transfer", *taken}
    named = []
    for file in files:
        name, number = file.name, 2
        while name in used:
            name, number = f"{file.name} ({number})", number + 1
        used.add(name)
        named.append(Predictions(name, file.rows, file.problems))
    return named


def _fit(ground: Ground, question: Question, name: str, request: Request, say: Say) -> Trial:
    parameters = dict(request.parameters.get(name, {}))
    return run_plugin(ground, question, name, seed=request.seed, parameters=parameters, say=say)


def _about(
    ground: Ground, question: Question, request: Request, beside: tuple[str, ...], problems: list[Problem]
) -> dict[str, Any]:
    return {
        "release": ground.release,
        "outcomes": question.source,
        "split": question.name,
        "seed": request.seed,
        "made_at": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "baselines": list(beside),
        "folds": [
            {
                "name": fold.name,
                "kind": fold.kind,
                "training_rows": fold.training.height,
                "test_rows": fold.test.height,
                "left_out": fold.left_out,
            }
            for fold in question.folds
        ],
        "problems": [
            *question.problems,
            *(problem.sentence() for problem in problems),
        ],
        "leakage": [sentence for fold in question.folds for sentence in leakage(fold).sentences()],
    }
