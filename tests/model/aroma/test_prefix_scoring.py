"""Scores with shared prefixes and trees of answers equal the plain computation, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aroma.errors import ModelError
from aroma.model.aroma.answer_tree import answer_tree
from aroma.model.aroma.prefix_scoring import Asked, PrefixScorer, plain_scores

torch = pytest.importorskip("torch")
VOCABULARY = 61


def tiny(family: str):
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    sizes = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    }  # fmt: skip
    if family == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(head_dim=8, **sizes)).eval()
    return LlamaForCausalLM(LlamaConfig(**sizes)).eval()


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def base(request):
    model = tiny(request.param)
    with torch.no_grad():
        for parameter in model.parameters():  # far from the start, so that answers differ in their probabilities
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def embed_of(base):
    def embed(ids, _places):
        return base.get_input_embeddings()(ids)

    return embed


tokens = st.integers(1, VOCABULARY - 1)
TREE = answer_tree([(5, 6, 7, 8), (5, 6, 9), (5, 6, 10, 11, 12)])


@st.composite
def questions(draw):
    prefixes = draw(st.lists(st.lists(tokens, min_size=0, max_size=12), min_size=1, max_size=3))
    found = []
    for _ in range(draw(st.integers(1, 7))):
        prefix = draw(st.sampled_from(prefixes))
        rest = draw(st.lists(tokens, min_size=1, max_size=15))
        stem = draw(st.lists(tokens, min_size=1, max_size=6))
        tree = answer_tree([(*stem, 1, 2, 3), (*stem, 4), (*stem, 2, 2)]) if draw(st.booleans()) else TREE
        found.append(Asked((*prefix, *rest), len(prefix), tree))
    return found


@settings(max_examples=15, deadline=None)
@given(asked=questions(), batch_tokens=st.sampled_from([0, 30, 64, 10_000]))
def test_equals_the_plain_computation(base, asked, batch_tokens):
    embed = embed_of(base)
    found = PrefixScorer(base, embed, pad=0, batch_tokens=batch_tokens).scores(asked)
    np.testing.assert_allclose(found, plain_scores(base, embed, asked), atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(asked=questions(), data=st.data())
def test_row_by_row_nothing_else_that_is_asked_matters_to_the_last_bit(base, asked, data):
    scorer = PrefixScorer(base, embed_of(base), pad=0)
    whole = scorer.scores(asked)
    order = data.draw(st.permutations(range(len(asked))))
    assert np.array_equal(scorer.scores([asked[place] for place in order]), whole[order])
    place = data.draw(st.integers(0, len(asked) - 1))
    assert np.array_equal(scorer.scores([asked[place]])[0], whole[place])


def test_the_prefix_is_read_once(base):
    lengths = []
    handle = base.model.register_forward_pre_hook(
        lambda _module, _given, named: lengths.append(named["inputs_embeds"].shape[1]), with_kwargs=True
    )
    asked = [Asked((*range(1, 31), 40 + place), 30, TREE) for place in range(5)]
    PrefixScorer(base, embed_of(base), pad=0, batch_tokens=1000).scores(asked)
    handle.remove()
    assert lengths == [30, 1 + len(TREE.inputs)]


def test_a_batch_that_does_not_fit_is_halved(base):
    asked = [Asked((1, 2, 3, place), 3, TREE) for place in range(1, 8)]
    embed = embed_of(base)

    def small_memory(ids, places):
        if len(places) > 2:
            raise MemoryError
        return embed(ids, places)

    found = PrefixScorer(base, small_memory, pad=0, batch_tokens=10_000).scores(asked)
    np.testing.assert_allclose(found, plain_scores(base, embed, asked), atol=1e-5)

    def no_memory(_ids, _places):
        raise MemoryError

    with pytest.raises(ModelError, match="lower the setting budget"):
        PrefixScorer(base, no_memory, pad=0).scores(asked)


def test_answers_that_tokens_cannot_tell_apart_are_a_defect():
    with pytest.raises(ValueError, match="cannot be told apart"):
        answer_tree([(1, 2), (1, 2, 3)])
    with pytest.raises(ValueError, match="cannot be told apart"):
        answer_tree([(1, 2), (3, 4)])
