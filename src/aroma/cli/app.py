"""The command's frame: global behaviour, errors to exit codes, and the list of commands.

Each command module has ``register(app)``. Commands are imported when the program starts, so they import heavy
packages (polars, the driver, numba) inside their functions.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from aroma import __version__
from aroma.cli import commands
from aroma.cli.output import report_error
from aroma.errors import EXIT_FAILED, AromaError, UsageError
from aroma.observe import logs

app = typer.Typer(
    name="aroma",
    help="Evidence store for perturbation biology: build, query and serve one released graph.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)
commands.register_all(app)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"aroma {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed, 2 wrong use, 3 stopped by a gate.

    With ``AROMA_LOG=json`` progress and errors are JSON lines on standard error, under the id of this run.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        as_lines = logs.is_json()
    except UsageError as error:
        os.environ.pop(logs.LOG_VARIABLE)
        report_error(str(error), exit_code=error.exit_code, kind="UsageError", as_json="--json" in given)
        return error.exit_code
    if not as_lines:
        return _run(given)
    logs.set_up()
    with logs.bound(run_id=logs.run_id()):
        return _run(given)


def _run(given: list[str]) -> int:
    as_json = "--json" in given
    try:
        result = app(given, standalone_mode=False)
    except AromaError as error:
        kind = type(error).__name__
        report_error(str(error), exit_code=error.exit_code, kind=kind, as_json=as_json, **error.details())
        return error.exit_code
    except TyperException as error:
        if said := error.format_message():  # empty where the help was shown instead
            report_error(said, exit_code=error.exit_code, kind="UsageError", as_json=as_json)
        return error.exit_code
    except typer.Abort:
        report_error("stopped by the user", exit_code=EXIT_FAILED, kind="Interrupted", as_json=as_json)
        return EXIT_FAILED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        help_ = "; make room and run it again" if error.errno in {errno.ENOSPC, errno.EDQUOT} else ""
        said = f"{place}{error.strerror or error}{help_}"
        report_error(said, exit_code=EXIT_FAILED, kind="OSError", as_json=as_json)
        return EXIT_FAILED
    return result if isinstance(result, int) else 0
