"""Scores of node pairs by a two-layer perceptron on the two ends concatenated, without laying the pairs out.

``w2 · relu(W1 [x_u; x_v] + b1) + b2`` needs, of each node, only its two projections ``W1a x`` and ``W1b x + b1``
(hidden numbers each); a pair then costs one pass over the hidden numbers. Forward and backward keep one number a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aroma.model.embeddings.rows import Float32, Int32, Int64, on_parts, parts_of, starts_of, vectorised


@dataclass(frozen=True)
class PairList:
    """Pairs of nodes, ordered by the first, and their order by the second.

    Attributes:
        first: int32, (pairs), ascending.
        second: int32, (pairs).
        order: int64, (pairs): where each pair stood in what was given.
        first_starts: int64, (nodes + 1): where the pairs of a first node begin.
        second_starts: int64, (nodes + 1): where those of a second node begin in ``by_second``.
        by_second: int64, (pairs): places of pairs, by their second node.
    """

    first: Int32
    second: Int32
    order: Int64
    first_starts: Int64
    second_starts: Int64
    by_second: Int64

    @classmethod
    def of(cls, nodes: int, first: npt.ArrayLike, second: npt.ArrayLike) -> PairList:
        """Lay out pairs of node numbers."""
        one, other = np.asarray(first, dtype=np.int32), np.asarray(second, dtype=np.int32)
        order = np.argsort(one, kind="stable")
        one, other = one[order], other[order]
        return cls(one, other, order, starts_of(one, nodes), starts_of(other, nodes), np.argsort(other, kind="stable"))


@vectorised
def _forward(
    starts: Int64,
    seconds: Int32,
    first: Float32,
    second: Float32,
    weight: Float32,
    scores: Float32,
    low: int,
    high: int,
) -> None:
    for node in range(low, high):
        for pair in range(starts[node], starts[node + 1]):
            other = seconds[pair]
            total = np.float32(0)
            for number in range(len(weight)):
                total += weight[number] * max(first[node, number] + second[other, number], np.float32(0))
            scores[pair] = total


@vectorised
def _backward(
    starts: Int64,
    places: Int64,
    others: Int32,
    own: Float32,
    other_side: Float32,
    weight: Float32,
    gradient: Float32,
    by_own: Float32,
    by_weight: Float32,
    low: int,
    high: int,
) -> None:
    """Sum the gradients of one side's projections; and those of the weights where ``by_weight`` has rows."""
    for node in range(low, high):
        for place in range(starts[node], starts[node + 1]):
            pair = places[place]
            other, given = others[pair], gradient[pair]
            for number in range(len(weight)):
                hidden = own[node, number] + other_side[other, number]
                by_own[node, number] += given * weight[number] if hidden > 0 else np.float32(0)
            if len(by_weight):
                for number in range(len(weight)):
                    by_weight[node, number] += given * max(own[node, number] + other_side[other, number], np.float32(0))


class _Score(torch.autograd.Function):
    """The compiled kernels as a differentiable function, on a CPU in float32."""

    @staticmethod
    def forward(context: Any, first: Tensor, second: Tensor, weight: Tensor, pairs: PairList) -> Tensor:
        kept = [tensor.detach().contiguous() for tensor in (first, second, weight)]
        scores, found = np.empty((2, len(pairs.first)), dtype=np.float32)
        arrays = (tensor.numpy() for tensor in kept)
        on_parts(parts_of(pairs.first_starts), _forward, pairs.first_starts, pairs.second, *arrays, scores)
        found[pairs.order] = scores
        context.pairs = pairs
        context.save_for_backward(*kept)
        return torch.from_numpy(found)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        pairs: PairList = context.pairs
        first, second, weight = (tensor.numpy() for tensor in context.saved_tensors)
        given = gradients[0].contiguous().numpy()[pairs.order]
        by_first, by_second, by_weight = np.zeros_like(first), np.zeros_like(second), np.zeros_like(first)
        in_order, none = np.arange(len(pairs.first), dtype=np.int64), np.zeros((0, 0), dtype=np.float32)
        one = (pairs.first_starts, in_order, pairs.second, first, second, weight, given, by_first, by_weight)
        on_parts(parts_of(pairs.first_starts), _backward, *one)
        other = (pairs.second_starts, pairs.by_second, pairs.first, second, first, weight, given, by_second, none)
        on_parts(parts_of(pairs.second_starts), _backward, *other)
        found = (by_first, by_second, by_weight.sum(axis=0))
        return *(torch.from_numpy(array) for array in found), None


def pair_scores(first: Tensor, second: Tensor, weight: Tensor, pairs: PairList) -> Tensor:
    """Return (pairs) ``weight · relu(first[u] + second[v])``, in the order that the pairs were given in.

    Args:
        first: (nodes, hidden): projection of a node as the first of a pair.
        second: (nodes, hidden): as the second.
        weight: (hidden).
        pairs: Which nodes.
    """
    if first.device.type == "cpu" and first.dtype == torch.float32:
        found: Tensor = _Score.apply(first, second, weight, pairs)
        return found
    one, other = (torch.from_numpy(ends).long().to(first.device) for ends in (pairs.first, pairs.second))
    scores = nn.functional.relu(first[one] + second[other]) @ weight
    return torch.empty_like(scores).index_copy(0, torch.from_numpy(pairs.order).to(first.device), scores)


class PairScorer(nn.Module):
    """The paper's edge decoder: a perceptron (2 · inputs → hidden → 1, rectified) on the two ends concatenated.

    Args:
        inputs: Numbers a node.
        hidden: Hidden numbers.
    """

    def __init__(self, inputs: int, hidden: int = 128) -> None:
        super().__init__()
        self.inputs = inputs
        self.hidden = nn.Linear(2 * inputs, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, nodes: Tensor, pairs: PairList) -> Tensor:
        """Return (pairs) logits; a pair and its reverse score differently, as concatenation has an order."""
        first = nodes @ self.hidden.weight[:, : self.inputs].T
        second = nodes @ self.hidden.weight[:, self.inputs :].T + self.hidden.bias
        return pair_scores(first, second, self.out.weight[0], pairs) + self.out.bias
