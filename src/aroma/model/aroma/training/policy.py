"""The loss of group relative policy optimisation (Shao et al. 2024), and the advantages it is taken of.

Log-probabilities are of the logits divided by the sampling temperature, so that they are those of the distribution the
completions were drawn from (before top-p); the published code left the division out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from aroma.model.aroma.training.options import GrpoOptions

if TYPE_CHECKING:
    from aroma.model.aroma.modalities import ModalityBatch

_NO_SPREAD = 1e-6


@dataclass(frozen=True, slots=True)
class Group:
    """The completions of one prompt.

    Attributes:
        advantages: One a completion; None where all earned the same, so that nothing can be learnt.
        mean: Mean reward.
    """

    advantages: tuple[float, ...] | None
    mean: float


def advantages(rewards: Sequence[float], options: GrpoOptions) -> Group:
    """Return each completion's advantage: its reward less the group's mean, by the group's standard deviation."""
    earned = torch.tensor(list(rewards), dtype=torch.float64)
    spread = float(earned.std())
    if spread <= _NO_SPREAD:
        return Group(None, float(earned.mean()))
    centred = earned - earned.mean()
    scaled = centred / spread if options.scale == "group" else centred
    return Group(tuple(scaled.tolist()), float(earned.mean()))


@dataclass(frozen=True, slots=True)
class Losses:
    """Sums over the tokens of a batch.

    Attributes:
        loss: What is minimised; has a gradient.
        kl: Sum of the tokens' divergence.
        clipped: Tokens whose ratio was clipped.
    """

    loss: Tensor
    kl: float
    clipped: float


def policy_loss(
    now: Tensor,
    before: Tensor,
    reference: Tensor | None,
    advantage: Tensor,
    weight: Tensor,
    options: GrpoOptions,
) -> Losses:
    """Return the loss of a batch of completions.

    Args:
        now: float (completions, tokens); log-probabilities, with gradient.
        before: The same when the completions were drawn.
        reference: The same of the model at the start of the stage; None: no divergence is taken.
        advantage: float (completions,).
        weight: float (completions, tokens); what each token counts, 0 for padding.
        options: ``clip`` and ``kl``.
    """
    ratio = torch.exp(now - before)
    bounded = ratio.clamp(1 - options.clip, 1 + options.clip)
    gain = torch.minimum(ratio * advantage[:, None], bounded * advantage[:, None])
    each, is_token = -gain, weight > 0
    kl = torch.zeros_like(now)
    if reference is not None:
        further = reference - now
        kl = torch.exp(further) - further - 1
        each = each + options.kl * kl
    clipped = ((ratio != bounded) & is_token).sum()
    return Losses((each * weight).sum(), float(kl.detach()[is_token].sum()), float(clipped))


def token_weights(lengths: Sequence[int], total: int, completions: int, options: GrpoOptions) -> list[float]:
    """Return what each token of a completion counts, by completion; over a step the weights add up to one.

    Args:
        lengths: Tokens of the completions of a batch.
        total: Tokens of all completions of the step.
        completions: Number of all completions of the step.
        options: ``loss``.
    """
    if options.loss == "dapo":
        return [1 / total] * len(lengths)
    return [1 / (length * completions) for length in lengths]


def completion_log_probs(
    model: object,
    inputs: tuple[Tensor, Tensor, dict[str, ModalityBatch]],
    completions: Tensor,
    written: Tensor,
) -> Tensor:
    """Return float32 (completions, tokens): log-probability of each token, 0 at padding.

    The prompt is embedded with its interaction tokens, the completion as plain tokens: a placeholder that was sampled
    is a token like another. To be called inside ``modes.fused_log_probs``, which sets the temperature.

    Args:
        model: The ``Aroma``.
        inputs: Prompt ids and mask (completions, length), padded on the left, and the vectors of their genes.
        completions: int64 (completions, tokens), padded on the right.
        written: bool (completions, tokens); False at padding.
    """
    from aroma.model.aroma.language_model import Aroma, positions_of
    from aroma.model.aroma.training.collator import IGNORED

    assert isinstance(model, Aroma)
    ids, mask, modalities = inputs
    after = model.language_model.get_input_embeddings()(completions)
    whole = torch.cat([model.embed(ids, modalities), after], dim=1)
    seen = torch.cat([mask, written.long()], dim=1)
    labels = torch.cat([torch.full_like(ids, IGNORED), completions.masked_fill(~written, IGNORED)], dim=1)
    said = model.base(
        inputs_embeds=whole,
        attention_mask=seen,
        position_ids=positions_of(seen),
        labels=labels,
        fused_lm_head=True,
    )
    found: Tensor = said.log_probs[:, -completions.shape[1] :].float()
    return found
