"""Stage 2: group relative policy optimisation on measured outcomes (AROMA, section 3.5 and table 15).

A step samples a group of completions for each of its prompts, rewards them, and raises the probability of those that
earned more than their group. What the model sees of a prompt, interaction tokens and all, is the same when it samples
and when it learns. Groups in which all earned the same teach nothing: they are left out and counted. Encoders and base
are frozen, the interaction modules too unless asked for; so the model at the start of the stage, which the divergence
is taken from, differs in the trained weights only, which are kept beside the checkpoint.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from aroma.errors import ModelError
from aroma.model.aroma.scoring import score_answers
from aroma.model.aroma.tokens import plain_text
from aroma.model.aroma.training.batches import cut_by_tokens, epoch_steps, steps_an_epoch
from aroma.model.aroma.training.checkpoints import REFERENCE, Checkpoint, read_checkpoint, write_checkpoint
from aroma.model.aroma.training.collator import Encoded, collate, count_absent
from aroma.model.aroma.training.guards import TokenBudget, memory_watched
from aroma.model.aroma.training.loop import Clock, Loop, trained_parameters
from aroma.model.aroma.training.metrics import METRICS, PICTURE, draw_curves
from aroma.model.aroma.training.modes import fused_log_probs, training_mode, weights_of
from aroma.model.aroma.training.options import GrpoOptions, GrpoResult, Progress
from aroma.model.aroma.training.policy import advantages, completion_log_probs, policy_loss, token_weights
from aroma.model.aroma.training.rewards import reward_parts, total
from aroma.model.aroma.training.rollouts import Rollout, encode_prompts, sample
from aroma.model.labels import COLUMN_OF_LABEL
from aroma.model.traces.answers import parse
from aroma.retrieval.prompts import PLACEHOLDERS

if TYPE_CHECKING:
    from aroma.model.aroma.language_model import Aroma
    from aroma.model.aroma.modalities import ModalityBank
    from aroma.model.aroma.prompting import PromptRow

STAGE: Final = "grpo"
_WINDOW: Final = 8
Prompts = Sequence[tuple["PromptRow", int]]
_PANELS: Final = {
    "reward": ("reward", "reward_right_class", "reward_form", "reward_one_class", "reward_log_score"),
    "divergence from stage 1, nats a token": ("kl",),
    "groups without spread": ("skipped",),
}


@dataclass
class _Drawn:
    """The completions of a step and what they earned.

    Attributes:
        rollouts: Those of groups with spread.
        advantages: One a rollout.
        parts: Mean of each part of the reward over all completions of this process, before its weight.
        counts: ``completions``, ``groups``, ``skipped``, ``reward`` (sum), ``tokens``, ``ended``.
        before: Log-probabilities when drawn, by rollout; filled by the first pass.
    """

    rollouts: list[Rollout] = field(default_factory=list)
    advantages: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    before: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Stage:
    """What a step needs."""

    aroma: Aroma
    prompts: Prompts
    encoded: Sequence[Encoded]
    bank: ModalityBank
    options: GrpoOptions
    loop: Loop
    reference: Mapping[str, Tensor]
    budget: TokenBudget


def train_grpo(
    aroma: Aroma,
    prompts: Prompts,
    bank: ModalityBank,
    options: GrpoOptions,
    directory: Path,
    progress: Progress,
) -> GrpoResult:
    """Train stage 2, or go on with it where ``directory`` holds a checkpoint of the same training.

    Args:
        aroma: The model that stage 1 left; changed in place, and has the best weights at the end: those after the
            steps whose completions earned most.
        prompts: Prompts and their measured labels; rows that stage 1 did not learn from.
        bank: Vectors of the genes.
        options: What was chosen.
        directory: Of checkpoints, ``metrics.jsonl`` and ``curves.png``.
        progress: Told after each step; what it raises ends the training, which can be gone on with.

    Raises:
        UsageError: An option that does not fit.
        ModelError: A row that is no prompt (named), a number that is not finite (the rows named, the last checkpoint
            stands), memory that ends at a single prompt, or a checkpoint of another training.
    """
    options.check()
    if not prompts:
        raise ModelError("there are no prompts to train on; keep rows out of stage 1 for this one")
    encoded = encode_prompts(aroma, [prompt for prompt, _ in prompts], options.max_new_tokens)
    each = steps_an_epoch(len(prompts), options.prompts_per_step)
    whole = each * options.epochs * options.iterations
    facts = {"stage": STAGE, "rows": _sha256(prompts)}
    trained = trained_parameters(aroma, options, interaction=options.train_interaction)
    start = {name: one.detach().clone() for name, one in trained.items()}
    loop = Loop(aroma, trained, options, facts, directory, min(options.steps or whole, whole), smaller_is_better=False)
    if loop.processes.is_sharded:
        raise ModelError("stage 2 samples from the whole model; start it without FSDP (each process holds the model)")
    reference = _reference(directory, loop, start)
    more = loop.state.more
    for name, value in {"rewards": [], "skipped": 0, "groups": 0, "rollout_tokens": options.rollout_tokens}.items():
        more.setdefault(name, value)
    budget = TokenBudget(more["rollout_tokens"], loop.state.notes)
    stage = _Stage(aroma, prompts, encoded, bank, options, loop, reference, budget)
    with fused_log_probs(aroma, options.temperature):
        speed = _train(stage, each, progress)
    loop.finish()
    if loop.processes.is_first:
        draw_curves(directory, "stage 2: group relative policy optimisation", _PANELS, loop.state.best_step)
    return _result(stage, directory, speed)


def _train(stage: _Stage, each: int, progress: Progress) -> float:
    """Do what is left of the steps; return completions a second of sampling."""
    loop, options = stage.loop, stage.options
    drawn = seconds = 0.0
    while not loop.is_over():
        turn = loop.state.step // options.iterations
        epoch, place = divmod(turn, each)
        lengths = [len(one) for one in stage.encoded]
        order = epoch_steps(lengths, options.prompts_per_step, options.seed, epoch)
        for rows in order[place:]:
            count, lasted = _turn(stage, rows, progress)
            drawn, seconds = drawn + count, seconds + lasted
            if loop.is_over():
                break
    return drawn / seconds if seconds else 0.0


def _turn(stage: _Stage, rows: list[int], progress: Progress) -> tuple[float, float]:
    """Sample once and take ``iterations`` steps on it; return how many were sampled in how many seconds."""
    loop, options, clock = stage.loop, stage.options, Clock()
    found = _draw(stage, rows)
    lasted = clock.lap()
    sums = loop.processes.add({**found.counts, **{f"reward_{name}": value for name, value in found.parts.items()}})
    reward = sums["reward"] / sums["completions"]
    loop.state.more["rewards"].append(reward)
    for _ in range(options.iterations):
        rate = loop.rate
        with training_mode(stage.aroma, checkpointing=options.gradient_checkpointing, dropout=False):
            loss, kl, clipped = loop.attempt(partial(_gather, stage, found))
        norm = loop.change_weights(loss, [stage.prompts[row][0] for row in rows])
        line = _line(sums, loss=loss, kl=kl, clipped=clipped, rate=rate, norm=norm)
        line |= {"rollout_seconds": round(lasted, 4), "seconds": round(clock.lap(), 4)}
        line["rollouts_a_second"] = round(sums["completions"] / lasted, 2)
        loop.end_step(loss, line)
        if loop.is_over():
            break
    loop.state.more["groups"] += int(sums["groups"])
    loop.state.more["skipped"] += int(sums["skipped"])
    _offer(loop, options)
    loop.save_if_due(options.iterations)
    loop.tell(progress, f"step {loop.state.step} of {loop.total}, reward {reward:.3f}")
    return sums["completions"], lasted


def _offer(loop: Loop, options: GrpoOptions) -> None:
    """Keep the weights as the best, if the last steps' completions earned most: one step's reward is mostly chance."""
    window = min(_WINDOW, -(-loop.total // options.iterations))
    recent = loop.state.more["rewards"][-window:]
    if len(recent) == window:
        loop.offer(sum(recent) / window)


def _draw(stage: _Stage, rows: list[int]) -> _Drawn:
    """Sample and reward the completions of this process's share of a step's prompts."""
    loop, many = stage.loop, stage.loop.processes
    own = rows[many.rank :: many.size]

    def attempt(budget: int) -> list[Rollout]:
        loop.seed("rollouts")
        if not own:
            return []
        asked = [stage.prompts[row][0] for row in own]
        with loop.autocast():
            return sample(stage.aroma, asked, stage.bank, stage.options, rollout_tokens=budget, alone=many.size == 1)

    rollouts = stage.budget.run(attempt, loop.device, loop.state.step + 1)
    loop.state.more["rollout_tokens"] = stage.budget.tokens
    rollouts = [Rollout(own[one.prompt], one.tokens, one.log_probs, one.text, one.has_ended) for one in rollouts]
    parts = _parts(stage, rollouts)
    return _advantages(stage, own, rollouts, parts)


def _parts(stage: _Stage, rollouts: Sequence[Rollout]) -> list[dict[str, float]]:
    """Return the parts of each completion's reward."""
    options, labels = stage.options.rewards, [stage.prompts[one.prompt][1] for one in rollouts]
    chances: list[float | None] = [None] * len(rollouts)
    if options.log_score:
        thoughts = [_plain(stage.aroma.tokenizer, parse(one.text).reasoning) for one in rollouts]
        asked = [stage.prompts[one.prompt][0] for one in rollouts]
        found = score_answers(stage.aroma, asked, stage.bank, reasoning=thoughts, batch_tokens=stage.loop.budget.tokens)
        chances = [float(found[row, COLUMN_OF_LABEL[label]]) for row, label in enumerate(labels)]
    return [
        reward_parts(one.text, label, options, chance)
        for one, label, chance in zip(rollouts, labels, chances, strict=True)
    ]


