"""Graph attention (Veličković et al. 2018) as ``torch_geometric.nn.GATConv`` computes it, without laying out messages.

In GATConv the attention of an edge depends on two projected scalars, and the weighted sum commutes with the
projection. So the sum is taken in whichever of input and output is narrower, straight over compressed sparse rows.
Parameters have GATConv's names and shapes: a state dictionary of one loads into the other, and a test holds outputs
and gradients equal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from aroma.model.embeddings.edge_softmax import MessageGraph, attend_backward, attend_forward


class _Attend(torch.autograd.Function):
    """The compiled kernels as a differentiable function, on a CPU in float32."""

    @staticmethod
    def forward(
        context: Any, from_scores: Tensor, to_scores: Tensor, values: Tensor, graph: MessageGraph, slope: float
    ) -> Tensor:
        kept = [tensor.detach().contiguous() for tensor in (from_scores, to_scores, values)]
        from_array, to_array, value_array = (tensor.numpy() for tensor in kept)
        sums, weights = attend_forward(graph, from_array, to_array, value_array, slope)
        context.graph, context.slope = graph, slope
        context.save_for_backward(*kept, torch.from_numpy(weights))
        return torch.from_numpy(sums)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        from_scores, to_scores, values, weights = (tensor.numpy() for tensor in context.saved_tensors)
        found = attend_backward(
            context.graph,
            from_scores,
            to_scores,
            values,
            context.slope,
            weights,
            gradients[0].contiguous().numpy(),
        )
        return *(torch.from_numpy(array) for array in found), None, None


def attend(from_scores: Tensor, to_scores: Tensor, values: Tensor, graph: MessageGraph, slope: float) -> Tensor:
    """Return the attention-weighted sums of ``values`` over each node's sources.

    Args:
        from_scores: (nodes, heads); what a node adds to the score of an edge as its source.
        to_scores: (nodes, heads); what it adds as destination.
        values: (nodes, heads, numbers).
        graph: Who hears whom.
        slope: Of the leaky rectifier.

    Returns:
        (nodes, heads, numbers). On a CPU in float32 by the compiled kernels; elsewhere by torch's own operations,
        which lay out one message an edge.
    """
    if values.device.type == "cpu" and values.dtype == torch.float32:
        found: Tensor = _Attend.apply(from_scores, to_scores, values, graph, slope)
        return found
    return attend_by_messages(from_scores, to_scores, values, graph, slope)


def attend_by_messages(
    from_scores: Tensor, to_scores: Tensor, values: Tensor, graph: MessageGraph, slope: float
) -> Tensor:
    """Return what ``attend`` returns, by torch's operations on any device and in any precision."""
    sources, destinations = _edges(graph, values.device)
    exact = torch.promote_types(from_scores.dtype, torch.float32)  # a softmax in half precision loses small weights
    scores = nn.functional.leaky_relu((from_scores[sources] + to_scores[destinations]).to(exact), slope)
    where = destinations[:, None].expand_as(scores)
    most = torch.full_like(to_scores, -torch.inf, dtype=exact).scatter_reduce(0, where, scores, "amax")
    risen = torch.exp(scores - most.detach()[destinations])
    total = torch.zeros_like(most).index_add(0, destinations, risen)
    weights = (risen / total[destinations]).to(values.dtype)
    return torch.zeros_like(values).index_add(0, destinations, weights[:, :, None] * values[sources])


def _edges(graph: MessageGraph, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return sources and destinations on a device; kept with the graph, as every layer and step asks for them."""
    kept: dict[torch.device, tuple[Tensor, Tensor]] = graph.__dict__.setdefault("_on_device", {})
    if device not in kept:
        kept[device] = (
            torch.from_numpy(graph.indices).long().to(device),
            torch.from_numpy(graph.destinations).long().to(device),
        )
    return kept[device]


class GraphAttention(nn.Module):
    """One layer of graph attention.

    Args:
        inputs: Numbers a node coming in.
        outputs: Numbers a head going out.
        heads: Heads.
        concat: Put the heads beside one another, else take their mean.
        slope: Of the leaky rectifier on scores.
    """

    def __init__(self, inputs: int, outputs: int, heads: int = 1, *, concat: bool = True, slope: float = 0.2) -> None:
        super().__init__()
        self.inputs, self.outputs, self.heads, self.concat, self.slope = inputs, outputs, heads, concat, slope
        self.lin = nn.Linear(inputs, heads * outputs, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, outputs))
        self.att_dst = nn.Parameter(torch.empty(1, heads, outputs))
        self.bias = nn.Parameter(torch.zeros(heads * outputs if concat else outputs))
        for parameter in (self.lin.weight, self.att_src, self.att_dst):
            nn.init.xavier_uniform_(parameter)

    def forward(self, nodes: Tensor, graph: MessageGraph) -> Tensor:
        """Return (nodes, heads · outputs), or (nodes, outputs) without ``concat``.

        Args:
            nodes: (nodes, inputs).
            graph: Who hears whom, self-loops included.
        """
        if self.inputs < self.outputs:
            found = self._sum_first(nodes, graph)
        else:
            values = self.lin(nodes).view(-1, self.heads, self.outputs)
            from_scores, to_scores = ((values * vector).sum(-1) for vector in (self.att_src, self.att_dst))
            found = attend(from_scores, to_scores, values, graph, self.slope)
        found = found.flatten(1) if self.concat else found.mean(1)
        return found + self.bias

    def _sum_first(self, nodes: Tensor, graph: MessageGraph) -> Tensor:
        """Sum the narrower inputs, then project: the same by linearity."""
        weight = self.lin.weight.view(self.heads, self.outputs, self.inputs)
        from_scores, to_scores = (
            nodes @ torch.einsum("hoi,ho->ih", weight, vector[0]) for vector in (self.att_src, self.att_dst)
        )
        values = nodes[:, None, :].expand(-1, self.heads, -1)
        summed = attend(from_scores, to_scores, values, graph, self.slope)
        return torch.einsum("nhi,hoi->nho", summed, weight)
