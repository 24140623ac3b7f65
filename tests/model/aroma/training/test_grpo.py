from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aroma.errors import ModelError
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.training.grpo import train_grpo
from aroma.model.aroma.training.metrics import read_lines
from aroma.model.aroma.training.options import GrpoOptions, GrpoResult, RewardOptions
from aroma.model.aroma.training.policy import advantages, policy_loss, token_weights
from tests.model.aroma.training.conftest import Taught
from tests.support.toy_rule import toy_rows

SHORT = GrpoOptions(
    epochs=1, rate=1e-3, samples=4, prompts_per_step=4, max_new_tokens=16, train_base=True, save_every=1, kl=0.05
)


def quiet(_what: str, _share: float) -> None:
    pass


def run(
    aroma: Aroma, bank: ModalityBank, place: Path, options: GrpoOptions = SHORT, count: int = 12, progress: Any = quiet
) -> GrpoResult:
    prompts = [(row.prompt, row.label) for row in toy_rows(aroma.tokenizer, count)]
    return train_grpo(aroma, prompts, bank, options, place, progress)


def test_the_reward_rises(learner: Aroma, bank: ModalityBank, place: Path) -> None:
    options = GrpoOptions(
        epochs=12, rate=3e-3, samples=8, prompts_per_step=12, max_new_tokens=20, top_p=0.95, train_base=True, kl=0.01
    )
    result = run(learner, bank, place, options, 24)
    early, late = np.mean(result.rewards[:4]), np.mean(result.rewards[-4:])
    assert late > early + 0.15
    assert late == pytest.approx(np.mean(result.rewards[-4:]))
    lines = [line for line in read_lines(result.metrics) if "reward" in line]
    assert len(lines) == result.steps == 24
    assert {"reward_right_class", "reward_form", "reward_one_class", "kl", "clipped", "skipped", "ended"} <= lines[
        0
    ].keys()
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert lines[-1]["kl"] > 1e-3
    assert result.groups == 12 * 24
    assert result.picture.read_bytes()[:4] == b"\x89PNG"


def test_a_model_that_always_answers_alike_has_nothing_to_learn(
    taught: Taught, bank: ModalityBank, place: Path
) -> None:
    aroma = copy.deepcopy(taught.aroma)
    before = {name: one.detach().clone() for name, one in aroma.named_parameters()}
    result = run(aroma, bank, place, replace(SHORT, top_p=1e-6))
    assert result.skipped == result.groups == 12
    assert set(result.losses) == {0.0}
    assert all(line["skipped"] == 1 for line in read_lines(result.metrics))
    assert all(torch.equal(one, before[name]) for name, one in aroma.named_parameters())


def test_interaction_modules_are_frozen_unless_asked_for(taught: Taught, bank: ModalityBank, tmp_path: Path) -> None:
    for wanted in (False, True):
        aroma = copy.deepcopy(taught.half_way)
        before = copy.deepcopy(aroma.interaction.state_dict()) if aroma.interaction else {}
        run(aroma, bank, tmp_path / str(wanted), replace(SHORT, train_interaction=wanted, train_base=False, kl=0.0))
        assert aroma.interaction is not None
        changed = [name for name, one in aroma.interaction.state_dict().items() if not torch.equal(one, before[name])]
        assert bool(changed) is wanted


def test_stopping_and_going_on_gives_the_same_curve(taught: Taught, bank: ModalityBank, tmp_path: Path) -> None:
    def stop(_what: str, share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(copy.deepcopy(taught.half_way), bank, tmp_path / "a", progress=stop)
    resumed = run(copy.deepcopy(taught.half_way), bank, tmp_path / "a")
    whole = run(copy.deepcopy(taught.half_way), bank, tmp_path / "b")
    assert resumed.rewards == whole.rewards
    assert resumed.losses == whole.losses
    assert (tmp_path / "a/last.safetensors").read_bytes() == (tmp_path / "b/last.safetensors").read_bytes()
    (tmp_path / "a/reference.safetensors").unlink()
    with pytest.raises(ModelError, match="reference.safetensors: is gone"):
        run(copy.deepcopy(taught.half_way), bank, tmp_path / "a")


def test_the_log_score_is_rewarded_beside_or_in_place_of_the_class(
    learner: Aroma, bank: ModalityBank, place: Path
) -> None:
    rewards = RewardOptions(right_class=0, form=0, one_class=0, log_score=1.0)
    result = run(learner, bank, place, replace(SHORT, rewards=rewards))
    lines = [line for line in read_lines(result.metrics) if "reward" in line]
    assert all(line["reward"] == pytest.approx(line["reward_log_score"]) for line in lines)
    assert 0 < lines[0]["reward"] < 1


def test_a_second_step_on_the_same_completions_leaves_the_old_policy(
    learner: Aroma, bank: ModalityBank, place: Path
) -> None:
    result = run(learner, bank, place, replace(SHORT, iterations=2, rate=5e-3, warmup=0.0, clip=0.02))
    lines = [line for line in read_lines(result.metrics) if "reward" in line]
    assert result.steps == 6
    assert [line["clipped"] for line in lines[::2]] == [0.0] * 3
    assert max(line["clipped"] for line in lines[1::2]) > 0


def test_memory_that_ends_while_sampling_halves_what_is_sampled_at_once(
    learner: Aroma, bank: ModalityBank, tmp_path: Path
) -> None:
    embed, largest = learner.embed, 0

    def limited(input_ids: Any, *given: Any, **more: Any) -> Any:
        nonlocal largest
        if len(input_ids) > 2 and not learner.training:
            raise torch.OutOfMemoryError("CUDA out of memory")
        largest = max(largest, 0 if learner.training else len(input_ids))
        return embed(input_ids, *given, **more)

    learner.embed = limited  # type: ignore[method-assign]
    result = run(learner, bank, tmp_path)
    assert largest == 2
    assert any("memory ended at a batch of 4 rows" in note for note in result.notes)


def test_advantages_are_of_the_group() -> None:
    assert advantages([1, 1, 1], SHORT).advantages is None
    scaled = advantages([0.0, 1.0, 1.0, 0.0], SHORT)
    assert scaled.advantages == pytest.approx([-0.866, 0.866, 0.866, -0.866], abs=1e-3)
    assert advantages([0.0, 1.0], replace(SHORT, scale="none")).advantages == (-0.5, 0.5)
    assert scaled.mean == 0.5


def test_the_loss_clips_and_diverges_as_written() -> None:
    now = torch.log(torch.tensor([[0.5, 0.3], [0.2, 0.2]]))
    before = torch.log(torch.tensor([[0.25, 0.3], [0.4, 0.2]]))
    weight = torch.tensor([[0.25, 0.25], [0.25, 0.25]])
    options = replace(SHORT, kl=0.5, clip=0.2)
    found = policy_loss(now, before, before, torch.tensor([1.0, -1.0]), weight, options)
    # ratios 2, 1, 0.5, 1: the first is clipped at 1.2, the third at 0.8
    gain = (1.2 + 1.0 - 0.8 - 1.0) / 4
    kl = (0.5 - np.log(0.5) - 1) + (2 - np.log(2) - 1)
    assert float(found.loss) == pytest.approx(-gain + 0.5 * kl / 4, abs=1e-6)
    assert (found.kl, found.clipped) == (pytest.approx(kl), 2)


def test_weights_of_tokens_add_up_to_one() -> None:
    lengths = [3, 5, 2]
    for loss in ("dapo", "grpo"):
        each = token_weights(lengths, 10, 3, replace(SHORT, loss=loss))
        assert sum(weight * length for weight, length in zip(each, lengths, strict=True)) == pytest.approx(1)