def _plain(tokenizer: Any, text: str) -> str:
    """Return reasoning without anything that would be read as a special token; a model may have spelled one out."""
    for token in PLACEHOLDERS:
        text = text.replace(token, token.strip("<>"))
    return plain_text(tokenizer, text)


def _advantages(stage: _Stage, own: list[int], rollouts: list[Rollout], parts: list[dict[str, float]]) -> _Drawn:
    """Return the completions that something can be learnt of, and what all of them earned."""
    drawn = _Drawn()
    rewards = [total(one, stage.options.rewards) for one in parts]
    groups: dict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(rollouts):
        groups[one.prompt].append(place)
    skipped = 0
    for places in groups.values():
        group = advantages([rewards[place] for place in places], stage.options)
        if group.advantages is None:
            skipped += 1
            continue
        drawn.rollouts += [rollouts[place] for place in places]
        drawn.advantages += group.advantages
    drawn.parts = {name: sum(one[name] for one in parts) for name in (parts[0] if parts else {})}
    drawn.counts = {
        "completions": float(len(rollouts)),
        "groups": float(len(groups)),
        "skipped": float(skipped),
        "reward": sum(rewards),
        "tokens": float(sum(len(one.tokens) for one in rollouts)),
        "ended": float(sum(one.has_ended for one in rollouts)),
        "learnt_tokens": float(sum(len(one.tokens) for one in drawn.rollouts)),
        "learnt": float(len(drawn.rollouts)),
    }
    return drawn


