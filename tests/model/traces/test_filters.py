"""Which traces are dropped, and for what; nothing else happens to the table."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aroma.errors import UsageError
from aroma.model.traces.answers import ANSWERS
from aroma.model.traces.filters import FilterOptions, filter_traces, reason_kinds, states_outcome
from aroma.model.traces.rows import TRACES, TraceRow, conform, frame_of

GOOD = (
    "RPL11 is a protein of the large ribosomal subunit, and its loss frees MDM2 from its inhibition of p53. "
    "MDM2 is a ubiquitin ligase that marks TP53 for decay. A path of two hops leads from RPL11 to TP53 through MDM2. "
    "Similar knock-downs of ribosomal genes raised it in other lines. Therefore TP53 is expected to be upregulated."
)


def row(reasoning=GOOD, answer="upregulated", label=2, *, target="TP53", reason=None, line="K562"):
    names = (line, "RPL11", target, label)
    return TraceRow(*names, "p", reasoning, answer, "blind", "m", "e", "sft", kept=reason is None, reason=reason)


def reasons(rows, **more):
    options = FilterOptions(**{"similar": 0.0, "samples_a_row": None, **more})
    return filter_traces(frame_of(rows), options)["reason"].to_list()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"reasoning": " "}, "empty reasoning"),
        ({"answer": ""}, "empty answer"),
        ({"reasoning": GOOD + "</think><think>More."}, "more than one think or answer block"),
        ({"answer": "upregulated<answer>downregulated"}, "more than one think or answer block"),
        ({"answer": "upregulated or not"}, "answer is not exactly one of the three"),
        ({"label": 1}, "answer is up, measured down"),
        ({"reasoning": "Too short. Indeed."}, "shorter than allowed"),
        ({"reasoning": GOOD * 30}, "longer than allowed"),
        (
            {"reasoning": "Since TP53 is upregulated, we look for a cause. " + GOOD},
            "outcome stated before the reasoning",
        ),
        (
            {"reasoning": "Das Protein gehört zum Ribosom und hemmt den Abbau des Suppressors über eine Ligase. " * 4},
            "not English (de)",
        ),
        ({"reason": "cut off at the most tokens"}, "cut off at the most tokens"),
    ],
)
def test_each_fault_has_its_reason(changed, reason):
    assert reasons([row(**changed)]) == [reason]


@pytest.mark.parametrize(
    "text",
    [
        "Since ITCH is upregulated, the pathway must be active. Then more.",
        "ITCH expression increases after the knock-down. It is a ligase.",
        "The observed outcome is an increase. ITCH is a ligase.",
        "ITCH is a ligase. As we were told, it goes up.",
        "ITCH is a ligase. To support the given label, one may say that it rises.",
        "The target is not significantly changed. ITCH is a ligase.",
        "ITCH will be downregulated",
        "Because the knock-down of TULP1 over all routes of the cell lowers ITCH, it falls. A ligase.",
    ],
)
def test_an_outcome_before_the_reasoning_is_found(text):
    assert states_outcome(text, "ITCH")


@pytest.mark.parametrize(
    "text",
    [
        "TULP1 takes part in positive regulation of phagocytosis. Therefore ITCH is upregulated.",
        "ITCH is annotated to negative regulation of the immune response. So it is downregulated.",
        "The question is whether ITCH rises or falls when TULP1 is lost. A path leads there. It is upregulated.",
        "TULP1 reduces photoreceptor loss. ITCH is a ligase. Hence unchanged.",
        "The label of the node is a term. Hence ITCH is upregulated.",
        "",
    ],
)
def test_reasoning_that_comes_first_is_let_pass(text):
    assert not states_outcome(text, "ITCH")


def test_nearly_equal_traces_of_one_label_are_kept_once():
    other = GOOD.replace("two hops", "three hops")
    rows = [row(), row(other, line="HepG2"), row(GOOD, label=1, answer="downregulated"), row(GOOD[::-1] + GOOD)]
    assert reasons(rows, similar=0.8, longest=10_000, english=False) == [None, "nearly the same as row 1", None, None]
    assert reasons(rows, similar=0.0, longest=10_000, english=False) == [None] * 4


def test_a_dropped_trace_makes_no_other_a_duplicate():
    assert reasons([row(reason="x"), row()], similar=0.9) == ["x", None]


def test_as_many_good_samples_of_a_row_as_asked():
    rows = [row(label=1), row(), row(GOOD + " One."), row(line="HepG2")]
    assert reasons(rows, samples_a_row=1) == [
        "answer is up, measured down", None, "more than 1 good traces of the row", None,
    ]  # fmt: skip
    assert reasons(rows, samples_a_row=2)[2] is None


words = st.text(alphabet=string.ascii_letters + " .<>/", max_size=60)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(words, st.sampled_from([*ANSWERS.values(), "", "up"]), st.sampled_from([0, 1, 2]), st.none() | words),
        max_size=8,
    )
)
def test_no_row_is_lost_or_changed_and_each_dropped_one_has_a_reason(made):
    table = frame_of([row(text, said, label, reason=why) for text, said, label, why in made])
    found = filter_traces(table, FilterOptions(shortest=1))
    untouched = [name for name in TRACES if name not in {"kept", "reason"}]
    assert found.select(untouched).equals(table.select(untouched))
    conform(found, "table")
    for before, after in zip(table.iter_rows(named=True), found.iter_rows(named=True), strict=True):
        assert before["reason"] is None or after["reason"] == before["reason"]
        if after["kept"]:
            assert ANSWERS[after["label"]] == after["answer"]
    assert filter_traces(found, FilterOptions(shortest=1)).equals(found)


def test_reasons_are_counted_by_kind():
    given_reasons = [
        "nearly the same as row 7",
        "nearly the same as row 9",
        "target gene X is not known to the release",
    ]
    assert reason_kinds(given_reasons) == {
        "nearly the same as another row": 2,
        "target gene is not known to the release": 1,
    }


@pytest.mark.parametrize("wrong", [{"shortest": 9, "longest": 3}, {"similar": 2.0}, {"samples_a_row": 0}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(UsageError):
        FilterOptions(**wrong)
