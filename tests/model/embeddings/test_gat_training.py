"""Training by link prediction: it learns, is seeded, goes on after a kill, and refuses what it cannot use."""

from dataclasses import replace

import numpy as np
import pytest

from aroma.errors import ModelError, UsageError
from aroma.model.embeddings.gat_model import GatOptions, random_inputs
from aroma.model.embeddings.gat_training import auroc, encode, train
from aroma.model.embeddings.links import Links
from aroma.retrieval.csr import Csr

SMALL = GatOptions(input_dim=16, hidden=8, heads=2, dim=16, decoder=16, dropout=0.1, rate=0.02, epochs=30, patience=30)


@pytest.fixture(scope="module")
def links():
    """Communities of 15: a graph whose edges can be told from its structure."""
    generator = np.random.default_rng(0)
    nodes = 90
    chance = np.where(np.arange(nodes)[:, None] // 15 == np.arange(nodes) // 15, 0.6, 0.01)
    upper = np.triu(generator.random((nodes, nodes)) < chance, 1)
    both = upper | upper.T
    starts = np.concatenate([[0], both.sum(1).cumsum()]).astype(np.int64)
    return Links.of(Csr(starts, np.nonzero(both)[1].astype(np.int32)), seed=0)


@pytest.fixture(scope="module")
def inputs(links):
    return random_inputs([f"HGNC:{number}" for number in range(links.nodes)], 16, 0)


@pytest.fixture(scope="module")
def whole(links, inputs, tmp_path_factory):
    return train(links, inputs, SMALL, tmp_path_factory.mktemp("gat"))


def weights(trained):
    return {name: tensor.numpy() for name, tensor in trained.model.state_dict().items()}


def test_it_learns_to_tell_edges_from_pairs_that_are_none(whole):
    assert whole.history[-1].loss < whole.history[0].loss
    assert whole.test["uniform"] > 0.8
    assert whole.history[whole.best].auroc == max(epoch.auroc for epoch in whole.history)


def test_a_killed_training_goes_on_to_the_same_weights(whole, links, inputs, tmp_path):
    class KilledError(Exception):
        pass

    def kill(epoch):
        if epoch.number in {7, 19}:
            raise KilledError

    for _ in range(2):
        with pytest.raises(KilledError):
            train(links, inputs, SMALL, tmp_path, watch=kill)
    again = train(links, inputs, SMALL, tmp_path, watch=kill)
    assert again.history == whole.history
    assert all(np.array_equal(weights(again)[name], value) for name, value in weights(whole).items())
    assert np.array_equal(encode(again.model, inputs, links), encode(whole.model, inputs, links))


def test_it_stops_when_validation_gets_no_better(links, inputs, tmp_path):
    stopped = train(links, inputs, replace(SMALL, epochs=500, patience=3), tmp_path)
    assert len(stopped.history) == stopped.best + 4 < 500


def test_gatv2_and_degree_matched_negatives_train_too(links, inputs, tmp_path):
    other = train(links, inputs, replace(SMALL, layer="gatv2", negatives="degree"), tmp_path)
    assert other.test["degree"] > 0.75


def test_sampled_neighbours_train_too_and_go_on_after_a_kill(links, inputs, tmp_path):
    options = replace(SMALL, batch_edges=16, fan=6, epochs=8, rate=0.01)

    def kill(epoch):
        if epoch.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(links, inputs, options, tmp_path / "killed", watch=kill)
    again = train(links, inputs, options, tmp_path / "killed")
    other = train(links, inputs, options, tmp_path / "whole")
    assert other.history == again.history
    assert other.test == again.test
    assert other.history[-1].loss < other.history[0].loss
    assert other.test["uniform"] > 0.8


def test_inputs_of_a_node_do_not_depend_on_the_others():
    every, some = random_inputs(["a", "b", "c"], 8, 1), random_inputs(["c", "a"], 8, 1)
    assert np.array_equal(every[[2, 0]], some)
    assert not np.array_equal(random_inputs(["a"], 8, 2), random_inputs(["a"], 8, 1))


def test_a_loss_that_is_not_finite_stops_and_names_the_epoch(links, inputs, tmp_path):
    bad = inputs.copy()
    bad[3] = np.nan
    with pytest.raises(ModelError, match="epoch 0: the loss is nan"):
        train(links, bad, SMALL, tmp_path)


def test_a_checkpoint_of_other_options_and_a_damaged_one_are_refused(links, inputs, tmp_path):
    train(links, inputs, replace(SMALL, epochs=1), tmp_path)
    with pytest.raises(ModelError, match="another hidden"):
        train(links, inputs, replace(SMALL, hidden=4), tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"junk")
    with pytest.raises(ModelError, match="is no checkpoint"):
        train(links, inputs, SMALL, tmp_path)


@pytest.mark.parametrize("wrong", [{"layer": "gcn"}, {"negatives": "hard"}, {"dim": 0}, {"dropout": 1.0}])
def test_choices_that_are_none_are_refused(wrong):
    with pytest.raises(UsageError):
        replace(SMALL, **wrong).check()


def test_auroc_counts_ties_half():
    assert auroc(np.array([1, 2, 2]), np.array([0, 2])) == pytest.approx((1 + 1 + 1 + 0.5 + 0.5) / 6)
