"""Graph attention as a job: planned once, gone on with by another worker, published with its card, model and curve."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from aroma.errors import ModelError, UsageError
from aroma.kgstore.ledger import Ledger, State
from aroma.model.embeddings.gat_inputs import node_inputs, view_ids
from aroma.model.embeddings.gat_runs import (
    epochs_of,
    load_gat,
    model_directory,
    plan_gat,
    prune_gat_models,
    published_gat,
    view_licences,
    work_on_gat,
)
from aroma.model.embeddings.gat_training import encode
from aroma.model.embeddings.links import Links
from aroma.model.embeddings.runs import embeddings_ledger, run_directory
from aroma.retrieval.snapshot import open_snapshot
from aroma.retrieval.vector_store import check_vector_sets, find_vector_set, prune_vector_sets
from tests.support.homes import home_of_files

KILLED = """
import os, sys
from pathlib import Path
from aroma.kgstore.home import Home
from aroma.model.embeddings.gat_runs import work_on_gat
from aroma.model.embeddings.runs import embeddings_ledger
def die(epoch):
    if epoch.number == 1:
        os.kill(os.getpid(), 9)
home = Home(Path(sys.argv[1]))
work_on_gat(home, embeddings_ledger(home), sys.argv[2], watch=die)
"""


@pytest.fixture
def home(tmp_path):
    return home_of_files(tmp_path / "home")


@pytest.fixture
def ledger(home):
    return embeddings_ledger(home)


def test_the_vector_set_says_what_it_came_from(trained_gat):
    home, made = trained_gat
    snapshot = open_snapshot(home)
    view = snapshot.view("path-kg")
    assert (made.card.name, made.card.kind, made.card.dim) == ("gat:path-kg", "graph", 16)
    assert list(made.ids) == view_ids(snapshot, view)
    assert made.card.parameters["view_id"] == view.definition.id
    assert {"corum", "gene_ontology", "reactome"} <= set(made.card.licences) <= set(view_licences(snapshot, view))
    assert made.card.licences["corum"] == "CC BY-NC 4.0"
    assert set(made.facts["test"]) == {"uniform", "degree"}
    assert made.facts["inputs"] == {"inputs": "random", "saw_tested_edges": False}
    assert made.items()["input_sha256"].n_unique() == view.csr.nodes
    assert check_vector_sets(home) == {}


def test_the_model_stands_beside_it_with_its_curve(trained_gat):
    home, made = trained_gat
    snapshot = open_snapshot(home)
    view = snapshot.view("path-kg")
    model, options = load_gat(home, made)
    inputs = node_inputs(snapshot, view, options).matrix
    assert np.array_equal(encode(model, inputs, Links.of(view.csr, options.seed)), made.vectors)
    place = model_directory(home, made.card.id, made.release)
    curve = json.loads((place / "curve.json").read_text())
    assert [epoch["number"] for epoch in curve["epochs"]] == [0, 1, 2, 3]
    assert (curve["best"], curve["test"]) == (made.facts["best"], made.facts["test"])
    assert (place / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_worker_that_is_killed_is_taken_over_and_the_vectors_are_the_same(trained_gat, home, ledger, small_gat):
    run = plan_gat(home, ledger, None, small_gat)
    command = [sys.executable, "-c", KILLED, str(home.path), run.id]
    dead = subprocess.run(command, check=False, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert dead.returncode == -9
    assert [epoch.number for epoch in epochs_of(home, run.id)] == [0, 1]
    seen = []
    assert work_on_gat(home, ledger, run.id, worker="another", watch=seen.append) == 1
    assert [epoch.number for epoch in seen] == [2, 3]
    assert ledger.run(run.id).state is State.DONE
    made = published_gat(home, str(run.facts["release"]), run.id)
    assert made.card.id == trained_gat[1].card.id
    assert (made.directory / "vectors.npy").read_bytes() == (trained_gat[1].directory / "vectors.npy").read_bytes()
    assert not run_directory(home, run.id).exists()
    assert epochs_of(home, run.id) == []


def test_planned_twice_it_is_trained_once_and_pruned_it_is_trained_anew(home, ledger, small_gat):
    options = replace(small_gat, epochs=1)
    run = plan_gat(home, ledger, None, options)
    assert plan_gat(home, ledger, None, options).id == run.id
    assert [work_on_gat(home, ledger, run.id) for _ in range(2)] == [1, 0]
    assert plan_gat(home, Ledger(home.path / "lost.sqlite"), None, options).shards == {}  # a ledger that forgot all
    assert plan_gat(home, ledger, None, replace(options, seed=1)).id != run.id
    prune_vector_sets(home, lambda _: False)
    assert prune_gat_models(home) != []
    again = plan_gat(home, ledger, None, options)
    assert (again.id, again.state) == (run.id, State.WAITING)
    assert work_on_gat(home, ledger, run.id) == 1
    assert find_vector_set(home, str(run.facts["release"]), "gat:path-kg").facts["run"] == run.id
    assert prune_gat_models(home) == []


def test_a_cancelled_run_stops_at_the_next_epoch_and_resumes(home, tmp_path, small_gat):
    ledger = Ledger(tmp_path / "ledger.sqlite", lease_seconds=0.05)  # so that the loss is noticed at once
    options = replace(small_gat, epochs=1000, patience=1000)
    run = plan_gat(home, ledger, None, options)

    def cancel(epoch):
        if epoch.number == 1:
            ledger.cancel(run.id)

    assert work_on_gat(home, ledger, run.id, watch=cancel) == 0
    assert ledger.run(run.id).state is State.CANCELLED
    assert 2 <= len(epochs_of(home, run.id)) < 1000
    assert plan_gat(home, ledger, None, options).state is State.WAITING


def test_a_device_that_is_not_here_leaves_the_run_to_others(home, ledger, small_gat):
    run = plan_gat(home, ledger, None, replace(small_gat, epochs=1), queue="gpu")
    with pytest.raises(ModelError, match="torch sees no GPU"):
        work_on_gat(home, ledger, run.id, device="cuda:99" if _has_gpu() else "cuda")
    assert ledger.run(run.id).state is State.WAITING
    assert work_on_gat(home, ledger, run.id, device="cpu") == 1


def _has_gpu():
    import torch

    return torch.cuda.is_available()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"view": "gene-gk"}, "did you mean 'gene-kg'"),
        ({"inputs": "esm3"}, "has no embeddings 'esm3'"),
        ({"batch_edges": -1}, "batch_edges is -1"),
        ({"precision": "int8"}, "precision 'int8' is unknown"),
    ],
)
def test_what_cannot_be_trained_is_refused_when_it_is_planned(home, ledger, small_gat, wrong, message):
    with pytest.raises(UsageError, match=message):
        plan_gat(home, ledger, None, replace(small_gat, **wrong))
    assert ledger.runs() == []


@pytest.mark.parametrize("wrong", [{"precision": "bfloat16"}, {"compile": True}])
def test_choices_for_a_gpu_are_refused_on_a_cpu_and_the_run_waits(home, ledger, small_gat, wrong):
    run = plan_gat(home, ledger, None, replace(small_gat, **wrong))
    with pytest.raises(UsageError, match="is for a GPU, and the device is cpu"):
        work_on_gat(home, ledger, run.id)
    assert ledger.run(run.id).state is State.WAITING


def test_a_training_that_goes_wrong_fails_the_run_with_its_reason(home, ledger, small_gat):
    run = plan_gat(home, ledger, None, replace(small_gat, rate=float("inf")))
    assert work_on_gat(home, ledger, run.id) == 0
    ended = ledger.run(run.id)
    assert ended.state is State.FAILED
    assert "the loss is nan" in ended.message
    assert published_gat(home, str(run.facts["release"]), run.id) is None
