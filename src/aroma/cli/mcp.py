"""``aroma mcp``: the MCP server for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aroma.cli.options import HomeOption, UriOption


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("mcp")(mcp_command)


def mcp_command(
    outcomes: Annotated[
        str | None,
        typer.Option("--outcomes", help="Version of measured outcomes, or none; the latest stored by default."),
    ] = None,
    withhold: Annotated[
        list[str] | None,
        typer.Option("--withhold", help="Outcomes the agent may not see: split:NAME, perturbation:GENE or a file."),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option("--texts", help="Own descriptions, shown in place of ours: CSV or Parquet with gene,role,text."),
    ] = None,
    home: HomeOption = None,
    uri: UriOption = None,
) -> None:
    """Serve an agent over standard input and output (Model Context Protocol); it can only read."""
    from aroma.kgstore.home import GraphTarget, Home
    from aroma.mcp.server import serve_stdio
    from aroma.retrieval.served import Seen

    serve_stdio(Home.locate(home), GraphTarget.locate(uri), Seen(outcomes, tuple(withhold or ()), texts))
