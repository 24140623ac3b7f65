"""Composition vectors: counted by hand, deterministic, near within a family; strange letters."""

from __future__ import annotations

import numpy as np

from aroma.model.embeddings.composition import CompositionEncoder
from aroma.model.embeddings.items import STANDARD_LETTERS
from aroma.model.embeddings.registry import kind_of, make_encoder

_AT = STANDARD_LETTERS.index


def test_a_short_sequence_is_counted_by_hand():
    """AACA: A 3/4, C 1/4; pairs AA, AC, CA a third each, against 9/16, 3/16, 3/16 by chance, and CC none of 1/16."""
    (vector,) = CompositionEncoder().encode(["AACA"]).vectors
    single = np.full(20, -np.sqrt(1 / 20))
    single[_AT("A")] += np.sqrt(3 / 4)
    single[_AT("C")] += np.sqrt(1 / 4)
    assert np.allclose(vector[:20], single / np.linalg.norm(single), atol=1e-6)
    departures = {"AA": (1 / 3 - 9 / 16) / 0.75, "CC": (0 - 1 / 16) / 0.25}
    departures |= dict.fromkeys(("AC", "CA"), (1 / 3 - 3 / 16) / np.sqrt(3 / 16))
    length = np.sqrt(sum(value**2 for value in departures.values()))
    pairs = vector[20:].reshape(20, 20)
    for (left, right), value in departures.items():
        assert np.isclose(pairs[_AT(left), _AT(right)], value / length, atol=1e-6)
    assert np.count_nonzero(pairs) == 4


def test_letters_that_are_no_one_amino_acid_are_left_out_with_their_pairs():
    encoder = CompositionEncoder()
    with_rare, without, other = encoder.encode(["ACXUAC", "ACAC", "CAXCA"]).vectors
    assert np.allclose(with_rare[:20], without[:20])
    assert not np.allclose(with_rare[20:], without[20:])  # CA is no pair of the first
    pairs = with_rare[20:].reshape(20, 20)
    assert pairs[_AT("A"), _AT("C")] > 0 > pairs[_AT("C"), _AT("A")]
    assert np.allclose(pairs, other[20:].reshape(20, 20).T)


def test_one_residue_and_one_letter_have_a_vector_without_pairs():
    found = CompositionEncoder().encode(["M", "MMMM"])
    assert not found.problems
    assert np.allclose(found.vectors[0], found.vectors[1])
    assert not found.vectors[:, 20:].any()
    assert np.allclose(np.linalg.norm(found.vectors[:, :20], axis=1), 1)


def test_what_cannot_be_counted_is_a_problem_and_has_no_vector():
    found = CompositionEncoder().encode(["MKT", "MK*T", "", "XXU", "mkt", "M-T", "MK1", "M"])
    assert set(found.problems) == {1, 2, 3, 4, 5, 6}
    assert found.problems[1] == "a stop (*) at residue 3 of 4"
    assert found.problems[2] == "no sequence"
    assert "lower case" in found.problems[4]
    assert np.isnan(found.vectors[[1, 2, 3, 4, 5, 6]]).all()
    assert np.isfinite(found.vectors[[0, 7]]).all()


def test_the_vector_of_a_sequence_depends_on_nothing_beside_it_and_a_relative_is_nearer_than_a_stranger():
    encoder = make_encoder({"encoder": "composition", "licences": {"uniprot": "CC BY 4.0"}})
    histone = (
        "MARTKQTARKSTGGKAPRKQLATKAARKSAPATGGVKKPHRYRPGTVALREIRRYQKSTELLIRKLPF"
        "QRLVREIAQDFKTDLRFQSSAVMALQEACEAYLVGLFEDTNLCAIHAKRVTIMPKDIQLARRIRGERA"
    )
    relative = histone.replace("AIHAKRV", "AIHARRV").replace("QKSTE", "QRSTE")
    stranger = "MLLLLLPPPCCCWWWFFFYYYIIIVVVNNNDDD"
    together = encoder.encode([histone, relative, stranger]).vectors
    assert np.array_equal(together[0], encoder.encode([histone]).vectors[0])
    near, far = together[0] @ together[1], together[0] @ together[2]
    assert near > 0.9 * (together[0] @ together[0]) > far
    assert encoder.card.name == "composition"
    assert encoder.card.licences == {"uniprot": "CC BY 4.0"}
    assert kind_of({"encoder": "composition"}) == "protein"
    assert encoder.cost(histone) == len(histone)
