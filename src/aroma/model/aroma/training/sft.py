"""Stage 1: supervised fine-tuning on traces (AROMA, section 3.5 and table 14).

The adapter and the interaction modules learn; the base's own weights and the encoders (whose vectors are read from
disk) do not. The loss is of the completion alone. A step's gradient is that of the mean over all its completion tokens,
however the rows were put into batches and dealt to processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from torch import Tensor

from aroma.errors import ModelError
from aroma.model.aroma.training.batches import cut_by_tokens, epoch_steps, most_batches, padding_share, steps_an_epoch
from aroma.model.aroma.training.collator import Encoded, collate, count_absent, encode_rows
from aroma.model.aroma.training.guards import memory_watched
from aroma.model.aroma.training.loop import Clock, Loop, trained_parameters
from aroma.model.aroma.training.metrics import METRICS, PICTURE, draw_curves
from aroma.model.aroma.training.modes import evaluation_mode, fused_log_probs, training_mode
from aroma.model.aroma.training.options import Progress, SftOptions, SftResult, TrainingRow

if TYPE_CHECKING:
    from aroma.model.aroma.language_model import Aroma
    from aroma.model.aroma.modalities import ModalityBank

STAGE: Final = "sft"
_PANELS: Final = {
    "loss": ("loss", "validation_loss"),
    "learning rate": ("rate",),
    "tokens a second": ("tokens_a_second",),
}


@dataclass(frozen=True)
class _Data:
    """Rows in both forms."""

    rows: Sequence[TrainingRow]
    encoded: Sequence[Encoded]
    bank: ModalityBank

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row, counted once: every step asks for them many times."""
        return [len(row) for row in self.encoded]


def train_sft(
    aroma: Aroma,
    rows: Sequence[TrainingRow],
    bank: ModalityBank,
    options: SftOptions,
    directory: Path,
    progress: Progress,
    *,
    validation: Sequence[TrainingRow] | None = None,
) -> SftResult:
    """Train stage 1, or go on with it where ``directory`` holds a checkpoint of the same training.

    Args:
        aroma: The model; changed in place, and has the best step's weights at the end.
        rows: What is learnt from.
        bank: Vectors of the genes.
        options: What was chosen.
        directory: Of ``last.safetensors``, ``best.safetensors``, ``metrics.jsonl`` and ``curves.png``.
        progress: Told after each step; what it raises ends the training, which can be gone on with.
        validation: Rows of the validation loss; None: a share of the perturbations is held out of ``rows``.

    Raises:
        UsageError: An option that does not fit.
        ModelError: A row that cannot be trained on (named), a number that is not finite (the rows named, the last
            checkpoint stands), memory that ends at a single row, or a checkpoint of another training.
    """
    options.check()
    if not rows:
        raise ModelError("there are no rows to train on; look at what the traces' filter kept")
    learnt, held = (rows, validation) if validation is not None else hold_out(rows, options)
    modalities = aroma.options.modalities
    data, unseen = (
        _Data(some, encode_rows(aroma.tokenizer, some, modalities, aroma.context), bank) for some in (learnt, held)
    )
    facts = {"stage": STAGE, "rows": rows_sha256(learnt), "validation": rows_sha256(held)}
    each = steps_an_epoch(len(learnt), options.rows_per_step)
    total = min(options.steps or each * options.epochs, each * options.epochs)
    loop = Loop(aroma, trained_parameters(aroma, options), options, facts, directory, total, smaller_is_better=True)
    loop.state.more.setdefault("validation", {})
    with fused_log_probs(aroma):
        speed = _train(aroma, loop, data, unseen, options, each, progress)
    loop.finish()
    if loop.processes.is_first:
        draw_curves(directory, "stage 1: supervised fine-tuning", _PANELS, loop.state.best_step)
    return _result(loop, data, directory, speed)


def hold_out(rows: Sequence[TrainingRow], options: SftOptions) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """Return rows to learn from and rows of held-out perturbations; none are held where there are too few of them."""
    names = sorted({row.prompt.perturbation for row in rows})
    count = min(round(len(names) * options.validation_share), len(names) - 1)
    chosen = np.random.default_rng([options.seed, 2]).permutation(len(names))[: max(count, 0)]
    held = {names[number] for number in chosen}
    return (
        [row for row in rows if row.prompt.perturbation not in held],
        [row for row in rows if row.prompt.perturbation in held],
    )


def rows_sha256(rows: Sequence[TrainingRow]) -> str:
    """Return a hash of what is learnt from, in its order."""
    told = hashlib.sha256()
    for row in rows:
        told.update(f"{row.prompt.name}\0{row.prompt.text}\0{row.completion}\0{row.label}\n".encode())
    return told.hexdigest()


def mean_loss(aroma: Aroma, rows: Sequence[TrainingRow], bank: ModalityBank, tokens_per_batch: int = 8192) -> float:
    """Return the mean loss of a completion token, in nats, without dropout."""
    encoded = encode_rows(aroma.tokenizer, rows, aroma.options.modalities, aroma.context)
    data = _Data(rows, encoded, bank)
    with fused_log_probs(aroma), evaluation_mode(aroma):
        return sum(
            float(_summed_loss(aroma, data, batch, 0))
            for batch in cut_by_tokens(range(len(rows)), data.lengths, tokens_per_batch)
        ) / sum(len(row.completion) for row in encoded)


