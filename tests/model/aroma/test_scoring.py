"""Class probabilities of tiny AROMAs: equal to the plain computation, the same whatever else is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from aroma.kgstore.home import Home
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.options import AromaOptions
from aroma.model.aroma.prompting import Prompter
from aroma.model.aroma.scoring import (
    sample_votes,
    score_answers,
    score_answers_plainly,
    shared_tokens,
    thought,
    tree_of,
    write_reasoning,
)
from aroma.model.aroma.tokens import encode_prompt
from aroma.model.ground import Ground
from aroma.model.labels import CLASSES
from aroma.retrieval.evidence import EvidenceStore
from tests.support.planted import planted

MODALITIES = ("path-kg", "gene-kg")


@pytest.fixture(scope="module", params=["tiny", "tiny-llama"])
def asked(request, home_with_vectors: Home):
    """A tiny model whose weights are far from the start, its bank, and prompts of two perturbations."""
    import torch

    ground = Ground(home_with_vectors)
    options = AromaOptions(base=request.param, modalities=MODALITIES, budget=300, interaction_dim=32)
    bank = ModalityBank.open(ground, options)
    aroma = Aroma.make(options, bank)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in aroma.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    store = EvidenceStore(home_with_vectors)
    frame = planted().filter(perturbation=("RPL3")).head(6).vstack(planted().filter(perturbation="TP53").head(5))
    rows = Prompter(store, aroma.tokenizer, options, context=aroma.context).rows(ground.rows(frame))
    assert all(row.problem is None for row in rows)
    return aroma, bank, rows


@pytest.mark.parametrize("batch_tokens", [0, 1500])
def test_equals_the_plain_computation(asked, batch_tokens):
    aroma, bank, rows = asked
    reasoning = [f"{row.target} answers." if place % 2 else "" for place, row in enumerate(rows)]
    for given in (None, reasoning):
        found = score_answers(aroma, rows, bank, reasoning=given, batch_tokens=batch_tokens)
        np.testing.assert_allclose(found, score_answers_plainly(aroma, rows, bank, reasoning=given), atol=1e-5)
        assert np.abs(found.sum(axis=1) - 1).max() < 1e-9
        assert len({tuple(one) for one in found.round(9).tolist()}) == len(rows)


def test_a_row_is_scored_to_the_last_bit_as_if_it_were_alone(asked):
    aroma, bank, rows = asked
    whole = score_answers(aroma, rows, bank)
    assert np.array_equal(score_answers(aroma, rows[::-1], bank)[::-1], whole)
    assert np.array_equal(score_answers(aroma, rows[7:8], bank)[0], whole[7])


def test_prompts_of_one_perturbation_share_more_than_the_instruction(asked):
    aroma, _, rows = asked
    ids = [encode_prompt(aroma.tokenizer, row.text, row.name, MODALITIES) for row in rows]
    shared = [tuple(one[: shared_tokens(aroma.tokenizer, row, one)]) for row, one in zip(rows, ids, strict=True)]
    assert max(map(len, shared)) > 100
    assert len(set(shared[:6])) < 4
    for row, prefix in zip(rows, shared, strict=True):
        assert row.target not in aroma.tokenizer.decode(prefix)
    unmentioned = replace(rows[0], target="NOGENE")
    assert shared_tokens(aroma.tokenizer, unmentioned, ids[0]) < len(ids[0])
    assert not set(ids[0][: shared_tokens(aroma.tokenizer, unmentioned, ids[0])]) & set(
        aroma.tokenizer.convert_tokens_to_ids(["<Path-KG_EMB>", "<Gene-KG_EMB>"])
    )


def test_a_row_with_a_problem_has_no_probabilities_and_moves_no_other(asked):
    aroma, bank, rows = asked
    broken = [rows[0], replace(rows[1], text="", tokens=0, problem="no prompt"), rows[2]]
    found = score_answers(aroma, broken, bank)
    assert np.isnan(found[1]).all()
    assert np.array_equal(found[[0, 2]], score_answers(aroma, [rows[0], rows[2]], bank))
    votes = sample_votes(aroma, broken, bank, samples=2, max_new_tokens=4)
    assert votes.texts[1] == ()
    assert write_reasoning(aroma, broken, bank, max_new_tokens=3)[1] == ""


def test_the_answers_are_those_of_the_classes(asked):
    aroma = asked[0]
    tree = tree_of(aroma.tokenizer, "")
    said = [aroma.tokenizer.decode((*tree.stem, *branch)) for branch in tree.branches]
    assert said == [
        "<think></think><answer>downregulated</answer>",
        "<think></think><answer>not significantly changed</answer>",
        "<think></think><answer>upregulated</answer>",
    ]
    assert [text.split("<answer>")[1][:2] for text in said] == ["do", "no", "up"]
    assert CLASSES == ("down", "not significant", "up")


def test_greedy_reasoning_is_the_same_in_any_company(asked):
    aroma, bank, rows = asked
    whole = write_reasoning(aroma, rows[:3], bank, max_new_tokens=6)
    assert write_reasoning(aroma, rows[1:2], bank, max_new_tokens=6) == whole[1:2]
    assert any(whole)


def test_votes_depend_on_the_seed_and_the_row_alone(asked):
    aroma, bank, rows = asked
    votes = sample_votes(aroma, rows[:3], bank, samples=3, max_new_tokens=5, seed=4)
    again = sample_votes(aroma, rows[1:2], bank, samples=3, max_new_tokens=5, seed=4)
    assert again.texts == votes.texts[1:2]
    assert sample_votes(aroma, rows[:3], bank, samples=3, max_new_tokens=5, seed=5).texts != votes.texts
    assert (votes.counts.sum(axis=1) + votes.unreadable == 3).all()
    assert np.abs(votes.probabilities().sum(axis=1) - 1).max() < 1e-9


def test_thoughts_are_cut_out_of_generated_text():
    assert thought("<think>Because.</think><answer>up") == "Because."
    assert thought("Because. </think>") == "Because."
    assert thought("<think>Not closed") == "Not closed"
