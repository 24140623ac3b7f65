from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from aroma.errors import ModelError
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.training.collator import Encoded, collate
from aroma.model.aroma.training.modes import fused_log_probs
from aroma.model.aroma.training.options import GrpoOptions
from aroma.model.aroma.training.policy import completion_log_probs
from aroma.model.aroma.training.rollouts import Rollout, encode_prompts, rollout_batches, sample
from tests.support.toy_rule import toy_prompt

OPTIONS = GrpoOptions(samples=4, temperature=1.3, top_p=1.0, max_new_tokens=12)


def prompts(aroma: Aroma) -> list[Any]:
    return [toy_prompt(aroma.tokenizer, number, 3, padding=number * 4) for number in range(3)]


def learnt_log_probs(aroma: Aroma, bank: ModalityBank, asked: Any, rollouts: list[Rollout], heat: float) -> list[Any]:
    """Return what training computes of the same tokens, in one batch padded on both sides."""
    rows = [asked[one.prompt] for one in rollouts]
    encoded = encode_prompts(aroma, rows, 0)
    batch = collate(encoded, rows, bank, aroma.tokenizer.pad_token_id)
    longest = max(len(one.tokens) for one in rollouts)
    written = torch.zeros((len(rollouts), longest), dtype=torch.long)
    is_token = torch.zeros_like(written, dtype=torch.bool)
    for place, one in enumerate(rollouts):
        written[place, : len(one.tokens)] = torch.tensor(one.tokens)
        is_token[place, : len(one.tokens)] = True
    inputs = (batch.input_ids, batch.attention_mask, batch.modalities)
    with fused_log_probs(aroma, heat), torch.no_grad():
        found = completion_log_probs(aroma, inputs, written, is_token)
    return [found[place, : len(one.tokens)].tolist() for place, one in enumerate(rollouts)]


def test_log_probs_of_training_are_those_of_sampling(learner: Aroma, bank: ModalityBank) -> None:
    asked = prompts(learner)
    torch.manual_seed(0)
    rollouts = sample(learner, asked, bank, OPTIONS)
    assert [one.prompt for one in rollouts] == [0] * 4 + [1] * 4 + [2] * 4
    assert {one.has_ended for one in rollouts} == {True, False} or len({len(one.tokens) for one in rollouts}) > 1
    for one, learnt in zip(rollouts, learnt_log_probs(learner, bank, asked, rollouts, 1.3), strict=True):
        assert learnt == pytest.approx(one.log_probs, abs=2e-3)
    cold = learnt_log_probs(learner, bank, asked, rollouts, 1.0)
    apart = [
        abs(a - b) for one, other in zip(rollouts, cold, strict=True) for a, b in zip(one.log_probs, other, strict=True)
    ]
    assert max(apart) > 0.05, "the temperature must matter for this test to say anything"


def test_what_is_drawn_follows_the_distribution(learner: Aroma, bank: ModalityBank) -> None:
    asked = prompts(learner)[:1]
    torch.manual_seed(1)
    rollouts = sample(learner, asked, bank, replace(OPTIONS, samples=3000, max_new_tokens=1, temperature=2.0))
    drawn = np.bincount([one.tokens[0] for one in rollouts], minlength=len(learner.tokenizer)) / 3000
    said = {one.tokens[0]: float(np.exp(one.log_probs[0])) for one in rollouts}
    likely = sorted(said, key=lambda token: -said[token])[:5]
    assert sum(said[token] for token in likely) > 0.02
    for token in likely:
        assert drawn[token] == pytest.approx(said[token], abs=4 * (said[token] / 3000) ** 0.5)


def test_a_narrow_top_p_writes_what_generate_writes(learner: Aroma, bank: ModalityBank) -> None:
    asked = prompts(learner)
    greedy = sample(learner, asked, bank, replace(OPTIONS, top_p=1e-6))
    for place, prompt in enumerate(asked):
        ids = torch.tensor([learner.tokenizer.encode(prompt.text, add_special_tokens=False)])
        modalities = bank.batch([prompt.perturbation_gene], [prompt.target_gene])
        made = learner.generate(ids, torch.ones_like(ids), modalities, max_new_tokens=12, do_sample=False)[0].tolist()
        for one in greedy[place * 4 : place * 4 + 4]:
            assert list(one.tokens) == made[: len(one.tokens)]


def test_how_prompts_are_put_together_changes_no_probability(learner: Aroma, bank: ModalityBank) -> None:
    asked = prompts(learner)
    torch.manual_seed(0)
    alone = sample(learner, asked, bank, OPTIONS, rollout_tokens=1)
    for one, learnt in zip(alone, learnt_log_probs(learner, bank, asked, alone, 1.3), strict=True):
        assert learnt == pytest.approx(one.log_probs, abs=2e-3)
    encoded = [Encoded(tuple(range(length))) for length in (50, 90, 10, 88)]
    batches = rollout_batches(encoded, OPTIONS, 2 * 4 * 102)
    assert batches == [[1, 3], [0, 2]]


def test_prompts_that_cannot_be_completed_are_named(fresh: Callable[..., Aroma], bank: ModalityBank) -> None:
    aroma = fresh()
    with pytest.raises(ModelError, match=r"P0 → T3 in K562: .* to be written"):
        sample(aroma, prompts(aroma), bank, replace(OPTIONS, max_new_tokens=8190))
