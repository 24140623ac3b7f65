"""Answers scored with shared prefixes: keys and values of what many prompts begin with are computed once.

A prompt is split where the text about its target begins (``Asked.shared``), a place that depends on the prompt alone.
What stands before is read once for all prompts that begin so; what follows is read together with the answers' tree.

With ``batch_tokens`` 0 every row is read by itself, after a prefix that was read by itself: the same operations on the
same shapes whatever else is asked, so that a row's scores are the same to the last bit. With more, rows of one prefix
are read together, padded on the left, up to so many tokens; scores then differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aroma.errors import ModelError
from aroma.model.aroma.answer_tree import AnswerTree, Tokens, branch_scores, layout, visible
from aroma.model.embeddings.devices import free_memory, is_out_of_memory

if TYPE_CHECKING:
    import torch

Embed = Callable[["torch.Tensor", Sequence[int]], "torch.Tensor"]
"""(rows, length) token ids and the rows' places to (rows, length, hidden size)."""
KeysAndValues = list[tuple["torch.Tensor", "torch.Tensor"]]
"""Of each layer, (1, heads, length, size of a head)."""
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt whose answers are scored.

    Attributes:
        ids: Tokens of the prompt.
        shared: How many of the first tokens other prompts may share; they hold no placeholder.
        tree: The answers.
    """

    ids: Tokens
    shared: int
    tree: AnswerTree

    @property
    def rest(self) -> Tokens:
        """What is read of the prompt after the shared tokens, and the answers."""
        return self.ids[self.shared :] + self.tree.inputs


class PrefixScorer:
    """Scores prompts with a causal language model of transformers, in evaluation mode.

    Args:
        base: The model (``forward`` takes input embeddings, a cache, 4D masks and ``logits_to_keep``).
        embed: Turns tokens into input embeddings, interaction tokens at their placeholders.
        pad: A token to fill with; nobody looks at it.
        batch_tokens: See the module.
    """

    def __init__(self, base: Any, embed: Embed, *, pad: int, batch_tokens: int = 0) -> None:
        self.base, self.embed, self.pad, self.batch_tokens = base, embed, pad, batch_tokens
        self.device: torch.device = next(base.parameters()).device

    def scores(self, asked: Sequence[Asked], progress: Progress = lambda _done: None) -> npt.NDArray[np.float64]:
        """Return float64 (rows, branches): the log-probability of each answer after its stem, in the rows' order.

        Args:
            asked: The rows; all have as many answers.
            progress: Told how many rows are done.

        Raises:
            ModelError: One row alone does not fit into memory.
        """
        import torch

        found = np.zeros((len(asked), len(asked[0].tree.branches) if asked else 0))
        done = 0
        if self.batch_tokens > 0:
            asked = _without_lonely_prefixes(asked)
        with torch.inference_mode():
            for prefix, places in _groups(asked).items():
                past = self._read(prefix)
                for batch in self._batches(asked, places):
                    found[batch] = self._fitting(asked, batch, past, len(prefix))
                    done += len(batch)
                    progress(done)
        return found

    def _batches(self, asked: Sequence[Asked], places: list[int]) -> Iterator[list[int]]:
        if self.batch_tokens <= 0:
            yield from ([place] for place in places)
            return
        longest_first = sorted(places, key=lambda place: (-len(asked[place].rest), place))
        batch: list[int] = []
        for place in longest_first:
            if batch and (len(batch) + 1) * len(asked[batch[0]].rest) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    def _read(self, prefix: Tokens) -> KeysAndValues:
        """Return keys and values of a prefix; none for an empty one."""
        import torch

        if not prefix:
            return []
        ids = torch.tensor([prefix], device=self.device)
        embedded = self.base.get_input_embeddings()(ids)
        cache = self.base(inputs_embeds=embedded, use_cache=True, logits_to_keep=1).past_key_values
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _fitting(
        self, asked: Sequence[Asked], batch: list[int], past: KeysAndValues, before: int
    ) -> npt.NDArray[np.float64]:
        """Return the scores of a batch, in halves where it does not fit into memory."""
        try:
            return self._batch(asked, batch, past, before)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ModelError(
                    f"a prompt of {before + len(asked[batch[0]].rest)} tokens does not fit into the memory of "
                    f"{self.device}; lower the setting budget, or take a larger device"
                ) from error
        free_memory(self.device)
        half = len(batch) // 2
        parts = [self._fitting(asked, part, past, before) for part in (batch[:half], batch[half:])]
        return np.concatenate(parts)

    def _batch(
        self, asked: Sequence[Asked], batch: list[int], past: KeysAndValues, before: int
    ) -> npt.NDArray[np.float64]:
        import torch
        from transformers import DynamicCache

        rows = [asked[place] for place in batch]
        size = max(len(row.rest) for row in rows)
        ids = torch.full((len(rows), size), self.pad, device=self.device)
        positions = torch.zeros((len(rows), size), dtype=torch.long, device=self.device)
        seen = torch.ones((len(rows), 1, size, before + size), dtype=torch.bool, device=self.device)
        for place, row in enumerate(rows):
            padding = size - len(row.rest)
            ids[place, padding:] = torch.tensor(row.rest, device=self.device)
            own, spans = layout(row.tree, len(row.ids) - row.shared)
            positions[place, padding:] = torch.tensor(own, device=self.device) + before
            seen[place, 0, :, before:] = visible(size, padding, spans, self.device)
        embedded = self.embed(ids, batch)
        mask = torch.zeros(seen.shape, dtype=embedded.dtype, device=self.device)
        mask.masked_fill_(~seen, torch.finfo(embedded.dtype).min)
        shared = [(keys.expand(len(rows), -1, -1, -1), values.expand(len(rows), -1, -1, -1)) for keys, values in past]
        kept = max(row.tree.read for row in rows)
        logits = self.base(
            inputs_embeds=embedded,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=DynamicCache(shared) if past else None,
            use_cache=bool(past),
            logits_to_keep=kept,
        ).logits
        wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        return np.array([branch_scores(wide[place, -row.tree.read :], row.tree) for place, row in enumerate(rows)])


def _groups(asked: Sequence[Asked]) -> dict[Tokens, list[int]]:
    """Return prefixes and the rows that begin so."""
    groups: dict[Tokens, list[int]] = {}
    for place, row in enumerate(asked):
        groups.setdefault(row.ids[: row.shared], []).append(place)
    return groups


def _without_lonely_prefixes(asked: Sequence[Asked]) -> list[Asked]:
    """Return rows of which those that share their prefix with none have no prefix, so that they can be one batch."""
    lonely = {places[0] for places in _groups(asked).values() if len(places) == 1}
    return [replace(row, shared=0) if place in lonely else row for place, row in enumerate(asked)]


def plain_scores(base: Any, embed: Embed, asked: Sequence[Asked]) -> npt.NDArray[np.float64]:
    """Return the same scores as ``PrefixScorer``, one answer of one row at a time, with no cache and no own mask.

    It is what the fast way is checked against.
    """
    import torch

    device = next(base.parameters()).device
    found = np.zeros((len(asked), len(asked[0].tree.branches) if asked else 0))
    with torch.inference_mode():
        for place, row in enumerate(asked):
            for number, branch in enumerate(row.tree.branches):
                ids = torch.tensor([row.ids + row.tree.stem + branch], device=device)
                logits = base(inputs_embeds=embed(ids, [place]), use_cache=False).logits[0]
                said = torch.log_softmax(logits.double(), dim=-1)
                start = ids.shape[1] - len(branch)
                chosen = said[torch.arange(start - 1, ids.shape[1] - 1), torch.tensor(branch)]
                found[place, number] = float(chosen.sum())
    return found
