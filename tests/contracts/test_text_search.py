"""Text search answers on both engines alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.text_search import TextHit, search
from tests.support.both_engines import Published, publish_small

pytestmark = [pytest.mark.neo4j, pytest.mark.embedded]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, neo4j_uri: str) -> Iterator[tuple[Published, Published]]:
    from aroma.kgstore.engines.embedded_owner import stop_owner
    from tests.conftest import empty_database

    empty_database(neo4j_uri)
    home = Home(tmp_path_factory.mktemp("search") / "embedded")
    other = Home(tmp_path_factory.mktemp("search") / "neo4j")
    yield publish_small(home, "embedded:"), publish_small(other, neo4j_uri)
    stop_owner(home)


def found(published: Published, text: str, limit: int = 20) -> list[TextHit]:
    return search(published.home, published.target, text, limit)[1]


@pytest.mark.parametrize("text", ["autophagy", "TULP1", "itchy", "TULPP1", "photoreceptor", "protein binding"])
def test_both_engines_find_the_same_nodes(both: tuple[Published, Published], text: str):
    one, other = (sorted((hit.id, hit.found_in) for hit in found(published, text)) for published in both)
    assert one == other
    assert one


def test_a_gene_is_found_by_its_symbol_first_and_by_one_mistyped(both: tuple[Published, Published]):
    for published in both:
        first = found(published, "TULP1")[0]
        assert (first.name, first.found_in) == ("TULP1", "symbol")
        assert ("TULP1", "spelled alike") in {(hit.name, hit.found_in) for hit in found(published, "TULPP1")}


@pytest.mark.parametrize("text", ["a:b AND (c", 'x" OR "y', "name:*", "~^!{}[]", "\x00 TULP1", "*", "\\", "AND OR NOT"])
def test_query_syntax_means_nothing(both: tuple[Published, Published], text: str):
    for published in both:
        try:
            found(published, text)
        except UsageError as error:
            assert "at least one word" in str(error)  # noqa: PT017 - either outcome is right, by the text


def test_a_limit_holds(both: tuple[Published, Published]):
    for published in both:
        assert len(found(published, "protein", limit=1)) <= 1
        with pytest.raises(UsageError, match="limit"):
            found(published, "protein", limit=0)
