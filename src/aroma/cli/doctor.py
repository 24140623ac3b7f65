"""``aroma doctor``: what is installed, reachable, out of date, and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from aroma.cli.options import HomeOption, JsonOption, UriOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import EXIT_FAILED


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("doctor")(doctor_command)


def doctor_command(
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="First bring the home to this program's layout, snapshot and all.")
    ] = False,
    api: Annotated[
        str | None,
        typer.Option(
            "--api", envvar="AROMA_API", help="A server that should be up: http://HOST:8080.", show_default=False
        ),
    ] = None,
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the installation, home, database, broker and API; exit code 1 where something is broken."""
    from aroma.jobs import doctor
    from aroma.jobs.findings import Standing
    from aroma.kgstore.home import GraphTarget, Home

    place = Home.locate(home, any_layout=True)
    if upgrade:
        for step in doctor.upgrade(place):
            progress(step)
    found = doctor.examine(place, GraphTarget.locate(uri), api)
    if as_json:
        said = {str(standing): sum(one.standing is standing for one in found) for standing in Standing}
        print_json({"home": str(place.path), "counts": said, "findings": [asdict(one) for one in found]})
    else:
        rows = [(one.area, str(one.standing), one.found, one.do) for one in found]
        print_table("", ("area", "standing", "found", "what to do"), rows)
        console().print(_summary([one.standing for one in found]))
    if any(one.standing is Standing.BROKEN for one in found):
        raise typer.Exit(EXIT_FAILED)


def _summary(standings: list[str]) -> str:
    broken, warnings = standings.count("broken"), standings.count("warning")
    return f"{broken} broken, {warnings} warnings" if broken or warnings else "all is well"
