"""Whether a new model may take the place of the one that serves: not inferior on the same rows, and calibrated.

The difference of every measure is taken from the same bootstrap draws (perturbations crossed with target genes), so it
is paired. A measure holds where the lower end of the difference's 95 % interval is not below the margin: the new model
is then not worse by more than that (non-inferiority, Piaggio et al. 2012, doi:10.1001/jama.2012.87802).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import polars as pl

from aroma.errors import UsageError
from aroma.model.evaluation.bootstrap import DRAWS
from aroma.model.evaluation.results import TITLES, Options, results
from aroma.model.evaluation.trials import RATE_BASELINE, Question, Say, Trial, compare, run_plugin
from aroma.model.ground import ROWS, Ground
from aroma.model.labels import PROBABILITY_COLUMNS
from aroma.model.plugin import Plugin

MARGIN: Final = 0.01
COMPARED: Final = ("mean_f1", "change", "direction")
"""What must not be worse: F1, and the AUROCs within target genes."""
SLOPES: Final = (0.5, 2.0)
"""Bounds of a class's calibration slope: half and twice the right one.

Rows that a model tells apart without a mistake have no slope; they cannot be judged by it."""
CANDIDATE: Final = "candidate"
ANCHOR: Final = "best served"


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked of a candidate.

    Attributes:
        margin: How much worse it may be, in the unit of the measure.
        draws: Bootstrap draws.
        seed: Of the draws.
    """

    margin: float = MARGIN
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise UsageError(f"--margin {self.margin}: give 0 to 1, as {MARGIN}")
        if not 100 <= self.draws <= 100_000:  # noqa: PLR2004 - fewer draws have no 95 % interval
            raise UsageError(f"--draws {self.draws}: give 100 to 100,000; {DRAWS} is usual")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: ``mean_f1``, ``change``, ``direction``, ``skill``, ``slope: down``, ….
        holds: None where these rows cannot say.
        value: What was measured: a difference, a skill, a slope.
        low: Lower end of its interval.
        high: Upper end.
        bound: What it is held against.
        text: The same for people.
    """

    name: str
    holds: bool | None
    value: float | None
    low: float | None
    high: float | None
    bound: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a comparison.

    Attributes:
        passed: Whether the candidate may serve.
        best: Whether it is as good as the anchor or better on every measure: then later models are compared with it.
        checks: Each thing that was looked at.
        found: Everything measured (``aroma.model.evaluation.results``).
    """

    passed: bool
    best: bool
    checks: tuple[Check, ...]
    found: dict[str, Any]

    def reason(self) -> str:
        """Return why, in one line."""
        failed = [check.text for check in self.checks if check.holds is False]
        if failed:
            return "; ".join(failed)
        compared = [check for check in self.checks if check.name in COMPARED]
        if not self.passed:
            return "these rows do not define one of the measures that are compared; give more held-out rows"
        return "; ".join(check.text for check in compared) or "no model was served before; calibration holds"


def weigh(
    ground: Ground, question: Question, candidate: Plugin, anchor: Plugin | None, terms: Terms, say: Say
) -> Verdict:
    """Ask both models the same rows and say whether the candidate may serve.

    Args:
        ground: The candidate's release.
        question: Rows that neither model learned from; one fold, whose training rows the baseline learns from.
        candidate: The new model.
        anchor: The best model ever served, on its own release; None for the first.
        terms: What is asked.
        say: Told what is being done.
    """
    trials = [run_plugin(ground, question, RATE_BASELINE, say=say)]
    if anchor is not None:
        trials.append(answers_of(anchor, question, ANCHOR))
    trials.append(answers_of(candidate, question, CANDIDATE))
    found = results(compare(question, trials), [], Options(terms.draws, terms.seed), say)
    own = found["models"][-1]
    checks = (*_not_worse(found, terms), *_calibrated(own))
    compared = [check for check in checks if check.name in COMPARED]
    is_known = anchor is None or any(check.holds is not None for check in compared)
    passed = is_known and all(check.holds is not False for check in checks)
    best = passed and all(check.value is None or check.value >= 0 for check in compared)
    return Verdict(passed, best, checks, found)


def answers_of(model: Plugin, question: Question, name: str) -> Trial:
    """Return a saved model's answers to a question, on the model's own release."""
    names = question.asked.select("cell_line", "perturbation", "target")
    rows = model.predict(model.ground.rows(names).select(list(ROWS)))
    answers = rows.select(*PROBABILITY_COLUMNS, pl.col("label").cast(pl.Int8))
    card = asdict(model.card)
    return Trial(name, "served" if name == ANCHOR else "candidate", answers, {}, {question.name: card})


def _not_worse(found: dict[str, Any], terms: Terms) -> list[Check]:
    pair = next((one for one in found["differences"] if (one["model"], one["against"]) == (CANDIDATE, ANCHOR)), None)
    return [] if pair is None else [_difference(name, pair["measures"][name], terms.margin) for name in COMPARED]


def _difference(name: str, said: dict[str, Any], margin: float) -> Check:
    title, bound = TITLES[name], f">= {-margin:g}"
    if said["value"] is None or said["low"] is None:
        return Check(name, None, None, None, None, bound, f"{title}: not defined on these rows")
    value, low, high = said["value"], said["low"], said["high"]
    holds = low >= -margin
    shown = f"{title} {value:+.4f} [{low:+.4f}, {high:+.4f}] against the best served"
    how = "not worse" if holds else "may be worse"
    return Check(name, holds, value, low, high, bound, f"{shown}, {how} by more than {margin:g}")


def _calibrated(own: dict[str, Any]) -> list[Check]:
    skill = own["measures"]["skill"]
    value, low, high = skill["value"], skill["low"], skill["high"]
    shown = "not defined" if value is None else f"{value:+.4f}"
    holds = None if value is None else value > 0
    checks = [Check("skill", holds, value, low, high, "> 0", f"Brier skill over {RATE_BASELINE} {shown}, wanted > 0")]
    return checks + [_slope(curve) for curve in own["calibration"]]


def _slope(curve: dict[str, Any]) -> Check:
    least, most = SLOPES
    name, value = f"slope: {curve['class']}", curve["slope"]
    bound = f"{least:g} to {most:g}"
    if value is None:
        return Check(
            name, None, None, None, None, bound, f"calibration slope of {curve['class']}: cannot be said of these rows"
        )
    text = f"calibration slope of {curve['class']} {value:.2f}, wanted {bound}"
    return Check(name, least <= value <= most, value, None, None, bound, text)


def checks_table(checks: Sequence[Check]) -> list[tuple[str, str, str, str]]:
    """Return (what, measured, wanted, holds) of each check, for tables."""
    rows = []
    for check in checks:
        shown = "" if check.value is None else f"{check.value:+.4f}"
        if check.low is not None and check.high is not None:
            shown += f" [{check.low:+.4f}, {check.high:+.4f}]"
        holds = {True: "yes", False: "no", None: "cannot be said"}[check.holds]
        title = TITLES.get(check.name, check.name)
        rows.append((f"difference: {title}" if check.name in COMPARED else title, shown, check.bound, holds))
    return rows
