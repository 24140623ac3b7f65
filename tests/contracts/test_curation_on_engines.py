"""Curation on both engines: a plain MATCH shows what stands, provenance says whose it is, a plan is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aroma.kgstore.curation_release import apply
from aroma.kgstore.engines import open_engine
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import Home
from aroma.kgstore.query_service import Question
from aroma.kgstore.verify import verify
from tests.conftest import empty_database
from tests.support.both_engines import Published, publish_small
from tests.support.curating import ANNA, WHY, assert_edge, retract, revoke
from tests.support.small_release import RUNS

pytestmark = [pytest.mark.neo4j, pytest.mark.embedded]
IEA = f"{RUNS['gene_ontology']}:10"
MEMBERS = "MATCH (g:Gene)-[r:MEMBER_OF]->(c) RETURN g.symbol AS g, r.provider AS p ORDER BY g, p"


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory, neo4j_uri: str) -> Iterator[dict[str, Published]]:
    """The small release, curated alike in a home of each engine."""
    empty_database(neo4j_uri)
    found = {}
    for name, uri in (("arcadedb", "embedded:"), ("neo4j", neo4j_uri)):
        home = Home(Path(tmp_path_factory.mktemp(name)) / "home")
        found[name] = publish_small(home, uri)
        assert_edge(home, "TULP1", "MEMBER_OF", "CORUM:783", date="2026-01-02")
        retract(home, "ITCH", "MEMBER_OF", "CORUM:783", date="2026-01-02")
        retract(home, statement=IEA, date="2026-01-02")
        apply(home, open_engine(home, found[name].target))
    yield found
    for one in found.values():
        stop_owner(one.home)


@pytest.mark.parametrize("name", ["arcadedb", "neo4j"])
def test_what_stands_is_what_a_plain_match_finds(curated: dict[str, Published], name: str):
    lab = curated[name]
    assert lab.cypher(MEMBERS) == [("AAMP", "complex_portal"), ("AAMP", "corum"), ("TULP1", "curation")]
    statements = "MATCH (g {id: 'HGNC:12426'})-[r:ANNOTATED_TO]->(t {id: 'GO:0000422'}) RETURN r.evidence AS e"
    assert lab.cypher(statements) == [(["IDA"],)]
    assert verify(lab.home, lab.target, repair=False, progress=lambda _: None).sound


@pytest.mark.parametrize("name", ["arcadedb", "neo4j"])
def test_provenance_names_the_curator_and_the_reason(curated: dict[str, Published], name: str):
    lab = curated[name]
    said = lab.ask(Question(name="edge-provenance", parameters={"subject": "TULP1", "object": "CORUM:783"}))
    (row,) = said.result.records()
    assert (row["provider"], row["assertion"], row["curator"], row["line"]) == ("curation", WHY, ANNA, 1)
    other = lab.ask(Question(name="edge-provenance", parameters={"subject": "TULP1", "object": "GO:0000422"}))
    assert [(row["evidence"], row["assertion"]) for row in other.result.records()] == [("IDA", "Withdrawn paper")]


@pytest.mark.parametrize("name", ["arcadedb", "neo4j"])
def test_a_plan_is_shown_and_nothing_is_run(curated: dict[str, Published], name: str):
    answer = curated[name].ask(Question(name="gene-card", parameters={"gene": "TULP1"}, explain=True))
    assert answer.result.rows == []
    assert answer.result.plan
    assert "\n" in answer.result.plan
    assert curated[name].ask(Question(name="gene-card", parameters={"gene": "TULP1"})).result.plan is None


def test_both_homes_serve_the_same_release_and_the_first_one_again_when_all_is_revoked(curated: dict[str, Published]):
    lab = curated["neo4j"]
    served = {one.ask(Question(cypher="RETURN 1 AS one")).release for one in curated.values()}
    assert len(served) == 1
    from aroma.kgstore.curation_desk import listed

    for one in listed(lab.home):
        revoke(lab.home, one.entry.id)
    done = apply(lab.home, open_engine(lab.home, lab.target))
    assert done.release not in served
    assert lab.cypher(MEMBERS) == [("AAMP", "complex_portal"), ("AAMP", "corum"), ("ITCH", "corum")]
    assert lab.cypher("MATCH (a:Assertion) RETURN count(a) AS n") == [(0,)]
