"""How everything stands: what is published, runs, queues, workers, vector sets; read from the home and the ledger."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aroma.jobs.broker import broker_address, broker_state
from aroma.jobs.devices import QUEUES
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Run, State, WorkerSeen
from aroma.kgstore.locks import holders
from aroma.kgstore.publications import published
from aroma.model.embeddings.runs import embeddings_ledger
from aroma.retrieval.vector_store import VectorSet, list_vector_sets


def status(home: Home) -> dict[str, Any]:
    """Return how a home stands, JSON values; a broker that does not answer is said and is no error.

    Raises:
        LedgerError: The ledger cannot be opened.
        ReleaseError: The list of publications is damaged.
    """
    current, address = published(home), broker_address()
    ledger = embeddings_ledger(home)
    runs, workers = ledger.runs(), ledger.workers()
    broker = broker_state(address) if address else None
    return {
        "home": str(home.path),
        "release": asdict(current) if current else None,
        "broker": asdict(broker) if broker else None,
        "disk_free_bytes": shutil.disk_usage(home.path).free if home.path.is_dir() else None,
        "under_way": holders(home.locks),
        "queues": [_queue(name, runs, workers, broker.waiting if broker else {}) for name in QUEUES],
        "workers": [asdict(worker) | {"run": _run_of(worker, runs)} for worker in workers],
        "runs": [run_facts(run) for run in runs],
        "vector_sets": [set_facts(one) for one in list_vector_sets(home)],
    }


def run_facts(run: Run) -> dict[str, Any]:
    """Return a run as JSON values."""
    return {
        "run": run.id,
        "kind": run.kind,
        "encoder": run.facts.get("encoder", {}).get("name"),
        "release": run.facts.get("release"),
        "queue": run.queue,
        "state": str(run.state),
        "message": run.message,
        "items": run.facts.get("items"),
        "to_embed": run.facts.get("to_embed"),
        "shards": {str(state): number for state, number in run.shards.items()},
        "cost": run.cost,
        "cost_done": run.cost_done,
        "workers": list(run.workers),
        "created_at": run.created_at,
        "ended_at": run.ended_at,
    }


def set_facts(one: VectorSet) -> dict[str, Any]:
    """Return a vector set as JSON values."""
    return {
        "encoder": one.card.name,
        "encoder_id": one.card.id,
        "kind": one.card.kind,
        "release": one.release,
        "vectors": len(one.ids),
        "dim": one.card.dim,
        "dtype": one.card.dtype,
        "bytes": sum(path.stat().st_size for path in one.directory.iterdir()),
        "licence": one.card.licence,
        "licences": dict(one.card.licences),
        "run": one.facts.get("run"),
        "directory": str(one.directory),
    }


def _queue(name: str, runs: list[Run], workers: list[WorkerSeen], messages: Mapping[str, int]) -> dict[str, Any]:
    ours = [run for run in runs if run.queue == name and run.is_open]
    return {
        "queue": name,
        "open_runs": len(ours),
        "waiting_shards": sum(run.shards.get(State.WAITING, 0) for run in ours),
        "shards_under_way": sum(run.shards.get(State.LEASED, 0) for run in ours),
        "workers": sum(name in worker.queues for worker in workers),
        "wakeups": messages.get(name),
    }


def _run_of(worker: WorkerSeen, runs: list[Run]) -> str | None:
    return next((run.id for run in runs if worker.name in run.workers), None)
