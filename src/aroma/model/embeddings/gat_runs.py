"""Graph attention as a job: planned once, trained by whichever worker has it, published as a vector set.

A run has one shard, which is one training. Its checkpoint is written after every epoch, so whoever takes the shard over
goes on from there, and ends with the same weights. Files::

    HOME/embeddings/runs/<run>/                         checkpoint.safetensors, while it trains
    HOME/embeddings/<encoder id>/<release>/             the vector set ``gat:<view>``
    HOME/embeddings/models/<encoder id>/<release>/      model.safetensors, options.json, curve.json, curve.png
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from safetensors.torch import load_file, save

from aroma.errors import ModelError, SnapshotError
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, Run, Shard, ShardPlan, State
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.kgstore.work_loop import Keep, work
from aroma.model.embeddings.curves import write_curve
from aroma.model.embeddings.gat_inputs import RANDOM, STRUCTURAL, NodeInputs, node_inputs, view_ids
from aroma.model.embeddings.gat_model import GatLinkModel, GatOptions, load_state, state_arrays
from aroma.model.embeddings.gat_training import Epoch, Trained, Watch, check_device, encode, read_history, train
from aroma.model.embeddings.links import Links
from aroma.model.embeddings.runs import run_directory
from aroma.retrieval.parts import make_part, open_part
from aroma.retrieval.snapshot import DERIVED, Snapshot, View, open_snapshot
from aroma.retrieval.vector_store import (
    EncoderCard,
    VectorSet,
    embeddings_directory,
    find_vector_set,
    list_vector_sets,
    write_vector_set,
)

KIND: Final = "train-gat"
VERSION: Final = "1"
MODEL: Final = "model.safetensors"
OPTIONS: Final = "options.json"


def plan_gat(home: Home, ledger: Ledger, release: str | None, options: GatOptions, *, queue: str = "cpu") -> Run:
    """Plan a training; one that was planned before is returned as it is, opened again where it had been ended.

    Args:
        home: Where.
        ledger: The ledger.
        release: Release id; None for the published one.
        options: What was chosen.
        queue: ``cpu`` or ``gpu``.

    Raises:
        UsageError: A choice that is none, a view or a vector set that is not there.
    """
    options.check()
    snapshot = open_snapshot(home, release)
    view = snapshot.view(options.view)
    if options.inputs not in {RANDOM, STRUCTURAL}:  # by id: a name may come to mean another encoder
        options = replace(options, inputs=find_vector_set(home, snapshot.release, options.inputs).card.id)
    name = _run_id(snapshot.release, view, options)
    facts = {
        "release": snapshot.release,
        "view": options.view,
        "view_id": view.definition.id,
        "encoder": {"name": f"gat:{options.view}", "kind": "graph", "dim": options.dim},
        "options": options.as_facts(),
        "items": view.csr.nodes,
    }
    if published_gat(home, snapshot.release, name) is not None:
        return ledger.plan(name, KIND, queue, facts, [])
    if any(run.id == name and run.state is State.DONE for run in ledger.runs()):
        ledger.forget(name)  # its vector set was pruned, so it is done anew
    run = ledger.plan(name, KIND, queue, facts, [ShardPlan({"epochs": options.epochs}, options.epochs)])
    return ledger.resume(name) if run.state in {State.CANCELLED, State.FAILED} else run


def work_on_gat(
    home: Home, ledger: Ledger, run: str, *, device: str = "cpu", worker: str | None = None, watch: Watch | None = None
) -> int:
    """Train a run if it is to be had now, publish it, close the run; return how many shards this call did.

    Args:
        home: Where.
        ledger: The ledger.
        run: Run id.
        device: ``cpu`` or ``cuda``.
        worker: This worker's name; made up where not given.
        watch: Told of each epoch that this call trains.

    Raises:
        ModelError: There is no such device here; the run stays open for a worker that has it.
        UsageError: The run's options need a GPU and ``device`` is none.
    """
    planned = ledger.run(run)
    options = GatOptions(**planned.facts["options"])
    check_device(options, device)

    def do(shard: Shard, keep: Keep) -> Mapping[str, Any]:
        def watched(epoch: Epoch) -> None:
            keep()
            if watch is not None:
                watch(epoch)

        found = published_gat(home, planned.facts["release"], planned.id)
        if found is None:
            found = _train(home, planned, options, device, keep, watched)
        return {"encoder": found.card.id, **{name: found.facts[name] for name in ("test", "epochs", "best")}}

    done = work(ledger, planned.id, do, worker=worker)
    if ledger.close(planned.id):
        shutil.rmtree(run_directory(home, planned.id), ignore_errors=True)
    return done


def published_gat(home: Home, release: str, run: str) -> VectorSet | None:
    """Return the vector set that a run published, or None."""
    return next((one for one in list_vector_sets(home) if one.release == release and one.facts.get("run") == run), None)


def epochs_of(home: Home, run: str) -> list[Epoch]:
    """Return the epochs that a run under way has behind it, for a bar or a status page."""
    return read_history(run_directory(home, run))


def model_directory(home: Home, encoder: str, release: str) -> Path:
    """Return where the trained model behind a vector set is kept."""
    return embeddings_directory(home) / "models" / encoder / release


def load_gat(home: Home, vectors: VectorSet) -> tuple[GatLinkModel, GatOptions]:
    """Return the model that gave a vector set, ready to encode, and its options.

    Raises:
        ModelError: The model is not there or damaged.
    """
    place = model_directory(home, vectors.card.id, vectors.release)
    try:
        open_part(place, vectors.release)
        said = json.loads((place / OPTIONS).read_text())
        options = GatOptions(**said["options"])
        model = GatLinkModel(options, said["input_dim"])
        load_state(model, load_file(place / MODEL))
    except (SnapshotError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"{place}: the model behind {vectors.card.name} cannot be read ({error}); train anew"
        ) from error
    model.eval()
    return model, options


def prune_gat_models(home: Home) -> list[str]:
    """Delete trained models whose vector set is gone; return what went, ``<encoder id>/<release>``."""
    kept = {(one.card.id, one.release) for one in list_vector_sets(home)}
    places = sorted((embeddings_directory(home) / "models").glob("e*/*/"))
    gone = [path for path in places if (path.parent.name, path.name) not in kept]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return [f"{path.parent.name}/{path.name}" for path in gone]


def view_licences(snapshot: Snapshot, view: View) -> dict[str, str]:
    """Return provider and licence of the edges that a view takes."""
    taken = np.unique(view.pair_edges[view.pair_edges != DERIVED])
    used = set(np.unique(snapshot.edges.source[taken]).tolist())
    if view.definition.co_membership:
        member = list(Relation).index(Relation.MEMBER_OF)
        used |= set(np.unique(snapshot.edges.source[snapshot.edges.relation == member]).tolist())
    providers = {snapshot.edges.sources[number][0] for number in used}
    if view.definition.providers is not None:
        providers &= set(view.definition.providers)
    sources = read_table(snapshot.home.release(snapshot.release), "sources", ["provider", "licence"])
    licences: dict[str, str] = dict(
        sources.filter(pl.col("provider").is_in(list(providers))).sort("provider").iter_rows()
    )
    return licences


def _run_id(release: str, view: View, options: GatOptions) -> str:
    said = json.dumps([VERSION, release, view.definition.id, options.as_facts()], sort_keys=True)
    return f"g{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _train(home: Home, run: Run, options: GatOptions, device: str, keep: Keep, watch: Watch) -> VectorSet:
    snapshot = open_snapshot(home, str(run.facts["release"]))
    view = snapshot.view(options.view)
    if view.definition.id != run.facts["view_id"]:
        raise ModelError(
            f"run {run.id}: view {options.view} is {view.definition.id} here, and {run.facts['view_id']} in the plan; "
            "give every worker the same version of this program"
        )
    links = Links.of(view.csr, options.seed)
    inputs = node_inputs(snapshot, view, options)
    keep()
    trained = train(links, inputs.matrix, options, run_directory(home, run.id), device=device, watch=watch)
    keep()
    vectors = encode(trained.model, inputs.matrix, links, "cpu" if options.batch_edges else device)
    keep()
    return _publish(snapshot, view, run, options, inputs, trained, vectors)


def _publish(
    snapshot: Snapshot, view: View, run: Run, options: GatOptions, inputs: NodeInputs, trained: Trained, vectors: Any
) -> VectorSet:
    weights = save(state_arrays(trained.model))
    card = EncoderCard(
        name=f"gat:{options.view}",
        kind="graph",
        version=VERSION,
        dim=options.dim,
        parameters={**options.as_facts(), "view_id": view.definition.id},
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        licences={**inputs.licences, **view_licences(snapshot, view)},
    )
    facts = _facts(view, run, options, inputs, trained)

    def write(target: Path) -> None:
        (target / MODEL).write_bytes(weights)
        said = {"options": options.as_facts(), "input_dim": inputs.matrix.shape[1]}
        (target / OPTIONS).write_text(json.dumps(said, indent=1) + "\n")
        write_curve(target, f"{card.name}, release {snapshot.release}", trained.history, trained.best, trained.test)

    place = model_directory(snapshot.home, card.id, snapshot.release)
    make_part(place, snapshot.release, {"encoder": asdict(card), "facts": facts}, write)
    ids = view_ids(snapshot, view)
    inputs_of = [hashlib.sha256(f"{run.id}|{name}".encode()).hexdigest() for name in ids]
    items = pl.DataFrame({"id": ids, "input_sha256": inputs_of}).with_columns(problem=pl.lit(None, dtype=pl.String))
    assert ids == sorted(ids)  # rows of the matrix are by id, and so are the nodes of a view

    def fill(matrix: Any) -> None:
        matrix[:] = vectors

    return write_vector_set(snapshot.home, snapshot.release, card, items, fill, facts=facts)


def _facts(view: View, run: Run, options: GatOptions, inputs: NodeInputs, trained: Trained) -> dict[str, Any]:
    kept = trained.history[trained.best]
    return {
        "run": run.id,
        "view_id": view.definition.id,
        "nodes": view.csr.nodes,
        "edges": view.csr.edges,
        "inputs": dict(inputs.facts),
        "negatives": options.negatives,
        "epochs": len(trained.history),
        "best": trained.best,
        "validation": {"uniform": kept.auroc, "degree": kept.auroc_degree},
        "test": dict(trained.test),
    }
