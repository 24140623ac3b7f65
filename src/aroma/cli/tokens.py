"""``aroma tokens``: who may read, curate or operate through the API."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table

if TYPE_CHECKING:
    from aroma.kgstore.home import Home
    from aroma.kgstore.tokens import Scope, Token

tokens = typer.Typer(help="Tokens of the API: create, list, revoke.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(tokens, name="tokens")


@tokens.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="Who or what the token is for.")],
    scope: Annotated[str, typer.Option("--scope", help="read, curate (and read) or operate (and both).")] = "read",
    expires: Annotated[
        str | None, typer.Option("--expires", help="After how long it ends: 90d, 12h, 4w.", show_default=False)
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and show it, once; only a hash of it is kept."""
    from aroma.kgstore.home import Home
    from aroma.kgstore.tokens import create_token

    place = Home.locate(home)
    token, secret = create_token(place, name, cast("Scope", scope), expires=expires)
    _note(place, "tokens create", f"{scope} token {token.id} for {name}")
    if as_json:
        print_json({**_facts(token), "token": secret})
        return
    console().print(secret, markup=False)
    until = f"until {token.expires_at}" if token.expires_at else "for good"
    console().print(f"token {token.id} for {name}: {scope}, {until}. Keep it now: it is not shown again.", markup=False)


@tokens.command("list")
def list_command(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every token, without its secret, and whether it is good."""
    from aroma.kgstore.home import Home
    from aroma.kgstore.tokens import read_tokens

    facts = [_facts(token) for token in read_tokens(Home.locate(home))]
    if as_json:
        for one in facts:
            print_json(one)
        return
    columns = ("id", "name", "scope", "state", "created_at", "expires_at", "last_used")
    rows = [[one[column] for column in columns] for one in facts]
    print_table("Tokens", [column.replace("_", " ") for column in columns], rows)


@tokens.command("revoke")
def revoke_command(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id, or the name of a good one.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a token now; running servers refuse it from their next request on."""
    from aroma.kgstore.home import Home
    from aroma.kgstore.tokens import revoke_token

    place = Home.locate(home)
    gone = revoke_token(place, token)
    _note(place, "tokens revoke", f"token {gone.id} of {gone.name}")
    if as_json:
        print_json(_facts(gone))
    else:
        console().print(f"token {gone.id} of {gone.name} is revoked", markup=False)


def _note(home: Home, command: str, what: str) -> None:
    from aroma.kgstore.write_log import Write, add_write, command_user

    add_write(home, Write(command_user(), "", f"aroma {command}", what, "done", scope="operate"))


def _facts(token: Token) -> dict[str, Any]:
    from datetime import UTC, datetime

    said = {name: value for name, value in asdict(token).items() if name != "sha256"}
    return {**said, "state": token.state(datetime.now(tz=UTC))}
