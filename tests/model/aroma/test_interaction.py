"""Interaction tokens: every parameter learns, order matters, padding and company do not, absence is said."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aroma.errors import ModelError
from aroma.model.aroma.interaction import InteractionTokens
from aroma.model.aroma.modalities import ModalityBatch

DIMS = {"protein": 12, "gene-kg": 10}
HOPS = {"protein": 0, "gene-kg": 2}
HIDDEN = 24
LEARNING = ("attention", "gated")


def made(kind: str, seed: int = 0) -> InteractionTokens:
    return InteractionTokens(DIMS, HIDDEN, kind, width=16, heads=2, hops=HOPS, seed=seed)


def batches(pairs: int, items: int, seed: int = 0, absent: dict[int, str] | None = None) -> dict[str, ModalityBatch]:
    """Random items, at least one a gene; ``absent`` says by pair which gene has none (perturbation, target, both)."""
    chance = torch.Generator().manual_seed(seed)
    found = {}
    for name, dim in DIMS.items():
        sides = []
        for side in ("perturbation", "target"):
            mask = torch.rand(pairs, items, generator=chance) > 0.4
            mask[:, 0] = True
            for pair, who in (absent or {}).items():
                if who in {side, "both"}:
                    mask[pair] = False
            hops = torch.randint(0, HOPS[name] + 1, (pairs, items), generator=chance)
            sides += [torch.randn(pairs, items, dim, generator=chance), mask, hops]
        found[name] = ModalityBatch(*sides, present=sides[1].any(1) & sides[4].any(1))
    return found


ABSENT = {0: "perturbation", 1: "target", 2: "both"}


@pytest.mark.parametrize("kind", LEARNING)
@pytest.mark.parametrize("items", [1, 5])
def test_every_parameter_gets_a_gradient(kind, items):
    module = made(kind)
    found = module(batches(8, items, absent=ABSENT))
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (found * weights).sum().backward()
    still = [name for name, one in module.named_parameters() if one.grad is None or not one.grad.abs().max() > 1e-8]
    assert still == []


def test_the_papers_query_and_key_get_no_gradient_at_all():
    module = made("paper")
    found = module(batches(8, 5, absent=ABSENT))
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (found * weights).sum().backward()
    still = {name for name, one in module.named_parameters() if one.grad is None or not one.grad.abs().max() > 0}
    assert still == {f"tokens.{name}.form.{part}.weight" for name in DIMS for part in ("query", "key")}


def test_the_papers_token_does_not_depend_on_the_perturbation_ours_do():
    pair, other = batches(4, 3), batches(4, 3, seed=9)
    swapped = {
        name: ModalityBatch(
            other[name].perturbation, other[name].perturbation_mask, other[name].perturbation_hops,
            one.target, one.target_mask, one.target_hops, one.present,
        )
        for name, one in pair.items()
    }  # fmt: skip
    for kind in ("paper", *LEARNING):
        module = made(kind)
        assert torch.allclose(module(pair), module(swapped), atol=1e-7) == (kind == "paper")


@pytest.mark.parametrize("kind", LEARNING)
@pytest.mark.parametrize("items", [1, 4])
def test_swapping_perturbation_and_target_changes_the_token(kind, items):
    module, pair = made(kind), batches(5, items)
    turned = {name: one.swapped() for name, one in pair.items()}
    difference = (module(pair) - module(turned)).norm(dim=-1) / module(pair).norm(dim=-1)
    assert (difference > 0.05).all()
    same = {
        name: ModalityBatch(
            one.perturbation, one.perturbation_mask, one.perturbation_hops,
            one.perturbation, one.perturbation_mask, one.perturbation_hops, one.present,
        )
        for name, one in pair.items()
    }  # fmt: skip
    torch.testing.assert_close(module(same), module({name: one.swapped() for name, one in same.items()}))


@given(pairs=st.integers(1, 6), items=st.integers(1, 6), seed=st.integers(0, 1000), more=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("kind", ["paper", *LEARNING])
def test_padding_and_company_change_nothing(kind, pairs, items, seed, more):
    module = made(kind)
    absent = {place: who for place, who in ABSENT.items() if place < pairs}
    asked = batches(pairs, items, seed, absent)
    together = module(asked)
    for pair in range(pairs):
        alone = {name: padded(one.select([pair]), more) for name, one in asked.items()}
        torch.testing.assert_close(module(alone)[0], together[pair], atol=1e-5, rtol=1e-4)


def padded(batch: ModalityBatch, more: int) -> ModalityBatch:
    """Return the batch with further places that are masked, full of numbers that must not be read."""

    def side(vectors, mask, hops):
        pairs, _, dim = vectors.shape
        return (
            torch.cat([vectors, torch.full((pairs, more, dim), float("nan"))], dim=1),
            torch.cat([mask, torch.zeros(pairs, more, dtype=torch.bool)], dim=1),
            torch.cat([hops, torch.zeros(pairs, more, dtype=torch.long)], dim=1),
        )

    one = side(batch.perturbation, batch.perturbation_mask, batch.perturbation_hops)
    other = side(batch.target, batch.target_mask, batch.target_hops)
    return ModalityBatch(*one, *other, batch.present)


@pytest.mark.parametrize("kind", ["paper", *LEARNING])
def test_absence_is_a_learned_vector_of_its_own(kind):
    module = made(kind)
    found = module(batches(6, 3, absent={0: "both", 1: "both", 2: "perturbation", 3: "target"}))
    torch.testing.assert_close(found[0], found[1])  # whatever stands under the mask
    assert not torch.allclose(found[0], torch.zeros_like(found[0]))
    known = module(batches(6, 3))
    for pair in range(4):
        assert not torch.allclose(found[pair], known[pair], atol=1e-4)
        assert not torch.allclose(found[pair], known.mean(0), atol=1e-4)
    with torch.no_grad():
        module.tokens["gene-kg"].absent.add_(1.0)
    again = module(batches(6, 3, absent={0: "both", 1: "both", 2: "perturbation", 3: "target"}))
    changed = (again != found).any(-1)
    assert changed[:, 1].tolist() == [True, True, False, False, False, False]
    assert not changed[:, 0].any()


@pytest.mark.parametrize("kind", LEARNING)
def test_hops_and_neighbours_matter(kind):
    module, pair = made(kind), batches(3, 4)
    one = pair["gene-kg"]
    nearer = ModalityBatch(
        one.perturbation, one.perturbation_mask, (one.perturbation_hops + 1) % 3,
        one.target, one.target_mask, one.target_hops, one.present,
    )  # fmt: skip
    assert not torch.allclose(module(pair)[:, 1], module({**pair, "gene-kg": nearer})[:, 1], atol=1e-5)
    assert torch.equal(module(pair)[:, 0], module({**pair, "gene-kg": nearer})[:, 0])


def test_tokens_start_out_as_large_as_the_models_own():
    module = InteractionTokens(DIMS, HIDDEN, width=16, heads=2, hops=HOPS, token_scale=0.03)
    size = module(batches(16, 4)).pow(2).mean(-1).sqrt()
    torch.testing.assert_close(size, torch.full_like(size, 0.03), atol=1e-4, rtol=0)


def test_the_seed_makes_the_start_and_nothing_else_does():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one = made("attention", seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    other = made("attention", seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    different = made("attention", seed=4)
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), different.parameters(), strict=True))


def test_a_modality_without_vectors_is_named():
    asked = batches(2, 2)
    del asked["protein"]
    with pytest.raises(ModelError, match="no vectors of modality protein"):
        made("gated")(asked)
    with pytest.raises(ModelError, match="interaction is 'mlp'"):
        made("mlp")
