"""The head that answers log-probabilities: the quick way on a CPU says what trl's says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.training import modes
from aroma.model.aroma.training.collator import collate, encode_rows
from aroma.model.aroma.training.modes import fused_log_probs
from tests.support.toy_rule import toy_rows


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_both_ways_give_the_same_log_probabilities_and_gradients(
    fresh: Callable[..., Aroma], bank: ModalityBank, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    aroma = fresh()
    aroma.language_model.requires_grad_(requires_grad=True)
    rows = toy_rows(aroma.tokenizer, 5, vary=True)
    prompts = [row.prompt for row in rows]
    encoded = encode_rows(aroma.tokenizer, rows, aroma.options.modalities, aroma.context)
    batch = collate(encoded, prompts, bank, aroma.tokenizer.pad_token_id)
    found = []
    for most in (1 << 26, 0):
        monkeypatch.setattr(modes, "_MOST_LOGITS", most)
        with fused_log_probs(aroma, temperature):
            said = aroma(
                batch.input_ids, batch.attention_mask, batch.modalities, labels=batch.labels, fused_lm_head=True
            )
        named = [one for _, one in aroma.trainable_parameters()]
        gradients = torch.autograd.grad(-said.log_probs.sum(), named)
        found.append((said.log_probs.detach(), gradients))
    (quick, own), (tiled, theirs) = found
    assert quick.shape == (5, batch.input_ids.shape[1] - 1)
    assert torch.equal(quick != 0, batch.labels[:, 1:] != -100)
    assert torch.allclose(quick, tiled, atol=1e-5)
    for one, other in zip(own, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
