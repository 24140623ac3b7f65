"""What nodes go in with: random, structural or another encoder's vectors, and how unknown nodes are told apart."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from aroma.errors import UsageError
from aroma.model.embeddings.gat_inputs import node_inputs, view_ids
from aroma.model.embeddings.gat_runs import plan_gat, published_gat, work_on_gat
from aroma.model.embeddings.runs import embeddings_ledger
from aroma.retrieval.snapshot import open_snapshot
from aroma.retrieval.vector_store import EncoderCard, write_vector_set


@pytest.fixture(scope="module")
def opened(trained_gat):
    home, _ = trained_gat
    snapshot = open_snapshot(home)
    return snapshot, snapshot.view("path-kg")


def text_vectors(opened, ids, scale=1.0):
    """A set of made-up text vectors of some nodes."""
    snapshot, _ = opened
    items = pl.DataFrame({"id": ids, "input_sha256": ids}).with_columns(problem=pl.lit(None, dtype=pl.String))
    card = EncoderCard(f"text:{len(ids)}:{scale}", "text", "1", 6, licences={"uniprot": "CC BY 4.0"})
    drawn = np.random.default_rng(0).standard_normal((len(ids), 6)) * scale

    def fill(matrix):
        matrix[:] = drawn

    return write_vector_set(snapshot.home, snapshot.release, card, items, fill)


def test_random_inputs_are_known_for_every_node(opened, small_gat):
    found = node_inputs(*opened, small_gat)
    assert found.matrix.shape == (opened[1].csr.nodes, 16)
    assert found.known.all()


def test_nodes_without_a_vector_are_zeros_with_a_flag_and_no_mean(opened, small_gat):
    ids = view_ids(*opened)
    made = text_vectors(opened, ids[::3], scale=50.0)
    found = node_inputs(*opened, replace(small_gat, inputs=made.card.name))
    assert found.known.tolist() == [place % 3 == 0 for place in range(len(ids))]
    assert np.array_equal(found.matrix[:, -1], ~found.known)
    assert not found.matrix[~found.known, :-1].any()
    known = found.matrix[found.known, :-1]
    assert np.square(known).mean() == pytest.approx(1, abs=1e-4)
    vectors = made.of([ids[3]])[0][0]
    np.testing.assert_allclose(known[1] / np.linalg.norm(known[1]), vectors / np.linalg.norm(vectors), atol=1e-5)
    assert found.licences == {"uniprot": "CC BY 4.0"}
    assert found.facts["unknown"] == int((~found.known).sum())
    assert not found.facts["saw_tested_edges"]


def test_structural_inputs_say_that_they_saw_the_edges_that_are_tested(opened, small_gat):
    found = node_inputs(*opened, replace(small_gat, inputs="structural", input_dim=4))
    genes = np.array([name.startswith("HGNC:") for name in view_ids(*opened)])
    assert found.facts["saw_tested_edges"]
    assert found.known[genes].any()
    assert not found.known[~genes].any()


def test_inputs_of_which_no_node_has_any_are_refused(opened, small_gat):
    made = text_vectors(opened, ["UniProtKB:none"])
    with pytest.raises(UsageError, match="no node of view path-kg has a vector in text:1"):
        node_inputs(*opened, replace(small_gat, inputs=made.card.name))


def test_training_on_vectors_learns_what_stands_for_unknown_nodes(opened, trained_gat, small_gat):
    home, _ = trained_gat
    made = text_vectors(opened, view_ids(*opened)[::2])
    ledger = embeddings_ledger(home)
    run = plan_gat(home, ledger, None, replace(small_gat, inputs=made.card.name, epochs=2))
    assert run.facts["options"]["inputs"] == made.card.id  # a name may come to mean another set
    assert work_on_gat(home, ledger, run.id) == 1
    published = published_gat(home, str(run.facts["release"]), run.id)
    assert "uniprot" in published.card.licences
    assert len(published.ids) == opened[1].csr.nodes


def test_the_flag_has_weights_of_its_own_that_are_trained(opened, small_gat, tmp_path):
    from aroma.model.embeddings.gat_training import train
    from aroma.model.embeddings.links import Links

    made = text_vectors(opened, view_ids(*opened)[::4])
    options = replace(small_gat, inputs=made.card.name, epochs=3, dropout=0.0)
    inputs = node_inputs(*opened, options)
    torch.manual_seed(options.seed)
    from aroma.model.embeddings.gat_model import GatLinkModel

    before = GatLinkModel(options, inputs.matrix.shape[1]).encoder.layers[0].lin.weight[:, -1].detach()
    after = train(Links.of(opened[1].csr, 0), inputs.matrix, options, tmp_path).model.encoder.layers[0].lin.weight
    assert not torch.allclose(before, after[:, -1].detach(), atol=1e-4)
