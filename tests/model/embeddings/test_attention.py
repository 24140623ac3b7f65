"""Graph attention gives what PyTorch Geometric's layer gives, gradients included."""

import numpy as np
import pytest
import torch
from torch_geometric.nn import GATConv

from aroma.model.embeddings.attention import GraphAttention, attend, attend_by_messages
from aroma.model.embeddings.edge_softmax import MessageGraph

SHAPES = [(24, 8, 4, True), (8, 24, 1, False), (8, 24, 3, True), (16, 16, 2, False)]


@pytest.fixture(params=[0, 1, 2])
def edges(request):
    generator = np.random.default_rng(request.param)
    nodes = 60
    pairs = generator.integers(0, nodes - 5, size=(2, 400))  # the last nodes hear nobody but themselves
    return nodes, np.unique(pairs, axis=1)


@pytest.mark.parametrize(("inputs", "outputs", "heads", "concat"), SHAPES)
def test_layer_and_gradients_equal_those_of_pyg(edges, inputs, outputs, heads, concat):
    nodes, pairs = edges
    torch.manual_seed(1)
    theirs = GATConv(inputs, outputs, heads=heads, concat=concat)
    ours = GraphAttention(inputs, outputs, heads, concat=concat)
    ours.load_state_dict(theirs.state_dict())
    features = torch.randn(nodes, inputs)
    weight = torch.randn(nodes, outputs * heads if concat else outputs)
    found = []
    for layer, graph in ((theirs, torch.from_numpy(pairs).long()), (ours, MessageGraph.of(nodes, *pairs))):
        given = features.clone().requires_grad_()
        out = layer(given, graph)
        (out * weight).sum().backward()
        found.append((out.detach(), given.grad, *(parameter.grad for _, parameter in sorted(layer.named_parameters()))))
    for theirs_value, our_value in zip(*found, strict=True):
        torch.testing.assert_close(our_value, theirs_value, rtol=1e-4, atol=1e-4)


def test_the_way_by_messages_gives_the_same(edges):
    nodes, pairs = edges
    graph = MessageGraph.of(nodes, *pairs)
    found = []
    for way in (attend, attend_by_messages):
        torch.manual_seed(2)
        given = [torch.randn(nodes, 3), torch.randn(nodes, 3), torch.randn(nodes, 3, 5)]
        given = [tensor.requires_grad_() for tensor in given]
        out = way(*given, graph, 0.2)
        (out * torch.randn(nodes, 3, 5)).sum().backward()
        found.append((out.detach(), *(tensor.grad for tensor in given)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_in_double_precision_gradients_are_those_of_finite_differences():
    graph = MessageGraph.of(5, [0, 1, 2, 3, 0], [1, 2, 0, 4, 4])
    torch.manual_seed(0)
    given = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 2), (5, 2), (5, 2, 3))]
    assert torch.autograd.gradcheck(lambda *tensors: attend_by_messages(*tensors, graph, 0.2), given, atol=1e-4)


def test_self_loops_stand_once_and_lonely_nodes_hear_themselves():
    graph = MessageGraph.of(3, [0, 0, 1], [0, 1, 1])
    assert graph.indices.tolist() == [0, 0, 1, 2]
    assert graph.destinations.tolist() == [0, 1, 1, 2]
    assert graph.indices[graph.out_edges].tolist() == sorted(graph.indices.tolist())
