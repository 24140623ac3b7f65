"""Rows as tensors: token ids of prompt and completion, the loss on the completion only, the vectors beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from aroma.errors import ModelError
from aroma.model.aroma.tokens import encode_prompt, placeholder_ids
from aroma.model.aroma.training.options import TrainingRow

if TYPE_CHECKING:
    from aroma.model.aroma.modalities import ModalityBank, ModalityBatch
    from aroma.model.aroma.prompting import PromptRow

IGNORED: Final = -100
"""Label of a token that no loss is taken of."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as token ids.

    Attributes:
        prompt: Ids of the prompt.
        completion: Ids of what is to be written, the end token last; empty in stage 2.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that go through the model together, padded on the left.

    Attributes:
        input_ids: int64 (rows, length).
        attention_mask: int64 (rows, length); 0 for padding.
        labels: int64 (rows, length); ``IGNORED`` for prompt and padding.
        modalities: Vectors by modality.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    modalities: Mapping[str, ModalityBatch]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        ids, mask, labels = (one.to(device) for one in (self.input_ids, self.attention_mask, self.labels))
        return Batch(ids, mask, labels, {name: one.to(device) for name, one in self.modalities.items()})


def encode_row(tokenizer: Any, row: TrainingRow, modalities: Sequence[str]) -> Encoded:
    """Return a training row as token ids.

    Raises:
        ModelError: A placeholder of the prompt is missing or doubled, or stands in the completion; names the row.
    """
    prompt = encode_prompt(tokenizer, row.prompt.text, row.prompt.name, modalities)
    completion = [*tokenizer.encode(row.completion, add_special_tokens=False), tokenizer.eos_token_id]
    if set(completion) & set(placeholder_ids(tokenizer)):
        raise ModelError(f"{row.prompt.name}: a placeholder stands in the completion; make the trace anew")
    return Encoded(tuple(prompt), tuple(completion))


def encode_rows(tokenizer: Any, rows: Sequence[TrainingRow], modalities: Sequence[str], context: int) -> list[Encoded]:
    """Return every row as token ids.

    Args:
        tokenizer: With the placeholders added.
        rows: The rows.
        modalities: Of the model.
        context: Most tokens that the model reads.

    Raises:
        ModelError: A row with a problem, or longer than the context; nothing is ever cut off.
    """
    found = []
    for row in rows:
        if row.prompt.problem is not None:
            raise ModelError(f"{row.prompt.problem} (leave the row out of the training)")
        encoded = encode_row(tokenizer, row, modalities)
        if len(encoded) > context:
            raise ModelError(
                f"{row.prompt.name}: prompt and completion have {len(encoded):,} tokens and the model reads "
                f"{context:,}; give a smaller budget, or shorten the trace"
            )
        found.append(encoded)
    return found


def collate(
    encoded: Sequence[Encoded], prompts: Sequence[PromptRow], bank: ModalityBank, pad: int, to: int = 0
) -> Batch:
    """Return a batch.

    Args:
        encoded: The rows as ids.
        prompts: The same rows, for their genes.
        bank: Where the vectors are.
        pad: Padding token.
        to: Pad to at least so many tokens, as published.
    """
    length = max(to, *(len(row) for row in encoded))
    ids = torch.full((len(encoded), length), pad, dtype=torch.long)
    labels = torch.full((len(encoded), length), IGNORED, dtype=torch.long)
    mask = torch.zeros((len(encoded), length), dtype=torch.long)
    for place, row in enumerate(encoded):
        ids[place, length - len(row) :] = torch.tensor(row.prompt + row.completion)
        mask[place, length - len(row) :] = 1
        if row.completion:
            labels[place, length - len(row.completion) :] = torch.tensor(row.completion)
    return Batch(ids, mask, labels, vectors_of(prompts, bank))


def vectors_of(prompts: Sequence[PromptRow], bank: ModalityBank) -> dict[str, ModalityBatch]:
    """Return the vectors of the rows' genes by modality."""
    return bank.batch([row.perturbation_gene for row in prompts], [row.target_gene for row in prompts])


def count_absent(prompts: Sequence[PromptRow], bank: ModalityBank, at_once: int = 1024) -> dict[str, int]:
    """Return by modality for how many rows it is absent: an unknown gene, or one without a vector."""
    found: dict[str, int] = {}
    for start in range(0, len(prompts), at_once):
        for name, batch in vectors_of(prompts[start : start + at_once], bank).items():
            found[name] = found.get(name, 0) + int((~batch.present).sum())
    return found
