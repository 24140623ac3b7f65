"""Where a sentence about genes ends, and where it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aroma.model.traces.sentences import first_sentence, split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["TP53 is a target.", "MDM2 binds it."],
        ["It binds DNA (e.g. promoters) in E. coli.", "Next one."],
        ["The similarity is 0.97 of 1.0.", "A second one follows."],
        ["See Fig. 3 and refs. 4 and 5.", "Then go on."],
        ["Kinases, i.e. CDK1 vs. CDK2, matter.", "eIF2 is one more."],
        ["It needs vitamin D.", "The rest is known."],
        ["Described (by similarity. And more.) as a kinase.", "Done."],
        ["Is it up?", "No!", "(It is not.)"],
        ['He said "it binds."', "Then it ended."],
        ["NKX2-1 and HLA-A*02:01 are names.", "14-3-3 proteins too."],
        ["No stop at the end"],
    ],
)
def test_sentences_are_cut_where_they_end(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


def test_lists_and_paragraphs_end_sentences():
    assert split_sentences("Points:\n- one\n- two\n\nThe end.") == ["Points:", "- one", "- two", "The end."]


def test_the_first_sentence():
    assert first_sentence("One (cf. E. coli). Two.") == "One (cf. E. coli)."
    assert first_sentence("  ") == ""


@given(st.text(max_size=200))
def test_nothing_is_lost(text):
    assert " ".join(split_sentences(text)).split() == text.split()
