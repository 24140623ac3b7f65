"""``aroma migrate``: bring a database's constraints and indexes up to date, or show which are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from aroma.cli.options import HomeOption, JsonOption, UriOption
from aroma.cli.output import print_json, print_table, progress


def register(app: typer.Typer) -> None:
    """Add ``migrate`` to the command."""
    app.command("migrate")(migrate_command)


def migrate_command(
    status: Annotated[bool, typer.Option("--status", help="Only show what is applied and what is not.")] = False,
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Apply the migrations that a database lacks; a build does so itself."""
    from aroma.kgstore.home import GraphTarget, Home
    from aroma.kgstore.migration_service import migrate_target

    applied, states = migrate_target(Home.locate(home), GraphTarget.locate(uri), only_show=status)
    if as_json:
        print_json({"applied": [asdict(state) for state in applied], "migrations": [asdict(state) for state in states]})
        return
    rows = [(f"V{one.version:03d}", one.name, one.applied_at or "not applied", one.checksum[:12]) for one in states]
    print_table("", ("version", "name", "applied at", "checksum"), rows)
    if not status:
        progress(f"{len(applied)} migrations applied" if applied else "nothing to apply")
