"""What does the shards of a run, by the run's kind; imported only where such a run is to be done."""

from __future__ import annotations

from importlib import import_module
from typing import Final, Protocol, cast

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, Run

TRAINING: Final = "train-gat"
MODELS: Final = ("train-model", "sft", "grpo", "sft+grpo")
"""A plug-in trained; the last three are the language model's stages."""
KINDS: Final = {
    "embed": "aroma.model.embeddings.runs:work_on_items",
    "refresh": "aroma.jobs.refresh.run:work_on_refresh",
    "refresh-step": "aroma.jobs.refresh.tasks:work_on_task",
    TRAINING: "aroma.model.embeddings.gat_runs:work_on_gat",
    **dict.fromkeys(MODELS, "aroma.model.training_runs:work_on_training"),
}


class WorkOn(Protocol):
    """Does shards of a run until none can be had now, closes the run when all are done; returns how many it did."""

    def __call__(self, home: Home, ledger: Ledger, run: str, *, device: str, worker: str | None) -> int:
        """Work on ``run``."""
        ...


def work_function(kind: str) -> WorkOn:
    """Return what does runs of a kind.

    Raises:
        UsageError: This program knows no such kind: the run was planned by a newer one.
    """
    if kind not in KINDS:
        raise UsageError(f"runs of kind {kind!r} are not known here; this worker may be older than who planned the run")
    module, _, name = KINDS[kind].partition(":")
    return cast("WorkOn", getattr(import_module(module), name))


def done_under_way(home: Home, run: Run) -> int:
    """Return the cost done of a run whose one shard is long and tells how far it is: the epochs of a training."""
    if run.kind in MODELS and run.workers:
        from aroma.model.training_runs import share_done

        return share_done(home, run.id)
    if run.kind != TRAINING or not run.workers:
        return 0
    from aroma.model.embeddings.gat_runs import epochs_of

    return len(epochs_of(home, run.id))
