"""Each saved query, and shapes of statement that programs use, answered alike by both engines over one release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aroma.errors import IdentifierError, QueryError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.query_service import Question
from aroma.kgstore.saved_queries import load_queries
from tests.support.both_engines import Published, publish_small

pytestmark = [pytest.mark.neo4j, pytest.mark.embedded]

CALLS: list[tuple[str, dict[str, str]]] = [
    ("gene-card", {"gene": "TULP1"}),
    ("gene-card", {"gene": "HGNC:20"}),
    ("edge-provenance", {"subject": "TULP1", "object": "GO:0000422"}),
    ("edge-provenance", {"subject": "ITCH", "object": "TULP1"}),
    ("edge-provenance", {"subject": "AAMP", "object": "CORUM:783"}),
    ("edge-provenance", {"subject": "GO:0000422", "object": "GO:0016236"}),
    ("neighbours", {"gene": "TULP1"}),
    ("neighbours", {"gene": "ITCH", "relation": "INTERACTS_WITH", "min_score": "700"}),
    ("k-hop-subgraph", {"gene": "TULP1"}),
    ("k-hop-subgraph", {"gene": "TULP1", "hops": "2"}),
    ("k-hop-subgraph", {"gene": "AAMP", "hops": "3", "relations": "MEMBER_OF;ANNOTATED_TO;IS_A"}),
    ("shortest-paths", {"perturbation": "TULP1", "target": "ITCH"}),
    ("shortest-paths", {"perturbation": "TULP1", "target": "ITCH", "k": "10", "slack": "0"}),
    ("shortest-paths", {"perturbation": "AAMP", "target": "AGPAT1", "k": "10"}),
    ("shortest-paths", {"perturbation": "AAMP", "target": "AGPAT1", "max_hops": "2"}),
    ("shortest-paths", {"perturbation": "AARS1", "target": "AAMP", "k": "5"}),
    ("complex-members", {"complex": "CORUM:783"}),
    ("genes-of-term", {"term": "GO:0006914"}),
    ("genes-of-term", {"term": "GO:0008150"}),
    ("genes-of-pathway", {"pathway": "REACTOME:R-HSA-168256"}),
    ("import-runs", {}),
    ("import-runs", {"provider": "corum"}),
    ("counts-by-provider", {}),
    ("unresolved-identifiers", {}),
    ("unresolved-identifiers", {"reason": "ambiguous"}),
    ("conflicting-identifiers", {}),
    ("release-card", {}),
]
HISTORY = {"published_at"}

SHAPES: dict[str, str] = {
    "count": "MATCH (n:Gene) RETURN count(n) AS n",
    "labels": "MATCH (n) WHERE n.licence IS NOT NULL RETURN labels(n)[0] AS l, count(*) AS c ORDER BY l",
    "types": "MATCH ()-[r]->() RETURN type(r) AS t, count(*) AS c ORDER BY t",
    "lookup": "MATCH (n:Gene {id: 'HGNC:20'}) RETURN n.symbol AS s",
    "null property": "MATCH (n:Complex) RETURN n.symbol IS NULL AS missing, n.nothing AS nothing",
    "filter": "MATCH (n:Gene) WHERE n.symbol STARTS WITH 'A' AND NOT n.symbol = 'AAMP' RETURN n.symbol AS s ORDER BY s",
    "regular expression": "MATCH (n:Gene) WHERE n.symbol =~ 'A.*1' RETURN n.symbol AS s ORDER BY s",
    "membership": "MATCH (n:Gene) WHERE n.symbol IN ['ITCH', 'AAMP'] RETURN n.symbol AS s ORDER BY s",
    "optional": "MATCH (n:Gene) OPTIONAL MATCH (n)-[:MEMBER_OF]->(c) RETURN n.symbol AS s, c.id AS c ORDER BY s, c",
    "collect": "MATCH (g)-[:MEMBER_OF]->(c) WITH c, g ORDER BY g.id RETURN c.id AS c, collect(DISTINCT g.id) AS g",
    "parallel lists": "MATCH ()-[r:ANNOTATED_TO]->(t) WHERE size(r.evidence) > 1 "
    "RETURN r.evidence AS e, r.references AS f",
    "unwind": "MATCH (g)-[r:ANNOTATED_TO]->(t) UNWIND r.evidence AS e RETURN e, count(*) AS c ORDER BY e",
    "variable length": "MATCH (a:GOTerm {id: 'GO:0000422'})-[:IS_A*1..4]->(b) RETURN b.id AS b ORDER BY b",
    "closure": "MATCH (a:GOTerm)-[:IS_A|PART_OF*0..]->(b {id: 'GO:0009987'}) RETURN DISTINCT a.id AS a ORDER BY a",
    "shortest path": "MATCH (a:Gene {id: 'HGNC:18'}), (b:Gene {id: 'HGNC:13890'}) "
    "MATCH p = shortestPath((a)-[:MEMBER_OF|ANNOTATED_TO*..6]-(b)) RETURN length(p) AS n",
    "all shortest paths": "MATCH (a:Gene {id: 'HGNC:18'}), (b:Gene {id: 'HGNC:13890'}) "
    "MATCH p = allShortestPaths((a)-[:MEMBER_OF|ANNOTATED_TO*..6]-(b)) "
    "RETURN [x IN nodes(p) | x.id] AS ids, [r IN relationships(p) | type(r)] AS t ORDER BY ids, t",
    "exists": "MATCH (g:Gene) WHERE EXISTS { (g)-[:MEMBER_OF]->() } RETURN g.symbol AS s ORDER BY s",
    "not exists": "MATCH (g:Gene) WHERE NOT EXISTS { (g)-[:INTERACTS_WITH]-() } RETURN g.symbol AS s ORDER BY s",
    "count subquery": "MATCH (g:Gene) RETURN g.symbol AS s, COUNT { (g)--() } AS n ORDER BY s",
    "call subquery": "MATCH (g:Gene) CALL (g) { MATCH (g)--(o) RETURN count(DISTINCT o) AS n } "
    "RETURN g.id AS g, n ORDER BY g",
    "union": "MATCH (g:Gene) RETURN g.id AS id UNION MATCH (c:Complex) RETURN c.id AS id",
    "case": "MATCH (g:Gene) "
    "RETURN CASE WHEN g.path_degree > 3 THEN 'many' ELSE 'few' END AS c, count(*) AS n ORDER BY c",
    "aggregates": "MATCH ()-[r:INTERACTS_WITH]->() "
    "RETURN min(r.score) AS a, max(r.score) AS b, avg(r.score) AS c, sum(r.score) AS d",
    "list work": "RETURN [x IN range(1, 6) WHERE x % 2 = 0 | x * 10] AS l, reduce(s = 0, x IN [1, 2, 3] | s + x) AS t",
    "strings": "RETURN toUpper('a') + toString(1) AS s, split('a:b', ':')[1] AS t, substring('abcd', 1, 2) "
    "AS u, size('abc') AS n",
    "numbers": "RETURN 7 / 2 AS a, 7.0 / 2 AS b, 7 % 3 AS c, round(2.567 * 100) AS d, toInteger('12') "
    "AS e, abs(-3) AS f",
    "parameters": "MATCH (g:Gene {symbol: $symbol}) RETURN g.id AS id, $number + 1 AS n",
    "page": "MATCH (g:Gene) RETURN g.id AS id ORDER BY id SKIP 1 LIMIT 2",
    "distinct order": "MATCH (g:Gene)-[r]->() RETURN DISTINCT type(r) AS t ORDER BY t DESC",
    "map": "MATCH (g:Gene {id: 'HGNC:20'}) RETURN g {.id, .symbol, n: 1} AS m",
    "end nodes": "MATCH (a:GOTerm {id: 'GO:0000422'})-[r]-(b) "
    "RETURN startNode(r).id AS s, type(r) AS t, endNode(r).id AS o ORDER BY s, t, o",
    "with having": "MATCH (g:Gene)-[r]-() WITH g, count(r) AS n WHERE n > 4 RETURN g.symbol AS s, n ORDER BY s",
}


@pytest.fixture(scope="module")
def both(neo4j_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Published, Published]]:
    """The small release on the embedded engine and on Neo4j, in homes of their own."""
    import neo4j

    from aroma.kgstore.engines.embedded_owner import stop_owner

    with neo4j.GraphDatabase.driver(neo4j_uri) as driver:
        driver.execute_query("MATCH (n) DETACH DELETE n")
    embedded_home = Home(tmp_path_factory.mktemp("embedded"))
    try:
        yield (
            publish_small(embedded_home, "embedded:"),
            publish_small(Home(tmp_path_factory.mktemp("neo4j")), neo4j_uri),
        )
    finally:
        stop_owner(embedded_home)


def _without_history(published: Published, name: str, parameters: dict[str, str]) -> list[dict[str, object]]:
    records = published.ask(Question(name=name, parameters=parameters)).result.records()
    return [{key: value for key, value in record.items() if key not in HISTORY} for record in records]


def test_every_saved_query_is_asked() -> None:
    assert {name for name, _ in CALLS} == set(load_queries())


@pytest.mark.parametrize(("name", "parameters"), CALLS, ids=[f"{i}-{name}" for i, (name, _) in enumerate(CALLS)])
def test_saved_query(both: tuple[Published, Published], name: str, parameters: dict[str, str]) -> None:
    embedded, server = (_without_history(one, name, parameters) for one in both)
    assert embedded == server
    if parameters.get("max_hops") != "2":
        assert embedded
    declared = [column for column, _ in load_queries()[name].columns if column not in HISTORY]
    for record in embedded:
        assert list(record) == declared


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES.keys())
def test_statement_shape(both: tuple[Published, Published], text: str) -> None:
    given = {"symbol": "ITCH", "number": "41"} if "$symbol" in text else {}
    embedded, server = (one.cypher(text, **given) for one in both)
    ordered = "ORDER BY" in text
    assert (embedded if ordered else sorted(embedded, key=repr)) == (server if ordered else sorted(server, key=repr))
    assert embedded


def test_paths_and_their_provenance(both: tuple[Published, Published]) -> None:
    """TULP1 and ITCH: by macroautophagy in three hops, ITCH's complex is no way there, protein binding is dropped."""
    for one in both:
        rows = one.saved("shortest-paths", perturbation="TULP1", target="ITCH", k="10")
        assert [row[1] for row in rows] == sorted(int(str(row[1])) for row in rows)
        rank, hops, nodes, ids, relationships, provenance, _ = rows[0]
        assert (rank, hops) == (1, 3)
        assert nodes == ["TULP1", "autophagy of mitochondrion", "macroautophagy", "ITCH"]
        assert ids == ["HGNC:12426", "GO:0000422", "GO:0016236", "HGNC:13890"]
        assert relationships == ["ANNOTATED_TO", "PART_OF|REGULATES", "ANNOTATED_TO"]
        assert provenance == [
            "gene_ontology gene_ontology-1 (IDA, IEA)",
            "gene_ontology gene_ontology-1",
            "gene_ontology gene_ontology-1 (IMP)",
        ]
        assert all("GO:0005515" not in row[3] for row in rows)  # type: ignore[operator]
        assert len({tuple(row[3]) for row in rows}) == len(rows)  # type: ignore[arg-type]


