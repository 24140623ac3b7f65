from __future__ import annotations

import copy
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aroma.errors import ModelError, UsageError
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.training.collator import IGNORED, collate, count_absent, encode_row
from aroma.model.aroma.training.metrics import read_lines
from aroma.model.aroma.training.options import SftOptions, SftResult
from aroma.model.aroma.training.sft import hold_out, mean_loss, train_sft
from tests.model.aroma.training.conftest import SFT, Taught
from tests.support.toy_rule import toy_bank, toy_prompt, toy_rows

SHORT = SftOptions(epochs=2, rate=1e-3, rows_per_step=8, validation_share=0.2, save_every=2)
Make = Callable[..., Aroma]


def quiet(_what: str, _share: float) -> None:
    pass


def run(aroma: Aroma, bank: ModalityBank, place: Path, options: SftOptions = SHORT, **more: Any) -> SftResult:
    return train_sft(aroma, toy_rows(aroma.tokenizer, 32, vary=True), bank, options, place, quiet, **more)


def test_the_loss_falls_and_the_best_weights_are_kept(taught: Taught) -> None:
    aroma, result = taught.aroma, taught.result
    assert result.losses[0] > 6
    assert result.losses[-1] < 0.5
    assert result.best == min(result.validation.values()) < 1.0
    lines = list(read_lines(result.metrics))
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, result.steps + 1))
    assert {"rate", "tokens", "tokens_a_second", "padding", "norm", "epoch"} <= steps[0].keys()
    assert result.picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not aroma.training


def test_the_rule_is_read_from_the_interaction_tokens(taught: Taught, bank: ModalityBank) -> None:
    """Genes that training did not see follow the rule; with the vectors of other genes the traces are unlikely."""
    rows = toy_rows(taught.aroma.tokenizer, 96)
    _, unseen = hold_out(rows, SFT)
    assert len({row.label for row in unseen}) > 1
    others = [
        replace(row, prompt=replace(row.prompt, perturbation_gene=f"P{(int(row.prompt.perturbation[1:]) + 1) % 24}"))
        for row in unseen
    ]
    right, wrong = (mean_loss(taught.aroma, some, bank) for some in (unseen, others))
    assert right == pytest.approx(taught.result.best, abs=1e-3)
    assert right < 0.05
    assert wrong > 5 * right


def test_the_loss_is_of_the_completion_only(fresh: Make, bank: ModalityBank) -> None:
    aroma = fresh()
    row, longer = toy_rows(aroma.tokenizer, 2, vary=True)
    encoded = [encode_row(aroma.tokenizer, one, aroma.options.modalities) for one in (row, longer)]
    batch = collate(encoded, [row.prompt, longer.prompt], bank, aroma.tokenizer.pad_token_id)
    for place, one in enumerate(encoded):
        labels = batch.labels[place]
        assert labels[labels != IGNORED].tolist() == list(one.completion)
        assert int(batch.attention_mask[place].sum()) == len(one)
        assert batch.input_ids[place, -1] == aroma.tokenizer.eos_token_id
    assert bool((batch.labels[:, -1] != IGNORED).all())


def test_how_rows_are_put_into_batches_changes_nothing(fresh: Make, bank: ModalityBank, tmp_path: Path) -> None:
    options = replace(SHORT, steps=3, validation_share=0.0)
    made = {
        "grouped": options,
        "row by row": replace(options, tokens_per_batch=1),
        "padded": replace(options, pad_to=160),
        "checkpointed": replace(options, gradient_checkpointing=True),
    }
    losses = {name: run(fresh(), bank, tmp_path / name, one).losses for name, one in made.items()}
    for name, found in losses.items():
        assert found == pytest.approx(losses["grouped"], abs=2e-3), name


def test_only_adapter_and_interaction_learn(fresh: Make, bank: ModalityBank, place: Path) -> None:
    aroma = fresh()
    before = {name: one.detach().clone() for name, one in aroma.named_parameters()}
    run(aroma, bank, place)
    changed = {name for name, one in aroma.named_parameters() if not torch.equal(one, before[name])}
    assert changed
    assert all("lora_" in name or name.startswith("interaction.") for name in changed)
    assert any("lora_" in name for name in changed)
    assert any(name.startswith("interaction.") for name in changed)


