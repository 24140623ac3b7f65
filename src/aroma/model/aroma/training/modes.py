"""How the model is set for training and sampling, each put back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from trl.trainer.utils import add_fused_lm_head

from aroma.model.aroma.training.collator import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from aroma.model.aroma.language_model import Aroma

_FORWARD: Final = "forward"
_HEAD_SETTINGS: Final = (
    "final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling",
)  # fmt: skip
"""What some families do to the head's answer; trl knows them all."""
_MOST_LOGITS: Final = 1 << 26
"""A quarter of a gibibyte."""


@contextmanager
def fused_log_probs(aroma: Aroma, temperature: float = 1.0) -> Iterator[None]:
    """Let ``aroma(…, labels=…, fused_lm_head=True)`` answer log-probabilities, the logits divided by ``temperature``.

    trl's language-model head goes through the vocabulary in pieces, so the logits of a batch (tokens x 152,000 for
    Qwen3) are never held at once. Its answer's ``log_probs`` is (rows, length - 1), 0 where the next label is ignored.
    On a CPU it takes in every position of prompt and padding too; there, a small vocabulary is gone through at once,
    at the positions with a label alone.
    """
    base = aroma.language_model
    before = vars(base).get(_FORWARD)
    add_fused_lm_head(base, temperature=temperature)
    if aroma.device.type == "cpu" and _has_plain_head(base):
        base.forward = _small_head(base, base.forward, temperature)
    try:
        yield
    finally:
        if before is None:
            del base.forward
        else:
            base.forward = before


@dataclass(frozen=True, slots=True)
class _Scored:
    log_probs: Tensor


def _has_plain_head(base: PreTrainedModel) -> bool:
    """Tell whether logits are the head's answer and nothing else."""
    return all(getattr(base.config.get_text_config(), name, None) is None for name in _HEAD_SETTINGS)


def _small_head(base: PreTrainedModel, tiled: Callable[..., Any], temperature: float) -> Callable[..., Any]:
    """Return ``forward`` that answers log-probabilities from the logits of labelled positions, where these are few."""

    @wraps(tiled)
    def forward(*given: Any, fused_lm_head: bool = False, labels: Tensor | None = None, **more: Any) -> Any:
        if not fused_lm_head or labels is None:
            return tiled(*given, fused_lm_head=fused_lm_head, labels=labels, **more)
        is_token = labels[:, 1:] != IGNORED
        head: Any = base.get_output_embeddings()  # type: ignore[no-untyped-call]
        if int(is_token.sum()) * head.weight.shape[0] > _MOST_LOGITS:
            return tiled(*given, fused_lm_head=True, labels=labels, **more)
        hidden = base.base_model(*given, **{**more, "use_cache": False}).last_hidden_state[:, :-1]
        logits = head(hidden[is_token]).float() / temperature
        found = -functional.cross_entropy(logits, labels[:, 1:][is_token], reduction="none")
        return _Scored(found.new_zeros(is_token.shape).masked_scatter(is_token, found))

    return forward


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
