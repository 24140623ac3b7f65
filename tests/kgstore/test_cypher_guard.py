"""The guard refuses every spelling of a write, and no reading."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aroma.errors import QueryError
from aroma.kgstore.cypher_guard import check_read_only, parameter_names
from aroma.kgstore.saved_queries import load_queries
from tests.support.write_spellings import READS, WRITES


def test_there_are_enough_spellings() -> None:
    assert len(WRITES) >= 60
    assert len(READS) >= 30


@pytest.mark.parametrize("text", WRITES.values(), ids=WRITES.keys())
def test_a_write_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(QueryError, match=r"refused at line \d+, column \d+: "):
        check_read_only(text)


@pytest.mark.parametrize("text", READS.values(), ids=READS.keys())
def test_a_read_passes(text: str) -> None:
    check_read_only(text)


@pytest.mark.parametrize("query", load_queries().values(), ids=lambda query: query.name)
def test_bundled_queries_pass(query: object) -> None:
    for text in query.texts.values():  # type: ignore[attr-defined]
        check_read_only(text)


def test_the_message_names_the_word_and_its_place() -> None:
    with pytest.raises(QueryError, match=re.escape("line 2, column 3: 'SET': aroma query only reads")):
        check_read_only("MATCH (n)\n  SET n.x = 1")


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(QueryError, match="empty"):
        check_read_only("  // nothing\n")


@pytest.mark.parametrize("text", ["RETURN 'open", 'RETURN "open', "RETURN `open", "RETURN 1 /* open"])
def test_what_is_left_open_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="line 1, column"):
        check_read_only(text)


@given(
    st.text(alphabet=st.sampled_from("MATCHSETn()'\"`/*\\u0027 .:,|{}[]$;\n"), max_size=40), st.sampled_from(" \n\t")
)
def test_a_write_behind_any_text_is_refused_or_inside_a_string_or_name(noise: str, space: str) -> None:
    """Whatever stands in front, ``SET n.x = 1`` at the end is refused unless it is text, a name or a comment."""
    text = f"MATCH (n) {noise}{space}WITH n SET n.x = 1"
    try:
        check_read_only(text)
    except QueryError:
        return
    assert re.search(r"['\"`]|/\*|//", noise)


def test_parameter_names() -> None:
    assert parameter_names("MATCH (n {id: $a}) WHERE n.x = '$no' RETURN $`b c`, $a // $no") == ["a", "b c"]
