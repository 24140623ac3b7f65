"""The ends of asking: leaving a run to workers, and what a finished run gave."""

from __future__ import annotations

from typing import Any

from aroma.errors import ModelError
from aroma.jobs.broker import broker_address, wake
from aroma.jobs.kinds import MODELS
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Run, State
from aroma.kgstore.publications import published
from aroma.retrieval.vector_store import list_vector_sets


def leave_to_workers(run: Run) -> str | None:
    """Wake workers for a run and return; they find it in the ledger too. Returns why they could not be woken."""
    address = broker_address()
    if address is None or not run.is_open:
        return None
    return wake(address, run.id, run.queue, run.shards.get(State.WAITING, 0))


def outcome(home: Home, run: Run) -> dict[str, Any]:
    """Return what a finished run gave, JSON values.

    Raises:
        ModelError: Its vector set was removed meanwhile.
    """
    release = str(run.facts["release"])
    if run.kind in MODELS:
        name = str(run.facts["encoder"]["name"])
        return {"run": run.id, "release": release, "note": "", "encoder": name, "model": str(run.facts["out"])}
    found = next(
        (one for one in list_vector_sets(home) if one.release == release and one.facts.get("run") == run.id), None
    )
    if found is None:
        raise ModelError(f"run {run.id} is done and its vector set is gone (it was pruned); embed again")
    current = published(home)
    is_current = current is not None and current.release == release
    return {
        "run": run.id,
        "release": release,
        "is_published_release": is_current,
        "note": "" if is_current or not run.facts.get("is_release", True) else _outdated(release),
        "encoder": found.card.name,
        "encoder_id": found.card.id,
        "vectors": len(found.ids),
        "dim": found.card.dim,
        "without": found.items()["problem"].drop_nulls().len(),
        "to_embed": run.facts.get("to_embed"),
        "directory": str(found.directory),
    }


def _outdated(release: str) -> str:
    return f"release {release} is not the published one; asking again for that one embeds only what is new in it"
