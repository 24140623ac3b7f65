"""``aroma download``: providers' files with receipts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aroma.cli.options import JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("download")(download)


def download(
    to: Annotated[Path, typer.Option("--to", help="Directory for the files; each provider gets a folder.")],
    providers: Annotated[
        list[str] | None, typer.Argument(metavar="PROVIDER", help="All providers where none is named.")
    ] = None,
    version: Annotated[
        list[str] | None,
        typer.Option("--version", metavar="PROVIDER=V", help="A release instead of the newest; may be repeated."),
    ] = None,
    optional: Annotated[
        bool, typer.Option("--optional", help="Also files that a build can do without (STRING aliases, …).")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Fetch the providers' own files, resumable, with checksum and receipt beside each.

    Files that are there already are fetched again only when the provider has changed them. AROMA_DOWNLOAD_BASE
    names a mirror: https://host/path is then asked for at BASE/host/path.
    """
    from aroma.cli.output import print_json, print_table, progress
    from aroma.importers.download import download as fetch_all
    from aroma.importers.download import plan
    from aroma.importers.fetch import Fetcher
    from aroma.importers.versions import parse_pins

    orders = plan(providers or (), versions=parse_pins(version or ()), optional=optional)
    with Fetcher(progress=progress) as fetcher:
        done = fetch_all(orders, to, fetcher)
    if json:
        files = [
            {"provider": one.provider, "file": str(one.file), "status": one.status, **one.receipt.model_dump()}
            for one in done
        ]
        print_json({"files": files})
        return
    print_table(
        f"{len(done)} files in {to}",
        ("provider", "file", "status", "version", "bytes"),
        [(one.provider, one.file.name, one.status, one.receipt.version, f"{one.receipt.bytes:,}") for one in done],
    )
