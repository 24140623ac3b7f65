"""KGX tab files and Biolink JSON lines, validated by the real ``kgx`` and the Biolink Model's classes."""

from __future__ import annotations

import json

import polars as pl
import pytest

from aroma.retrieval.exports.biolink import OWN_COLUMNS
from aroma.retrieval.exports.run import ExportRequest, run_export
from tests.support.homes import home_of_tables
from tests.support.peers import ask_peer
from tests.support.small_release import small_release

# kgx fetches the Biolink Model from the network; the package biolink-model, which it depends on, has the same files.
LOCAL_MODEL = """
    import json, sys
    from pathlib import Path
    import biolink_model, requests, bmt.toolkit
    there = Path(biolink_model.__path__[0])
    schema = str(there / "schema" / "biolink_model.yaml")
    class Local:
        def __init__(self, url):
            self.url = url
            self.text = "{}"  # the mapping of predicates to Biolink's, which validation does not ask
        def json(self):
            assert "context" in self.url, self.url
            return json.loads((there / "prefixmaps" / "biolink_model_prefix_map.json").read_text())
    requests.get = lambda url, **_: Local(url)
    bmt.toolkit.Toolkit.__init__.__defaults__ = (schema, bmt.toolkit.PREDICATE_MAP)
"""
VALIDATE = (
    LOCAL_MODEL
    + """
    from kgx.transformer import Transformer
    from kgx.validator import Validator
    said = {}
    for suffix in ("tsv", "jsonl"):
        transformer = Transformer()
        files = [f"{sys.argv[1]}/{suffix}/{name}.{suffix}" for name in ("nodes", "edges")]
        transformer.transform({"filename": files, "format": suffix})
        graph = transformer.store.graph
        validator = Validator()
        validator.validate(graph)
        said[suffix] = {
            "errors": {kind: sorted(messages) for kind, messages in validator.get_errors("ERROR").items()},
            "read": transformer.get_errors(),
            "nodes": dict(graph.nodes(data=True)),
            "edges": {data["id"]: data for _, _, data in graph.edges(data=True)},
        }
    print()
    print(json.dumps(said))
"""
)
CLASSES = """
    import json, sys
    from biolink_model.datamodel import pydanticmodel_v2 as model
    own, seen = set(json.loads(sys.argv[1])), []
    for path in sys.argv[2:]:
        for line in open(path):
            said = {name: value for name, value in json.loads(line).items() if name not in own}
            kind = said["category"][0].removeprefix("biolink:")
            getattr(model, kind)(**said)
            seen.append(kind)
    print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def biolink_home(tmp_path_factory):
    """The small release with texts that are hard to put into tab files."""
    tables = small_release()
    hard = 'a "quoted" one,\twith a tab | a bar\nand a second line; café'
    nodes = tables["nodes"].with_columns(
        pl.when(pl.col("id") == "GO:0000422").then(pl.lit(hard)).otherwise(pl.col("description")).alias("description"),
        pl.when(pl.col("id") == "HGNC:20").then(pl.lit(["a|b", "c"])).otherwise(pl.col("synonyms")).alias("synonyms"),
    )
    return home_of_tables(tmp_path_factory.mktemp("biolink") / "home", tables.of({**tables.frames, "nodes": nodes}))


@pytest.fixture(scope="module")
def loaded(biolink_home, tmp_path_factory):
    """What kgx says of both formats; its model takes seconds to load, so it is started once."""
    place = tmp_path_factory.mktemp("kgx")
    for name, suffix in (("kgx", "tsv"), ("biolink-jsonl", "jsonl")):
        run_export(biolink_home, ExportRequest(name, place / suffix))
    return ask_peer(VALIDATE, place)


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_kgx_loads_and_validates(loaded, suffix):
    said = loaded[suffix]
    # CORUM is no prefix of the Biolink Model; all else validates.
    assert {message for kind in said["errors"].values() for message in kind if "'CORUM'" not in message} == set()
    assert set(said["errors"]) <= {"INVALID_NODE_PROPERTY_VALUE", "INVALID_EDGE_PROPERTY_VALUE"}
    assert said["read"] == {}
    # kgx keeps one edge for one subject, predicate and object: CORUM's and Complex Portal's membership become one.
    assert (len(said["nodes"]), len(said["edges"])) == (15, 22)
    assert said["nodes"]["HGNC:12426"]["symbol"] == "TULP1"
    assert said["nodes"]["GO:0000422"]["description"].startswith('a "quoted" one, with a tab')
    assert said["nodes"]["GO:0000422"]["description"].endswith("and a second line; café")
    assert said["nodes"]["HGNC:20"]["synonym"][-1] == "c"
    assert len(said["nodes"]["HGNC:20"]["synonym"]) == 3
    assert "REACT:R-HSA-9612973" in said["nodes"]
    string = said["edges"]["urn:aroma:edge:HGNC:12426/INTERACTS_WITH/interacts_with/HGNC:13890/string"]
    assert string["primary_knowledge_source"] == "infores:string"
    assert len(string["statements"]) == 2
    assert float(string["has_confidence_score"]) == pytest.approx(0.715)


def test_every_record_is_what_the_model_calls_it(export):
    made = export("biolink-jsonl")
    own = json.dumps([*OWN_COLUMNS, "statement"])
    kinds = ask_peer(CLASSES, own, made.out / "nodes.jsonl", made.out / "edges.jsonl")
    assert len(kinds) == 38
    assert {"Gene", "BiologicalProcess", "PairwiseGeneToGeneInteraction", "GeneToPathwayAssociation"} <= set(kinds)


def edges_of(made) -> dict[str, dict]:
    rows = [json.loads(line) for line in (made.out / "edges.jsonl").read_text().splitlines()]
    return {row["id"].removeprefix("urn:aroma:edge:"): row for row in rows}


def test_what_is_negated_says_so(export):
    edges = edges_of(export("biolink-jsonl"))
    negated = [row for row in edges.values() if row.get("negated")]
    assert [(row["subject"], row["object"]) for row in negated] == [("HGNC:18", "GO:0006914")]
    assert all("negated" not in row for row in edges.values() if row not in negated)


def test_how_it_is_known_follows_from_the_evidence(export):
    edges = edges_of(export("biolink-jsonl"))
    both = edges["HGNC:12426/ANNOTATED_TO/actively_involved_in/GO:0000422/gene_ontology"]
    assert (both["knowledge_level"], both["agent_type"]) == ("knowledge_assertion", "manual_agent")
    assert both["has_evidence"] == ["ECO:0000314", "ECO:0000501"]
    assert both["publications"] == ["PMID:2", "GO_REF:0000002"]
    computed = edges["HGNC:18/ANNOTATED_TO/actively_involved_in/GO:0016236/gene_ontology"]
    assert (computed["knowledge_level"], computed["agent_type"]) == (
        "prediction",
        "manual_validation_of_automated_agent",
    )
    electronic = edges["HGNC:324/PARTICIPATES_IN/participates_in/REACTOME:R-HSA-9612973/reactome"]
    assert (electronic["knowledge_level"], electronic["agent_type"]) == ("prediction", "automated_agent")
    ontology = edges["GO:0000422/IS_A/subclass_of/GO:0006914/gene_ontology"]
    assert (ontology["primary_knowledge_source"], both["primary_knowledge_source"]) == ("infores:go", "infores:goa")


def test_lines_with_different_relations_are_associations_of_their_own(export, tmp_path):
    tables = small_release()
    key = (pl.col("subject") == "HGNC:12426") & (pl.col("object") == "GO:0000422")
    said = pl.when(key).then(pl.lit(["involved_in", "acts_upstream_of"])).otherwise(pl.col("qualifiers"))
    edges = tables["edges"].with_columns(said.alias("qualifiers"))
    home = home_of_tables(tmp_path / "home", tables.of({**tables.frames, "edges": edges}))
    rows = edges_of(export("biolink-jsonl", home=home))
    one = rows["HGNC:12426/ANNOTATED_TO/actively_involved_in/GO:0000422/gene_ontology"]
    other = rows["HGNC:12426/ANNOTATED_TO/acts_upstream_of/GO:0000422/gene_ontology"]
    assert (one["has_evidence"], other["has_evidence"]) == (["ECO:0000314"], ["ECO:0000501"])
    assert (len(one["statements"]), len(other["statements"])) == (1, 1)


def test_derived_edges_are_entailed(export):
    edges = edges_of(export("biolink-jsonl", view="gene-kg"))
    derived = edges["HGNC:13890/SHARES_COMPLEX/in_complex_with/HGNC:18/corum"]
    assert (derived["knowledge_level"], derived["agent_type"]) == ("logical_entailment", "automated_agent")
    assert derived["has_evidence"] == ["MI:0019"]
