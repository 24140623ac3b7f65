"""What both stages share: the optimiser and its schedule, checkpoints, the lines of a training, going on after a kill.

Every draw of a step (dropout, sampling) comes from the seed and the number of the step, and every batch from the seed
and the epoch, so what a checkpoint has to hold is weights, the optimiser's state and the number of the step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup

from aroma.errors import ModelError, UsageError
from aroma.kgstore.work_loop import StoppedError
from aroma.model.aroma.options import TINY
from aroma.model.aroma.training.checkpoints import (
    BEST,
    LAST,
    Checkpoint,
    read_checkpoint,
    refuse_other,
    write_checkpoint,
)
from aroma.model.aroma.training.guards import TokenBudget, check_finite
from aroma.model.aroma.training.metrics import MetricLines
from aroma.model.aroma.training.options import Progress, StageOptions
from aroma.model.aroma.training.processes import processes, put, whole

if TYPE_CHECKING:
    from aroma.model.aroma.language_model import Aroma
    from aroma.model.aroma.prompting import PromptRow

_MAY_CHANGE: Final = ("steps", "epochs", "save_every", "tokens_per_batch", "gradient_checkpointing", "rollout_tokens")
"""Options that a training may be gone on with under another value; the length of the schedule stands beside them."""
_PARTS: Final = {"forward": 0, "rollouts": 1, "validation": 2}


@dataclass
class State:
    """Where a training stands; JSON values.

    Attributes:
        step: Steps of the optimiser done.
        losses: Of every step.
        best: Best validation loss or reward so far; None before the first.
        best_step: Its step.
        tokens_per_batch: Budget now.
        notes: What a user should know.
        more: What a stage adds.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    best: float | None = None
    best_step: int = 0
    tokens_per_batch: int = 0
    notes: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)


