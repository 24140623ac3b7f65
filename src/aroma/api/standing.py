"""How a home stands, for the metrics: asked of the files and the ledger, which is not made by asking."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from datetime import UTC, datetime

from aroma.api.metrics import Standing
from aroma.errors import AromaError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import read_publications
from aroma.kgstore.releases import known_releases
from aroma.model.embeddings.runs import existing_ledger
from aroma.retrieval.served import Opened

_log = logging.getLogger("aroma.api")


def standing(home: Home, opened: Opened) -> Standing:
    """Return how a home stands; a ledger that does not answer is left out, and logged."""
    runs: Counter[tuple[str, str]] = Counter()
    workers: Counter[str] = Counter()
    try:
        if (ledger := existing_ledger(home)) is not None:
            runs.update((run.kind, str(run.state)) for run in ledger.runs())
            workers.update(queue for worker in ledger.workers() for queue in worker.queues)
    except AromaError as error:
        _log.warning("metrics without the ledger: %s", error)
    return Standing(
        opened.release,
        opened.sequence,
        _age(home, opened.sequence),
        len(known_releases(home)),
        runs,
        workers,
        shutil.disk_usage(home.path).free,
    )


def _age(home: Home, sequence: int) -> float:
    for entry in reversed(read_publications(home)):
        if entry.sequence == sequence:
            return (datetime.now(tz=UTC) - datetime.fromisoformat(entry.published_at)).total_seconds()
    return 0.0
