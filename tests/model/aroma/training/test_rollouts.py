from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache, TopPLogitsWarper
from transformers.cache_utils import DynamicSlidingWindowLayer

from aroma.errors import ModelError
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.training import rollouts
from aroma.model.aroma.training.collator import Encoded, collate
from aroma.model.aroma.training.modes import fused_log_probs
from aroma.model.aroma.training.options import GrpoOptions
from aroma.model.aroma.training.policy import completion_log_probs
from aroma.model.aroma.training.rollouts import Rollout, encode_prompts, rollout_batches, sample
from aroma.model.aroma.training.shared_prompts import can_share
from tests.support.toy_rule import toy_prompt

OPTIONS = GrpoOptions(samples=4, temperature=1.3, top_p=1.0, max_new_tokens=12)


def prompts(aroma: Aroma) -> list[Any]:
    return [toy_prompt(aroma.tokenizer, number, 3, padding=number * 4) for number in range(3)]


def learnt_log_probs(aroma: Aroma, bank: ModalityBank, asked: Any, drawn: list[Rollout], heat: float) -> list[Any]:
    """Return what training computes of the same tokens, in one batch padded on both sides."""
    rows = [asked[one.prompt] for one in drawn]
    encoded = encode_prompts(aroma, rows, 0)
    batch = collate(encoded, rows, bank, aroma.tokenizer.pad_token_id)
    longest = max(len(one.tokens) for one in drawn)
    written = torch.zeros((len(drawn), longest), dtype=torch.long)
    is_token = torch.zeros_like(written, dtype=torch.bool)
    for place, one in enumerate(drawn):
        written[place, : len(one.tokens)] = torch.tensor(one.tokens)
        is_token[place, : len(one.tokens)] = True
    inputs = (batch.input_ids, batch.attention_mask, batch.modalities)
    with fused_log_probs(aroma, heat), torch.no_grad():
        found = completion_log_probs(aroma, inputs, written, is_token)
    return [found[place, : len(one.tokens)].tolist() for place, one in enumerate(drawn)]


def test_log_probs_of_training_are_those_of_sampling(learner: Aroma, bank: ModalityBank) -> None:
    asked = prompts(learner)
    torch.manual_seed(0)
    found = sample(learner, asked, bank, OPTIONS)
    assert [one.prompt for one in found] == [0] * 4 + [1] * 4 + [2] * 4
    assert {one.has_ended for one in found} == {True, False} or len({len(one.tokens) for one in found}) > 1
    for one, learnt in zip(found, learnt_log_probs(learner, bank, asked, found, 1.3), strict=True):
        assert learnt == pytest.approx(one.log_probs, abs=2e-3)
    cold = learnt_log_probs(learner, bank, asked, found, 1.0)
    apart = [
        abs(a - b) for one, other in zip(found, cold, strict=True) for a, b in zip(one.log_probs, other, strict=True)
    ]
    assert max(apart) > 0.05, "the temperature must matter for this test to say anything"


def test_what_is_drawn_follows_the_distribution(learner: Aroma, bank: ModalityBank) -> None:
    asked = prompts(learner)[:1]
    torch.manual_seed(1)
    found = sample(learner, asked, bank, replace(OPTIONS, samples=3000, max_new_tokens=1, temperature=2.0))
    drawn = np.bincount([one.tokens[0] for one in found], minlength=len(learner.tokenizer)) / 3000
    said = {one.tokens[0]: float(np.exp(one.log_probs[0])) for one in found}
    likely = sorted(said, key=lambda token: -said[token])[:5]
    assert sum(said[token] for token in likely) > 0.02
    for token in likely:
        assert drawn[token] == pytest.approx(said[token], abs=4 * (said[token] / 3000) ** 0.5)


@pytest.mark.parametrize("share", [1e-6, 0.5, 0.8, 1.0])
def test_tokens_are_drawn_as_top_p_of_transformers_leaves_them(learner: Aroma, share: float) -> None:
    torch.manual_seed(2)
    chances = torch.tensor([[0.1, 0.4, 0.0, 0.15, 0.3, 0.05]])
    writer = rollouts._Writer(learner, replace(OPTIONS, top_p=share, temperature=2.0))
    drawn, said = writer._draw(2.0 * chances.log().expand(4000, -1))
    expected = torch.softmax(TopPLogitsWarper(share)(None, chances.log()), dim=-1)[0]
    found = torch.bincount(drawn, minlength=6) / 4000
    assert torch.equal(found > 0, expected > 0)
    assert torch.allclose(found, expected, atol=0.03)
    assert torch.allclose(said, chances.log()[0, drawn], atol=1e-5)


@pytest.mark.parametrize("base", ["tiny", "tiny-llama"])
def test_prompts_that_are_shared_give_what_repeated_ones_give(
    fresh: Callable[..., Aroma], learner: Aroma, bank: ModalityBank, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    """The taught model ends some rows early, which are taken out while the others are written."""
    aroma = learner if base == "tiny" else fresh(base=base)
    asked = prompts(aroma)
    found = []
    for shared in (True, False):
        if not shared:
            monkeypatch.setattr(rollouts, "can_share", lambda _base, _cache: False)
        torch.manual_seed(5)
        found.append(sample(aroma, asked, bank, replace(OPTIONS, samples=5, temperature=0.9, max_new_tokens=20)))
    agreed = 0
    for one, other in zip(*found, strict=True):
        same = [a == b for a, b in zip(one.tokens, other.tokens, strict=False)]
        upto = same.index(False) if False in same else len(same)  # a draw at an edge may fall on either side of it
        assert one.log_probs[:upto] == pytest.approx(other.log_probs[:upto], abs=1e-4)
        agreed += upto
    assert agreed > 0.8 * sum(len(one.tokens) for one in found[0])
    assert aroma.language_model.config._attn_implementation == "sdpa"


def test_a_family_with_another_attention_has_its_prompts_repeated(fresh: Callable[..., Aroma]) -> None:
    base = fresh().language_model
    cache = DynamicCache()
    assert can_share(base, cache)
    cache.layers.append(DynamicSlidingWindowLayer(sliding_window=4))
    assert not can_share(base, cache)
    base.config.model_type = "gemma2"
    assert not can_share(base, DynamicCache())


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
