"""``aroma promote``: which model serves, decided by a comparison on rows that no model learned from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import EXIT_GATE, UsageError

if TYPE_CHECKING:
    from aroma.kgstore.home import Home
    from aroma.model.serving.history import Promotion

_MARGIN = 0.01
_DRAWS = 1000


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("promote")(promote_command)


def promote_command(
    model: Annotated[
        str | None, typer.Argument(help="Directory of a saved model, or the id of one in the store.")
    ] = None,
    outcomes: Annotated[
        str, typer.Option("--outcomes", help="Outcomes that it was trained with: file, directory, 'stored', a version.")
    ] = "stored",
    split: Annotated[
        str | None,
        typer.Option("--split", help="Split that it was trained with (else official, or dev).", show_default=False),
    ] = None,
    margin: Annotated[float, typer.Option("--margin", help="How much worse it may be, in units of the measure.")] = (
        _MARGIN
    ),
    draws: Annotated[int, typer.Option("--draws", help="Bootstrap draws.")] = _DRAWS,
    force: Annotated[bool, typer.Option("--force", help="Serve it whatever was measured; needs --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the history.")] = "",
    rollback: Annotated[bool, typer.Option("--rollback", help="Serve again what was served before.")] = False,
    plugin: Annotated[
        str | None, typer.Option("--plugin", help="Which plug-in's, for --rollback.", show_default=False)
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show every decision, and what is served.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML page here too.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> int:
    """Serve a model if it is not worse than the best ever served, on rows that neither learned from.

    Exit code 3: it was kept back, and the one before it serves on. Running servers notice within a second.
    """
    from aroma.kgstore.home import Home

    if (model is not None) + rollback + list_all != 1:
        raise UsageError("give a model, or --rollback, or --list")
    place = Home.locate(home)
    if list_all:
        _list(place, as_json=as_json)
        return 0
    if rollback:
        from aroma.model.serving.history import roll_back_model

        _told(roll_back_model(place, plugin, reason), as_json=as_json)
        return 0
    return _promote(place, str(model), outcomes, split, (margin, draws), force, reason, html, as_json=as_json)


def _promote(
    home: Home,
    model: str,
    outcomes: str,
    split: str | None,
    terms: tuple[float, int],
    force: bool,
    reason: str,
    html: Path | None,
    *,
    as_json: bool,
) -> int:
    from aroma.model.serving.comparing import Check, Terms, checks_table
    from aroma.model.serving.promotion import PAGE, PromotionRequest, promote, report_page, reports_directory
    from aroma.model.tracking import tracked

    request = PromotionRequest(model, outcomes, split, Terms(*terms), force, reason)
    entry, said = promote(home, request, progress)
    tracked(home, entry.model, asdict(entry))
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(report_page(said), encoding="utf-8")
    if as_json:
        print_json({"promotion": asdict(entry), "report": said})
    else:
        rows = checks_table([Check(**one) for one in said["checks"]])
        print_table(f"{said['held_out_rows']:,} held-out rows, split {said['split']}", _COLUMNS, rows)
        _told(entry, as_json=False)
        progress(f"report: {reports_directory(home) / entry.report / PAGE}")
    return EXIT_GATE if said["decision"] == "keep" else 0


_SHOWN = ("sequence", "plugin", "model", "release", "at", "action")
_COLUMNS = ("what", "measured", "wanted", "holds")
_WORDS = {
    "promote": "serves now",
    "keep": "was kept back",
    "rollback": "serves again",
    "override": "was put in service by hand",
}


def _told(entry: Promotion, *, as_json: bool) -> None:
    if as_json:
        print_json({"promotion": asdict(entry)})
        return
    said = f"Model {entry.model} ({entry.plugin}, release {entry.release}) {_WORDS[entry.action]}: {entry.reason}"
    console().print(said, markup=False)


def _list(home: Home, *, as_json: bool) -> None:
    from aroma.model.serving.history import anchor_of, read_promotions, served_models

    entries, served = read_promotions(home), served_models(home)
    anchors = {name: entry.model for name in served if (entry := anchor_of(home, name)) is not None}
    if as_json:
        now: dict[str, Any] = {name: asdict(entry) for name, entry in served.items()}
        print_json({"served": now, "anchors": anchors, "promotions": [asdict(entry) for entry in entries]})
        return
    columns = ("number", "plug-in", "model", "release", "at", "action", "serves", "reason")
    last = {entry.sequence for entry in served.values()}
    print_table(
        "Promotions",
        columns,
        [
            (*(getattr(one, name) for name in _SHOWN), "now" if one.sequence in last else "", one.reason)
            for one in entries
        ],
    )
