"""``aroma evaluate``: what predictions are worth, beside the baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import ModelError, UsageError

PredictionsArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Predictions: cell_line,perturbation,target,p_down,p_not_significant,p_up[,label]."),
]
OutcomesOption = Annotated[
    str, typer.Option("--outcomes", help="File or directory of outcomes, or 'stored' (those in the home).")
]
TrainingOption = Annotated[
    str | None, typer.Option("--training", help="Outcomes that baselines and plug-ins are trained on.")
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help="official, dev, by-perturbation:K, strict, unseen-line:LINE, unseen-target:K, …"),
]
PluginOption = Annotated[
    list[str] | None, typer.Option("--plugin", help="A plug-in that is fitted and asked; may be repeated.")
]
ParameterOption = Annotated[
    list[str] | None, typer.Option("--param", help="A plug-in's setting: PLUGIN.SETTING=VALUE; may be repeated.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of splits, fits and draws.")]
DrawsOption = Annotated[int, typer.Option("--draws", help="Bootstrap draws; 0 for no intervals.")]
MentionsOption = Annotated[
    Path | None, typer.Option("--mentions", help="Mention counts (gene,count) for strata by popularity.")
]
PrevalenceOption = Annotated[
    float | None, typer.Option("--prevalence", help="Share of changed rows to correct probabilities for, as 0.02.")
]
PermutationsOption = Annotated[
    int, typer.Option("--permutations", help="Permuted graphs to fit each plug-in on as well (5 or more).")
]
StrataOption = Annotated[bool, typer.Option("--strata/--no-strata", help="Part rows by popularity, degree and hops.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write one self-contained HTML report.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write the results as JSON.")]
TableOption = Annotated[int | None, typer.Option("--table", help="Fill a table of the AROMA paper: 1-5, 8-11.")]
ReleaseOption = Annotated[str | None, typer.Option("--release", help="A release other than the published one.")]

_MOST_COLUMNS = 10


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("evaluate")(evaluate_command)


def evaluate_command(
    predictions: PredictionsArgument = None,
    outcomes: OutcomesOption = "stored",
    training: TrainingOption = None,
    split: SplitOption = None,
    plugin: PluginOption = None,
    param: ParameterOption = None,
    table: TableOption = None,
    seed: SeedOption = 0,
    draws: DrawsOption = 1000,
    strata: StrataOption = True,
    mentions: MentionsOption = None,
    prevalence: PrevalenceOption = None,
    permutations: PermutationsOption = 0,
    html: HtmlOption = None,
    out: OutOption = None,
    release: ReleaseOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score predictions files and plug-ins on outcomes, always with the baselines on the same rows."""
    from aroma.kgstore.home import Home
    from aroma.model.evaluation.run import Request, evaluate
    from aroma.model.ground import Ground

    request = Request(
        outcomes=outcomes,
        predictions=tuple(predictions or ()),
        plugins=tuple(dict.fromkeys(plugin or ())),
        split=split,
        training=training,
        parameters=_settings(param or []),
        seed=seed,
        draws=draws,
        mentions=mentions,
        changed_share=prevalence,
        permutations=permutations,
        strata=strata,
    )
    ground = Ground(Home.locate(home), release)
    if table is not None:
        _paper_table(ground, request, table, out, as_json=as_json)
        return
    found = evaluate(ground, request, progress)
    if out is not None:
        _write(out, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if html is not None:
        from aroma.model.evaluation.report import html_report

        progress("plots")
        _write(html, html_report(found))
    if as_json:
        print_json(found)
        return
    _show(found)


def _settings(given: Sequence[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        plugin, dot, setting = name.partition(".")
        if not (equals and dot and plugin and setting):
            raise UsageError(f"--param {text!r} is not understood; write PLUGIN.SETTING=VALUE")
        settings.setdefault(plugin.strip(), {})[setting.strip()] = value
    return settings


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def _paper_table(ground: Any, request: Any, number: int, out: Path | None, *, as_json: bool) -> None:
    from aroma.model.evaluation.tables import paper_table

    found = paper_table(ground, request, number, progress)
    if out is not None:
        _write(out, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        print_json(found)
        return
    columns, rows = _upright(found["columns"], found["rows"])
    print_table(f"Table {number}: {found['title']}", columns, rows)
    for note in found["notes"]:
        console().print(f"- {note}", markup=False)


def _upright(columns: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Turn a table that is too wide for a screen: a column a model."""
    if len(columns) <= _MOST_COLUMNS:
        return columns, rows
    lead = 2 if columns[1] == "hops" else 1
    turned = [[columns[place], *(row[place] for row in rows)] for place in range(lead, len(columns))]
    return [columns[0], *(" ".join(row[:lead]) for row in rows)], turned


def _show(found: dict[str, Any]) -> None:
    from aroma.model.evaluation import text

    screen = console()
    screen.print(text.heading(found), markup=False)
    for title, columns, rows in text.tables(found):
        print_table(title, columns, rows)
    for note in text.notes(found):
        screen.print(f"- {note}", markup=False)