def test_parallel_providers_are_one_step(both: tuple[Published, Published]) -> None:
    for one in both:
        rows = one.saved("shortest-paths", perturbation="AAMP", target="ITCH", k="1")
        assert rows[0][1] == 2
        steps = [
            row for row in one.saved("shortest-paths", perturbation="AAMP", target="ITCH") if "CORUM:783" in row[3]
        ]  # type: ignore[operator]
        assert steps[0][5][0] == "complex_portal complex_portal-1 (ECO:0000353)|corum corum-1 (MI:0019)"  # type: ignore[index]


def test_a_negative_annotation_holds_below(both: tuple[Published, Published]) -> None:
    """AAMP is said not to take part in autophagy, so its macroautophagy does not make it a gene of any term."""
    for one in both:
        assert [row[1] for row in one.saved("genes-of-term", term="GO:0006914")] == ["ITCH", "TULP1"]
        assert [row[1] for row in one.saved("genes-of-term", term="GO:0016236")] == ["ITCH", "TULP1"]
        assert [row[1] for row in one.saved("genes-of-term", term="GO:0008150")] == ["AGPAT1", "ITCH", "TULP1"]


def test_each_statement_is_a_row(both: tuple[Published, Published]) -> None:
    for one in both:
        answer = one.ask(Question(name="edge-provenance", parameters={"subject": "TULP1", "object": "GO:0000422"}))
        first, second = answer.result.records()
        assert (first["evidence"], second["evidence"]) == ("IDA", "IEA")
        assert (first["line"], second["line"]) == (9, 10)
        assert first["file"] == "gene_ontology.txt.gz"
        assert len(str(first["sha256"])) == 64
        assert first["reference"] == "PMID:2"


