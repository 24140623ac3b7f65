"""``aroma build``: files to a published release."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aroma.cli.options import HomeOption, JsonOption, UriOption
from aroma.cli.output import console, print_json, print_table, progress

if TYPE_CHECKING:
    from aroma.importers.build import BuildResult


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("build")(build_command)


def build_command(
    source: Annotated[Path, typer.Option("--from", help="Directory with the providers' files, subfolders too.")],
    pin: Annotated[
        list[str] | None, typer.Option("--pin", help="PROVIDER=VERSION: use this version instead of the newest.")
    ] = None,
    accept: Annotated[list[str] | None, typer.Option("--accept", help="Name of a gate to let pass.")] = None,
    exclude_channel: Annotated[
        list[str] | None,
        typer.Option("--exclude-channel", help="STRING channel to take out of the combined score (textmining, …)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check; keep nothing.")] = False,
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a release from the providers' files and publish it. The same files again do nothing."""
    from aroma.importers.base import ImportOptions
    from aroma.importers.build import BuildRequest, build
    from aroma.importers.versions import parse_pins
    from aroma.kgstore.home import GraphTarget, Home

    request = BuildRequest(
        source,
        parse_pins(pin or []),
        tuple(accept or ()),
        ImportOptions(tuple(sorted(set(exclude_channel or ())))),
        dry_run,
    )
    result = build(Home.locate(home), GraphTarget.locate(uri), request, progress)
    if as_json:
        print_json(asdict(result))
    else:
        _show(result)


def _show(result: BuildResult) -> None:
    said = "would be" if result.sequence is None else "is already published" if result.unchanged else "published"
    number = f" as number {result.sequence}" if result.sequence and not result.unchanged else ""
    console().print(f"Release [bold]{result.release}[/bold] {said}{number}, {result.seconds} s")
    rows = [(name, *(f"{counts.get(name, 0):,}" for counts in _columns(result))) for name in sorted(result.accepted)]
    print_table("Rows by provider", ("provider", "accepted", "rejected", "gene not resolved", "set aside"), rows)
    if result.views:
        views = [(name, view["id"], f"{view['nodes']:,}", f"{view['edges']:,}") for name, view in result.views.items()]
        print_table("Views", ("view", "id", "nodes", "edges"), views)
    if result.changes:
        changes = [(row["provider"], row["thing"], row["change"], f"{row['rows']:,}") for row in result.changes]
        print_table("Changes against the release before", ("provider", "thing", "change", "rows"), changes)
    if result.accepted_gates:
        console().print(f"Gates let pass: {', '.join(result.accepted_gates)}")
    if result.ignored:
        print_table("Files not read", ("file", "why"), sorted(result.ignored.items()))


def _columns(result: BuildResult) -> tuple[dict[str, int], ...]:
    return result.accepted, result.rejected, result.unresolved, result.set_aside
