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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from filelock import FileLock

from aroma.errors import ModelError, SnapshotError
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import LEDGER_VARIABLE, Ledger, Run, Shard, ShardPlan, State
from aroma.kgstore.tables import write_parquet
from aroma.kgstore.work_loop import Keep, TryAgainError, work
from aroma.model.embeddings.encoder import Encoded, Encoder, Item
from aroma.retrieval.columns import open_array
from aroma.retrieval.vector_store import (
    EncoderCard,
    VectorSet,
    embeddings_directory,
    known_vectors,
    write_vector_set,
)

KIND: Final = "embed"
SHARD_COST: Final = 200_000
"""Tokens a shard: a minute of work for a middling encoder, which is what a killed worker loses at most."""
_STEP_COST: Final = 20_000
_PLAN: Final = "plan.parquet"
MakeEncoder = Callable[[Mapping[str, Any]], Encoder]
"""Makes an encoder from its specification (``facts["spec"]``), on the worker's own machine and device."""


def embeddings_ledger(home: Home, **options: Any) -> Ledger:
    """Return the ledger of a home: ``AROMA_LEDGER`` where it is set, else SQLite beside the vector sets."""
    return Ledger(os.environ.get(LEDGER_VARIABLE) or embeddings_directory(home) / "ledger.sqlite", **options)