def _gather(stage: _Stage, drawn: _Drawn, budget: int) -> tuple[float, float, float]:
    """Gather the gradient of a step; return loss, mean divergence and share of clipped tokens over all processes."""
    loop, options, many = stage.loop, stage.options, stage.loop.processes
    sizes = many.add({"tokens": drawn.counts["learnt_tokens"], "completions": drawn.counts["learnt"]})
    lengths = [len(stage.encoded[one.prompt]) + len(one.tokens) for one in drawn.rollouts]
    loss = kl = clipped = 0.0
    for batch in cut_by_tokens(range(len(lengths)), lengths, budget):
        some = [drawn.rollouts[place] for place in batch]
        rows = [stage.prompts[one.prompt][0] for one in some]
        with memory_watched(rows, lengths[batch[0]], alone=many.size == 1):
            ids, mask, modalities, written, is_token = _tensors(stage, some, rows)
            inputs = (ids, mask, modalities)
            with loop.autocast():
                reference = _reference_log_probs(stage, inputs, written, is_token)
                now = completion_log_probs(stage.aroma, inputs, written, is_token)
            before = _before(drawn, batch, now)
            each = token_weights(
                [len(one.tokens) for one in some], int(sizes["tokens"]), int(sizes["completions"]), options
            )
            weight = torch.tensor(each, device=now.device)[:, None] * is_token
            advantage = torch.tensor([drawn.advantages[place] for place in batch], device=now.device, dtype=now.dtype)
            part = policy_loss(now, before, reference, advantage, weight, options)
            part.loss.backward()  # type: ignore[no-untyped-call]
            loss, kl, clipped = loss + float(part.loss.detach()), kl + part.kl, clipped + part.clipped
    found = many.add({"loss": loss, "kl": kl, "clipped": clipped})
    tokens = max(sizes["tokens"], 1.0)
    return found["loss"], found["kl"] / tokens, found["clipped"] / tokens


