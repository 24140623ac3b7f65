"""Closures and positive annotations, against the definition walked out by brute force on small random graphs."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aroma.importers.gene_ontology import GeneOntologyImporter
from aroma.kgstore.ontology import ancestors, positive_annotations
from aroma.kgstore.schema import Relation
from tests.support.samples import BUNDLED, REAL, read

TERMS = tuple(f"GO:{number:07}" for number in range(7))
GENES = ("HGNC:1", "HGNC:2", "HGNC:3")
Edge = tuple[str, str, str]


def frame(edges: list[Edge]) -> pl.DataFrame:
    return pl.DataFrame(edges, schema=dict.fromkeys(["subject", "relation", "object"], pl.String), orient="row")


@st.composite
def ontologies(draw: st.DrawFn) -> list[Edge]:
    pairs = [(low, high) for high in range(len(TERMS)) for low in range(high)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=12))
    kinds = st.sampled_from(["IS_A", "PART_OF", "REGULATES"])
    links = [(TERMS[low], draw(kinds), TERMS[high]) for low, high in chosen]
    said = st.tuples(
        st.sampled_from(GENES), st.sampled_from(["ANNOTATED_TO", "NOT_ANNOTATED_TO"]), st.sampled_from(TERMS)
    )
    return links + draw(st.lists(said, unique=True, max_size=10))


def walk(edges: list[Edge], start: str, kinds: tuple[str, ...] = ("IS_A", "PART_OF")) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for subject, kind, parent in edges:
            if subject == here and kind in kinds and parent not in found:
                found.add(parent)
                todo.append(parent)
    return found


def brute_force(edges: list[Edge]) -> set[tuple[str, str]]:
    denied = {(gene, term) for gene, kind, term in edges if kind == "NOT_ANNOTATED_TO"}
    holds = set()
    for gene, kind, term in edges:
        if kind != "ANNOTATED_TO":
            continue
        above = walk(edges, term)
        if any((gene, ancestor) in denied for ancestor in above):
            continue
        holds |= {(gene, ancestor) for ancestor in above}
    return holds


@given(ontologies())
def test_ancestors_are_those_that_a_walk_reaches(edges: list[Edge]) -> None:
    hierarchy = {end for subject, kind, parent in edges if kind in {"IS_A", "PART_OF"} for end in (subject, parent)}
    wanted = {(term, above) for term in hierarchy for above in walk(edges, term)}
    found = ancestors(frame(edges))
    assert set(found.rows()) == wanted
    assert found.height == len(wanted)
    assert found.columns == ["term", "ancestor"]


@given(ontologies())
def test_positive_annotations_are_those_of_the_definition(edges: list[Edge]) -> None:
    found = positive_annotations(frame(edges))
    assert set(found.rows()) == brute_force(edges)
    assert found.height == len(set(found.rows()))


@given(ontologies())
def test_nothing_holds_at_or_below_a_not(edges: list[Edge]) -> None:
    found = set(positive_annotations(frame(edges)).rows())
    for gene, kind, denied in edges:
        if kind == "NOT_ANNOTATED_TO":
            assert not {(gene, term) for term in TERMS if denied in walk(edges, term)} & found


def test_a_not_takes_the_descendants_and_leaves_supported_ancestors() -> None:
    links = [("c", "IS_A", "b"), ("b", "IS_A", "a"), ("d", "PART_OF", "a")]
    said = [("g", "ANNOTATED_TO", "c"), ("g", "NOT_ANNOTATED_TO", "b"), ("h", "ANNOTATED_TO", "c")]
    assert positive_annotations(frame([*links, *said])).rows() == [("h", "a"), ("h", "b"), ("h", "c")]
    supported = [*links, *said, ("g", "ANNOTATED_TO", "d")]
    assert positive_annotations(frame(supported)).filter(pl.col("gene") == "g").rows() == [("g", "a"), ("g", "d")]


def test_regulates_carries_nothing() -> None:
    edges = [("b", "REGULATES", "a"), ("g", "ANNOTATED_TO", "b")]
    assert positive_annotations(frame(edges)).rows() == [("g", "b")]
    assert ancestors(frame(edges), (Relation.REGULATES,)).rows() == [("a", "a"), ("b", "a"), ("b", "b")]


def test_a_cycle_ends() -> None:
    edges = [("a", "IS_A", "b"), ("b", "IS_A", "c"), ("c", "IS_A", "a")]
    assert ancestors(frame(edges)).height == 9


def test_no_edges_give_no_pairs() -> None:
    assert ancestors(frame([])).shape == (0, 2)
    assert positive_annotations(frame([("a", "IS_A", "b")])).shape == (0, 2)


def test_an_ancestor_reached_by_many_ways_is_there_once() -> None:
    width, depth = 6, 30
    edges = [
        (f"{level}.{one}", "IS_A", f"{level + 1}.{other}")
        for level in range(depth)
        for one in range(width)
        for other in range(width)
    ]
    found = ancestors(frame(edges)).filter(pl.col("term") == "0.0")
    assert found.height == 1 + width * depth


@pytest.mark.real_data
def test_real_go_reaches_its_roots() -> None:
    directory = REAL / "go"
    if not directory.is_dir():
        pytest.skip("../shared is absent")
    batch = read(
        GeneOntologyImporter(), directory / "go-basic.2021-12-15.obo.gz", BUNDLED / "go" / "goa_human.2022-09-12.gaf"
    )
    assert batch.edges is not None
    assert batch.nodes is not None
    found = ancestors(batch.edges)
    roots = found.filter(pl.col("ancestor").is_in(["GO:0008150", "GO:0003674", "GO:0005575"]))["term"].n_unique()
    assert roots == batch.nodes.filter(~pl.col("obsolete")).height
