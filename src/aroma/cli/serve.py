"""``aroma serve``: the REST server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from aroma.cli.options import HomeOption, UriOption
from aroma.cli.output import progress


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("serve")(serve_command)


def serve_command(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = 8080,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes.")] = 1,
    outcomes: Annotated[
        str | None,
        typer.Option("--outcomes", help="Version of measured outcomes, or none; the latest stored by default."),
    ] = None,
    withhold: Annotated[
        list[str] | None,
        typer.Option(
            "--withhold", help="Outcomes no request may see: split:NAME, perturbation:GENE, cell-line:NAME or a file."
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option("--texts", help="Own descriptions, shown in place of ours: CSV or Parquet with gene,role,text."),
    ] = None,
    rate: Annotated[
        float,
        typer.Option("--rate", min=0, envvar="AROMA_RATE", help="Requests a second of one token or address; 0: any."),
    ] = 0.0,
    burst: Annotated[
        int, typer.Option("--burst", min=1, envvar="AROMA_BURST", help="Requests of one caller that may come at once.")
    ] = 50,
    home: HomeOption = None,
    uri: UriOption = None,
) -> None:
    """Serve the published release over HTTP to the bearers of its tokens (aroma tokens) and of AROMA_TOKEN.

    Where no token was ever made and AROMA_TOKEN is not set, only this machine can be let in.
    """
    from aroma.api.run import serve
    from aroma.api.settings import TOKEN_VARIABLE, Limits, Settings
    from aroma.kgstore.home import Home

    settings = Settings(
        home=Home.locate(home).path,
        token=os.environ.get(TOKEN_VARIABLE) or None,
        outcomes=outcomes,
        withhold=tuple(withhold or ()),
        uri=uri,
        limits=Limits(rate=rate, burst=burst),
        texts=texts.resolve() if texts is not None else None,
    )
    progress(f"serving {settings.home} on http://{host}:{port}/v1 (stop with Ctrl-C)")
    serve(settings, host, port, workers)
