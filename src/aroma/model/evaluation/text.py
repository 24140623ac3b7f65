"""Results as tables of text: what the terminal shows and the HTML report repeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from aroma.model.evaluation.results import TITLES

Table = tuple[str, list[str], list[list[str]]]
MISSING: Final = "-"


def shown(valued: Mapping[str, float | None] | None, digits: int = 3, *, plus: bool = False) -> str:
    """Return a number with its interval, as ``.750 [.741, .759]``."""
    if valued is None or valued.get("value") is None:
        return MISSING
    low, high = valued.get("low"), valued.get("high")
    text = figure(valued["value"], digits, plus=plus)
    if low is None or high is None:
        return text
    return f"{text} [{figure(low, digits, plus=plus)}, {figure(high, digits, plus=plus)}]"


def figure(value: float | None, digits: int = 3, *, plus: bool = False) -> str:
    """Return a number without a leading zero; a dash for what is not defined."""
    if value is None:
        return MISSING
    text = f"{value:+.{digits}f}" if plus else f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def heading(found: Mapping[str, Any]) -> str:
    """Return one line on what was evaluated."""
    changed = 1 - found["measured_shares"][1]
    lines = ", ".join(found["lines"])
    return (
        f"{found['rows']:,} of {found['asked']:,} rows of {found['outcomes']} (split {found['split']}; {lines}; "
        f"{changed:.1%} changed; {found['perturbations']:,} perturbations, {found['targets']:,} targets; "
        f"release {found['release']})"
    )


def tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Yield (title, columns, rows) of every table for the terminal."""
    yield headline_table(found)
    yield f1_table(found)
    yield line_table(found)
    yield calibration_table(found)
    if found["differences"]:
        yield difference_table(found)
    yield from (stratum_table(found, one) for one in found["strata"])
    yield from (permutation_table(one) for one in found.get("permutations", []))


def headline_table(found: Mapping[str, Any]) -> Table:
    """Return the main table: every measure, a column a model, baselines first."""
    models = found["models"]
    rows = [[TITLES[name], *(shown(model["measures"][name]) for model in models)] for name in TITLES]
    rows += [
        [f"precision, top {k} of a perturbation", *(figure(model["top"][k]["precision"]) for model in models)]
        for k in models[0]["top"]
    ]
    rows.append(["seconds to fit / predict", *(_seconds(model) for model in models)])
    level = f"{found['interval']['level']:.0%}"
    drawn = f", {level} intervals over {found['interval']['over']}" if found["interval"]["draws"] else ""
    return f"Measures{drawn}", _columns(found, "measure"), rows


def f1_table(found: Mapping[str, Any]) -> Table:
    """Return F1 by line and class."""
    rows = [
        [f"{line}, {name}", *(shown(model["f1"][line][name]) for model in found["models"])]
        for line in found["lines"]
        for name in found["classes"]
    ]
    rows.append(["mean", *(shown(model["measures"]["mean_f1"]) for model in found["models"])])
    return "F1 by cell line and class", _columns(found, "F1"), rows


def line_table(found: Mapping[str, Any]) -> Table:
    """Return per-gene AUROC by line, with how many genes have both classes."""
    rows = []
    for what, title in (("change", "DE"), ("direction", "direction")):
        for line in found["lines"]:
            genes = found["models"][0]["by_line"][line][f"{what}_genes"]
            cells = [shown(model["by_line"][line][what]) for model in found["models"]]
            rows.append([f"{line}, {title} ({genes:,} genes)", *cells])
    return "AUROC within target genes, by cell line", _columns(found, "per-gene AUROC"), rows


def calibration_table(found: Mapping[str, Any]) -> Table:
    """Return slopes of reliability, overall and within quartiles of the target's rate, and prediction sets."""
    models = found["models"]
    rows = [
        [f"slope, {name}", *(figure(model["calibration"][place]["slope"], 2) for model in models)]
        for place, name in enumerate(found["classes"])
    ]
    rows += [
        [f"slopes in quartile {place + 1} of target rates", *(_slopes(model, place) for model in models)]
        for place in range(len(models[0]["calibration_by_quartile"]))
    ]
    rows += [
        [f"sets at {one['stated']:.0%}: coverage, mean size", *(_set(model["sets"][place]) for model in models)]
        for place, one in enumerate(models[0]["sets"])
    ]
    return "Calibration (slope 1 is right, below 1 too extreme)", _columns(found, "calibration"), rows


def _slopes(model: Mapping[str, Any], quartile: int) -> str:
    return " / ".join(figure(one["slope"], 2) for one in model["calibration_by_quartile"][quartile])


def _set(one: Mapping[str, Any]) -> str:
    return f"{figure(one['measured'])}, {figure(one['size'], 2)}"


def _columns(found: Mapping[str, Any], first: str) -> list[str]:
    return [first, *(_name(model) for model in found["models"])]


def difference_table(found: Mapping[str, Any]) -> Table:
    """Return paired differences between models."""
    names = ("mean_f1", "change", "direction")
    columns = ["model", "less", *(TITLES[name] for name in names)]
    rows = [
        [one["model"], one["against"], *(shown(one["measures"][name], plus=True) for name in names)]
        for one in found["differences"]
    ]
    return "Paired differences, on the same draws", columns, rows


def stratum_table(found: Mapping[str, Any], strata: Mapping[str, Any]) -> Table:
    """Return mean F1 by stratum."""
    names = [model["name"] for model in found["models"]]
    rows = [
        [
            one["name"],
            f"{one['rows']:,}",
            *(shown(one["models"][name]["mean_f1"]) if name in one["models"] else one["note"] for name in names),
        ]
        for one in strata["strata"]
    ]
    return f"Mean F1 by {strata['name']} ({strata['source']})", [strata["name"], "rows", *names], rows


def permutation_table(one: Mapping[str, Any]) -> Table:
    """Return a plug-in on the real graph against permuted ones."""
    columns = ["measure", "real graph", "permuted, mean", "permuted, each", "gain", "p"]
    rows = [
        [
            TITLES[name],
            figure(said["real"]),
            figure(said["permuted_mean"]),
            ", ".join(figure(value) for value in said["permuted"]),
            figure(said["gain"], plus=True),
            figure(said["p"]),
        ]
        for name, said in one["measures"].items()
    ]
    return f"{one['model']}: the graph against {one['seeds']} degree-preserving permutations", columns, rows


def notes(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader must know: rows not used, rows not answered, what training gives away."""
    for model in found["models"]:
        if model["answered"] < found["asked"]:
            yield f"{model['name']} answers {model['answered']:,} of {found['asked']:,} rows asked"
    if found["rows"] < found["asked"]:
        yield f"all models are measured on the {found['rows']:,} rows that each of them answers"
    yield from found["problems"]
    yield from (f"leakage: {sentence}" for sentence in found["leakage"])
    for model in found["models"]:
        if other := model["other_prevalence"]:
            yield (
                f"{model['name']}, at {other['changed_share']:.1%} changed rows: Brier "
                f"{figure(other['brier_uncorrected'], 4)} as it is, {figure(other['brier_corrected'], 4)} corrected, "
                f"skill over gene-frequency {figure(other['skill_corrected'])}"
            )


def _name(model: Mapping[str, Any]) -> str:
    return f"{model['name']} (baseline)" if model["kind"] == "baseline" else str(model["name"])


def _seconds(model: Mapping[str, Any]) -> str:
    spent = model["seconds"]
    return f"{spent['fit']:.1f} / {spent['predict']:.1f}" if spent else MISSING
