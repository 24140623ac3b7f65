"""``aroma runs``: what was asked for, how far it is, and how to end it or go on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table

if TYPE_CHECKING:
    from aroma.kgstore.ledger import Run

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or its first characters.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    runs = typer.Typer(name="runs", help="Embedding runs: list, show, cancel, resume.", invoke_without_command=True)
    runs.callback()(runs_command)
    runs.command("list")(list_command)
    runs.command("show")(show_command)
    runs.command("cancel")(cancel_command)
    runs.command("resume")(resume_command)
    app.add_typer(runs)


def runs_command(context: typer.Context, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every run, as ``aroma runs list`` does."""
    if context.invoked_subcommand is None:
        list_command(home, as_json)


def list_command(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every run, the newest first."""
    from aroma.jobs.status import run_facts
    from aroma.kgstore.home import Home
    from aroma.model.embeddings.runs import embeddings_ledger

    runs = embeddings_ledger(Home.locate(home)).runs()
    if as_json:
        for run in runs:
            print_json(run_facts(run))
        return
    print_runs(runs)


def show_command(run: RunArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show all that is known of a run."""
    from aroma.jobs.status import run_facts
    from aroma.kgstore.home import Home
    from aroma.model.embeddings.runs import embeddings_ledger

    found = embeddings_ledger(Home.locate(home)).run(run)
    facts: dict[str, Any] = run_facts(found) | {"facts": dict(found.facts)}
    if as_json:
        print_json(facts)
        return
    print_table(found.id, ("", "value"), [(name, value) for name, value in facts.items() if value not in (None, "")])


def cancel_command(run: RunArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """End a run; its workers stop within seconds, and what is done stays for ``aroma runs resume``."""
    from aroma.kgstore.home import Home
    from aroma.model.embeddings.runs import embeddings_ledger

    ledger = embeddings_ledger(Home.locate(home))
    _answer(ledger.cancel(ledger.run(run).id), as_json=as_json)


def resume_command(
    run: RunArgument,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it to workers and return.")] = False,
    device: Annotated[str, typer.Option("--device", help="Where this process computes: cpu, cuda, cuda:1.")] = "cpu",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a cancelled or failed run; what is done stays done."""
    from aroma.cli.embed import finish
    from aroma.kgstore.home import Home
    from aroma.model.embeddings.runs import embeddings_ledger

    place = Home.locate(home)
    ledger = embeddings_ledger(place)
    opened = ledger.resume(ledger.run(run).id)
    finish(place, ledger, opened, device, detach=detach, as_json=as_json)


def print_runs(runs: list[Run]) -> None:
    """Show runs as a table."""
    columns = ("run", "what", "release", "queue", "state", "shards done", "at work", "created at", "message")
    print_table("Runs", columns, [_row(run) for run in runs])


def _row(run: Run) -> tuple[object, ...]:
    from aroma.kgstore.ledger import State

    shards = f"{run.shards.get(State.DONE, 0)}/{sum(run.shards.values())}"
    what = run.facts.get("encoder", {}).get("name", run.kind)
    at_work = len(run.workers) or ""
    return (run.id, what, run.facts.get("release"), run.queue, run.state, shards, at_work, run.created_at, run.message)


def _answer(run: Run, *, as_json: bool) -> None:
    from aroma.jobs.status import run_facts

    if as_json:
        print_json(run_facts(run))
        return
    console().print(f"run {run.id} is {run.state}", markup=False)
