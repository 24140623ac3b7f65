"""Attention in which all samples of a prompt read its keys and values in place, so that none of them is repeated.

The attention of a row to its prompt is computed for all samples of the prompt at once (a product of matrices in place
of many with a vector), that to its own tokens row by row, and the two are put together as one softmax: each is kept
with its largest score and its sum. After long prompts, repeating and reading these is most of the work of sampling.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

from aroma.model.aroma.training.room import RoomyLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME: Final = "aroma_shared_prompts"
_FAMILIES: Final = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Families whose attention is a softmax over all keys and nothing else."""


class SharedPrompts:
    """Keys and values of prompts, and which rows are written after which.

    Args:
        cache: Of the prompts; its layers hold the rows' own tokens afterwards, with room for ``more`` of them.
        mask: int64 (prompts, length), 0 at padding.
        samples: Rows of each prompt, which stand together.
        more: Tokens to be written.
    """

    def __init__(self, cache: DynamicCache, mask: Tensor, samples: int, more: int) -> None:
        layers: list[Any] = cache.layers
        self.held = [(layer.keys, layer.values) for layer in layers]
        self.unseen = torch.zeros(mask.shape, device=mask.device).masked_fill_(mask == 0, -torch.inf)[:, None, None, :]
        self.prompts, self.samples = len(mask), samples
        self._slots: Tensor | None = None
        for number, layer in enumerate(layers):
            layers[number] = RoomyLayer(_empty(layer), samples, more)

    def select(self, indices: Tensor) -> None:
        """Keep these rows alone."""
        if self._slots is None:
            self._slots = torch.arange(self.prompts * self.samples, device=indices.device)
        self._slots = self._slots[indices]

    def by_prompt(self, rows: Tensor) -> Tensor:
        """Return (rows, heads, group, n) as (prompts, heads, samples x group, n); zeros for rows that are gone."""
        if self._slots is not None:
            whole = rows.new_zeros((self.prompts * self.samples, *rows.shape[1:]))
            whole[self._slots] = rows
            rows = whole
        return rows.view(self.prompts, self.samples, *rows.shape[1:]).transpose(1, 2).flatten(2, 3)

    def by_row(self, grid: Tensor) -> Tensor:
        """Return what ``by_prompt`` made as rows again."""
        prompts, heads, both, width = grid.shape
        rows = grid.view(prompts, heads, self.samples, both // self.samples, width).transpose(1, 2).flatten(0, 1)
        return rows if self._slots is None else rows[self._slots]

    @contextmanager
    def read(self, base: PreTrainedModel) -> Iterator[None]:
        """Let a model attend to the prompts and to the rows' own tokens while the body runs."""
        config = base.config
        before, token = config._attn_implementation, _READ.set(self)  # noqa: SLF001 - as transformers' own setter does
        config._attn_implementation = _NAME  # noqa: SLF001
        try:
            yield
        finally:
            config._attn_implementation = before  # noqa: SLF001
            _READ.reset(token)


_READ: ContextVar[SharedPrompts] = ContextVar("prompts that are read")


def can_share(base: PreTrainedModel, cache: DynamicCache) -> bool:
    """Tell whether a model's attention is known to be the plain one, in every layer."""
    plain = all(type(layer) is DynamicLayer and layer.is_initialized for layer in cache.layers)
    return plain and base.config.model_type in _FAMILIES


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None, *, scaling: float, **_more: Any
) -> tuple[Tensor, None]:
    """Return (rows, 1, heads, width): attention of one new token a row; ``key`` and ``value`` are the rows' own."""
    prompts = _READ.get()
    keys, values = prompts.held[module.layer_idx]
    asked = query.squeeze(2).view(len(query), keys.shape[1], -1, query.shape[-1]) * scaling
    before = (prompts.by_prompt(asked) @ keys.transpose(-1, -2)).float().add_(prompts.unseen)
    top = before.amax(-1, keepdim=True)
    weights = before.sub_(top).exp_()
    told = torch.cat([top, weights.sum(-1, keepdim=True), (weights.to(values.dtype) @ values).float()], dim=-1)
    told = prompts.by_row(told)
    top, total, of_prompt = told[..., :1], told[..., 1:2], told[..., 2:]
    own = (asked @ key.transpose(-1, -2)).float()
    largest = torch.maximum(top, own.amax(-1, keepdim=True))
    share, weights = (top - largest).exp(), own.sub_(largest).exp_()
    of_own = (weights.to(value.dtype) @ value).float()
    found = (of_prompt * share + of_own) / (total * share + weights.sum(-1, keepdim=True))
    return found.to(query.dtype).flatten(1, 2)[:, None], None


def _empty(layer: DynamicLayer) -> DynamicLayer:
    """Return a layer of as many rows and no token."""
    found = DynamicLayer()  # type: ignore[no-untyped-call]
    keys, values = layer.keys, layer.values
    assert keys is not None
    assert values is not None
    found.keys, found.values, found.is_initialized = keys[..., :0, :], values[..., :0, :], True
    return found


AttentionInterface.register(_NAME, _attend)
