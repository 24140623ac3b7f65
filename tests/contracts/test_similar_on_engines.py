"""The same question on both engines: Neo4j's vector index where it was filled, an index of our own on the embedded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from aroma.errors import StoreUnavailableError, UsageError
from aroma.kgstore.engines import open_engine
from aroma.kgstore.graph import Address, Graph
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import load_tables
from aroma.kgstore.verify import verify
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.similar import SimilarOptions, similar_in
from aroma.retrieval.vector_store import VectorSet
from aroma.retrieval.vectors_in_neo4j import fill_neo4j
from tests.support.both_engines import Published, publish_small
from tests.support.small_release import GENES, TERMS
from tests.support.vectors import make_vectors

pytestmark = pytest.mark.neo4j
DIM = 6


def drawn(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=DIM).tolist() for name in (*GENES, *TERMS)}


@pytest.fixture
def published(tmp_path_factory: pytest.TempPathFactory, empty_neo4j: str) -> Published:
    return publish_small(Home(tmp_path_factory.mktemp("similar") / "home"), empty_neo4j)


@pytest.fixture
def vectors(published: Published) -> VectorSet:
    release = require_published(published.home).release
    return make_vectors(published.home, release, drawn(1), name="text:toy", kind="text")


@pytest.fixture
def store(published: Published, vectors: VectorSet) -> EvidenceStore:
    del vectors
    return EvidenceStore(published.home)


@pytest.fixture
def writer(published: Published) -> Iterator[Graph]:
    with Graph.open(Address(published.target.uri)) as graph:
        yield graph


def ask(store: EvidenceStore, target: GraphTarget | None, name: str = "TULP1", **options: Any) -> tuple[str, list[Any]]:
    answer = similar_in(store, name, "text:toy", SimilarOptions(**options), target=target)
    return answer.index, [(item.node.id, item.score) for item in answer.items]


def test_where_it_is_filled_neo4j_answers_and_says_the_same(
    store: EvidenceStore, published: Published, vectors: VectorSet
):
    assert ask(store, published.target)[0] == "flat", "not filled: an index of our own"
    with pytest.raises(StoreUnavailableError, match="aroma similar --fill-neo4j text:toy"):
        ask(store, published.target, index="neo4j")
    said = fill_neo4j(store.snapshot, vectors, published.target)
    assert (said["nodes"], sorted(said["labels"])) == (len(GENES) + len(TERMS), ["GOTerm", "Gene"])  # type: ignore[call-overload]
    for options in ({}, {"k": 2}, {"label": "GOTerm"}):
        index, found = ask(store, published.target, **options)
        assert index == "neo4j"
        assert found == ask(store, GraphTarget.locate("embedded:"), **options)[1]
    assert ask(store, published.target, "GO:0006914")[1] == ask(store, None, "GO:0006914")[1]
    assert ask(store, published.target, shares=("complex",), name="ITCH")[0] == "exact"
    assert ask(store, published.target, index="numpy")[0] == "numpy", "who names an index gets it"


def test_vectors_are_asked_in_cypher_too(store: EvidenceStore, published: Published, vectors: VectorSet):
    fill_neo4j(store.snapshot, vectors, published.target)
    key = f"vector_{vectors.card.id}"
    rows = published.cypher(
        f"MATCH (g:Gene {{symbol: 'TULP1'}}) CALL db.index.vector.queryNodes('{key}_Gene', 3, g.{key}) "
        "YIELD node RETURN node.id"
    )
    assert [row[0] for row in rows[1:]] == [node for node, _ in ask(store, None, k=2)[1]]


def test_a_filled_database_still_says_what_the_tables_say(
    store: EvidenceStore, published: Published, vectors: VectorSet, writer: Graph
):
    fill_neo4j(store.snapshot, vectors, published.target)
    assert verify(published.home, published.target, repair=False, progress=lambda _: None).differences == []
    writer.write("MATCH (g:Gene {symbol: 'ITCH'}) SET g.name = 'something else'")
    (found,) = verify(published.home, published.target, repair=True, progress=lambda _: None).differences
    assert (found["thing"], found["example"]) == ("Gene", "HGNC:13890")
    assert verify(published.home, published.target, repair=False, progress=lambda _: None).sound


def test_vectors_of_another_content_or_release_are_not_taken(
    store: EvidenceStore, published: Published, vectors: VectorSet, writer: Graph
):
    fill_neo4j(store.snapshot, vectors, published.target)
    for name, value in (("digest", "other"), ("release", "r0")):
        before = writer.read(f"MATCH (v:VectorSet) RETURN v.{name}").rows[0][0]
        writer.write(f"MATCH (v:VectorSet) SET v.{name} = $value", {"value": value})
        assert ask(store, published.target)[0] == "flat"
        writer.write(f"MATCH (v:VectorSet) SET v.{name} = $value", {"value": before})
    assert ask(store, published.target)[0] == "neo4j"
    writer.write("MATCH (v:VectorSet) SET v.digest = ''")  # what a killed filling leaves
    assert ask(store, published.target)[0] == "flat"
    fill_neo4j(store.snapshot, vectors, published.target)
    assert ask(store, published.target)[0] == "neo4j"
    tables = load_tables(published.home, store.snapshot.release)
    assert open_engine(published.home, published.target).verify(tables) == []


def test_what_cannot_be_filled_is_refused(store: EvidenceStore, published: Published, vectors: VectorSet):
    with pytest.raises(UsageError, match="only Neo4j has a vector index"):
        fill_neo4j(store.snapshot, vectors, GraphTarget.locate("embedded:"))
    wide = make_vectors(published.home, store.snapshot.release, {"HGNC:18": [1.0] * 4097}, name="wide")
    with pytest.raises(UsageError, match="at most 4,096 numbers; these have 4,097"):
        fill_neo4j(store.snapshot, wide, published.target)


def test_a_database_that_is_gone_is_done_without(store: EvidenceStore):
    gone = GraphTarget("bolt://127.0.0.1:9")
    assert ask(store, gone)[0] == "flat"
    with pytest.raises(StoreUnavailableError):
        ask(store, gone, index="neo4j")