def _train(
    aroma: Aroma, loop: Loop, data: _Data, unseen: _Data, options: SftOptions, each: int, progress: Progress
) -> float:
    """Do what is left of the steps; return tokens a second."""
    tokens = seconds = 0.0
    while not loop.is_over():
        epoch, place = divmod(loop.state.step, each)
        order = epoch_steps(
            data.lengths, options.rows_per_step, options.seed, epoch, group_by_length=options.group_by_length
        )
        for rows in order[place:]:
            line = _step(aroma, loop, data, rows, options)
            tokens, seconds = tokens + line["tokens"], seconds + line["seconds"]
            is_epoch_end = loop.state.step % each == 0
            is_due = loop.state.step % options.evaluate_every == 0 if options.evaluate_every else is_epoch_end
            if is_due or loop.is_over():
                _validate(aroma, loop, unseen)
            loop.save_if_due()
            loop.tell(progress, f"step {loop.state.step} of {loop.total}, loss {loop.state.losses[-1]:.4f}")
            if loop.is_over():
                break
    return tokens / seconds if seconds else 0.0


def _step(aroma: Aroma, loop: Loop, data: _Data, rows: list[int], options: SftOptions) -> dict[str, Any]:
    """Take one step of the optimiser; return its line."""
    clock, rate = Clock(), loop.rate
    lengths = [options.pad_to] * len(data.encoded) if options.pad_to else data.lengths
    with training_mode(aroma, checkpointing=options.gradient_checkpointing):
        loss, batches = loop.attempt(partial(_gather, loop, data, rows, lengths))
    norm = loop.change_weights(loss, [data.rows[row].prompt for row in rows])
    seconds, tokens = clock.lap(), sum(data.lengths[row] for row in rows)
    line = {
        "epoch": round(loop.state.step / max(loop.total, 1) * options.epochs, 4),
        "rate": rate,
        "norm": norm,
        "tokens": tokens,
        "batches": len(batches),
        "padding": round(
            padding_share(batches, data.lengths) if not options.pad_to else 1 - tokens / (options.pad_to * len(rows)), 4
        ),
        "seconds": round(seconds, 4),
        "tokens_a_second": round(tokens / seconds, 1),
    }
    loop.end_step(loss, line)
    return line


def _gather(loop: Loop, data: _Data, rows: list[int], lengths: list[int], budget: int) -> tuple[float, list[list[int]]]:
    """Gather the gradient of a step; return its loss over all processes and this process's batches."""
    loop.seed("forward")
    many = loop.processes
    batches = cut_by_tokens(rows, lengths, budget, share=many.rank, shares=many.size)
    answers = sum(len(data.encoded[row].completion) for row in rows)
    scale = many.size if many.is_sharded else 1  # FSDP takes the mean over the processes
    loss = 0.0
    for batch in batches:
        with memory_watched(
            [data.rows[row].prompt for row in batch], max(lengths[row] for row in batch), alone=many.size == 1
        ):
            with loop.autocast():
                part = _summed_loss(loop.model, data, batch, max(lengths[row] for row in batch)) / answers
            (part * scale).backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
    if many.is_sharded:
        for _ in range(most_batches(rows, lengths, budget, many.size) - len(batches)):
            (_summed_loss(loop.model, data, rows[:1], 0) * 0.0).backward()  # type: ignore[no-untyped-call]
    return many.add({"loss": loss})["loss"], batches


def _summed_loss(model: Any, data: _Data, rows: Sequence[int], to: int) -> Tensor:
    """Return the summed loss of the rows' completion tokens."""
    prompts = [data.rows[row].prompt for row in rows]
    aroma = getattr(model, "module", model)
    batch = collate([data.encoded[row] for row in rows], prompts, data.bank, aroma.tokenizer.pad_token_id, to)
    batch = batch.to(aroma.device)
    said = model(
        batch.input_ids,
        batch.attention_mask,
        batch.modalities,
        labels=batch.labels,
        names=[prompt.name for prompt in prompts],
        fused_lm_head=True,
    )
    summed: Tensor = -said.log_probs.float().sum()
    return summed


def _validate(aroma: Aroma, loop: Loop, unseen: _Data) -> None:
    """Measure the validation loss and keep the weights if they are the best; without rows, the last are the best."""
    if not unseen.rows:
        loop.state.best = None
        loop.offer(loop.state.losses[-1])
        return
    many, lengths = loop.processes, unseen.lengths

    def measure(budget: int) -> float:
        every = range(len(lengths))
        batches = cut_by_tokens(every, lengths, budget, share=many.rank, shares=many.size)
        found = 0.0
        for batch in batches:
            with memory_watched([unseen.rows[row].prompt for row in batch], lengths[batch[0]], alone=many.size == 1):
                found += float(_summed_loss(loop.model, unseen, batch, 0))
        if many.is_sharded:
            for _ in range(most_batches(every, lengths, budget, many.size) - len(batches)):
                _summed_loss(loop.model, unseen, [0], 0)
        return found

    with evaluation_mode(aroma), loop.autocast():
        summed = many.add({"loss": loop.attempt(measure)})["loss"]
    value = summed / sum(len(row.completion) for row in unseen.encoded)
    if not np.isfinite(value):
        raise ModelError(
            f"step {loop.state.step}: the validation loss is {value}; the best checkpoint before it stands"
        )
    loop.state.more["validation"][str(loop.state.step)] = value
    loop.write({"validation_loss": value})
    loop.offer(value)


def _result(loop: Loop, data: _Data, directory: Path, speed: float) -> SftResult:
    absent = count_absent([row.prompt for row in data.rows], data.bank)
    validation: Mapping[str, float] = loop.state.more["validation"]
    return SftResult(
        steps=loop.state.step,
        best_step=loop.state.best_step,
        best=float("nan") if loop.state.best is None else loop.state.best,
        losses=tuple(loop.state.losses),
        absent=absent,
        notes=tuple(loop.state.notes),
        metrics=directory / METRICS,
        picture=directory / PICTURE,
        validation={int(step): value for step, value in validation.items()},
        tokens_a_second=speed,
    )
