"""The paper's graph encoder (AROMA, section 4.2 and its published script) and its edge scorer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aroma.errors import UsageError
from aroma.model.embeddings.attention import GraphAttention
from aroma.model.embeddings.edge_softmax import MessageGraph
from aroma.model.embeddings.pair_scores import PairList, PairScorer

LAYERS: Final = ("gat", "gatv2")
NEGATIVES: Final = ("uniform", "degree")
PRECISIONS: Final = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class GatOptions:
    """What may be chosen; the defaults are the paper's.

    Attributes:
        view: Preset name of the view.
        layer: ``gat`` (Veličković et al. 2018) or ``gatv2`` (Brody et al. 2022; PyG's layer, slower).
        inputs: ``random`` (fixed, standard normal), ``structural``, or the name of another encoder's vectors.
        input_dim: Numbers a node coming in (random and structural inputs).
        hidden: Numbers a head of the inner layers.
        heads: Heads of the inner layers.
        dim: Numbers a node going out.
        dropout: Before each layer.
        decoder: Hidden numbers of the edge scorer.
        rate: Of AdamW.
        weight_decay: Of AdamW.
        epochs: At most so many.
        patience: Stop after so many epochs without a better validation AUROC.
        negatives: ``uniform`` or ``degree``: how pairs that are no edges are drawn in training, one an edge.
        seed: Of parting, inputs, weights, dropout, negatives and samples.
        batch_edges: Train on so many edges at a time with sampled neighbours, for graphs larger than memory; 0 trains
            on all at once, one step an epoch.
        fan: Neighbours that a batch draws for a node and layer.
        precision: ``float32``, or ``bfloat16`` for products on a GPU (weights stay float32).
        compile: Let torch compile the encoder, on a GPU.
    """

    view: str = "gene-kg"
    layer: str = "gat"
    inputs: str = "random"
    input_dim: int = 1024
    hidden: int = 64
    heads: int = 4
    dim: int = 1024
    dropout: float = 0.5
    decoder: int = 128
    rate: float = 1e-3
    weight_decay: float = 1e-2
    epochs: int = 200
    patience: int = 20
    negatives: str = "uniform"
    seed: int = 0
    batch_edges: int = 0
    fan: int = 10
    precision: str = "float32"
    compile: bool = False

    def check(self) -> None:
        """Raise ``UsageError`` for a choice that is none."""
        if self.layer not in LAYERS:
            raise UsageError(f"layer {self.layer!r} is unknown; there are {', '.join(LAYERS)}")
        if self.negatives not in NEGATIVES:
            raise UsageError(f"negatives {self.negatives!r} are unknown; there are {', '.join(NEGATIVES)}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision {self.precision!r} is unknown; there are {', '.join(PRECISIONS)}")
        for name in ("input_dim", "hidden", "heads", "dim", "decoder", "epochs", "patience", "fan"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.batch_edges < 0:
            raise UsageError(f"batch_edges is {self.batch_edges}; it must be 1 or more, or 0 for all at once")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}; it must be 0 or more and below 1")

    def as_facts(self) -> dict[str, Any]:
        """Return the choices as JSON values."""
        return asdict(self)


class GatEncoder(nn.Module):
    """Three layers of graph attention, a rectifier (ELU) between, dropout before each."""

    def __init__(self, options: GatOptions, input_dim: int) -> None:
        super().__init__()
        inner = options.heads * options.hidden
        shapes = (
            (input_dim, options.hidden, options.heads, True),
            (inner, options.hidden, options.heads, True),
            (inner, options.dim, 1, False),
        )
        self.layers = nn.ModuleList(_layer(options.layer, *shape) for shape in shapes)
        self.dropout = options.dropout

    def forward(self, nodes: Tensor, graph: MessageGraph) -> Tensor:
        """Return (nodes, dim).

        Args:
            nodes: (nodes, input_dim).
            graph: Who hears whom, self-loops included.
        """
        for place, layer in enumerate(self.layers):
            nodes = layer(nn.functional.dropout(nodes, self.dropout, self.training), graph)
            if place < len(self.layers) - 1:
                nodes = nn.functional.elu(nodes)
        return nodes


class GatLinkModel(nn.Module):
    """Encoder and edge scorer, trained together to tell edges from pairs that are none."""

    def __init__(self, options: GatOptions, input_dim: int) -> None:
        super().__init__()
        self.encoder = GatEncoder(options, input_dim)
        self.scorer = PairScorer(options.dim, options.decoder)

    def forward(self, nodes: Tensor, graph: MessageGraph, pairs: PairList) -> Tensor:
        """Return (pairs) logits that a pair is an edge."""
        encoded = self.encoder(nodes, graph)
        scores: Tensor = self.scorer(encoded, pairs)
        return scores


class _Version2(nn.Module):
    """PyG's GATv2 layer behind the same call; its attention is no sum of two scalars, so messages are laid out."""

    def __init__(self, inputs: int, outputs: int, heads: int, *, concat: bool) -> None:
        super().__init__()
        from torch_geometric.nn import GATv2Conv  # ten seconds to import, and GATConv's layer is ours

        self.layer = GATv2Conv(inputs, outputs, heads=heads, concat=concat, add_self_loops=False)  # type: ignore[abstract]

    def forward(self, nodes: Tensor, graph: MessageGraph) -> Tensor:
        edges = np.stack([graph.indices, graph.destinations]).astype(np.int64)
        found: Tensor = self.layer(nodes, torch.from_numpy(edges).to(nodes.device))
        return found


def _layer(kind: str, inputs: int, outputs: int, heads: int, concat: bool) -> nn.Module:
    if kind == "gat":
        return GraphAttention(inputs, outputs, heads, concat=concat)
    return _Version2(inputs, outputs, heads, concat=concat)


def random_inputs(ids: list[str], dim: int, seed: int) -> npt.NDArray[np.float32]:
    """Return float32 (nodes, dim) fixed standard-normal inputs; a node's are its own, whatever else the view holds.

    The paper draws them unseeded for the whole graph, so that another release gives every node another vector.
    """
    found = np.empty((len(ids), dim), dtype=np.float32)
    for row, name in enumerate(ids):
        key = int.from_bytes(hashlib.blake2b(f"{seed}|{name}".encode(), digest_size=16).digest(), "little")
        found[row] = np.random.Generator(np.random.Philox(key=key)).standard_normal(dim, dtype=np.float32)
    return found


def state_arrays(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a model's parameters, for safetensors: on the CPU, contiguous, by name."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}


def load_state(model: nn.Module, arrays: Mapping[str, Tensor]) -> None:
    """Set a model's parameters, every one of them."""
    model.load_state_dict(dict(arrays), strict=True)
