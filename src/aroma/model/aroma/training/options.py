"""What is chosen for the two stages of training, what they are given, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from aroma.errors import UsageError

if TYPE_CHECKING:
    from aroma.model.aroma.prompting import PromptRow

Progress = Callable[[str, float], None]
"""Told what is being done and the share done, 0 to 1; may raise to stop, and the last checkpoint then stands."""
_PRECISIONS: Final = ("float32", "bfloat16")
LOSSES: Final = ("dapo", "grpo")
"""``dapo``: mean over the tokens of a step; ``grpo``: mean over completions of each one's mean (Shao et al. 2024)."""
SCALES: Final = ("group", "none")


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A prompt, what the model is to write after it, and the measured label.

    Attributes:
        prompt: The prompt.
        completion: ``<think>…</think><answer>…</answer>``.
        label: See ``aroma.model.labels``.
    """

    prompt: PromptRow
    completion: str
    label: int


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """What both stages have in common.

    Attributes:
        epochs: How often each row is seen.
        steps: Stop after so many steps of the optimiser, epochs or not; 0: no such limit.
        rate: Learning rate at the end of the warm-up.
        warmup: Share of the steps in which the rate rises from zero.
        weight_decay: Of AdamW.
        betas: Of AdamW.
        clip_norm: Gradients are scaled down to this norm.
        tokens_per_batch: At most so many tokens, padding counted, go through the model at once.
        precision: ``float32``, or ``bfloat16`` (autocast; the trained weights and the optimiser stay float32).
        gradient_checkpointing: Compute activations again in the backward pass in place of keeping them.
        train_base: Train the base's own weights too; for tiny bases only, which start out knowing nothing.
        save_every: Steps between checkpoints; there is one after the first and the last step too.
        seed: Of every random choice.
    """

    epochs: int = 3
    steps: int = 0
    rate: float = 1e-4
    warmup: float = 0.03
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 1.0
    tokens_per_batch: int = 8192
    precision: str = "float32"
    gradient_checkpointing: bool = False
    train_base: bool = False
    save_every: int = 50
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError: A value that is none; the message names the setting.
        """
        for name in ("epochs", "tokens_per_batch", "save_every"):
            _at_least(name, getattr(self, name), 1)
        _at_least("steps", self.steps, 0)
        _at_least("weight_decay", self.weight_decay, 0)
        if not self.rate > 0 or not self.clip_norm > 0:
            raise UsageError(f"rate={self.rate}, clip_norm={self.clip_norm}: both must be above 0")
        _share("warmup", self.warmup)
        _one_of("precision", self.precision, _PRECISIONS)

    def as_facts(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Return options from JSON values.

        Raises:
            UsageError: A name that is no option.
        """
        known = {one.name for one in fields(cls)}
        unknown = sorted(set(facts) - known)
        if unknown:
            raise UsageError(f"{cls.__name__} has no option {unknown[0]!r}; there are: {', '.join(sorted(known))}")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()
        }
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class SftOptions(StageOptions):
    """Stage 1, supervised fine-tuning (AROMA, table 14).

    Attributes:
        rows_per_step: Rows of one step of the optimiser, over all processes (the paper: 4 x 4).
        group_by_length: Put rows of like length into one step, so that little is padded.
        pad_to: Pad every row to so many tokens, as published; 0: to the longest of its batch. Only for comparison.
        validation_share: Share of the perturbations held out for the validation loss, where no rows are given for it.
        evaluate_every: Steps between validations; 0: after each epoch.
    """

    rows_per_step: int = 16
    group_by_length: bool = True
    pad_to: int = 0
    validation_share: float = 0.05
    evaluate_every: int = 0

    def check(self) -> None:
        """Refuse what cannot be."""
        super().check()
        _at_least("rows_per_step", self.rows_per_step, 1)
        _at_least("evaluate_every", self.evaluate_every, 0)
        _at_least("pad_to", self.pad_to, 0)
        _share("validation_share", self.validation_share)


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """How much each part of the reward counts; a weight of zero switches a part off.

    The paper's text names the parts (section 3.5) and not their amounts; these are ours.

    Attributes:
        right_class: The answer names the measured class.
        form: Exactly one think block, then exactly one answer block, and nothing else.
        one_class: The answer names exactly one class.
        log_score: Log-score of the probability p of the measured class after the reasoning, put on 0 to 1:
            ``1 - log p / log floor``, 0 below the floor. A proper score for a p above it, and never less than what an
            empty answer earns.
        log_score_floor: The probability that earns nothing.
    """

    right_class: float = 1.0
    form: float = 0.1
    one_class: float = 0.1
    log_score: float = 0.0
    log_score_floor: float = 0.01

    def check(self) -> None:
        """Refuse what cannot be."""
        for name in ("right_class", "form", "one_class", "log_score"):
            _at_least(name, getattr(self, name), 0)
        if not 0 < self.log_score_floor < 1:
            raise UsageError(f"log_score_floor={self.log_score_floor}: must be above 0 and below 1")
        if not any((self.right_class, self.form, self.one_class, self.log_score)):
            raise UsageError("every part of the reward has weight 0, so nothing can be learnt; give one a weight")


@dataclass(frozen=True, kw_only=True)
class GrpoOptions(StageOptions):
    """Stage 2, group relative policy optimisation (AROMA, table 15).

    Attributes:
        prompts_per_step: Prompts of one step of the optimiser, over all processes (the paper: 2 x 8).
        samples: Completions a prompt: the group.
        iterations: Steps of the optimiser on the same completions; above one, clipping begins to matter.
        temperature: Of sampling, and of every log-probability.
        top_p: Sampling takes the likeliest tokens that make up this share.
        max_new_tokens: Longest completion.
        rollout_tokens: At most so many tokens (prompts and completions, padding counted) are sampled at once.
        kl: Weight of the divergence from the model at the start of the stage; 0: not computed.
        clip: How far the ratio of new to old probability may leave 1 before its gradient ends.
        loss: One of ``LOSSES``.
        scale: ``group`` divides an advantage by the group's standard deviation, ``none`` does not (Dr. GRPO).
        train_interaction: Train the interaction modules too; the paper freezes them in this stage.
        rewards: Weights of the parts of the reward.
    """

    epochs: int = 2
    rate: float = 1e-6
    warmup: float = 0.1
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    prompts_per_step: int = 16
    samples: int = 16
    iterations: int = 1
    temperature: float = 1.2
    top_p: float = 0.9
    max_new_tokens: int = 2048
    rollout_tokens: int = 65536
    kl: float = 0.04
    clip: float = 0.2
    loss: str = "dapo"
    scale: str = "group"
    train_interaction: bool = False
    rewards: RewardOptions = field(default_factory=RewardOptions)

    def check(self) -> None:
        """Refuse what cannot be."""
        super().check()
        for name in ("prompts_per_step", "iterations", "max_new_tokens", "rollout_tokens"):
            _at_least(name, getattr(self, name), 1)
        _at_least("samples", self.samples, 2)
        if not self.temperature > 0 or not 0 < self.top_p <= 1 or not 0 < self.clip < 1 or self.kl < 0:
            raise UsageError(
                f"temperature={self.temperature} (above 0), top_p={self.top_p} (above 0, at most 1), clip={self.clip} "
                f"(between 0 and 1), kl={self.kl} (0 or more): one of them does not fit"
            )
        _one_of("loss", self.loss, LOSSES)
        _one_of("scale", self.scale, SCALES)
        self.rewards.check()

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Return options from JSON values."""
        rewards = RewardOptions(**facts["rewards"]) if isinstance(facts.get("rewards"), dict) else RewardOptions()
        return super().from_facts({**facts, "rewards": rewards})


@dataclass(frozen=True, slots=True)
class StageResult:
    """How a stage went; the model that was trained has the weights of the best step.

    Attributes:
        steps: Steps of the optimiser.
        best_step: The step whose weights were kept.
        best: Its validation loss (stage 1) or mean reward (stage 2).
        losses: Loss of every step, from 1.
        absent: Rows whose vectors are absent, by modality.
        notes: What a user should know: batches that were halved, rows left out.
        metrics: ``metrics.jsonl``.
        picture: The curves as PNG.
    """

    steps: int
    best_step: int
    best: float
    losses: tuple[float, ...]
    absent: Mapping[str, int]
    notes: tuple[str, ...]
    metrics: Path
    picture: Path


@dataclass(frozen=True, slots=True)
class SftResult(StageResult):
    """Stage 1.

    Attributes:
        validation: Validation loss by step.
        tokens_a_second: Tokens that are no padding, a second of training.
    """

    validation: Mapping[int, float] = field(default_factory=dict)
    tokens_a_second: float = 0.0


@dataclass(frozen=True, slots=True)
class GrpoResult(StageResult):
    """Stage 2.

    Attributes:
        rewards: Mean reward of every step, before the weights moved.
        skipped: Groups without spread, of which nothing could be learnt.
        groups: All groups.
        rollouts_a_second: Completions a second of sampling.
    """

    rewards: tuple[float, ...] = ()
    skipped: int = 0
    groups: int = 0
    rollouts_a_second: float = 0.0


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise UsageError(f"{name}={value}: must be {least} or more")


def _share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise UsageError(f"{name}={value}: must be 0 or more and below 1")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name}={value!r}: must be one of {', '.join(known)}")
