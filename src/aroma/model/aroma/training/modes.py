"""How the model is set for training and sampling, each put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from trl.trainer.utils import add_fused_lm_head

if TYPE_CHECKING:
    from aroma.model.aroma.language_model import Aroma

_FORWARD = "forward"


@contextmanager
def fused_log_probs(aroma: Aroma, temperature: float = 1.0) -> Iterator[None]:
    """Let ``aroma(…, labels=…, fused_lm_head=True)`` answer log-probabilities, the logits divided by ``temperature``.

    trl's language-model head goes through the vocabulary in pieces, so the logits of a batch (tokens x 152,000 for
    Qwen3) are never held at once. Its answer's ``log_probs`` is (rows, length - 1), 0 where the next label is ignored.
    """
    base = aroma.language_model
    before = vars(base).get(_FORWARD)
    add_fused_lm_head(base, temperature=temperature)
    try:
        yield
    finally:
        if before is None:
            del base.forward
        else:
            base.forward = before


@contextmanager
def training_mode(aroma: Aroma, *, checkpointing: bool, dropout: bool = True) -> Iterator[None]:
    """Set the model to training; in evaluation mode and as it was when the body ends.

    Args:
        aroma: The model.
        checkpointing: Compute activations again in the backward pass.
        dropout: False leaves dropout out, as stage 2 does: the probability of a completion is then one number.
    """
    base = aroma.language_model
    held = [] if dropout else [(one, one.p) for one in aroma.modules() if isinstance(one, nn.Dropout)]
    for one, _ in held:
        one.p = 0.0
    if checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[no-untyped-call]
    aroma.train()
    try:
        yield
    finally:
        aroma.eval()
        if checkpointing:
            base.gradient_checkpointing_disable()  # type: ignore[no-untyped-call]
        for one, share in held:
            one.p = share


@contextmanager
def evaluation_mode(aroma: Aroma) -> Iterator[None]:
    """Compute without dropout and without gradients; the model's mode is put back."""
    before = aroma.training
    aroma.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        aroma.train(before)


@contextmanager
def weights_of(trained: Mapping[str, nn.Parameter], other: Mapping[str, Tensor]) -> Iterator[None]:
    """Give parameters other values while the body runs: the model as it was at the start of the stage.

    Only what is trained differs from that model, and with an adapter that is little; so no second model is held.
    """
    held = {name: one.detach().clone() for name, one in trained.items()}
    with torch.no_grad():
        for name, one in trained.items():
            one.copy_(other[name])
    try:
        yield
    finally:
        with torch.no_grad():
            for name, one in trained.items():
                one.copy_(held[name])
