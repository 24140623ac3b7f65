"""The shape of a trace: what is accepted, and what is said of everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aroma.errors import UsageError
from aroma.model.traces.answers import ANSWERS, completion, label_of, parse


@pytest.mark.parametrize("label", [0, 1, 2])
def test_what_is_written_is_read_again(label):
    parsed = parse(completion(" Because of the graph. ", label))
    assert (parsed.reasoning, parsed.label, parsed.problem) == ("Because of the graph.", label, None)


def test_no_other_label_is_written():
    with pytest.raises(UsageError, match="label 3"):
        completion("x", 3)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no think block"),
        ("<think>a</think>", "no answer block"),
        ("<answer>upregulated</answer>", "no think block"),
        ("<think>a<answer>upregulated</answer>", "think block not closed"),
        ("a</think><answer>upregulated</answer>", "think block not opened"),
        ("<think>a</think><answer>upregulated", "answer block not closed"),
        ("<think>a</think><think>b</think><answer>upregulated</answer>", "more than one think block"),
        (
            "<think>a</think><answer>upregulated</answer><answer>downregulated</answer>",
            "more than one answer block",
        ),
        ("<answer>upregulated</answer><think>a</think>", "blocks in the wrong order"),
        ("<think>a<answer>upregulated</answer></think>", "blocks in the wrong order"),
        ("<think>a</think>Hence up<answer>upregulated</answer>", "text outside the blocks: 'Hence up'"),
        ("<think> </think><answer>upregulated</answer>", "empty reasoning"),
        ("<think>a</think><answer></answer>", "empty answer"),
        ("<think>a</think><answer>upregulated / downregulated</answer>", "answer is not exactly one of the three"),
    ],
)
def test_each_wrong_shape_has_its_name(text, problem):
    assert parse(text).problem == problem


def test_blanks_case_and_stops_do_not_count():
    parsed = parse('<Think>\nWhy.\n</think> .\n"<answer> Not  significantly changed. </answer>."')
    assert (parsed.problem, parsed.label) == (None, 0)


def test_only_the_three_answers_have_a_label():
    assert [label_of(text) for text in ANSWERS.values()] == [0, 1, 2]
    assert label_of("up") is label_of("") is None


@given(st.text(alphabet="<>/thinkanswer upregulated.\n", max_size=80))
def test_any_text_is_parsed_and_a_good_one_has_one_of_each(text):
    parsed = parse(text)
    if parsed.problem is None:
        assert text.lower().count("<think>") <= 1
        assert parsed.label in ANSWERS
