"""Completions sampled for stage 2: many prompts and all their samples at once, each prompt read once.

The prompts of a batch go through the model one time; all samples of all prompts are written together, a token a pass,
into room that was made for them (``room``), and read their prompt's keys and values in place (``shared_prompts``). Rows
that have ended are taken out as soon as they are half of all. What the model sees of a prompt is what it sees in
training: ``Aroma.embed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from transformers import DynamicCache

from aroma.errors import ModelError
from aroma.model.aroma.language_model import positions_of
from aroma.model.aroma.tokens import encode_prompt
from aroma.model.aroma.training.collator import Encoded, collate
from aroma.model.aroma.training.guards import memory_watched
from aroma.model.aroma.training.modes import evaluation_mode
from aroma.model.aroma.training.options import GrpoOptions
from aroma.model.aroma.training.room import make_room
from aroma.model.aroma.training.shared_prompts import SharedPrompts, can_share

if TYPE_CHECKING:
    from aroma.model.aroma.language_model import Aroma
    from aroma.model.aroma.modalities import ModalityBank
    from aroma.model.aroma.prompting import PromptRow

_LIVE_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Rollout:
    """A sampled completion.

    Attributes:
        prompt: Number of its prompt among those asked.
        tokens: What was written, the end token last where there is one.
        log_probs: Of each token, the logits divided by the temperature, over the whole vocabulary (before top-p).
        text: The tokens as text, without special tokens.
        has_ended: False where it was cut off at ``max_new_tokens``.
    """

    prompt: int
    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    text: str
    has_ended: bool


def sample(
    aroma: Aroma,
    prompts: Sequence[PromptRow],
    bank: ModalityBank,
    options: GrpoOptions,
    *,
    rollout_tokens: int | None = None,
    alone: bool = True,
) -> list[Rollout]:
    """Return ``options.samples`` completions of each prompt, those of one prompt together, in the prompts' order.

    Draws are of torch's global generator; seed it for the same completions again.

    Args:
        aroma: The model.
        prompts: What is completed.
        bank: Vectors of the genes.
        options: ``samples``, ``temperature``, ``top_p``, ``max_new_tokens``.
        rollout_tokens: At most so many tokens at once; None: ``options.rollout_tokens``.
        alone: Whether this is the only process (see ``guards.memory_watched``).

    Raises:
        ModelError: A prompt that is none, or too long with its completion.
        BatchTooLargeError: Memory ended; fewer tokens at once may fit.
    """
    encoded = encode_prompts(aroma, prompts, options.max_new_tokens)
    found: dict[int, list[Rollout]] = {}
    with evaluation_mode(aroma):
        for batch in rollout_batches(encoded, options, rollout_tokens or options.rollout_tokens):
            rows = [prompts[place] for place in batch]
            longest = max(len(encoded[place]) for place in batch) + options.max_new_tokens
            with memory_watched(rows, longest * options.samples, alone=alone):
                ids = collate([encoded[place] for place in batch], rows, bank, aroma.tokenizer.pad_token_id)
                for written in _Writer(aroma, options).write(ids.to(aroma.device), batch):
                    found.setdefault(written.prompt, []).append(written)
    return [one for place in range(len(prompts)) for one in found[place]]


def encode_prompts(aroma: Aroma, prompts: Sequence[PromptRow], more: int) -> list[Encoded]:
    """Return prompts as token ids.

    Raises:
        ModelError: A row with a problem, or one that is too long with ``more`` new tokens; it is named.
    """
    found = []
    for prompt in prompts:
        if prompt.problem is not None:
            raise ModelError(f"{prompt.problem} (leave the row out of the training)")
        ids = encode_prompt(aroma.tokenizer, prompt.text, prompt.name, aroma.options.modalities)
        if len(ids) + more > aroma.context:
            raise ModelError(
                f"{prompt.name}: {len(ids):,} tokens and {more:,} to be written, and the model reads "
                f"{aroma.context:,}; give a smaller budget or max_new_tokens"
            )
        found.append(Encoded(tuple(ids)))
    return found


def rollout_batches(encoded: Sequence[Encoded], options: GrpoOptions, budget: int) -> list[list[int]]:
    """Return the prompts that are completed together, by length, so that prompts and completions fit the budget."""
    batches: list[list[int]] = []
    for place in sorted(range(len(encoded)), key=lambda place: (-len(encoded[place]), place)):
        if batches:
            longest = len(encoded[batches[-1][0]]) + options.max_new_tokens
            if (len(batches[-1]) + 1) * options.samples * longest <= budget:
                batches[-1].append(place)
                continue
        batches.append([place])
    return batches


class _Writer:
    """Writes the completions of one batch of prompts."""

    def __init__(self, aroma: Aroma, options: GrpoOptions) -> None:
        self._aroma, self._options = aroma, options
        self._base, self._embed = aroma.base, aroma.language_model.get_input_embeddings()
        self._end = aroma.tokenizer.eos_token_id

    def write(self, batch: Any, places: Sequence[int]) -> list[Rollout]:
        count, samples, most = len(places), self._options.samples, self._options.max_new_tokens
        device = batch.input_ids.device
        mask = batch.attention_mask
        read = self._base(
            inputs_embeds=self._aroma.embed(batch.input_ids, batch.modalities),
            attention_mask=mask,
            position_ids=positions_of(mask),
            use_cache=True,
            logits_to_keep=1,
        )
        cache: DynamicCache = read.past_key_values
        shared = self._share(cache, mask)
        logits = read.logits[:, -1].repeat_interleave(samples, 0)
        mask, place = mask.repeat_interleave(samples, 0), mask.sum(1).repeat_interleave(samples, 0)
        total = count * samples
        tokens = torch.full((total, most), self._aroma.tokenizer.pad_token_id, dtype=torch.long, device=device)
        chances = torch.zeros((total, most), dtype=torch.float32, device=device)
        lengths = torch.full((total,), most, dtype=torch.long, device=device)
        ended = torch.zeros(total, dtype=torch.bool, device=device)
        rows = torch.arange(total, device=device)  # which row of the batch each row of the cache is
        for step in range(most):
            drawn, chance = self._draw(logits)
            live = ~ended[rows]
            tokens[rows[live], step], chances[rows[live], step] = drawn[live], chance[live]
            stops = live & (drawn == self._end)
            ended[rows[stops]], lengths[rows[stops]] = True, step + 1
            live = ~ended[rows]
            if step + 1 == most or not bool(live.any()):
                break
            if float(live.float().mean()) <= _LIVE_SHARE:
                kept = live.nonzero().squeeze(1)
                cache.batch_select_indices(kept)
                if shared is not None:
                    shared.select(kept)
                rows, drawn, mask, place = rows[live], drawn[live], mask[live], place[live]
            mask = torch.cat([mask, mask.new_ones((len(mask), 1))], dim=1)
            with nullcontext() if shared is None else shared.read(self._aroma.language_model):
                logits = self._base(
                    inputs_embeds=self._embed(drawn[:, None]),
                    attention_mask=mask,
                    position_ids=place[:, None],
                    past_key_values=cache,
                    use_cache=True,
                ).logits[:, -1]
            place = place + 1
        return self._rollouts(places, tokens, chances, lengths, ended)

    def _share(self, cache: DynamicCache, mask: Tensor) -> SharedPrompts | None:
        """Make room for the completions; where the family allows it, their prompts are kept once and not repeated."""
        options = self._options
        if can_share(self._aroma.language_model, cache):
            return SharedPrompts(cache, mask, options.samples, options.max_new_tokens)
        make_room(cache, options.samples, options.max_new_tokens)
        return None

    def _draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return a token a row, and its log-probability at the temperature."""
        warm = logits.float() / self._options.temperature
        said = torch.log_softmax(warm, dim=-1)
        chances, order = said.exp().sort(dim=-1, descending=True)
        upto = chances.cumsum(dim=-1)
        # the likeliest tokens that make up the share: up to the first that reaches it
        last = (upto < self._options.top_p).sum(dim=-1, keepdim=True).clamp(max=upto.shape[-1] - 1)
        point = torch.rand_like(upto[:, :1]) * upto.gather(1, last)
        drawn = order.gather(1, torch.minimum(torch.searchsorted(upto, point, right=True), last))
        return drawn.squeeze(1), said.gather(1, drawn).squeeze(1)

    def _rollouts(
        self, places: Sequence[int], tokens: Tensor, chances: Tensor, lengths: Tensor, ended: Tensor
    ) -> list[Rollout]:
        found = []
        for row, (length, has_ended) in enumerate(zip(lengths.tolist(), ended.tolist(), strict=True)):
            ids = tokens[row, :length].tolist()
            text = self._aroma.tokenizer.decode(ids, skip_special_tokens=True)
            said = tuple(chances[row, :length].tolist())
            found.append(Rollout(places[row // self._options.samples], tuple(ids), said, text, has_ended))
        return found
