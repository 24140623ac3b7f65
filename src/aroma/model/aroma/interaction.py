"""Interaction tokens: one module a modality that turns what is known of two genes into one vector in the token space.

The published form attends with the perturbation as query over a single key, the target. A softmax over one score is 1,
so its W_q and W_k change nothing and get no gradient: the token does not depend on the perturbation at all. It is kept
as ``paper`` for comparison. ``attention``, the default, lets all items of both genes (k-hop nodes, residue windows)
attend to one another, each marked with its role and its hops, and a learned seed gathers them, beside the mean of each
gene's items: with one item a gene there are still two keys. ``gated`` mixes a bilinear form of the two means with their
sum by a learned gate.

A gene without an item has a learned vector of its own role in its place; a pair of two such genes has a learned
"absent" vector as its token. Beside that, a flag (which of the two genes are there) is added to every token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aroma.errors import ModelError
from aroma.model.aroma.modalities import ModalityBatch

_STATES: Final = 4
"""Neither gene there, the perturbation alone, the target alone, both."""
_ROLES: Final = 2
_FLAG: Final = 0.02
_MARK: Final = 0.3
"""Sizes of the flags, and of the marks of role and hops, at the start: little beside what tells pairs apart."""


class InteractionTokens(nn.Module):
    """One interaction module a modality.

    Args:
        dims: Numbers a vector, by modality, in the order of the tokens (``ModalityBank.dims``).
        hidden_size: Width of the language model's token embeddings.
        kind: ``attention``, ``gated`` or ``paper``.
        width: Of the modules inside.
        heads: Attention heads; they divide ``width``.
        hops: Most hops of an item, by modality (``ModalityBank.hops``); 0 where not given.
        token_scale: Root mean square of the language model's token embeddings; the tokens start out as large.
        seed: Of the random start.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        hidden_size: int,
        kind: str = "attention",
        *,
        width: int = 256,
        heads: int = 4,
        hops: Mapping[str, int] | None = None,
        token_scale: float = 0.02,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.kind, self.hidden_size, self.names = kind, hidden_size, tuple(dims)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tokens = nn.ModuleDict(
                {
                    name: InteractionToken(
                        _pair(kind, dim, width, heads, (hops or {}).get(name, 0)), width, hidden_size
                    )
                    for name, dim in dims.items()
                }
            )
        for one in self.tokens.values():
            cast("InteractionToken", one).set_scale(token_scale)

    def forward(self, batches: Mapping[str, ModalityBatch]) -> Tensor:
        """Return float32 (pairs, modalities, hidden_size), modalities in the order of ``names``.

        Raises:
            ModelError: A modality has no batch.
        """
        missing = [name for name in self.names if name not in batches]
        if missing:
            raise ModelError(
                f"no vectors of modality {', '.join(missing)} were given; take them from ModalityBank.batch"
            )
        return torch.stack([module(batches[name]) for name, module in self.tokens.items()], dim=1)


class InteractionToken(nn.Module):
    """The token of one modality: a form over the two genes, a projector into the token space, absence and flag."""

    def __init__(self, form: nn.Module, width: int, hidden_size: int) -> None:
        super().__init__()
        self.form = form
        self.projector = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden_size), nn.GELU(), nn.Linear(hidden_size, hidden_size)
        )
        self.absent = nn.Parameter(torch.randn(hidden_size))
        self.flag = nn.Embedding(_STATES, hidden_size)
        nn.init.normal_(self.flag.weight, std=_FLAG)
        self.norm = nn.RMSNorm(hidden_size, eps=1e-6)

    def set_scale(self, scale: float) -> None:
        """Make the tokens start out with this root mean square."""
        nn.init.constant_(self.norm.weight, scale)

    def forward(self, batch: ModalityBatch) -> Tensor:
        """Return float32 (pairs, hidden_size)."""
        one, other = batch.perturbation_mask.any(1), batch.target_mask.any(1)
        said = self.projector(self.form(batch))
        token = torch.where((one | other)[:, None], said, self.absent)
        found: Tensor = self.norm(token + self.flag(one.long() + 2 * other.long()))
        return found


