"""``aroma backup`` and ``aroma restore``: a home in one archive, or in a directory of backups, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aroma.cli.options import HomeOption, JsonOption, UriOption
from aroma.cli.output import console, print_json, print_table, progress

if TYPE_CHECKING:
    from aroma.kgstore.home import GraphTarget, Home


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("backup")(backup_command)
    app.command("restore")(restore_command)


def backup_command(
    to: Annotated[Path, typer.Option("--to", help="NAME.tar.zst, or a directory that gets one directory a backup.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy all of a home that cannot be made again, while builds and servers run."""
    from aroma.kgstore.backup import back_up
    from aroma.kgstore.home import Home

    made = back_up(Home.locate(home), to, progress)
    manifest = made.manifest
    if as_json:
        facts = {"release": manifest.release, "files": len(manifest.files), "bytes": manifest.bytes}
        print_json({"path": str(made.path), **facts, "linked": made.linked, "skipped": dict(manifest.skipped)})
        return
    console().print(f"{made.path}: {len(manifest.files)} files, {manifest.bytes:,} bytes", markup=False)
    if made.linked:
        console().print(f"{made.linked} files are as in the backup before and take no room", markup=False)
    if manifest.skipped:
        print_table("Left out", ("path", "why"), list(manifest.skipped.items()))


def restore_command(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="An archive, or a directory with backups.")],
    project: Annotated[
        bool, typer.Option("--project/--no-project", help="Fill the database and lay out the snapshot as well.")
    ] = True,
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup into a new home, checked, and make its database and snapshot from the tables."""
    from aroma.kgstore.home import GraphTarget, Home
    from aroma.kgstore.restore import restore
    from aroma.kgstore.write_log import Write, add_write, command_user

    place = Home.locate(home)
    manifest = restore(source, place, progress)
    add_write(place, Write(command_user(), "", "aroma restore", f"backup of {manifest.made_at}", "done"))
    if project and manifest.release is not None:
        _project(place, GraphTarget.locate(uri))
    if as_json:
        facts = {"release": manifest.release, "sequence": manifest.sequence, "made_at": manifest.made_at}
        print_json({"home": str(place.path), **facts, "files": len(manifest.files), "bytes": manifest.bytes})
        return
    console().print(f"{place.path}: {len(manifest.files)} files of the backup of {manifest.made_at}", markup=False)
    console().print(f"release {manifest.release or 'none'} is published", markup=False)


def _project(home: Home, target: GraphTarget) -> None:
    from aroma.kgstore.engines import open_engine
    from aroma.kgstore.locks import exclusive
    from aroma.kgstore.publications import require_published
    from aroma.kgstore.releases import publish
    from aroma.kgstore.retention import BUILD_LOCK
    from aroma.retrieval.snapshot import make_snapshot

    release = require_published(home).release
    with exclusive(home.locks / BUILD_LOCK, "a build"):
        publish(home, release, open_engine(home, target), progress=progress)
    progress("laying out the snapshot")
    make_snapshot(home, release)
