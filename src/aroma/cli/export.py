"""``aroma export``: a release, or a view of one, in the formats that other programs load."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.cli.retrieval import WithholdOption
from aroma.errors import UsageError

if TYPE_CHECKING:
    from aroma.kgstore.home import Home
    from aroma.retrieval.exports.base import ExportOptions

_LICENCES: Final = ("any", "commercial")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("export")(export_command)


def export_command(
    format_: Annotated[
        str | None, typer.Argument(metavar="[FORMAT]", help="A format; --list shows them.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File or directory to make.", show_default=False)] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the formats.")] = False,
    view: Annotated[
        str | None, typer.Option("--view", help="A preset view (else the format's own).", show_default=False)
    ] = None,
    release: Annotated[
        str | None, typer.Option("--release", help="A release other than the published one.", show_default=False)
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", help="any, or commercial: leave out what forbids commercial use.")
    ] = "any",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export at --out.")] = False,
    outcomes: Annotated[
        str | None,
        typer.Option("--outcomes", help="Outcomes to include: a version, or latest.", show_default=False),
    ] = None,
    cell_line: Annotated[
        str | None, typer.Option("--cell-line", help="Only this cell line's outcomes.", show_default=False)
    ] = None,
    withhold: WithholdOption = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Encoder of texts or sequences.", show_default=False)
    ] = None,
    dim: Annotated[int, typer.Option("--dim", min=1, help="Numbers a gene, for embeddings made here.")] = 64,
    hops: Annotated[int, typer.Option("--hops", min=0, help="Size of a neighbourhood.")] = 1,
    k: Annotated[int, typer.Option("-k", min=1, help="Most neighbours, paths or similar genes a gene.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Seed of whatever is drawn.")] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the graph, or what a model takes of it, in the format of another program, with a card of its licences."""
    from aroma.kgstore.home import Home
    from aroma.retrieval.exports.base import ExportOptions
    from aroma.retrieval.exports.registry import exporter
    from aroma.retrieval.exports.run import ExportRequest, run_export
    from aroma.retrieval.withhold import read_withhold

    if list_:
        _list(as_json=as_json)
        return
    if format_ is None or out is None:
        raise UsageError("give a format and a place (aroma export kgx --out graph); --list shows the formats")
    exporter(format_)
    place = Home.locate(home)
    hidden = read_withhold(withhold or (), place)
    options = ExportOptions(_outcomes(place, outcomes, cell_line), dim, encoder, seed, hops, k, cell_line, hidden)
    given = {"--view": view, "--release": release, "--outcomes": outcomes, "--cell-line": cell_line}
    command = _command(format_, out, licence, {**given, "--encoder": encoder}, options, withhold or ())
    request = ExportRequest(format_, out, view, release, _is_commercial(licence), overwrite, options, command)
    card = run_export(place, request)
    _show(out, card, as_json=as_json)


def _list(*, as_json: bool) -> None:
    from aroma.retrieval.exports.registry import exporters

    found = exporters()
    if as_json:
        for one in found:
            print_json(
                {"format": one.name, "summary": one.summary, "extra": one.extra, "default_view": one.default_view}
            )
        return
    rows = [(one.name, one.summary, one.default_view or "the whole release", one.extra) for one in found]
    print_table("", ("format", "what it is", "view", "needs extra"), rows)


def _is_commercial(licence: str) -> bool:
    if licence not in _LICENCES:
        near = difflib.get_close_matches(licence, _LICENCES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(_LICENCES)}"
        raise UsageError(f"--licence {licence!r} is not known; {hint}")
    return licence == "commercial"


def _outcomes(home: Home, asked: str | None, cell_line: str | None) -> Any:
    """Return the outcomes that were asked for, or None."""
    import polars as pl

    from aroma.kgstore.outcomes import load_outcomes

    if asked is None:
        return None
    found = load_outcomes(home, None if asked == "latest" else asked)
    if cell_line is None:
        return found
    lines = found["cell_line"].unique().sort().to_list()
    if cell_line not in lines:
        raise UsageError(f"no outcome is of cell line {cell_line!r}; there are {', '.join(lines)}")
    return found.filter(pl.col("cell_line") == cell_line)


def _command(
    format_: str,
    out: Path,
    licence: str,
    given: dict[str, str | None],
    options: ExportOptions,
    withhold: Sequence[str] = (),
) -> str:
    """Return the command that makes the same export again."""
    from aroma.retrieval.exports.base import ExportOptions

    words = ["aroma", "export", format_, "--out", str(out), "--licence", licence]
    for name, value in given.items():
        words += [name, value] if value is not None else []
    for item in withhold:
        words += ["--withhold", item]
    usual = ExportOptions()
    for option, name in (("--dim", "dim"), ("--hops", "hops"), ("-k", "k"), ("--seed", "seed")):
        if getattr(options, name) != getattr(usual, name):
            words += [option, str(getattr(options, name))]
    return shlex.join(words)


def _show(out: Path, card: dict[str, Any], *, as_json: bool) -> None:
    from aroma.retrieval.exports.run import card_path

    for note in (*card["licence_notes"], *card["notes"]):
        progress(note)
    if as_json:
        print_json({**card, "out": str(out), "card": str(card_path(out))})
        return
    rows = ", ".join(f"{count:,} {what}" for what, count in card["rows"].items())
    console().print(f"{out}: {rows} of release {card['release']}, view {card['view']['name']}", markup=False)
    console().print(f"What it is, its files and licences: {card_path(out)}", markup=False)
