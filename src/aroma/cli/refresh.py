"""``aroma refresh``: newer files to a published release, retrained models, and which of them serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aroma.cli.options import HomeOption, JsonOption, UriOption
from aroma.cli.output import console, print_json, print_table, progress

if TYPE_CHECKING:
    from aroma.jobs.refresh.options import RefreshOptions
    from aroma.kgstore.home import Home
    from aroma.kgstore.ledger import Ledger, Run

_MARGIN = 0.01


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("refresh")(refresh_command)


def refresh_command(
    providers: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROVIDER", help="Which to download (else those of the published release)."),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Use the files of this directory; nothing is downloaded.")
    ] = None,
    plugins: Annotated[
        str | None,
        typer.Option("--plugins", help="Which to retrain, comma between, or 'none' (else those that are served)."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="What is withheld to compare models (else official, or dev).")
    ] = None,
    accept: Annotated[list[str] | None, typer.Option("--accept", help="Name of a gate to let pass.")] = None,
    margin: Annotated[float, typer.Option("--margin", help="How much worse a retrained model may be.")] = _MARGIN,
    embed: Annotated[bool, typer.Option("--embed/--no-embed", help="Embed for the new release as before.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is new and what would be done.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it to workers and return at once.")] = False,
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for newer files, build and publish, embed what changed, retrain, and promote what is not worse.

    Killed anywhere and asked again, it goes on where it was. Exit code 3: a gate stopped the release. With AROMA_BROKER
    set, workers do it.
    """
    from aroma.jobs.refresh.options import RefreshOptions
    from aroma.jobs.refresh.run import plan_refresh, refresh_ledger
    from aroma.kgstore.home import Home

    names = None if plugins is None else tuple(one.strip() for one in plugins.split(",") if one.strip() != "none")
    options = RefreshOptions(
        source=str(source.resolve()) if source else None,  # workers start in another directory
        providers=tuple(providers or ()), plugins=names, split=split, accept=tuple(sorted(set(accept or ()))),
        margin=margin, uri=uri, embed=embed,
    )  # fmt: skip
    place = Home.locate(home)
    if dry_run:
        _dry_run(place, options, as_json=as_json)
        return
    ledger = refresh_ledger(place)
    run = plan_refresh(ledger, options)
    _finish(place, ledger, run, detach=detach, as_json=as_json)


def _finish(home: Home, ledger: Ledger, run: Run, *, detach: bool, as_json: bool) -> None:
    """Leave a refresh to workers, wait for them, or do it here; then show what it gave."""
    from aroma.cli.run_progress import shown_progress
    from aroma.jobs.broker import broker_address
    from aroma.jobs.finishing import leave_to_workers
    from aroma.jobs.refresh.tasks import PROBLEM, raise_problem
    from aroma.jobs.watching import do_here, require_done, watch

    address = broker_address()
    if detach:
        problem = leave_to_workers(run)
        print_json({"run": run.id}) if as_json else progress(f"run {run.id} is left to workers; aroma runs shows it")
        if problem:
            progress(problem)
        return
    with shown_progress() as show:
        ended = watch(home, ledger, run, address, show) if address else do_here(home, ledger, run, "cpu", show)
    require_done(ended)
    said = dict(ledger.results(run.id)[0])
    if PROBLEM in said:
        raise_problem(said[PROBLEM])
    if as_json:
        print_json(said)
        return
    _show(said)


def _show(said: dict[str, Any]) -> None:
    rows = [
        (step["step"], f"{step['seconds']:.1f} s", "done before" if step["done_before"] else "")
        for step in said["steps"]
    ]
    print_table("Steps", ("step", "time", ""), rows)
    files = [
        (name, ", ".join(one["versions"]), "new" if one["new"] else "as before", one["note"])
        for name, one in said["providers"].items()
    ]
    print_table("Files", ("provider", "version", "", "note"), files)
    release = said["release"]
    how = "published now" if release["new"] else "was published before"
    console().print(f"Release {release['release']} (number {release['sequence']}) {how}", markup=False)
    if said["models"]:
        models = [(one["plugin"], one["action"], one.get("model", ""), one["reason"]) for one in said["models"]]
        print_table("Models", ("plug-in", "action", "model", "why"), models)


def _dry_run(home: Home, options: RefreshOptions, *, as_json: bool) -> None:
    from aroma.jobs.refresh.preview import preview

    found = preview(home, options, progress)
    if as_json:
        print_json(found)
        return
    columns = ("provider", "file", "here", "there", "what")
    print_table("Files", columns, [[one[name] for name in columns] for one in found["files"]])
    print_table(
        "Models, were the published release the new one", ("plug-in", "retrained", "why"),
        [(one["plugin"], "yes" if one["retrained"] else "no", one["reason"]) for one in found["models"]],
    )  # fmt: skip
