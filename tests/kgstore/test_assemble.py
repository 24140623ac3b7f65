"""One edge for one (subject, relation, object, provider), with its statements as parallel lists."""

from __future__ import annotations

import polars as pl

from aroma.kgstore.assemble import edges_from_statements, with_content
from tests.support.tables import statements

PAIR = ("HGNC:1", "INTERACTS_WITH", "HGNC:2")
BACK = ("HGNC:2", "INTERACTS_WITH", "HGNC:1")


def fold(frame, version="12.0"):
    return with_content(edges_from_statements(frame, provider_release=version, licence="CC BY 4.0"), frame)


def folded(frame):
    """Content compares statements with edges by key, so symmetric statements must be ordered first."""
    from aroma.kgstore.assemble import order_symmetric

    return fold(order_symmetric(frame))


def test_both_directions_of_a_symmetric_pair_become_one_edge_with_both_lines():
    edges = folded(pl.concat([statements([PAIR], score=700), statements([BACK], first_line=9, score=650)]))
    assert edges.select("subject", "object", "score").rows() == [("HGNC:1", "HGNC:2", 700)]
    assert edges["statements"].to_list() == [["string.links.aaaaaaaaaaaa:2", "string.links.aaaaaaaaaaaa:9"]]


def test_the_lists_of_an_edge_are_parallel():
    annotation = ("HGNC:1", "ANNOTATED_TO", "GO:0000001")
    first = statements([annotation], provider="go", evidence="IDA", reference="PMID:1")
    second = statements([annotation], provider="go", first_line=3, evidence="IEA")
    row = folded(pl.concat([second, first])).row(0, named=True)
    assert (row["evidence"], row["references"]) == (["IDA", "IEA"], ["PMID:1", ""])


def test_direction_is_kept_where_it_means_something():
    edges = folded(statements([("GO:2", "IS_A", "GO:1"), ("GO:1", "IS_A", "GO:2")], provider="go"))
    assert edges.height == 2


def test_a_newer_file_that_says_the_same_gives_the_same_content():
    before = folded(statements([PAIR], score=700)).with_columns()
    now = fold(statements([PAIR], run="string.links.cccccccccccc", first_line=40, score=700), version="12.5")
    assert now["content"].to_list() == before["content"].to_list()


def test_order_of_lines_does_not_change_content_but_a_score_does():
    one = pl.concat([statements([PAIR], evidence="a"), statements([PAIR], first_line=3, evidence="b")])
    other = pl.concat([statements([PAIR], evidence="b"), statements([PAIR], first_line=3, evidence="a")])
    changed = pl.concat([statements([PAIR], evidence="b"), statements([PAIR], first_line=3, evidence="c")])
    assert folded(one)["content"].to_list() == folded(other)["content"].to_list()
    assert folded(one)["content"].to_list() != folded(changed)["content"].to_list()
