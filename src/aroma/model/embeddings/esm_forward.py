"""The forward pass of ESM-2 over packed sequences: no padding, and nothing computed that is not asked for.

It computes what transformers' ``EsmModel`` computes with the same weights; a test holds the two equal. It differs in
how: the tokens of a batch stand one after another in one matrix, so that no work goes into padding and no mask is
needed; attention runs once for all sequences of one length (on a GPU in half precision, once for all); queries, keys
and values come from one product; the rotary embedding is one complex product, for which the rows of the query and key
weights are put in another order (the dot products stay the same); layers after the one asked for, the pooler and the
contact head are left out.

Architecture: Lin et al. 2023, https://doi.org/10.1126/science.ade2574, as published in the fair-esm package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final, cast

import torch
import torch.nn.functional as nnf
from torch import Tensor

if TYPE_CHECKING:
    from transformers import EsmModel
    from transformers.models.esm.modeling_esm import EsmLayer

_MASK_RATIO: Final = 0.15 * 0.8
"""Share of tokens that training zeroed; with ``token_dropout`` embeddings are scaled down by it (fair-esm, esm2.py)."""
_HALF: Final = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, states: Tensor) -> Tensor:
        return nnf.layer_norm(states, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Tensor
    bias: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        return nnf.linear(states, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Layer:
    before_attention: _Norm
    qkv: _Linear
    out: _Linear
    before_feed_forward: _Norm
    up: _Linear
    down: _Linear


class PackedEsm:
    """An ESM-2 model for inference.

    Args:
        model: Rotary positions, no normalisation before the first layer, as every ESM-2 has. Its weights are copied.
        device: Where to compute.
        dtype: ``torch.float32``, ``torch.bfloat16`` or ``torch.float16``.

    Attributes:
        device: Where it computes.
        layers: Number of layers.
        dim: Numbers a state.
    """

    def __init__(self, model: EsmModel, *, device: torch.device, dtype: torch.dtype) -> None:
        config = model.config
        self.device, self.layers, self.dim = device, config.num_hidden_layers, config.hidden_size
        self._dtype, self._heads = dtype, config.num_attention_heads
        self._head_dim = config.hidden_size // config.num_attention_heads
        words = model.embeddings.word_embeddings.weight.detach()
        scale = 1 - _MASK_RATIO if config.token_dropout else 1.0
        self._words = (words * scale).to(device, dtype)
        self._layers = [self._layer(cast("EsmLayer", layer)) for layer in model.encoder.layer]
        self._last = self._norm(model.encoder.emb_layer_norm_after)
        self._frequencies: Tensor = model.rotary_embeddings.inv_freq.detach().float()  # type: ignore[union-attr]
        self._turns = torch.empty(0)

    def states(self, tokens: Tensor, lengths: Sequence[int], layer: int) -> Tensor:
        """Return the states after a layer.

        Args:
            tokens: int64 (tokens,): the sequences one after another, special tokens included.
            lengths: Tokens of each sequence; equal lengths together.
            layer: From 0 (the embeddings) to ``layers`` (after the last normalisation).

        Returns:
            (tokens, dim), of the model's dtype, on its device.
        """
        states = nnf.embedding(tokens.to(self.device), self._words)
        turns = self._turns_of(lengths)
        for number in range(layer):
            one = self._layers[number]
            states = states + one.out(self._attention(one.qkv(one.before_attention(states)), turns, lengths))
            states = states + one.down(nnf.gelu(one.up(one.before_feed_forward(states))))
        return self._last(states) if layer == self.layers else states

    def _attention(self, qkv: Tensor, turns: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return (tokens, dim) from queries, keys and values, (tokens, 3 dim), which are overwritten."""
        tokens = len(qkv)
        turned = qkv[:, : 2 * self.dim].view(tokens, 2 * self._heads, self._head_dim // 2, 2)
        if qkv.dtype == torch.float32:
            torch.view_as_complex(turned).mul_(turns)
        else:
            turned.copy_(torch.view_as_real(torch.view_as_complex(turned.float()).mul_(turns)))
        split = qkv.view(tokens, 3, self._heads, self._head_dim)
        if qkv.is_cuda and qkv.dtype in _HALF:
            return self._varying(split, lengths)
        found = torch.empty(tokens, self.dim, dtype=qkv.dtype, device=qkv.device)
        for start, count, length in _runs(lengths):
            part = slice(start, start + count * length)
            query, key, value = split[part].view(count, length, 3, self._heads, self._head_dim).permute(2, 0, 3, 1, 4)
            given = nnf.scaled_dot_product_attention(query, key, value, scale=self._head_dim**-0.5)
            found[part].view(count, length, self._heads, self._head_dim).copy_(given.transpose(1, 2))
        return found

    def _varying(self, split: Tensor, lengths: Sequence[int]) -> Tensor:
        """Attend within each sequence in one call, which PyTorch offers on a GPU in half precision."""
        from torch.nn.attention.varlen import varlen_attn

        ends = torch.tensor([0, *lengths], device=split.device).cumsum(0).to(torch.int32)
        longest = max(lengths)
        query, key, value = split.unbind(1)
        found = varlen_attn(
            query, key, value, ends, ends, longest, longest, scale=self._head_dim**-0.5, num_splits=1
        )  # one split: what stands beside a sequence does not change its sums
        return cast("Tensor", found).reshape(len(split), self.dim)

    def _turns_of(self, lengths: Sequence[int]) -> Tensor:
        """Return the rotations of the tokens, complex64 (tokens, 1, head_dim / 2)."""
        longest = max(lengths)
        if len(self._turns) < longest:
            angles = torch.outer(torch.arange(longest, dtype=torch.float32), self._frequencies)
            self._turns = torch.polar(torch.ones_like(angles), angles).to(self.device)
        return torch.cat([self._turns[:length] for length in lengths])[:, None, :]

    def _layer(self, layer: EsmLayer) -> _Layer:
        attention = layer.attention.self
        query, key = self._interleaved(attention.query), self._interleaved(attention.key)
        value = attention.value
        qkv = _Linear(
            torch.cat([query.weight, key.weight, value.weight]), torch.cat([query.bias, key.bias, value.bias])
        )
        return _Layer(
            before_attention=self._norm(layer.attention.LayerNorm),
            qkv=self._linear(qkv),
            out=self._linear(layer.attention.output.dense),
            before_feed_forward=self._norm(layer.LayerNorm),
            up=self._linear(layer.intermediate.dense),
            down=self._linear(layer.output.dense),
        )

    def _interleaved(self, linear: torch.nn.Linear) -> _Linear:
        """Put the two halves of each head beside one another: what turns together is one complex number."""
        return _Linear(*(self._interleave(part.detach()) for part in (linear.weight, linear.bias)))

    def _interleave(self, rows: Tensor) -> Tensor:
        halves = rows.view(self._heads, 2, self._head_dim // 2, *rows.shape[1:])
        return halves.transpose(1, 2).reshape(rows.shape)

    def _linear(self, linear: torch.nn.Linear | _Linear) -> _Linear:
        return _Linear(*(part.detach().to(self.device, self._dtype) for part in (linear.weight, linear.bias)))

    def _norm(self, norm: torch.nn.LayerNorm) -> _Norm:
        weight, bias = (part.detach().to(self.device, self._dtype) for part in (norm.weight, norm.bias))
        return _Norm(weight, bias, norm.eps)


def _runs(lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (first token, sequences, length) of each run of equal lengths."""
    start = 0
    for length, same in groupby(lengths):
        count = sum(1 for _ in same)
        yield start, count, length
        start += count * length
