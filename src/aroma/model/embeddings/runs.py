"""Embedding runs: the items of a release cut into shards, done by any number of workers, published as one vector set.

A run is named by a hash of what it will give (release, encoder, inputs), so that asking twice runs once. Equal inputs
are embedded once; inputs whose vectors stand in an older release's set are taken over. Files of a run::

    HOME/embeddings/runs/<run>/ plan.parquet, <shard>.safetensors

They are removed when the vector set is published. A shard file is renamed into place whole, so whoever finds one whose
worker died before writing it down takes it as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl
from filelock import FileLock

from aroma.errors import AromaError, LedgerError, ModelError, ReleaseError, SnapshotError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import LEDGER_VARIABLE, Ledger, Run, Shard, ShardPlan, State
from aroma.kgstore.releases import known_releases
from aroma.kgstore.work_loop import CannotDoError, Keep, TryAgainError, work
from aroma.model.embeddings.encoder import Encoder, Item
from aroma.model.embeddings.run_files import (
    PLAN,
    cut,
    gather,
    open_shard,
    other_input,
    read_plan,
    run_directory,
    shard_path,
    write_plan,
    write_shard,
)
from aroma.model.embeddings.steps import encode_in_steps
from aroma.retrieval.vector_store import (
    EncoderCard,
    VectorSet,
    embeddings_directory,
    known_vectors,
    write_vector_set,
)

__all__ = [
    "KIND",
    "SHARD_COST",
    "embeddings_ledger",
    "plan_run",
    "publish",
    "run_directory",
    "work_on",
    "work_on_items",
]

KIND: Final = "embed"
SHARD_COST: Final = 200_000
"""Tokens a shard: a minute of work for a middling encoder, which is what a killed worker loses at most."""
MakeEncoder = Callable[[Mapping[str, Any]], Encoder]
"""Makes an encoder from its specification (``facts["spec"]``), on the worker's own machine and device."""


def embeddings_ledger(home: Home, **options: Any) -> Ledger:
    """Return the ledger of a home: ``AROMA_LEDGER`` where it is set, else SQLite beside the vector sets."""
    return Ledger(os.environ.get(LEDGER_VARIABLE) or embeddings_directory(home) / "ledger.sqlite", **options)


def existing_ledger(home: Home) -> Ledger | None:
    """Return the ledger of a home where there is one, so that asking how things stand makes none.

    Raises:
        LedgerError: It cannot be opened.
    """
    if not os.environ.get(LEDGER_VARIABLE) and not (embeddings_directory(home) / "ledger.sqlite").exists():
        return None
    return embeddings_ledger(home)


def plan_run(
    home: Home,
    ledger: Ledger,
    release: str,
    encoder: Encoder,
    spec: Mapping[str, Any],
    items: Iterable[Item],
    *,
    missing: Mapping[str, str] | None = None,
    queue: str = "cpu",
    shard_cost: int = SHARD_COST,
) -> Run:
    """Plan a run; one that was planned before is returned as it is, opened again where it had been ended.

    Args:
        home: Where.
        ledger: The ledger.
        release: Release id, or another name for a set of items that no release holds.
        encoder: What embeds; asked for its card and the cost of inputs alone.
        spec: What workers make the encoder from; JSON values.
        items: What is to be embedded, each id once.
        missing: Nodes that have no input, and why; they stand in the vector set without a vector.
        queue: ``cpu`` or ``gpu``.
        shard_cost: At most so much a shard.

    Raises:
        UsageError: An id stands twice.
        ModelError: The plan cannot be written.
    """
    table = _table(items, missing or {})
    run = _run_id(release, encoder.card, table)
    facts = {
        "release": release,
        "is_release": release in known_releases(home),
        "encoder": json.loads(json.dumps(asdict(encoder.card))),
        "spec": dict(spec),
        "items": table["sha256"].drop_nulls().len(),
    }
    with _locked(home, run):
        before = _planned(ledger, run)
        if _published_set(home, release, encoder.card, run) is not None:
            if before is None or before.state is not State.DONE:
                ledger.forget(run)
                ledger.plan(run, KIND, queue, {**facts, "to_embed": 0}, [])
                ledger.close(run)
            return ledger.run(run)
        # One that is done has no vector set any more (it was pruned), one without its plan cannot be done.
        if before is not None and before.state is not State.DONE and (run_directory(home, run) / PLAN).exists():
            return ledger.resume(run) if before.state in {State.CANCELLED, State.FAILED} else before
        known = known_vectors(home, encoder.card)
        texts = dict(table.drop_nulls("sha256").select("sha256", "text").iter_rows())
        shards = cut({sha256: text for sha256, text in texts.items() if sha256 not in known}, encoder.cost, shard_cost)
        write_plan(home, run, table, shards)
        facts["to_embed"] = sum(map(len, shards))
        plans = [ShardPlan({"inputs": len(one)}, sum(map(encoder.cost, one.values()))) for one in shards]
        ledger.forget(run)
        return ledger.plan(run, KIND, queue, facts, plans)


