"""A gene by its neighbourhood: both ways against plain loops, and the vector sets made of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aroma.errors import ModelError, UsageError
from aroma.model.embeddings import subgraph_vectors
from aroma.model.embeddings.edge_softmax import MessageGraph
from aroma.model.embeddings.gat_model import GatLinkModel, GatOptions
from aroma.model.embeddings.gat_runs import load_gat, model_directory
from aroma.model.embeddings.subgraph_vectors import encode_subgraphs, pooled, pooling_difference, publish_pooled
from aroma.retrieval.csr import Csr
from aroma.retrieval.snapshot import open_snapshot
from aroma.retrieval.subgraphs import neighbourhoods
from aroma.retrieval.vector_store import find_vector_set

WIDENING = GatOptions(input_dim=12, hidden=4, heads=2, dim=24, decoder=8)
SHAPES = [WIDENING, replace(WIDENING, dim=3, heads=3), replace(WIDENING, layer="gatv2")]


@pytest.fixture(scope="module")
def graph():
    generator = np.random.default_rng(3)
    return Csr.from_edges(60, generator.integers(0, 60, size=(110, 2)))


@pytest.fixture(scope="module")
def inputs(graph):
    return np.random.default_rng(4).standard_normal((graph.nodes, 12)).astype(np.float32)


def one_by_one(model, inputs, graph, centres, hops):
    """The paper's loop: cut the subgraph out, encode it, take the mean of its nodes."""
    model.eval()
    means = []
    for centre in centres:
        nodes, _, (tails, heads) = neighbourhoods(graph, [centre], hops).of(0)
        alone = MessageGraph.of(len(nodes), tails, heads)
        with torch.no_grad():
            means.append(model.encoder(torch.from_numpy(inputs[nodes]), alone).mean(0).numpy())
    return np.stack(means)


@pytest.mark.parametrize("options", SHAPES, ids=["widening", "narrowing", "gatv2"])
@pytest.mark.parametrize("hops", [0, 1, 2])
def test_subgraphs_beside_one_another_encode_as_each_alone(monkeypatch, graph, inputs, options, hops):
    monkeypatch.setattr(subgraph_vectors, "_NODES_A_BATCH", 150)  # several batches of several parts
    torch.manual_seed(0)
    model = GatLinkModel(options, 12)
    for parameter in model.parameters():  # biases too, which begin at zero
        torch.nn.init.normal_(parameter, std=0.3)
    centres = np.arange(graph.nodes)[::-1]
    found = encode_subgraphs(model, inputs, graph, centres, hops)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, one_by_one(model, inputs, graph, centres, hops), rtol=2e-4, atol=2e-5)


def test_pooling_is_the_mean_over_the_nodes_within_reach(graph):
    vectors = np.random.default_rng(5).standard_normal((graph.nodes, 7)).astype(np.float16)
    for hops, cap in ((0, None), (1, None), (2, None), (2, 5)):
        near = neighbourhoods(graph, np.arange(graph.nodes), hops, cap=cap)
        wanted = [vectors[near.of(centre)[0]].astype(np.float32).mean(0) for centre in range(graph.nodes)]
        np.testing.assert_allclose(pooled(vectors, graph, np.arange(graph.nodes), hops, cap=cap), wanted, atol=1e-6)


def test_no_centres_give_no_rows_and_wrong_ones_are_refused(graph, inputs):
    model = GatLinkModel(WIDENING, 12)
    assert encode_subgraphs(model, inputs, graph, np.empty(0, dtype=int), 1).shape == (0, 24)
    assert pooled(inputs, graph, np.empty(0, dtype=int), 1).shape == (0, 12)
    with pytest.raises(UsageError, match="60 is no node"):
        encode_subgraphs(model, inputs, graph, [60], 1)


@pytest.mark.parametrize("exact", [False, True])
def test_vector_sets_hold_the_genes_of_the_view(trained_gat, exact):
    home, source = trained_gat
    made = publish_pooled(home, source, 1, exact=exact)
    kind = "gat-subgraph" if exact else "gat-pooled"
    assert find_vector_set(home, source.release, f"{kind}:path-kg:1").directory == made.directory
    assert made.card.licences == source.card.licences
    assert set(made.ids) == {name for name in source.ids if name.startswith("HGNC:")} < set(source.ids)
    view = open_snapshot(home, source.release).view("path-kg")
    gene = made.ids[0]
    nodes = neighbourhoods(view.csr, [source.ids.find(gene)], 1).nodes
    mean = source.vectors[nodes].mean(0)
    assert np.allclose(made.of([gene])[0][0], mean, atol=1e-5) is not exact
    missing, known = made.of(["HGNC:0"])
    assert not known[0]
    assert np.isnan(missing).all()


def test_the_difference_of_the_two_ways_is_measured(trained_gat):
    home, source = trained_gat
    found = pooling_difference(home, source, 1, genes=20)
    assert found["genes"] == 20
    assert -1 <= found["centred"]["0.05"] <= found["centred"]["0.5"] <= 1
    assert 0 <= found["found_first"] <= 1
    wide = pooling_difference(home, source, 32, genes=20)  # so far that most subgraphs are the whole component
    assert wide["cosine"]["0.95"] == pytest.approx(1, abs=1e-4)


def test_only_the_vectors_of_a_view_are_pooled(trained_gat):
    home, source = trained_gat
    made = publish_pooled(home, source, 1)
    with pytest.raises(UsageError, match=r"gat-pooled:path-kg:1: not the vectors"):
        publish_pooled(home, made, 1)


def test_a_damaged_model_is_named(trained_gat):
    home, source = trained_gat
    place = model_directory(home, source.card.id, source.release) / "options.json"
    kept = place.read_text()
    place.write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        load_gat(home, source)
    place.write_text(kept)
    assert load_gat(home, source)[1].view == "path-kg"