class Loop:
    """One training under way, gone on with from its last checkpoint where there is one.

    Args:
        aroma: The model.
        trained: Parameters that are trained, by name.
        options: Of the stage.
        facts: What else must be the same to go on: stage, hash of the rows.
        directory: Of checkpoints and lines.
        total: Steps of the whole schedule.
        smaller_is_better: Whether the best is the smallest (a loss) or the largest (a reward).

    Raises:
        ModelError: The checkpoint there is damaged, or of a training with other settings.
    """

    def __init__(
        self,
        aroma: Aroma,
        trained: Mapping[str, nn.Parameter],
        options: StageOptions,
        facts: Mapping[str, Any],
        directory: Path,
        total: int,
        *,
        smaller_is_better: bool,
    ) -> None:
        self.options, self.directory, self.total = options, directory, total
        self._facts = {**options.as_facts(), **facts, "total": total}
        self._sign = -1 if smaller_is_better else 1
        self.processes = processes()
        self.trained = dict(trained)
        matrices = [one for one in self.trained.values() if one.ndim > 1]
        vectors = [one for one in self.trained.values() if one.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=options.rate, betas=options.betas
        )
        self.model, self.optimiser = self.processes.prepare(aroma, optimiser)
        if self.processes.is_sharded:
            self.trained = {name: one for name, one in aroma.named_parameters() if name in self.trained}
        self.device = next(iter(self.trained.values())).device
        self.state, self._saved = State(tokens_per_batch=options.tokens_per_batch), 0
        self._resume()
        self.budget = TokenBudget(self.state.tokens_per_batch, self.state.notes)
        self._schedule = self._make_schedule()
        self.lines = MetricLines(directory, self.state.step) if self.processes.is_first else None

    def is_over(self) -> bool:
        """Whether every step is done."""
        return self.state.step >= self.total

    def seed(self, part: str) -> None:
        """Seed every draw of one part of the step that is next, in this process."""
        entropy = [self.options.seed, self.state.step, _PARTS[part], self.processes.rank]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute in bfloat16 where that was chosen."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            yield

    def attempt(self, what: Callable[[int], Any]) -> Any:
        """Do the batches of a step, from the start with half the budget where memory ends."""

        def begun(budget: int) -> Any:
            self.optimiser.zero_grad(set_to_none=True)
            return what(budget)

        found = self.budget.run(begun, self.device, self.state.step + 1)
        self.state.tokens_per_batch = self.budget.tokens
        return found

    def change_weights(self, loss: float, rows: Sequence[PromptRow]) -> float:
        """Change the weights by the gradient that was gathered; return its norm.

        Raises:
            ModelError: Loss or norm is not finite: nothing was changed.
        """
        self._check(loss, "loss", rows)
        parameters = [one for one in self.trained.values() if one.requires_grad]
        self.processes.add_gradients(parameters)
        norm = float(whole(torch.nn.utils.clip_grad_norm_(parameters, self.options.clip_norm)))
        self._check(norm, "norm of the gradient", rows)
        self.optimiser.step()
        self._schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        return norm

    @property
    def rate(self) -> float:
        """Learning rate of the step that is next."""
        return float(self.optimiser.param_groups[0]["lr"])

    def end_step(self, loss: float, line: Mapping[str, Any]) -> None:
        """Count a step as done and write its line."""
        self.state.step += 1
        self.state.losses.append(loss)
        self.write({"step": self.state.step, "loss": loss, **line})

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line of ``metrics.jsonl``; the first process does."""
        if self.lines is not None:
            self.lines.write({"step": self.state.step, **line})

    def offer(self, value: float) -> None:
        """Keep the weights of this step as the best, if they are."""
        if self.state.best is None or self._sign * value > self._sign * self.state.best:
            self.state.best, self.state.best_step = value, self.state.step
            weights = self._weights()
            if self.processes.is_first:
                facts = {**self._facts, "step": self.state.step, "value": value}
                write_checkpoint(self.directory / BEST, Checkpoint(facts, weights))

    def save_if_due(self, steps: int = 1) -> None:
        """Write the checkpoint when one of the last ``steps`` steps was due, after the first and after the last of all.

        The first shows early that there is room on the disk.
        """
        every, step = self.options.save_every, self.state.step
        if step <= steps or step // every > (step - steps) // every or self.is_over():
            self.save()

    def save(self) -> None:
        """Write the last checkpoint."""
        weights, moments = self._weights(), self._moments()
        if self.processes.is_first:
            facts = {"options": self._facts, "state": vars(self.state)}
            write_checkpoint(self.directory / LAST, Checkpoint(facts, weights, moments))
        self._saved = self.state.step
        self.processes.wait()

    def tell(self, progress: Progress, what: str) -> None:
        """Say how far it is; where this process is to end, the checkpoint is written first."""
        try:
            progress(what, self.state.step / max(self.total, 1))
        except StoppedError:
            self.save()
            raise

    def finish(self) -> None:
        """Give the model the weights of the best step."""
        found = read_checkpoint(self.directory / BEST)
        if found is not None:
            self._put_weights(found, self.directory / BEST)

    # --- weights and moments by name ----------------------------------------------------------------------------

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: whole(one.detach()) for name, one in self.trained.items()}

    def _moments(self) -> dict[str, torch.Tensor]:
        found = {}
        for name, one in self.trained.items():
            for kind, value in self.optimiser.state.get(one, {}).items():
                found[f"{name}|{kind}"] = whole(value) if isinstance(value, torch.Tensor) else torch.tensor(value)
        return found

    def _put_weights(self, found: Checkpoint, place: Path) -> None:
        other = sorted(set(found.weights) ^ set(self.trained))
        if other:
            raise ModelError(f"{place}: its weights are of another model ({other[0]}); remove it to begin anew")
        for name, value in found.weights.items():
            if value.shape != self.trained[name].shape:
                raise ModelError(f"{place}: {name} has shape {tuple(value.shape)}; remove it to begin anew")
            put(self.trained[name].data, value)

    def _put_moments(self, moments: Mapping[str, torch.Tensor]) -> None:
        for name, one in self.trained.items():
            kinds = {key.partition("|")[2]: value for key, value in moments.items() if key.partition("|")[0] == name}
            if not kinds:
                continue
            held = self.optimiser.state[one]
            for kind, value in kinds.items():
                if value.ndim == 0:
                    held[kind] = value.clone()
                else:
                    held[kind] = torch.zeros_like(one)
                    put(held[kind], value)

    # --- going on -----------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        place = self.directory / LAST
        found = read_checkpoint(place)
        if found is None:
            return
        refuse_other(place, found.facts["options"], self._facts, _MAY_CHANGE)
        self._put_weights(found, place)
        self._put_moments(found.optimiser)
        self.state = State(**found.facts["state"])
        self._saved = self.state.step

    def _make_schedule(self) -> torch.optim.lr_scheduler.LRScheduler:
        warm = math.ceil(self.options.warmup * self.total)
        for group in self.optimiser.param_groups:
            group["initial_lr"] = self.options.rate
        inner = getattr(self.optimiser, "optimizer", self.optimiser)  # accelerate wraps it
        made: torch.optim.lr_scheduler.LRScheduler = get_cosine_schedule_with_warmup(
            inner, warm, self.total, last_epoch=self.state.step - 1
        )
        return made

    def _check(self, value: float, what: str, rows: Sequence[PromptRow]) -> None:
        check_finite(value, what, self.state.step + 1, rows, self.directory / LAST, self._saved)


def trained_parameters(aroma: Aroma, options: StageOptions, *, interaction: bool = True) -> dict[str, nn.Parameter]:
    """Return what a stage trains, by name, and freeze the rest.

    Args:
        aroma: The model.
        options: ``train_base`` thaws the base.
        interaction: Whether the interaction modules are trained.

    Raises:
        UsageError: ``train_base`` with real weights: what is saved of a model is its adapter and modules.
        ModelError: Nothing is left to train.
    """
    if options.train_base and aroma.options.base not in TINY:
        raise UsageError(
            f"train_base is for the bases {' and '.join(TINY)}; of {aroma.options.base} the adapter learns"
        )
    if options.train_base:
        aroma.language_model.requires_grad_(requires_grad=True)
    if aroma.interaction is not None:
        aroma.interaction.requires_grad_(requires_grad=interaction)
    found = dict(aroma.trainable_parameters())
    if not found:
        raise ModelError("nothing is left to train: no adapter (lora_rank 0), and the interaction modules are frozen")
    return found


class Clock:
    """Seconds since it was last asked."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = time.perf_counter()
        passed, self._since = now - self._since, now
        return passed
