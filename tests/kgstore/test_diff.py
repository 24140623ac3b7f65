"""A diff shows what changed in knowledge, not in lines and versions; ``since`` follows it."""

from __future__ import annotations

from aroma.kgstore.diff import carry_since, diff
from aroma.kgstore.tables import ReleaseTables
from tests.support.tables import nodes, release, run_rows, statements

GENES = [(f"HGNC:{n}", "Gene") for n in range(1, 6)]
KEPT = ("HGNC:1", "INTERACTS_WITH", "HGNC:2")
GONE = ("HGNC:2", "INTERACTS_WITH", "HGNC:3")
RESCORED = ("HGNC:3", "INTERACTS_WITH", "HGNC:4")
NEW = ("HGNC:4", "INTERACTS_WITH", "HGNC:5")


def before_and_now():
    old = release(
        [nodes(*GENES)],
        [statements([KEPT, GONE], score=500), statements([RESCORED], first_line=8, score=300)],
        runs=run_rows(("string", "links", 3)),
    )
    moved = {"run": "string.links.dddddddddddd", "first_line": 100}
    now = release(
        [nodes(*GENES[:-1], ("HGNC:5", "Gene"))],
        [
            statements([KEPT], score=500, **moved),
            statements([RESCORED, NEW], run="string.links.dddddddddddd", score=800),
        ],
        version="2",
        runs=run_rows(("string", "links", 3)),
    )
    return old, now


def test_only_changes_of_knowledge_are_shown():
    changes = diff("r1", before_and_now()[0], "r2", before_and_now()[1])
    found = {(row["subject"], row["object"]): row["change"] for row in changes.edges.to_dicts()}
    assert found == {
        ("HGNC:2", "HGNC:3"): "retired",
        ("HGNC:3", "HGNC:4"): "changed",
        ("HGNC:4", "HGNC:5"): "added",
    }
    assert changes.nodes.height == 0


def test_changed_nodes_name_their_columns():
    old = release([nodes(*GENES)], [])
    now = release([nodes(*GENES[:-1]), nodes(("HGNC:5", "Gene"), synonyms=["FIVE"])], [])
    changes = diff("r1", old, "r2", now)
    assert changes.nodes.select("id", "change", "columns").rows() == [("HGNC:5", "changed", ["synonyms"])]
    assert changes.summary() == [{"provider": "hgnc", "thing": "Gene", "change": "changed", "rows": 1}]


def test_since_stays_with_an_edge_that_says_the_same():
    old, now = before_and_now()
    first = ReleaseTables({**old.frames, "edges": carry_since(old["edges"], None, 1)})
    second = carry_since(now["edges"], first["edges"], 2)
    found = {(row["subject"], row["object"]): row["since"] for row in second.to_dicts()}
    assert found == {("HGNC:1", "HGNC:2"): 1, ("HGNC:3", "HGNC:4"): 2, ("HGNC:4", "HGNC:5"): 2}


def test_a_stripped_file_is_told_from_a_shrinking_provider():
    terms = [("GO:0000001", "GOTerm"), ("GO:0000002", "GOTerm")]
    old = release(
        [nodes(*terms, provider="gene_ontology", synonyms=["x"], previous=["GO:0000009"])],
        [],
        runs=run_rows(("gene_ontology", "obo", 2)),
    )
    now = release([nodes(*terms, provider="gene_ontology")], [], runs=run_rows(("gene_ontology", "obo", 2)))
    said = diff("r1", old, "r2", now).kinds["gene_ontology"]
    assert said == [
        "the file has no earlier identifiers at all; the one before had 2",
        "the file has no synonyms at all; the one before had 2",
    ]
