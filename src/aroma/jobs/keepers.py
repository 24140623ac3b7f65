"""Releases that open runs still need: pruning leaves them (``aroma.kgstore.retention``)."""

from __future__ import annotations

from aroma.kgstore.home import Home
from aroma.model.embeddings.runs import existing_ledger


def releases_of_open_runs(home: Home) -> dict[str, str]:
    """Return the releases of runs that wait or are under way, with the reason to keep them.

    Raises:
        LedgerError: The ledger cannot be read: what it needs is not known then, and nothing may be deleted.
    """
    ledger = existing_ledger(home)
    if ledger is None:
        return {}
    return {
        str(run.facts["release"]): f"run {run.id} is {run.state}"
        for run in ledger.runs()
        if run.is_open and run.facts.get("release")
    }
