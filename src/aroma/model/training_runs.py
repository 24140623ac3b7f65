"""Training of a plug-in as a job: planned once, trained by whichever worker has it, saved where it was asked for.

A run has one shard, which is one training. A plug-in with the setting ``directory`` (``aroma``) keeps its checkpoints
beside the run, so whoever takes the shard over goes on from there; any other begins anew. Files::

    HOME/embeddings/runs/<run>/rows.parquet     what is learnt from
    HOME/embeddings/runs/<run>/<hash>/sft/      checkpoints and curves of a stage, while it trains
    HOME/embeddings/runs/<run>/progress.json    how far it is
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import ModelError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, Run, Shard, ShardPlan, State
from aroma.kgstore.outcomes import content_hash
from aroma.kgstore.tables import write_parquet
from aroma.kgstore.work_loop import CannotDoError, Keep, work
from aroma.model.embeddings.run_files import run_directory
from aroma.model.ground import TRAINING, Ground
from aroma.model.plugin import Plugin, Training, read_card
from aroma.model.plugin_settings import read_settings
from aroma.model.registry import plugin

KIND: Final = "train-model"
STAGES: Final = ("sft", "grpo", "sft+grpo")
"""Kinds of run of a plug-in that is trained in stages: the setting ``stages``."""
PARTS: Final = 1000
"""Cost of a run: thousandths of the training."""
_ROWS: Final = "rows.parquet"
_PROGRESS: Final = "progress.json"
_SECONDS: Final = 1.0
_OWN: Final = ("device", "directory")
"""Settings that are a worker's own."""
_ON_CARD: Final = ("plugin", "version", "release", "split", "seed", "training_sha256")


def plan_training(
    home: Home, ledger: Ledger, cls: type[Plugin], training: Training, release: str, out: Path, *, queue: str
) -> Run:
    """Plan a training; one that was planned before is returned as it is, opened again where it had been ended.

    Args:
        home: Where; workers share it.
        ledger: The ledger.
        cls: The plug-in.
        training: Rows and settings; ``magnitudes`` are not carried to a worker.
        release: Release id.
        out: Directory of the model; a place that workers can write.
        queue: ``cpu`` or ``gpu``.

    Raises:
        UsageError: Something is at ``out`` already, or the training has what a worker would not get.
        ModelError: The rows cannot be written.
    """
    if training.expression is not None:
        raise UsageError("--detach does not carry --expression to a worker; leave one of them out")
    settings = read_settings(cls, training.parameters)
    said = {
        "plugin": cls.name,
        "version": cls.version,
        "release": release,
        "settings": settings,
        "split": training.split,
        "withheld": training.withheld,
        "seed": training.seed,
        "training_sha256": content_hash(_distinct(training.rows)),
        "out": str(out.absolute()),
    }
    name = f"m{hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]}"
    if out.exists() and not _is_made(out, said):
        raise UsageError(f"{out}: something is there already; choose another name or remove it")
    _write_rows(run_directory(home, name), training.rows)
    stages = str(settings.get("stages", ""))
    kind = stages if stages in STAGES else KIND
    facts = {**said, "encoder": {"name": f"{cls.name}:{kind}", "kind": "model"}, "items": training.rows.height}
    if not out.exists() and any(run.id == name and run.state is State.DONE for run in ledger.runs()):
        ledger.forget(name)  # the model was removed, so it is made anew
    run = ledger.plan(name, kind, queue, facts, [ShardPlan({"out": said["out"]}, PARTS)])
    return ledger.resume(name) if run.state in {State.CANCELLED, State.FAILED} else run


def work_on_training(home: Home, ledger: Ledger, run: str, *, device: str = "cpu", worker: str | None = None) -> int:
    """Train a run if it is to be had now, save the model, close the run; return how many shards this call did.

    Raises:
        CannotDoError: The model cannot be written from here, or the plug-in is not installed or of another version.
    """
    planned = ledger.run(run)

    def do(shard: Shard, keep: Keep) -> Mapping[str, Any]:
        out = Path(shard.payload["out"])
        if not _is_made(out, planned.facts):
            _train(home, planned, out, device, keep)
        return {"model": str(out), "metrics": dict(read_card(out).metrics)}

    done = work(ledger, planned.id, do, worker=worker)
    if ledger.close(planned.id):
        shutil.rmtree(run_directory(home, planned.id), ignore_errors=True)
    return done


def share_done(home: Home, run: str) -> int:
    """Return how much of a training under way is done, of ``PARTS``."""
    try:
        return int(json.loads((run_directory(home, run) / _PROGRESS).read_text())["share"] * PARTS)
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _train(home: Home, run: Run, out: Path, device: str, keep: Keep) -> None:
    facts = run.facts
    cls = plugin(str(facts["plugin"]))
    if cls.version != facts["version"]:
        raise CannotDoError(
            f"run {run.id}: planned with {cls.name} {facts['version']}, and here it is {cls.version}; "
            "give every worker the same version of this program"
        )
    place = run_directory(home, run.id)
    own = dict(zip(_OWN, (device, str(place)), strict=True))
    settings = {**facts["settings"], **{name: value for name, value in own.items() if name in cls.defaults}}
    told = -_SECONDS

    def progress(what: str, share: float) -> None:
        nonlocal told
        keep()
        if time.monotonic() - told >= _SECONDS:
            told = time.monotonic()
            _tell(place, what, share)

    training = Training(
        _read_rows(place), int(facts["seed"]), str(facts["split"]), int(facts["withheld"]), parameters=settings
    )
    model = cls.fit(training, Ground(home, str(facts["release"])), progress=progress)
    keep()
    model.save(out)


def _is_made(out: Path, facts: Mapping[str, Any]) -> bool:
    """Tell whether the model that a run is to make is there: its worker died after saving it."""
    try:
        card = read_card(out)
    except ModelError:
        return False
    same = all(getattr(card, name) == facts[name] for name in _ON_CARD)
    settings = {name: value for name, value in facts["settings"].items() if name not in _OWN}
    return same and all(card.parameters.get(name) == value for name, value in settings.items())


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows as a plug-in takes them: once each, in one order."""
    return rows.select(list(TRAINING)).unique().sort(list(TRAINING), nulls_last=False)


def _tell(place: Path, what: str, share: float) -> None:
    partial = place / f".{_PROGRESS}.{os.getpid()}"
    try:
        partial.write_text(json.dumps({"what": what, "share": share}))
        partial.replace(place / _PROGRESS)
    except OSError:
        partial.unlink(missing_ok=True)  # a bar that stands still harms nothing


def _write_rows(place: Path, rows: pl.DataFrame) -> None:
    partial = place / f".{_ROWS}.{os.getpid()}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_parquet(rows, partial)
        partial.replace(place / _ROWS)
    except OSError as error:
        raise ModelError(f"{place}: the rows cannot be written ({error.strerror or error}); free some space") from error
    finally:
        partial.unlink(missing_ok=True)


def _read_rows(place: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(place / _ROWS)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ModelError(
            f"{place / _ROWS}: the training rows cannot be read ({error}); all workers need the same AROMA_HOME"
        ) from error
