"""What stops a training, and what it survives: numbers that are not finite, and memory that ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import torch

from aroma.errors import ModelError
from aroma.model.embeddings.devices import free_memory, is_out_of_memory

if TYPE_CHECKING:
    from aroma.model.aroma.prompting import PromptRow

_SHOWN: Final = 8
T = TypeVar("T")


class BatchTooLargeError(ModelError):
    """Memory ended at a batch, which can be halved.

    Args:
        rows: Of the batch.
        longest: Tokens of the longest.
    """

    def __init__(self, rows: Sequence[PromptRow], longest: int) -> None:
        self.rows, self.longest = rows, longest
        super().__init__(f"memory ended at a batch of {len(rows)} rows of up to {longest} tokens ({name_rows(rows)})")


def name_rows(rows: Sequence[PromptRow]) -> str:
    """Return the rows of a batch as messages name them; of many, the first."""
    shown = "; ".join(row.name for row in rows[:_SHOWN])
    return shown + (f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")


def check_finite(value: float, what: str, step: int, rows: Sequence[PromptRow], last: Path, kept: int) -> None:
    """Stop at a number that is not finite.

    Args:
        value: The number.
        what: What it is: ``loss``, ``norm of the gradient``.
        step: Step of the optimiser, from 1.
        rows: The rows it comes from.
        last: The last checkpoint.
        kept: Its step; 0 where there is none yet.

    Raises:
        ModelError: It is not finite; the message names the rows, and the checkpoint that stands.
    """
    if math.isfinite(value):
        return
    stands = f"{last} of step {kept} stands" if kept else "no checkpoint was written yet"
    raise ModelError(
        f"step {step}: the {what} is {value} for {len(rows)} rows ({name_rows(rows)}); the weights were not changed, "
        f"and {stands}. Take a smaller rate, look at these rows' vectors, or use precision float32"
    )


def halved(budget: int, longest: int, rows: Sequence[PromptRow]) -> int:
    """Return half a token budget, after memory ended at a batch.

    Args:
        budget: Tokens a batch had at most.
        longest: Tokens of the longest row there.
        rows: The rows of the batch.

    Raises:
        ModelError: There was one row only; the message names it.
    """
    if len(rows) <= 1:
        raise ModelError(
            f"memory ended at a single row of {longest} tokens ({name_rows(rows)}); shorten the prompts (budget), "
            "use gradient checkpointing, or a device with more memory"
        )
    return max(min(budget, longest * len(rows)) // 2, longest)


@dataclass
class TokenBudget:
    """How many tokens a batch may have; halved whenever memory ends.

    Attributes:
        tokens: The budget now.
        notes: What a user should know: each halving.
    """

    tokens: int
    notes: list[str] = field(default_factory=list)

    def run(self, attempt: Callable[[int], T], device: torch.device, step: int) -> T:
        """Return ``attempt(tokens)``, tried again with half the budget as long as memory ends.

        Args:
            attempt: Does all of a step's batches from the start; wraps each in ``memory_watched``.
            device: Its memory is given back between attempts.
            step: Number of the step, for the note.

        Raises:
            ModelError: Memory ended at a single row.
        """
        while True:
            try:
                return attempt(self.tokens)
            except BatchTooLargeError as error:
                rows, longest = error.rows, error.longest
            # outside of the handler, so that the error's frames hold no tensor any more
            before, self.tokens = self.tokens, halved(self.tokens, longest, rows)
            self.notes.append(
                f"step {step}: memory ended at a batch of {len(rows)} rows of up to {longest} tokens; "
                f"batches now have {self.tokens} tokens in place of {before}"
            )
            free_memory(device)


@contextmanager
def memory_watched(rows: Sequence[PromptRow], longest: int, *, alone: bool = True) -> Iterator[None]:
    """Turn what PyTorch says when memory ends into an error that names the batch.

    Args:
        rows: Of the batch.
        longest: Tokens of the longest.
        alone: Whether this is the only process: among several, one cannot go back a step by itself.

    Raises:
        BatchTooLargeError: Memory ended.
        ModelError: Memory ended, and there are several processes.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return
    if alone:
        raise BatchTooLargeError(rows, longest)
    raise ModelError(
        f"memory ended at a batch of {len(rows)} rows of up to {longest} tokens ({name_rows(rows)}); with several "
        "processes it is not halved: start again with a smaller tokens_per_batch; the last checkpoint is gone on with"
    )