def run_directory(home: Home, run: str) -> Path:
    """Return where the files of a run stand."""
    return embeddings_directory(home) / "runs" / run


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
        release: Release id.
        encoder: What embeds; asked for its card and the cost of inputs alone.
        spec: What workers make the encoder from; JSON values.
        items: What is to be embedded, each id once.
        missing: Nodes that have no input, and why; they stand in the vector set without a vector.
        queue: ``cpu`` or ``gpu``.
        shard_cost: At most so much a shard.
    """
    wanted = sorted(items, key=lambda item: item.id)
    table = pl.DataFrame(
        {
            "id": [item.id for item in wanted] + list(missing or {}),
            "sha256": [item.sha256 for item in wanted] + [None] * len(missing or {}),
            "text": [item.text for item in wanted] + [None] * len(missing or {}),
            "problem": [None] * len(wanted) + list((missing or {}).values()),
        },
        schema={"id": pl.String, "sha256": pl.String, "text": pl.String, "problem": pl.String},
    ).sort("id")
    name = _run_id(release, encoder.card, table)
    facts = {"release": release, "encoder": _card_facts(encoder.card), "spec": dict(spec), "items": len(wanted)}
    if _is_published(home, release, encoder.card, name):
        return ledger.plan(name, KIND, queue, {**facts, "to_embed": 0}, [])
    known = known_vectors(home, encoder.card)
    shards = _cut({item.sha256: item.text for item in wanted if item.sha256 not in known}, encoder.cost, shard_cost)
    if not (run_directory(home, name) / _PLAN).exists():
        ledger.forget(name)  # of a set that was pruned: its files are gone, so it is done anew
        _write_plan(home, name, table, shards)
    facts["to_embed"] = sum(map(len, shards))
    plans = [ShardPlan({"inputs": len(texts)}, sum(encoder.cost(text) for text in texts.values())) for texts in shards]
    run = ledger.plan(name, KIND, queue, facts, plans)
    return ledger.resume(name) if run.state in {State.CANCELLED, State.FAILED} else run


def work_on(home: Home, ledger: Ledger, run: str, make: MakeEncoder, *, worker: str | None = None) -> int:
    """Do shards of a run until none can be had now, and publish when all are done; return how many this call did.

    Raises:
        ModelError: The encoder made here is not the one that was planned (other weights, say).
    """
    facts = ledger.run(run).facts
    encoder: list[Encoder] = []

    def do(shard: Shard, keep: Keep) -> Mapping[str, Any]:
        place = _shard_file(home, run, shard.number)
        found = _open_shard(place)
        if found is None:
            if not encoder:
                encoder.append(_checked_encoder(make, facts))
            _encode_shard(home, shard, encoder[0], place, keep)
            found = _open_shard(place)
        if found is None:
            raise TryAgainError(f"{place}: was written and cannot be read; look at the disk")
        return {"problems": len(found[1])}

    done = work(ledger, run, do, worker=worker)
    publish(home, ledger, run)
    return done


def publish(home: Home, ledger: Ledger, run: str) -> VectorSet | None:
    """Publish the vector set of a run whose shards are all done, and close the run; None while they are not.

    Several workers may call this at once, and again: one writes, all find it there.
    """
    lock = embeddings_directory(home) / "runs" / f".{run}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        return _publish(home, ledger, run)


def _publish(home: Home, ledger: Ledger, run: str) -> VectorSet | None:
    state = ledger.run(run)
    card = EncoderCard(**state.facts["encoder"])
    release = str(state.facts["release"])
    if state.state is State.DONE or not _all_done(state):
        return VectorSet(_set_directory(home, release, card), release) if state.state is State.DONE else None
    if _is_published(home, release, card, run):
        found = VectorSet(_set_directory(home, release, card), release)
    else:
        table = pl.read_parquet(run_directory(home, run) / _PLAN)
        where, problems = _finished(home, run, table, card)
        items = table.with_columns(
            problem=pl.coalesce(
                "problem", pl.col("sha256").replace_strict(problems, default=None, return_dtype=pl.String)
            )
        ).select("id", pl.col("sha256").alias("input_sha256"), "problem")
        rows = items.filter(pl.col("problem").is_null()).sort("id")["input_sha256"].to_list()
        facts = {"run": run, "to_embed": state.facts["to_embed"]}
        if _set_directory(home, release, card).exists():  # inputs changed under one release id: of an older run
            shutil.rmtree(_set_directory(home, release, card))
        found = write_vector_set(home, release, card, items, lambda matrix: _gather(matrix, rows, where), facts=facts)
    ledger.close(run)
    shutil.rmtree(run_directory(home, run), ignore_errors=True)
    return found


def _run_id(release: str, card: EncoderCard, table: pl.DataFrame) -> str:
    whole = hashlib.sha256(f"{release}|{card.id}".encode())
    for node, sha256, problem in table.select("id", "sha256", "problem").iter_rows():
        whole.update(f"|{node}|{sha256}|{problem}".encode())
    return f"u{whole.hexdigest()[:16]}"


def _card_facts(card: EncoderCard) -> dict[str, Any]:
    from dataclasses import asdict

    facts: dict[str, Any] = json.loads(json.dumps(asdict(card)))
    return facts


def _set_directory(home: Home, release: str, card: EncoderCard) -> Path:
    return embeddings_directory(home) / card.id / release


def _is_published(home: Home, release: str, card: EncoderCard, run: str) -> bool:
    try:
        return VectorSet(_set_directory(home, release, card), release).facts.get("run") == run
    except SnapshotError:
        return False


def _all_done(run: Run) -> bool:
    return run.is_open and all(state is State.DONE for state in run.shards)


def _cut(texts: Mapping[str, str], cost: Callable[[str], int], most: int) -> list[dict[str, str]]:
    """Cut inputs into shards of like cost each; like lengths together, so that batches waste little."""
    order = sorted(texts, key=lambda sha256: (-cost(texts[sha256]), sha256))
    shards: list[dict[str, str]] = []
    spent = most
    for sha256 in order:
        if spent + cost(texts[sha256]) > most or not shards:
            shards.append({})
            spent = 0
        shards[-1][sha256] = texts[sha256]
        spent += cost(texts[sha256])
    return shards


def _write_plan(home: Home, run: str, table: pl.DataFrame, shards: Sequence[Mapping[str, str]]) -> None:
    number = {sha256: place for place, texts in enumerate(shards) for sha256 in texts}
    numbered = table.with_columns(shard=pl.col("sha256").replace_strict(number, default=None, return_dtype=pl.Int32))
    directory = run_directory(home, run)
    try:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        partial = directory / f".{os.getpid()}.partial"
        write_parquet(numbered, partial)
        partial.replace(directory / _PLAN)
    except OSError as error:
        raise ModelError(f"{directory}: the plan cannot be written ({error.strerror or error})") from error


def _shard_file(home: Home, run: str, number: int) -> Path:
    return run_directory(home, run) / f"{number}.safetensors"


def _checked_encoder(make: MakeEncoder, facts: Mapping[str, Any]) -> Encoder:
    encoder = make(facts["spec"])
    planned = EncoderCard(**facts["encoder"])
    if encoder.card.id != planned.id:
        raise ModelError(
            f"this worker's {encoder.card.name} is {encoder.card.id}, the run was planned with {planned.id}; "
            "give every worker the same weights and version"
        )
    return encoder


def _encode_shard(home: Home, shard: Shard, encoder: Encoder, place: Path, keep: Keep) -> None:
    plan = pl.scan_parquet(run_directory(home, shard.run) / _PLAN)
    rows = plan.filter(pl.col("shard") == shard.number).select("sha256", "text").unique("sha256").collect()
    texts = dict(rows.iter_rows())
    order = sorted(texts, key=lambda sha256: (-encoder.cost(texts[sha256]), sha256))
    vectors: list[npt.NDArray[np.float32]] = []
    problems: dict[str, str] = {}
    for part in _cut({sha256: texts[sha256] for sha256 in order}, encoder.cost, _STEP_COST):
        keep()
        found: Encoded = encoder.encode(list(part.values()))
        vectors.append(found.vectors)
        problems.update({list(part)[at]: why for at, why in found.problems.items()})
    keep()
    _write_shard(place, order, np.concatenate(vectors), problems)


def _write_shard(place: Path, order: Sequence[str], vectors: npt.NDArray[Any], problems: Mapping[str, str]) -> None:
    from safetensors.numpy import save_file

    partial = place.with_name(f".{place.name}.{os.getpid()}")
    metadata = {"inputs": json.dumps(list(order)), "problems": json.dumps(dict(problems))}
    try:
        save_file({"vectors": np.ascontiguousarray(vectors, dtype=np.float32)}, partial, metadata)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(place)
    except OSError as error:
        raise TryAgainError(f"{place}: cannot be written ({error.strerror or error}); free some space") from error
    finally:
        partial.unlink(missing_ok=True)


def _open_shard(place: Path) -> tuple[list[str], dict[str, str]] | None:
    """Return the inputs and problems of a shard file, or None where there is no whole one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(place, framework="numpy") as opened:
            metadata = opened.metadata()
            return json.loads(metadata["inputs"]), json.loads(metadata["problems"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _finished(
    home: Home, run: str, table: pl.DataFrame, card: EncoderCard
) -> tuple[dict[str, tuple[Path, int]], dict[str, str]]:
    """Return where each input's vector stands, and the inputs that have none with the reason."""
    where = known_vectors(home, card)
    problems: dict[str, str] = {}
    for number in table["shard"].drop_nulls().unique().sort():
        place = _shard_file(home, run, number)
        found = _open_shard(place)
        if found is None:
            raise ModelError(f"{place}: is missing or damaged though the ledger says done; aroma runs resume {run}")
        where.update({sha256: (place, row) for row, sha256 in enumerate(found[0])})
        problems.update(found[1])
    return where, problems


def _gather(matrix: npt.NDArray[Any], rows: Sequence[str], where: Mapping[str, tuple[Path, int]]) -> None:
    """Fill the matrix file by file, so that each is mapped once."""
    wanted: dict[Path, list[tuple[int, int]]] = {}
    for row, sha256 in enumerate(rows):
        place, source = where[sha256]
        wanted.setdefault(place, []).append((row, source))
    for place, pairs in wanted.items():
        vectors = _vectors(place)
        to, source = np.array(pairs).T
        matrix[to] = vectors[source]


def _vectors(place: Path) -> npt.NDArray[Any]:
    if place.suffix == ".npy":
        return open_array(place)
    from safetensors.numpy import load_file

    found: npt.NDArray[Any] = load_file(place)["vectors"]
    return found