def test_bfloat16_is_near_float32(fresh: Make, bank: ModalityBank, tmp_path: Path) -> None:
    options = replace(SHORT, steps=3, validation_share=0.0)
    wide = run(fresh(), bank, tmp_path / "a", options).losses
    narrow = run(fresh(), bank, tmp_path / "b", replace(options, precision="bfloat16")).losses
    assert narrow == pytest.approx(wide, abs=0.05)


def test_a_training_that_is_done_is_not_done_again(fresh: Make, bank: ModalityBank, place: Path) -> None:
    first_model, second_model = fresh(), fresh()
    first = run(first_model, bank, place)
    second = run(second_model, bank, place)
    assert second.losses == first.losses
    assert second.best == first.best
    others = dict(second_model.named_parameters())
    assert all(torch.equal(one, others[name]) for name, one in first_model.named_parameters())
    with pytest.raises(ModelError, match=r"rate=0.001, and now it is 0.002"):
        run(fresh(), bank, place, replace(SHORT, rate=0.002))
    rows = toy_rows(first_model.tokenizer, 33, vary=True)
    with pytest.raises(ModelError, match="rows="):
        train_sft(fresh(), rows, bank, SHORT, place, quiet)


_SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from aroma.model.aroma.training.sft import train_sft
from tests.model.aroma.training.test_sft import SHORT, quiet
from tests.support.toy_rule import toy_aroma, toy_bank, toy_rows
from dataclasses import replace
bank = toy_bank()
aroma = toy_aroma(bank, lora_dropout=0.1)
rows = toy_rows(aroma.tokenizer, 32, vary=True)
train_sft(aroma, rows, bank, replace(SHORT, epochs=4), Path(sys.argv[1]), quiet)
"""


def test_kill_9_and_going_on_gives_the_same_curve(tmp_path: Path, bank: ModalityBank, fresh: Make) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", _SCRIPT, str(killed)])
    deadline = time.monotonic() + 120
    while sum("loss" in line for line in read_lines(killed / "metrics.jsonl")) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = [line["step"] for line in read_lines(killed / "metrics.jsonl") if "loss" in line]
    options = replace(SHORT, epochs=4)
    resumed = run(fresh(lora_dropout=0.1), bank, killed, options)
    undisturbed = run(fresh(lora_dropout=0.1), bank, whole, options)
    assert 5 <= len(written) < undisturbed.steps
    assert resumed.losses == undisturbed.losses
    assert resumed.validation == undisturbed.validation

    def curve(place: Path) -> list[Any]:
        return [(line["step"], line.get("loss"), line.get("rate")) for line in read_lines(place / "metrics.jsonl")]

    assert curve(killed) == curve(whole)
    assert (killed / "last.safetensors").read_bytes() == (whole / "last.safetensors").read_bytes()
    assert {path.suffix for path in killed.iterdir()} == {".safetensors", ".jsonl", ".png"}


class OutOfMemoryAbove:
    """A model whose forward ends as a GPU's does when a batch has too many tokens."""

    def __init__(self, aroma: Aroma, most: int) -> None:
        self._forward, self.most, self.largest = aroma.forward, most, 0
        aroma.forward = self  # type: ignore[method-assign, assignment]

    def __call__(self, input_ids: Any, *given: Any, **more: Any) -> Any:
        if input_ids.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.largest = max(self.largest, input_ids.numel())
        return self._forward(input_ids, *given, **more)


def test_out_of_memory_halves_the_batch_and_goes_on(fresh: Make, bank: ModalityBank, tmp_path: Path) -> None:
    aroma = fresh()
    small = OutOfMemoryAbove(aroma, 200)
    found = run(aroma, bank, tmp_path / "small")
    usual = run(fresh(), bank, tmp_path / "usual")
    assert 0 < small.largest <= 200
    assert any("memory ended at a batch of 8 rows" in note for note in found.notes)
    assert not usual.notes
    assert found.losses == pytest.approx(usual.losses, abs=2e-3)