def work_on(home: Home, ledger: Ledger, run: str, make: MakeEncoder, *, worker: str | None = None) -> int:
    """Do shards of a run until none can be had now, and publish when all are done; return how many this call did.

    Raises:
        CannotDoError: This worker has not what the run needs (weights, versions, the home); the run stays open.
        AromaError: All was computed and could not be published; the run is marked failed.
    """
    facts = ledger.run(run).facts
    encoders: list[Encoder] = []

    def do(shard: Shard, keep: Keep) -> Mapping[str, Any]:
        try:
            plan = read_plan(home, run, shard.number)
        except ModelError as error:
            raise CannotDoError(str(error)) from error
        place, wanted = shard_path(home, run, shard.number), plan["sha256"].unique().to_list()
        if (found := open_shard(place, wanted)) is None:
            if not encoders:
                encoders.append(_checked_encoder(make, facts))
            witness = partial(other_input, home, run, shard.number)
            write_shard(place, *encode_in_steps(plan, encoders[0], keep, witness))
            found = open_shard(place, wanted)
        if found is None:
            raise TryAgainError(f"{place}: was written and cannot be read; look at the disk")
        return {"problems": len(found.problems)}

    done = work(ledger, run, do, worker=worker)
    if ledger.run(run).is_open:
        publish(home, ledger, run)
    return done


def work_on_items(home: Home, ledger: Ledger, run: str, *, device: str = "cpu", worker: str | None = None) -> int:
    """Do shards of a run as ``work_on``, with the encoder that its specification names, on ``device``.

    Raises:
        CannotDoError: This worker has not what the run needs.
        AromaError: All was computed and could not be published.
    """
    from aroma.model.embeddings.registry import make_encoder

    return work_on(home, ledger, run, lambda spec: make_encoder(spec, device), worker=worker)


def publish(home: Home, ledger: Ledger, run: str) -> VectorSet | None:
    """Publish the vector set of a run whose shards are all done, and close the run; None while they are not.

    Several workers may call this at once, and again: one writes, all find it there.

    Raises:
        AromaError: It cannot be published (a full disk, a release that is gone); the run is marked failed.
    """
    with _locked(home, run):
        state = ledger.run(run)
        card, release = EncoderCard(**state.facts["encoder"]), str(state.facts["release"])
        if state.state is State.DONE:
            return _published_set(home, release, card, run)
        if not state.is_open or any(kind is not State.DONE for kind in state.shards):
            return None
        try:
            found = _published_set(home, release, card, run) or _write(home, ledger, state, card)
        except LedgerError:
            raise
        except AromaError as error:
            ledger.fail_run(run, f"{error}; then: aroma runs resume {run}")
            raise
        if found is not None:
            ledger.close(run)
            shutil.rmtree(run_directory(home, run), ignore_errors=True)
        return found


