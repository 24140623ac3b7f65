"""``aroma search``: nodes by their words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Final

import typer

from aroma.cli.options import HomeOption, JsonOption, UriOption
from aroma.cli.output import print_json, print_table

_SHOWN: Final = 120


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("search")(search_command)


def search_command(
    text: Annotated[str, typer.Argument(help="Words, or a gene's name, also a mistyped one.")],
    limit: Annotated[int, typer.Option("--limit", help="Most hits (1-100).")] = 20,
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find genes, complexes, terms and pathways by names, synonyms and definitions."""
    from aroma.kgstore.home import GraphTarget, Home
    from aroma.kgstore.text_search import search

    engine, hits = search(Home.locate(home), GraphTarget.locate(uri), text, limit)
    if as_json:
        print_json({"query": text, "engine": engine, "items": [asdict(hit) for hit in hits]})
        return
    rows = [
        (hit.name, hit.label, hit.id, hit.found_in, hit.text[:_SHOWN] + ("…" if len(hit.text) > _SHOWN else ""))
        for hit in hits
    ]
    print_table(f"{text} ({engine})", ("name", "label", "id", "found in", "text"), rows)
