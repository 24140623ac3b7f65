"""``aroma status``: what is published, and how runs, queues, workers and vector sets stand."""

from __future__ import annotations

from typing import Any

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("status")(status_command)


def status_command(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the published release, runs, queues, workers and vector sets; needs no broker."""
    from aroma.jobs.status import status
    from aroma.kgstore.home import Home

    found = status(Home.locate(home))
    if as_json:
        print_json(found)
        return
    release, broker = found["release"], found["broker"]
    said = f"release {release['release']}, published {release['published_at']}" if release else "no release published"
    console().print(f"{found['home']}: {said}", markup=False)
    console().print(_broker(broker), markup=False)
    if found["disk_free_bytes"] is not None:
        console().print(f"{found['disk_free_bytes'] / 2**30:.1f} GiB free on its disk", markup=False)
    _table("Under way", ("lock", "pid", "host", "since", "command"), found["under_way"])
    queues = ("queue", "open_runs", "waiting_shards", "shards_under_way", "workers", "wakeups")
    _table("Queues", queues, found["queues"])
    _table("Workers", ("name", "queues", "device", "run", "since", "seen_at"), found["workers"])
    _table("Runs", ("run", "encoder", "release", "queue", "state", "shards", "created_at", "message"), found["runs"])
    _table("Vector sets", ("encoder", "encoder_id", "release", "vectors", "dim", "dtype"), found["vector_sets"])


def _broker(broker: dict[str, Any] | None) -> str:
    if broker is None:
        return (
            "no broker (AROMA_BROKER is not set): who asks for an embedding computes it, and workers look by themselves"
        )
    answer = "answers" if broker["reachable"] else "does not answer; workers look into the ledger by themselves"
    return f"broker {broker['address']} {answer}"


def _table(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    if rows:
        print_table(
            title, [name.replace("_", " ") for name in columns], [[row[name] for name in columns] for row in rows]
        )