class _Sides(nn.Module):
    """Both genes' items in one width, marked with role and hops; a gene without items has its role's absent item."""

    def __init__(self, dim: int, width: int, hops: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width))
        self.role = nn.Embedding(_ROLES, width)
        self.hops = nn.Embedding(hops + 1, width) if hops else None
        self.absent = nn.Parameter(torch.randn(_ROLES, width))
        for marks in (self.role, self.hops):
            if marks is not None:
                nn.init.normal_(marks.weight, std=_MARK)

    def forward(self, batch: ModalityBatch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return (items (pairs, n, width), mask (pairs, n)) of perturbation and target."""
        return (
            self._side(0, batch.perturbation, batch.perturbation_mask, batch.perturbation_hops),
            self._side(1, batch.target, batch.target_mask, batch.target_hops),
        )

    def _side(self, role: int, vectors: Tensor, mask: Tensor, hops: Tensor) -> tuple[Tensor, Tensor]:
        items = self.enter(torch.where(mask[..., None], vectors, 0.0)) + self.role.weight[role]
        if self.hops is not None:
            items = items + self.hops(hops)
        nothing = ~mask.any(1)
        # the absent item takes the first place, which is padding for exactly these genes
        first = torch.where(nothing[:, None], self.absent[role].to(items.dtype), items[:, 0])
        items = torch.cat([first[:, None], items[:, 1:]], dim=1)
        return items, torch.cat([mask[:, :1] | nothing[:, None], mask[:, 1:]], dim=1)


class AttentionForm(nn.Module):
    """All items of both genes attend to one another; a learned seed gathers them, beside each gene's mean."""

    def __init__(self, dim: int, width: int, heads: int, hops: int) -> None:
        super().__init__()
        self.sides = _Sides(dim, width, hops)
        self.mix = _Attention(width, heads)
        self.forward_norm = nn.LayerNorm(width)
        self.forward_part = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.seed = nn.Parameter(torch.randn(width))
        self.gather = _Attention(width, heads)
        self.merge = nn.Linear(3 * width, width)

    def forward(self, batch: ModalityBatch) -> Tensor:
        """Return (pairs, width)."""
        (one, one_mask), (other, other_mask) = self.sides(batch)
        items, mask = torch.cat([one, other], dim=1), torch.cat([one_mask, other_mask], dim=1)
        items = items + self.mix(items, items, mask)
        items = items + self.forward_part(self.forward_norm(items))
        gathered = self.gather(self.seed.expand(len(items), 1, -1), items, mask)[:, 0]
        sides = items.split([one.shape[1], other.shape[1]], dim=1)
        means = [_mean(part, held) for part, held in zip(sides, (one_mask, other_mask), strict=True)]
        found: Tensor = self.merge(torch.cat([gathered, *means], dim=-1))
        return found


class GatedForm(nn.Module):
    """A gate between the product of the two genes' means, each in its own projection, and the sum of two others."""

    def __init__(self, dim: int, width: int, hops: int) -> None:
        super().__init__()
        self.sides = _Sides(dim, width, hops)
        self.product = nn.ModuleList([nn.Linear(width, width) for _ in range(_ROLES)])
        self.sum = nn.ModuleList([nn.Linear(width, width, bias=role == 0) for role in range(_ROLES)])
        self.gate = nn.Linear(2 * width, width)

    def forward(self, batch: ModalityBatch) -> Tensor:
        """Return (pairs, width)."""
        one, other = (_mean(*side) for side in self.sides(batch))
        gate = torch.sigmoid(self.gate(torch.cat([one, other], dim=-1)))
        product: Tensor = self.product[0](one) * self.product[1](other)
        added: Tensor = self.sum[0](one) + self.sum[1](other)
        return gate * product + (1 - gate) * added


class PaperForm(nn.Module):
    """The published form (section 3.4): the perturbation's mean attends to the target's mean, its only key.

    ``query`` and ``key`` get a gradient of exactly zero; the answer does not depend on the perturbation but for its
    absence. Kept to compare with.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, width, bias=False) for _ in range(3))
        self.absent = nn.Parameter(torch.randn(_ROLES, dim))

    def forward(self, batch: ModalityBatch) -> Tensor:
        """Return (pairs, width)."""
        one = self._side(0, batch.perturbation, batch.perturbation_mask)
        other = self._side(1, batch.target, batch.target_mask)
        query, key, value = self.query(one)[:, None], self.key(other)[:, None], self.value(other)[:, None]
        scores = (query @ key.transpose(1, 2)) / key.shape[-1] ** 0.5
        found: Tensor = (torch.softmax(scores, dim=-1) @ value)[:, 0]
        return found

    def _side(self, role: int, vectors: Tensor, mask: Tensor) -> Tensor:
        mean = _mean(torch.where(mask[..., None], vectors, 0.0), mask)
        return torch.where(mask.any(1)[:, None], mean, self.absent[role])


class _Attention(nn.Module):
    """Multi-head attention of normed queries over normed items, masked items left out; no bias in query and key.

    A key's bias adds the same to every score of a query and would get no gradient.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.item_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, queries: Tensor, items: Tensor, mask: Tensor) -> Tensor:
        """Return (pairs, queries, width); ``mask`` is bool (pairs, items), True for what is there."""
        keys = self.item_norm(items)
        found = functional.scaled_dot_product_attention(
            self._split(self.query(self.query_norm(queries))),
            self._split(self.key(keys)),
            self._split(self.value(keys)),
            attn_mask=mask[:, None, None, :],
        )
        gathered: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return gathered

    def _split(self, states: Tensor) -> Tensor:
        pairs, items, width = states.shape
        return states.view(pairs, items, self.heads, width // self.heads).transpose(1, 2)


def _pair(kind: str, dim: int, width: int, heads: int, hops: int) -> nn.Module:
    if kind == "attention":
        return AttentionForm(dim, width, heads, hops)
    if kind == "gated":
        return GatedForm(dim, width, hops)
    if kind == "paper":
        return PaperForm(dim, width)
    raise ModelError(f"interaction is {kind!r}; there are attention, gated and paper")


def _mean(items: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the items that are there; zeros where there is none, which the caller replaces."""
    weights = mask.to(items.dtype)[..., None]
    return (items * weights).sum(1) / weights.sum(1).clamp(min=1)
