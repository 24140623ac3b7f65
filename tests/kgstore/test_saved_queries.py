"""Headers of saved queries, their parameters, and a user's own directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from aroma.errors import UsageError
from aroma.kgstore.cypher_guard import parameter_names
from aroma.kgstore.saved_queries import SavedQuery, find_query, load_queries

EXPECTED = {
    "complex-members", "conflicting-identifiers", "counts-by-provider", "edge-provenance", "gene-card",
    "genes-of-pathway", "genes-of-term", "import-runs", "k-hop-subgraph", "neighbours", "release-card",
    "shortest-paths", "unresolved-identifiers",
}  # fmt: skip


def test_all_are_there() -> None:
    assert set(load_queries()) >= EXPECTED


@pytest.mark.parametrize("query", load_queries().values(), ids=lambda query: query.name)
def test_header_and_text_agree(query: SavedQuery) -> None:
    for text in query.texts.values():
        assert set(parameter_names(text)) == {parameter.name for parameter in query.parameters}
        returned = text.rpartition("RETURN ")[2]
        for column, meaning in query.columns:
            assert column in returned
            assert meaning
    examples = {parameter.name: parameter.example for parameter in query.parameters}
    assert set(query.bind(examples)) == set(examples)


def test_unknown_query_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'shortest-paths'"):
        find_query("shortest-path")


def test_missing_parameter_shows_an_example() -> None:
    with pytest.raises(UsageError, match=r"aroma query shortest-paths --param perturbation=TULP1 --param target=ITCH"):
        find_query("shortest-paths").bind({"perturbation": "TULP1"})


def test_unknown_parameter_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'perturbation'"):
        find_query("shortest-paths").bind({"pertubation": "TULP1"})


@pytest.mark.parametrize("value", ["three", "0", "101", ""])
def test_a_bad_number_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="parameter k="):
        find_query("shortest-paths").bind({"perturbation": "A", "target": "B", "k": value})


def test_values_are_typed_and_defaults_filled_in() -> None:
    bound = find_query("k-hop-subgraph").bind({"gene": "TULP1", "relations": "IS_A; PART_OF"})
    assert bound == {"gene": "TULP1", "hops": 1, "relations": ["IS_A", "PART_OF"]}


def test_own_queries_win_and_have_variants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = "// answers: mine\n// parameter: flag: boolean, default false: A flag\n// column: x: A number\n"
    (tmp_path / "gene-card.cypher").write_text(header + "RETURN $flag AS x")
    (tmp_path / "gene-card.arcadedb.cypher").write_text(header + "RETURN NOT $flag AS x")
    monkeypatch.setenv("AROMA_QUERIES", str(tmp_path))
    mine = find_query("gene-card")
    assert mine.answers == "mine"
    assert "NOT" not in mine.text("neo4j")
    assert "NOT" in mine.text("arcadedb")
    assert mine.bind({"flag": "yes"}) == {"flag": True}
    assert set(load_queries()) >= EXPECTED


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("// parameter: x: text, required, example y: z\n", "answers"),
        ("// answers: a\n// parameter: x: colour, required, example y: z\n", "parameter line"),
        ("// answers: a\n// parameter: x\n", "parameter line"),
        ("// answers: a\n// colum: x: y\n", "line 2"),
    ],
)
def test_a_bad_header_names_the_file(tmp_path: Path, header: str, problem: str) -> None:
    (tmp_path / "bad.cypher").write_text(header + "RETURN 1 AS x")
    with pytest.raises(UsageError, match=rf"bad\.cypher.*{problem}"):
        load_queries(tmp_path)


def test_an_absent_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no directory of queries"):
        load_queries(tmp_path / "absent")
