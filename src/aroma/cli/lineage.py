"""``aroma lineage``: what stands behind a prediction, down to the checksums of the providers' files."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json
from aroma.errors import UsageError

if TYPE_CHECKING:
    from rich.tree import Tree

    from aroma.model.lineage import Link

_LONG: Final = 20
_MOST: Final = 6


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("lineage")(lineage_command)


def lineage_command(
    asked: Annotated[
        list[str],
        typer.Argument(
            metavar="THING",
            help="Prediction id, file of predictions, model (id or directory), release, provider's file, or sha256.",
        ),
    ],
    why_changed: Annotated[
        bool, typer.Option("--why-changed", help="Of two things, show which inputs differ.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the chain from a prediction to model, training rows, release, import runs and files."""
    from aroma.kgstore.home import Home
    from aroma.model.lineage import lineage
    from aroma.model.lineage import why_changed as differences

    wanted = 2 if why_changed else 1
    if len(asked) != wanted:
        raise UsageError(f"give {'two things' if why_changed else 'one thing'}, not {len(asked)}")
    place = Home.locate(home)
    if why_changed:
        found = differences(place, asked[0], asked[1])
        if as_json:
            print_json({"differences": [asdict(one) for one in found]})
            return
        for one in found:
            console().print(one.sentence(), markup=False)
        if not found:
            console().print("the same inputs", markup=False)
        return
    chain = lineage(place, asked[0])
    if as_json:
        print_json(chain.to_dict())
        return
    console().print(_tree(chain), soft_wrap=False)  # a tree is cut at the width else, not wrapped


def _tree(link: Link, parent: Tree | None = None) -> Tree:
    from rich.markup import escape
    from rich.tree import Tree

    label = f"[bold]{link.kind}[/bold] {escape(link.id)}{escape(_said(link.facts))}"
    node = Tree(label, highlight=False) if parent is None else parent.add(label)
    for one in link.behind:
        _tree(one, node)
    return node


def _said(facts: Any) -> str:
    shown = [f"{name} {_short(value)}" for name, value in facts.items() if value not in (None, "", [], {})]
    return f" ({'; '.join(shown)})" if shown else ""


def _short(value: Any) -> str:
    if isinstance(value, dict) and len(value) > _MOST:
        return f"{len(value)} (--json shows them)"
    if isinstance(value, dict):
        return ", ".join(f"{name}={str(one)[:_LONG]}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(_short(one) for one in value)
    return str(value)
