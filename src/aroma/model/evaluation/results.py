"""Everything that is said of models on one set of rows, as one JSON-able object; a NaN becomes null."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from aroma.model.evaluation import bootstrap, calibration, conformal
from aroma.model.evaluation.bootstrap import Drawn, Draws, interval
from aroma.model.evaluation.calibration import Reliability
from aroma.model.evaluation.metrics import Floats, Measures, Scored, f1_by_line, mean_f1, mean_known, measure
from aroma.model.evaluation.strata import Strata
from aroma.model.evaluation.trials import RATE_BASELINE, Compared, Say
from aroma.model.labels import CLASSES

HEADLINES: Final = ("mean_f1", "macro_f1", "change", "direction", "auroc", "auprc", "direction_auroc", "brier")
TITLES: Final = {
    "mean_f1": "mean F1 (over lines and classes)",
    "macro_f1": "macro F1 (pooled)",
    "change": "per-gene DE AUROC",
    "direction": "per-gene direction AUROC",
    "auroc": "pooled DE AUROC",
    "auprc": "pooled DE AUPRC",
    "direction_auroc": "pooled direction AUROC",
    "brier": "Brier score",
    "skill": "Brier skill over gene-frequency",
}
LOWER_IS_BETTER: Final = frozenset({"brier"})
_FEWEST: Final = 30
"""Rows below which a stratum is not scored."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is worked out.

    Attributes:
        draws: Bootstrap draws; 0 for none.
        seed: Of draws and of conformal folds.
        changed_share: Share of changed rows for which probabilities are corrected as well; None for none.
    """

    draws: int = bootstrap.DRAWS
    seed: int = 0
    changed_share: float | None = None


def results(compared: Compared, strata: Sequence[Strata], options: Options, say: Say) -> dict[str, Any]:
    """Return models, differences and strata.

    Args:
        compared: The models on the same rows.
        strata: Ways of parting the rows.
        options: What is worked out.
        say: Told what is being done.
    """
    first = compared.scored[0]
    draws = bootstrap.draw(first, draws=options.draws, seed=options.seed)
    base_place = next(n for n, trial in enumerate(compared.trials) if trial.name == RATE_BASELINE)
    drawn: list[Drawn | None] = []
    measured = []
    for trial, rows in zip(compared.trials, compared.scored, strict=True):
        say(f"{trial.name}: measures on {len(rows):,} rows, {options.draws:,} draws")
        measured.append(measure(rows))
        drawn.append(bootstrap.measure_draws(rows, draws) if options.draws else None)
    models = [
        _model(compared, place, measured[place], drawn[place], base_place, drawn[base_place], options)
        for place in range(len(compared.trials))
    ]
    return {
        "rows": len(first),
        "asked": compared.asked,
        "classes": list(CLASSES),
        "lines": list(first.lines),
        "rows_by_line": np.bincount(first.line, minlength=len(first.lines)).tolist(),
        "perturbations": len(first.perturbations),
        "targets": len(first.targets),
        "measured_shares": calibration.prevalence(first.truth).tolist(),
        "trained_shares": compared.trained_shares.tolist(),
        "interval": {
            "draws": options.draws,
            "level": bootstrap.LEVEL,
            "over": "perturbations crossed with target genes",
        },
        "models": models,
        "differences": _differences(compared, measured, drawn),
        "strata": [_stratum(compared, strata_of, draws, options) for strata_of in strata],
    }


def headline(measures: Measures, rows: Scored) -> dict[str, float]:
    """Return the point values of ``HEADLINES``."""
    return {
        "mean_f1": measures.mean_f1,
        "macro_f1": measures.macro_f1,
        "change": measures.change.mean,
        "direction": measures.direction.mean,
        "auroc": measures.auroc,
        "auprc": measures.auprc,
        "direction_auroc": measures.direction_auroc,
        "brier": calibration.brier(rows.probabilities, rows.truth),
    }


def _model(
    compared: Compared,
    place: int,
    measures: Measures,
    drawn: Drawn | None,
    base_place: int,
    base: Drawn | None,
    options: Options,
) -> dict[str, Any]:
    trial, rows = compared.trials[place], compared.scored[place]
    values = headline(measures, rows)
    draws = drawn.measures() if drawn is not None else {}
    said = {name: valued(values[name], draws.get(name)) for name in HEADLINES}
    baseline = compared.scored[base_place]
    skill = calibration.skill(values["brier"], calibration.brier(baseline.probabilities, baseline.truth))
    skills = calibration.skill(drawn.brier, base.brier) if drawn is not None and base is not None else None
    said["skill"] = valued(float(skill), skills)
    return {
        "name": trial.name,
        "kind": trial.kind,
        "answered": compared.answered[place],
        "seconds": trial.seconds,
        "card": trial.card,
        "measures": said,
        "f1": _f1(rows, measures.f1, drawn),
        "by_line": {
            line: {
                "change": valued(measures.change.by_line[n], drawn.change[:, n] if drawn else None),
                "change_genes": int(measures.change.genes[n]),
                "direction": valued(measures.direction.by_line[n], drawn.direction[:, n] if drawn else None),
                "direction_genes": int(measures.direction.genes[n]),
                "macro_f1": valued(mean_known(measures.f1[n]), bootstrap.means(drawn.f1[:, n]) if drawn else None),
            }
            for n, line in enumerate(rows.lines)
        },
        "top": {str(k): {"precision": number(p), "perturbations": n} for k, (p, n) in measures.top.items()},
        "calibration": [_curve(one) for one in calibration.reliability(rows.probabilities, rows.truth)],
        "calibration_by_quartile": [
            [_curve(one) for one in quartile]
            for quartile in calibration.reliability_by_quartile(rows.probabilities, rows.truth, compared.rate)
        ],
        "sets": [_coverage(rows, stated, options.seed) for stated in conformal.COVERAGES],
        "other_prevalence": _other_prevalence(compared, place, base_place, options.changed_share),
    }


def _f1(rows: Scored, f1: Floats, drawn: Drawn | None) -> dict[str, dict[str, Any]]:
    return {
        line: {
            name: valued(f1[n, column], drawn.f1[:, n, column] if drawn is not None else None)
            for column, name in enumerate(CLASSES)
        }
        for n, line in enumerate(rows.lines)
    }


def valued(value: float, draws: Floats | None) -> dict[str, float | None]:
    """Return a number with its interval for JSON; what is not defined is null."""
    found = interval(draws, value) if draws is not None else None
    return {
        "value": number(value),
        "low": number(found.low) if found else None,
        "high": number(found.high) if found else None,
    }


def number(value: float) -> float | None:
    """Return a number for JSON; None for what is not defined."""
    plain = float(value)
    return plain if math.isfinite(plain) else None


def _numbers(values: Floats) -> list[float | None]:
    return [number(value) for value in values.tolist()]


def _curve(one: Reliability) -> dict[str, Any]:
    return {
        "class": one.name,
        "rows": one.rows,
        "slope": number(one.slope),
        "intercept": number(one.intercept),
        "error": number(one.error),
        "predicted": _numbers(one.predicted),
        "observed": _numbers(one.observed),
        "counts": one.counts.tolist(),
    }


def _coverage(rows: Scored, stated: float, seed: int) -> dict[str, Any]:
    found = conformal.coverage_of(rows, stated, seed=seed)
    return {
        "stated": stated,
        "measured": number(found.measured),
        "by_class": dict(zip(CLASSES, _numbers(found.by_class), strict=True)),
        "size": number(found.size),
        "single": number(found.single),
        "empty": number(found.empty),
    }


def _other_prevalence(compared: Compared, place: int, base_place: int, share: float | None) -> dict[str, Any] | None:
    """Return Brier score, skill and slopes where fewer rows are changed, before and after the correction."""
    if share is None:
        return None
    rows = compared.scored[place]
    wanted = calibration.with_changed_share(compared.trained_shares, share)
    weights = calibration.row_weights(rows.truth, wanted)
    scores = {}
    for name, at in (("own", place), ("baseline", base_place)):
        before = compared.scored[at].probabilities
        after = calibration.at_prevalence(before, compared.trained_shares, wanted)
        for when, probabilities in (("before", before), ("after", after)):
            errors = calibration.brier_by_row(probabilities, rows.truth)
            scores[name, when] = float(np.average(errors, weights=weights)) if weights.sum() else float("nan")
    return {
        "changed_share": share,
        "class_shares": dict(zip(CLASSES, wanted.tolist(), strict=True)),
        "brier_uncorrected": number(scores["own", "before"]),
        "brier_corrected": number(scores["own", "after"]),
        "skill_corrected": number(float(calibration.skill(scores["own", "after"], scores["baseline", "after"]))),
    }


def _differences(
    compared: Compared, measured: Sequence[Measures], drawn: Sequence[Drawn | None]
) -> list[dict[str, Any]]:
    """Return paired differences of every two models, the one further down the table less the one further up."""
    found = []
    values = [headline(one, rows) for one, rows in zip(measured, compared.scored, strict=True)]
    draws = [one.measures() if one is not None else None for one in drawn]
    for low in range(len(values)):
        for high in range(low + 1, len(values)):
            one, other = draws[high], draws[low]
            said: dict[str, Any] = {}
            for name in HEADLINES:
                pairs = one[name] - other[name] if one is not None and other is not None else None
                said[name] = valued(values[high][name] - values[low][name], pairs)
                said[name]["better"] = _share_better(pairs, lower=name in LOWER_IS_BETTER)
            model, against = compared.trials[high].name, compared.trials[low].name
            found.append({"model": model, "against": against, "measures": said})
    return found


def _share_better(pairs: Floats | None, *, lower: bool) -> float | None:
    if pairs is None:
        return None
    known = pairs[~np.isnan(pairs)]
    return float(((known < 0) if lower else (known > 0)).mean()) if len(known) else None


def _stratum(compared: Compared, strata: Strata, draws: Draws, options: Options) -> dict[str, Any]:
    return {
        "name": strata.name,
        "source": strata.source,
        "strata": [
            _scores(compared, name, strata.of_row == place, draws, options)
            for place, name in enumerate(strata.names)
            if (strata.of_row == place).any()
        ],
    }


def _scores(
    compared: Compared, name: str, at: np.ndarray[Any, np.dtype[np.bool_]], draws: Draws, options: Options
) -> dict[str, Any]:
    said: dict[str, Any] = {"name": name, "rows": int(at.sum()), "models": {}}
    if said["rows"] < _FEWEST:
        said["note"] = f"fewer than {_FEWEST} rows, not scored"
        return said
    for trial, whole in zip(compared.trials, compared.scored, strict=True):
        rows = whole.only(at)
        drawn = bootstrap.means(bootstrap.f1_draws(rows, draws)) if options.draws else None
        by_line = [number(mean_known(line)) for line in f1_by_line(rows)]
        said["models"][trial.name] = {
            "mean_f1": valued(mean_f1(rows), drawn),
            "macro_f1_by_line": dict(zip(rows.lines, by_line, strict=True)),
        }
    return said