def test_names_resolve_and_are_said(both: tuple[Published, Published]) -> None:
    for one in both:
        answer = one.ask(Question(name="gene-card", parameters={"gene": "AARS"}))
        assert answer.result.records()[0]["symbol"] == "AARS1"
        assert answer.notes[0].startswith("AARS → AARS1")
        with pytest.raises(IdentifierError, match="TULP1"):
            one.saved("gene-card", gene="TULPP1")


def test_cut_rows_are_said(both: tuple[Published, Published]) -> None:
    for one in both:
        answer = one.ask(Question(cypher="MATCH (n) RETURN n.id AS id", limit=3))
        assert (len(answer.result.rows), answer.result.truncated) == (3, True)
        assert "cut" in answer.notes[-1]


def test_a_missing_parameter_of_free_cypher_is_named(both: tuple[Published, Published]) -> None:
    for one in both:
        with pytest.raises(UsageError, match="--param symbol=VALUE"):
            one.cypher("MATCH (g:Gene {symbol: $symbol}) RETURN g.id")


def test_a_malformed_text_is_one_sentence(both: tuple[Published, Published]) -> None:
    for one in both:
        with pytest.raises(QueryError) as caught:
            one.cypher("MATCH (n RETURN n")
        assert "\n" not in str(caught.value)


def test_a_slow_query_is_stopped(both: tuple[Published, Published]) -> None:
    slow = "UNWIND range(1, 100000) AS a UNWIND range(1, 100000) AS b WITH a, b WHERE a * b < 0 RETURN count(*) AS n"
    for one in both:
        with pytest.raises(QueryError, match="longer than its limit"):
            one.ask(Question(cypher=slow, timeout=1.0))


def test_own_queries(both: tuple[Published, Published], tmp_path: Path) -> None:
    (tmp_path / "mine.cypher").write_text(
        "// answers: genes\n// column: n: How many\nMATCH (g:Gene) RETURN count(g) AS n"
    )
    for one in both:
        assert one.ask(Question(name="mine", queries=tmp_path)).result.rows == [(5,)]
