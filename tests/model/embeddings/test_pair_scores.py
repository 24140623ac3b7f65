"""Pair scores equal those of the perceptron on concatenated ends, gradients included."""

import numpy as np
import torch
from torch import nn

from aroma.model.embeddings.pair_scores import PairList, PairScorer


def test_scores_and_gradients_equal_the_concatenated_perceptron():
    torch.manual_seed(0)
    nodes, generator = 40, np.random.default_rng(0)
    ends = generator.integers(0, nodes, size=(2, 300))
    scorer = PairScorer(12, 16)
    features = torch.randn(nodes, 12)
    weight = torch.randn(300)

    def plain(given):
        both = torch.cat([given[ends[0]], given[ends[1]]], dim=1)
        return scorer.out(nn.functional.relu(scorer.hidden(both))).squeeze(1)

    found = []
    for way in (plain, lambda given: scorer(given, PairList.of(nodes, *ends))):
        given = features.clone().requires_grad_()
        scorer.zero_grad()
        out = way(given)
        (out * weight).sum().backward()
        found.append((out.detach(), given.grad, *(parameter.grad.clone() for parameter in scorer.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_elsewhere_than_in_single_precision_on_a_cpu_torch_gives_the_same():
    torch.manual_seed(0)
    pairs = PairList.of(6, [3, 0, 5, 3], [1, 2, 5, 0])
    scorer = PairScorer(4, 8)
    nodes = torch.randn(6, 4)
    single = scorer(nodes, pairs)
    torch.testing.assert_close(scorer.double()(nodes.double(), pairs).float(), single, rtol=1e-5, atol=1e-5)