def test_out_of_memory_at_one_row_names_it(fresh: Make, bank: ModalityBank, place: Path) -> None:
    aroma = fresh()
    OutOfMemoryAbove(aroma, 10)
    with pytest.raises(ModelError, match=r"memory ended at a single row of \d+ tokens \(P\d+ → T\d+ in K562\)"):
        run(aroma, bank, place)


def test_a_loss_that_is_no_number_stops_and_names_the_rows(fresh: Make, place: Path) -> None:
    aroma, broken = fresh(), toy_bank()
    items: Any = broken._items["protein"]
    seen = 0

    def spoil(_what: str, _share: float) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            items.vectors.vectors[:] = np.nan

    rows = toy_rows(aroma.tokenizer, 32)
    with pytest.raises(ModelError, match=r"step 4: the loss is nan .*P\d+ → T\d+ in K562.* of step 2 stands") as caught:
        train_sft(aroma, rows, broken, SHORT, place, spoil)
    assert "weights were not changed" in str(caught.value)
    assert all(bool(torch.isfinite(one).all()) for one in aroma.parameters())
    assert [line["step"] for line in read_lines(place / "metrics.jsonl") if "loss" in line] == [1, 2, 3]


def test_unknown_genes_are_trained_with_absent_vectors_and_counted(
    fresh: Make, bank: ModalityBank, place: Path
) -> None:
    aroma = fresh()
    known = toy_rows(aroma.tokenizer, 16)
    unknown = [replace(row, prompt=toy_prompt(aroma.tokenizer, 3, 5, known=False)) for row in known[:4]]
    found = train_sft(aroma, known + unknown, bank, SHORT, place, quiet, validation=())
    assert found.absent == {"protein": 4, "path-kg": 4, "gene-kg": 4}
    assert count_absent([row.prompt for row in known], bank) == {"protein": 0, "path-kg": 0, "gene-kg": 0}
    assert math.isfinite(mean_loss(aroma, unknown, bank))


def test_rows_that_cannot_be_trained_on_are_named(fresh: Make, bank: ModalityBank, place: Path) -> None:
    aroma = fresh()
    rows = toy_rows(aroma.tokenizer, 3)
    bad = {
        "too long for this": replace(
            rows[0], prompt=replace(rows[0].prompt, problem="P0 → T1 in K562: too long for this")
        ),
        "a placeholder stands in the completion": replace(rows[0], completion="<think>a <Gene-KG_EMB></think>"),
        "and the model reads": replace(rows[0], completion="word " * 9000),
        "is missing from its": replace(rows[0], prompt=replace(rows[0].prompt, text="no placeholders")),
    }
    for said, row in bad.items():
        with pytest.raises(ModelError, match=said) as caught:
            train_sft(aroma, [*rows[1:], row], bank, SHORT, place, quiet)
        assert "P0 → T1 in K562" in str(caught.value)
    with pytest.raises(ModelError, match="no rows"):
        train_sft(aroma, [], bank, SHORT, place, quiet)
    other = copy.copy(aroma)
    other.options = replace(aroma.options, base="models/Qwen3-8B")
    with pytest.raises(UsageError, match="train_base"):
        train_sft(other, rows, bank, replace(SHORT, train_base=True), place, quiet)


def test_what_a_training_raises_in_its_progress_ends_it_and_it_can_be_gone_on_with(
    fresh: Make, bank: ModalityBank, tmp_path: Path
) -> None:
    def stop(_what: str, share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    aroma = fresh()
    with pytest.raises(KeyboardInterrupt):
        train_sft(aroma, toy_rows(aroma.tokenizer, 32, vary=True), bank, SHORT, tmp_path / "a", stop)
    assert run(fresh(), bank, tmp_path / "a").losses == run(fresh(), bank, tmp_path / "b").losses


def test_metrics_are_json_lines(taught: Taught) -> None:
    assert all(isinstance(json.loads(line), dict) for line in taught.result.metrics.read_text().splitlines())