def _tensors(
    stage: _Stage, some: Sequence[Rollout], rows: Sequence[PromptRow]
) -> tuple[Tensor, Tensor, Any, Tensor, Tensor]:
    """Return prompt ids, their mask, vectors, completions and where these have tokens."""
    pad = stage.aroma.tokenizer.pad_token_id
    batch = collate([stage.encoded[one.prompt] for one in some], rows, stage.bank, pad).to(stage.aroma.device)
    longest = max(len(one.tokens) for one in some)
    written = torch.full((len(some), longest), pad, dtype=torch.long)
    is_token = torch.zeros((len(some), longest), dtype=torch.bool)
    for place, one in enumerate(some):
        written[place, : len(one.tokens)] = torch.tensor(one.tokens)
        is_token[place, : len(one.tokens)] = True
    device = stage.aroma.device
    return batch.input_ids, batch.attention_mask, batch.modalities, written.to(device), is_token.to(device)


def _reference_log_probs(stage: _Stage, inputs: Any, written: Tensor, is_token: Tensor) -> Tensor | None:
    if not stage.options.kl:
        return None
    with torch.no_grad(), weights_of(stage.loop.trained, stage.reference):
        return completion_log_probs(stage.aroma, inputs, written, is_token)


def _before(drawn: _Drawn, batch: Sequence[int], now: Tensor) -> Tensor:
    """Return the log-probabilities before the first step on these completions; the first pass is that."""
    before = now.detach().clone()
    for row, place in enumerate(batch):
        length = len(drawn.rollouts[place].tokens)
        if place in drawn.before:
            before[row, :length] = drawn.before[place].to(before.device)
        else:
            drawn.before[place] = before[row, :length].cpu()
    return before


def _line(sums: Mapping[str, float], **more: float) -> dict[str, float]:
    """Return what is written of a step."""
    count = sums["completions"]
    parts = {name: value / count for name, value in sums.items() if name.startswith("reward_")}
    return {
        "reward": sums["reward"] / count,
        **parts,
        "skipped": sums["skipped"] / sums["groups"],
        "length": sums["tokens"] / count,
        "ended": sums["ended"] / count,
        **more,
    }


def _reference(directory: Path, loop: Loop, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the trained weights at the start of the stage; written at its first step, read when it is gone on with."""
    place = directory / REFERENCE
    if loop.state.step == 0:
        if loop.processes.is_first:
            write_checkpoint(place, Checkpoint({"stage": STAGE}, start))
        return dict(start)
    found = read_checkpoint(place)
    if found is None:
        raise ModelError(f"{place}: is gone, and the divergence is taken from it; remove the directory to begin anew")
    return {name: found.weights[name].to(one.device) for name, one in loop.trained.items()}


def _sha256(prompts: Prompts) -> str:
    told = hashlib.sha256()
    for prompt, label in prompts:
        told.update(f"{prompt.name}\0{prompt.text}\0{label}\n".encode())
    return told.hexdigest()


def _result(stage: _Stage, directory: Path, speed: float) -> GrpoResult:
    loop = stage.loop
    return GrpoResult(
        steps=loop.state.step,
        best_step=loop.state.best_step,
        best=float("nan") if loop.state.best is None else loop.state.best,
        losses=tuple(loop.state.losses),
        absent=count_absent([prompt for prompt, _ in stage.prompts], stage.bank),
        notes=tuple(loop.state.notes),
        metrics=directory / METRICS,
        picture=directory / PICTURE,
        rewards=tuple(loop.state.more["rewards"]),
        skipped=loop.state.more["skipped"],
        groups=loop.state.more["groups"],
        rollouts_a_second=speed,
    )
