"""``aroma worker``: a process that does shards of runs."""

from __future__ import annotations

from typing import Annotated

import typer

from aroma.cli.options import HomeOption


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("worker")(worker_command)


def worker_command(
    queue: Annotated[
        str | None, typer.Option("--queue", help="cpu, gpu or cpu,gpu (else the device's).", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option("--device", help="The one device it computes on: cpu, cuda, cuda:1.")] = "cpu",
    idle: Annotated[
        float | None,
        typer.Option(
            "--idle", min=1, help="End after so many seconds without work (for batch queues).", show_default=False
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Do shards of embedding runs until it is told to end; start one process a device.

    AROMA_BROKER, where set, names the Redis that wakes it; without one it looks into the ledger every few seconds.
    """
    from aroma.jobs.devices import queue_of
    from aroma.jobs.worker import serve_worker
    from aroma.kgstore.home import Home
    from aroma.observe import logs, tracing

    logs.set_up(text=not logs.is_json())
    tracing.set_up("aroma-worker")
    try:
        serve_worker(Home.locate(home), queue or queue_of(device), device, idle)
    finally:
        tracing.shut_down()
