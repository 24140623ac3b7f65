"""What is missing is said: names, annotations, edges, paths, cell lines."""

from __future__ import annotations

import pytest


def codes(evidence) -> set[tuple[str, str]]:
    return {(flag.code, flag.about) for flag in evidence.coverage} - {("no-outcomes", "pair")}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (("1", "2", "K562"), {("unknown-cell-line", "cell line")}),
        (("nobody", "2", "x"), {("unknown-gene", "perturbation"), ("unknown-cell-line", "cell line")}),
        (("1", "", "x"), {("unknown-gene", "target"), ("unknown-cell-line", "cell line")}),
        (("1", "BOTH", "x"), {("ambiguous-gene", "target"), ("unknown-cell-line", "cell line")}),
        (("OLD", "2", "x"), {("resolved-by-other-name", "perturbation"), ("unknown-cell-line", "cell line")}),
        (("1", "1", "x"), {("same-gene", "pair"), ("unknown-cell-line", "cell line")}),
        (
            ("1", "11", "x"),
            {
                ("no-annotation", "target"),
                ("isolated", "target"),
                ("no-path", "pair"),
                ("unknown-cell-line", "cell line"),
            },
        ),
        (("6", "8", "x"), {("no-path", "pair"), ("unknown-cell-line", "cell line")}),
    ],
)
def test_what_is_missing_is_flagged(small_store, query, expected):
    assert codes(small_store.evidence(*query)) == expected


def test_messages_name_the_cause_and_the_nearest_names(store, small_store):
    (flag,) = [flag for flag in store.evidence("TULP9", "ITCH", "RPE1").coverage if flag.code == "unknown-gene"]
    assert "'TULP9' names no gene here; did you mean TULP1" in flag.message
    (flag,) = [flag for flag in small_store.evidence("1", "BOTH", "x").coverage if flag.code == "ambiguous-gene"]
    assert "HGNC:2, HGNC:3" in flag.message
    evidence = store.evidence("AARS", "ITCH", "RPE1")
    (flag,) = [flag for flag in evidence.coverage if flag.code == "resolved-by-other-name"]
    assert flag.message == "'AARS' was read as AARS1 by its previous symbol"
    assert evidence.query.perturbation == "AARS"
    assert evidence.perturbation.gene.name == "AARS1"


def test_a_name_of_two_tiers_is_flagged(store):
    evidence = store.evidence("TAZ", "ITCH", "RPE1")
    assert ("two-tiers", "perturbation") in codes(evidence)
    (flag,) = [flag for flag in evidence.coverage if flag.code == "two-tiers"]
    assert flag.message.startswith("'TAZ' was read as TAFAZZIN; it is or was a name of WWTR1 (HGNC:24042) as well")
    assert evidence.perturbation.gene.name == "TAFAZZIN"


def test_an_unknown_gene_leaves_the_rest_of_the_answer(store):
    evidence = store.evidence("TULP9", "ITCH", "RPE1")
    assert evidence.perturbation is None
    assert evidence.query.perturbation_id is None
    assert evidence.target is not None
    assert evidence.cell_line.known
    assert evidence.paths == []
    assert evidence.contrast is None


def test_a_known_pair_has_nothing_to_flag(store):
    assert store.evidence("TULP1", "ITCH", "RPE1").coverage == []
