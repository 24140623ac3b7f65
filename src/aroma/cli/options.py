"""Options that every command shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Where releases and models live (else AROMA_HOME, else ./.aroma).", show_default=False),
]
UriOption = Annotated[
    str | None,
    typer.Option("--uri", help="'embedded:' or a Bolt address (else GRAPH_URI).", show_default=False),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object (or one a line) on standard output, nothing else there.")
]