def _write(home: Home, ledger: Ledger, run: Run, card: EncoderCard) -> VectorSet | None:
    """Write the vector set of a run; None where a shard's file was lost and is to be done anew."""
    release = str(run.facts["release"])
    if run.facts["is_release"] and release not in known_releases(home):
        raise ReleaseError(
            f"release {release} was pruned while its embeddings were made; nothing was published. "
            "Ask for the embedding of a release that is there"
        )
    table = read_plan(home, run.id)
    where, problems = known_vectors(home, card), dict[str, str]()
    is_whole = True
    for (number,), part in table.drop_nulls("shard").group_by("shard"):
        found = open_shard(shard_path(home, run.id, int(str(number))), part["sha256"].unique().to_list())
        if found is None:
            ledger.redo(run.id, int(str(number)), "its file is lost or damaged")
            is_whole = False
            continue
        where.update({sha256: (found.path, row) for row, sha256 in enumerate(found.inputs)})
        problems.update(found.problems)
    if not is_whole:
        return None
    said = pl.col("sha256").replace_strict(problems, default=None, return_dtype=pl.String)
    items = table.select("id", pl.col("sha256").alias("input_sha256"), pl.coalesce("problem", said).alias("problem"))
    rows = items.filter(pl.col("problem").is_null()).sort("id")["input_sha256"].to_list()
    if any(sha256 not in where for sha256 in rows):
        (run_directory(home, run.id) / PLAN).unlink()  # so that it is planned anew
        raise ModelError(
            f"run {run.id}: vectors that were to be taken over from another release's set were removed meanwhile; "
            "nothing was published. Ask for the embedding again"
        )
    facts = {"run": run.id, "to_embed": run.facts["to_embed"]}
    with _set_aside(embeddings_directory(home) / card.id / release):
        return write_vector_set(home, release, card, items, lambda matrix: gather(matrix, rows, where), facts=facts)


@contextmanager
def _set_aside(directory: Path) -> Iterator[None]:
    """Put a set of other items of the same name out of the way; it comes back if the new one cannot be written."""
    aside = directory.with_name(f".{directory.name}.aside")
    if directory.exists():
        shutil.rmtree(aside, ignore_errors=True)
        directory.rename(aside)
    try:
        yield
    except BaseException:
        if aside.exists() and not directory.exists():
            aside.rename(directory)
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _locked(home: Home, run: str) -> Iterator[None]:
    """Let one process at a time plan or publish a run."""
    lock = embeddings_directory(home) / "runs" / f".{run}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock)
        held.acquire()
    except OSError as error:
        raise ModelError(f"{lock}: cannot be written ({error.strerror or error})") from error
    try:
        yield
    finally:
        held.release()


def _planned(ledger: Ledger, run: str) -> Run | None:
    try:
        return ledger.run(run)
    except UsageError:
        return None


def _table(items: Iterable[Item], missing: Mapping[str, str]) -> pl.DataFrame:
    rows: list[tuple[str, str | None, str | None, str | None]] = [
        (item.id, item.sha256, item.text, None) for item in items
    ]
    rows += [(node, None, None, why) for node, why in missing.items()]
    names = ("id", "sha256", "text", "problem")
    table = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row").sort("id")
    if (twice := table.filter(pl.col("id").is_duplicated())).height:
        raise UsageError(f"{twice['id'][0]} is to be embedded twice; give each id once")
    return table


def _run_id(release: str, card: EncoderCard, table: pl.DataFrame) -> str:
    whole = hashlib.sha256(f"{release}|{card.id}".encode())
    for node, sha256, problem in table.select("id", "sha256", "problem").iter_rows():
        whole.update(f"|{node}|{sha256}|{problem}".encode())
    return f"u{whole.hexdigest()[:16]}"


def _published_set(home: Home, release: str, card: EncoderCard, run: str) -> VectorSet | None:
    try:
        found = VectorSet(embeddings_directory(home) / card.id / release, release)
    except SnapshotError:
        return None
    return found if found.facts.get("run") == run else None


def _checked_encoder(make: MakeEncoder, facts: Mapping[str, Any]) -> Encoder:
    try:
        encoder = make(facts["spec"])
    except AromaError as error:
        raise CannotDoError(str(error)) from error
    planned = EncoderCard(**facts["encoder"])
    if encoder.card.id != planned.id:
        raise CannotDoError(
            f"this worker's {encoder.card.name} is {encoder.card.id}, the run was planned with {planned.id}; "
            "give every worker the same weights and version"
        )
    return encoder
