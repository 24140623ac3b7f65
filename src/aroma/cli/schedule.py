"""``aroma schedule``: refreshes at the times of a cron text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aroma.cli.options import HomeOption, UriOption

_MARGIN = 0.01


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("schedule")(schedule_command)


def schedule_command(
    cron: Annotated[
        str | None,
        typer.Option(
            "--cron", help="minute hour day month weekday, UTC (else AROMA_REFRESH_CRON).", show_default=False
        ),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Use the files of this directory; nothing is downloaded.")
    ] = None,
    plugins: Annotated[
        str | None, typer.Option("--plugins", help="Which to retrain, comma between (else those that are served).")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="What is withheld to compare models.")] = None,
    accept: Annotated[list[str] | None, typer.Option("--accept", help="Name of a gate to let pass.")] = None,
    margin: Annotated[float, typer.Option("--margin", help="How much worse a retrained model may be.")] = _MARGIN,
    home: HomeOption = None,
    uri: UriOption = None,
) -> None:
    """Refresh on a schedule (Celery beat): plan what is due in the ledger and wake workers, until told to end.

    Workers do the refreshes (aroma worker). A time that was missed is made up for once.
    """
    from aroma.jobs.beat import serve_schedule
    from aroma.jobs.refresh.options import RefreshOptions
    from aroma.jobs.schedule import cron_text
    from aroma.kgstore.home import Home
    from aroma.observe import logs

    logs.set_up(text=not logs.is_json())
    names = None if plugins is None else tuple(one.strip() for one in plugins.split(",") if one.strip() != "none")
    options = RefreshOptions(
        source=str(source.resolve()) if source else None, plugins=names, split=split,
        accept=tuple(sorted(set(accept or ()))), margin=margin, uri=uri,
    )  # fmt: skip
    serve_schedule(Home.locate(home), cron_text(cron), options)
