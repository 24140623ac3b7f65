"""Without modalities there is nothing that trl's GRPOTrainer could not carry: there its gradient must be ours."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.prompting import PromptRow
from aroma.model.aroma.tokens import wrap_chat
from aroma.model.aroma.training import grpo
from aroma.model.aroma.training.metrics import read_lines
from aroma.model.aroma.training.options import GrpoOptions
from aroma.model.aroma.training.rollouts import Rollout
from tests.support.toy_rule import toy_aroma

OPTIONS = GrpoOptions(
    steps=1, epochs=1, rate=1e-5, warmup=0.0, samples=4, prompts_per_step=2, max_new_tokens=6, kl=0.0, top_p=1.0,
    temperature=1.3, train_base=True,
)  # fmt: skip


def of_length(text: str) -> float:
    """Reward something that differs between random texts."""
    return float(len(text) % 5)


@pytest.mark.timeout(600)
def test_the_gradient_is_that_of_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = ModalityBank({}, {})
    aroma = toy_aroma(nothing, modalities=(), lora_rank=0)
    other = copy.deepcopy(aroma)
    prompts = [_prompt(aroma, text) for text in ("Does RPL3 move TP53?", "And what of the gene MDM2 in Jurkat cells?")]
    drawn: list[Rollout] = []

    def recorded(*given: Any, **more: Any) -> list[Rollout]:
        drawn.extend(sample(*given, **more))
        return drawn

    sample = grpo.sample
    monkeypatch.setattr(grpo, "sample", recorded)
    monkeypatch.setattr(grpo, "reward_parts", lambda text, *_: {"right_class": of_length(text)})
    monkeypatch.setattr(grpo, "total", lambda parts, _: parts["right_class"])
    for loss in ("dapo", "grpo"):
        drawn.clear()
        learner = copy.deepcopy(aroma)
        place = tmp_path / loss
        found = grpo.train_grpo(
            learner, [(one, 0) for one in prompts], nothing, replace(OPTIONS, loss=loss), place, lambda *_: None
        )
        assert found.skipped == 0
        (line,) = [line for line in read_lines(place / "metrics.jsonl") if "norm" in line]
        assert line["norm"] == pytest.approx(_trl_norm(other, prompts, drawn, loss, place / "trl"), rel=5e-3)


def _prompt(aroma: Aroma, text: str) -> PromptRow:
    said = wrap_chat(aroma.tokenizer, text)
    return PromptRow("K562", text, "T", None, None, said, len(aroma.tokenizer.encode(said, add_special_tokens=False)))


def _trl_norm(aroma: Aroma, prompts: list[PromptRow], drawn: list[Rollout], loss: str, place: Path) -> float:
    """Return the norm of trl's gradient for the same completions and rewards."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model = copy.deepcopy(aroma.language_model)
    model.requires_grad_(requires_grad=True)
    texts = [one.text for one in prompts]
    order = {text: sorted(range(len(drawn)), key=lambda at: drawn[at].prompt != texts.index(text)) for text in texts}

    def rollouts(asked: list[str], _trainer: Any) -> dict[str, Any]:
        seen = dict.fromkeys(texts, 0)
        chosen = []
        for text in asked:
            chosen.append(drawn[order[text][seen[text]]])
            seen[text] += 1
        ids = [aroma.tokenizer.encode(text, add_special_tokens=False) for text in asked]
        return {
            "prompt_ids": ids,
            "completion_ids": [list(one.tokens) for one in chosen],
            "logprobs": [list(one.log_probs) for one in chosen],
        }

    settings = GRPOConfig(
        output_dir=str(place), per_device_train_batch_size=8, num_generations=4, max_steps=1, learning_rate=1e-5,
        beta=0.0, temperature=1.3, loss_type=loss, max_completion_length=6, use_cpu=True, bf16=False, report_to=[],
        logging_steps=1, save_strategy="no", gradient_checkpointing=False, disable_tqdm=True, max_grad_norm=1.0,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=model, reward_funcs=lambda completions, **_: [of_length(text) for text in completions], args=settings,
        train_dataset=Dataset.from_dict({"prompt": texts}), processing_class=aroma.tokenizer, rollout_func=rollouts,
    )  # fmt: skip
    torch.manual_seed(0)
    trainer.train()
    return float(next(entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry))
