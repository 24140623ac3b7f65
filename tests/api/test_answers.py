"""What the server answers: each route, its schema, and that it is the same as without a server."""

from __future__ import annotations

import io
import json

import jsonschema
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import load_outcomes
from aroma.kgstore.publications import require_published
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.evidence_model import evidence_schema, from_json, to_json

PAIR = {"perturbation": "TULP1", "target": "ITCH"}
QUESTION = {**PAIR, "cell_line": "RPE1"}


@pytest.fixture(scope="module")
def store(sample_home: Home) -> EvidenceStore:
    return EvidenceStore(sample_home, outcomes=load_outcomes(sample_home))


def test_evidence_is_the_object_that_the_store_makes_byte_for_byte(api: TestClient, store: EvidenceStore):
    answer = api.get("/v1/evidence", params=QUESTION)
    assert answer.status_code == 200
    assert answer.content == to_json(store.evidence("TULP1", "ITCH", "RPE1"))
    jsonschema.validate(answer.json(), evidence_schema())
    assert answer.json()["outcomes"] is not None


def test_every_option_of_paths_is_part_of_the_answer(api: TestClient):
    plain = api.get("/v1/paths", params={**PAIR, "view": "gene-kg"}).json()
    assert plain["paths"]
    assert plain["paths"][0]["steps"][0]["edges"][0]["statements"]
    other = api.get("/v1/paths", params={**PAIR, "view": "gene-kg", "minimum_score": 900, "k": 5}).json()
    assert (other["definition"]["minimum_score"], other["k"]) == (900, 5)
    assert other["view"]["id"] != plain["view"]["id"]
    edges = [edge for path in other["paths"] for step in path["steps"] for edge in step["edges"]]
    assert all(edge["score"] is None or edge["score"] >= 900 for edge in edges)


@pytest.mark.parametrize(
    "change",
    [
        {"relation": "ANNOTATED_TO"},
        {"exclude_node": "GO:0000422"},
        {"degree_cap": 3},
        {"provider": "corum"},
        {"exclude_evidence": ["IEA", "IBA"]},
        {"annotated_until": "2010-01-01"},
        {"permutation_seed": 7},
    ],
)
def test_a_changed_view_has_an_id_of_its_own_and_writes_nothing(api: TestClient, sample_home: Home, change):
    before = sorted(path.name for path in (sample_home.path / "snapshots").glob("*/*"))
    answer = api.get("/v1/paths", params={"perturbation": "AAMP", "target": "AGPAT1", **change})
    assert answer.status_code == 200, answer.text
    plain = api.get("/v1/paths", params={"perturbation": "AAMP", "target": "AGPAT1"}).json()
    assert answer.json()["view"]["id"] != plain["view"]["id"]
    assert sorted(path.name for path in (sample_home.path / "snapshots").glob("*/*")) == before


def test_an_unknown_gene_is_a_404_with_the_reason_and_the_nearest_symbols(api: TestClient):
    for path, parameters in (
        ("/v1/genes/TULPP1", {}),
        ("/v1/paths", {**PAIR, "perturbation": "TULPP1"}),
        ("/v1/evidence", {**QUESTION, "perturbation": "TULPP1"}),
        ("/v1/neighbourhoods/TULPP1", {}),
    ):
        answer = api.get(path, params=parameters)
        said = answer.json()
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert (said["type"], said["reason"]) == ("urn:aroma:problem:unknown-gene", "unknown")
        assert "TULP1" in said["nearest"]
        assert said["release"]


def test_genes_are_found_by_name_and_mistyped(api: TestClient):
    found = api.get("/v1/genes", params={"q": "TULPP1"}).json()
    assert [item["symbol"] for item in found["items"]][:1] == ["TULP1"]
    old = api.get("/v1/genes/AARS").json()
    assert (old["symbol"], old["tier"]) == ("AARS1", "previous symbol")
    many = api.post("/v1/genes/resolve", json={"names": ["TULP1", "NOTAGENE", ""]}).json()
    assert [item["reason"] for item in many["items"]] == [None, "unknown", "unknown"]
    assert many["resolved"] == 1


def test_pages_follow_each_other(api: TestClient):
    first = api.get("/v1/genes", params={"q": "R", "limit": 2}).json()
    second = api.get("/v1/genes", params={"q": "R", "limit": 2, "offset": first["next_offset"]}).json()
    whole = api.get("/v1/genes", params={"q": "R", "limit": 4}).json()
    assert first["items"] + second["items"] == whole["items"]
    assert api.get("/v1/genes", params={"q": "R", "limit": 200}).json()["next_offset"] is None


def test_neighbourhoods_hold_the_nodes_that_their_links_name(api: TestClient):
    found = api.get("/v1/neighbourhoods/ITCH", params={"hops": 2}).json()
    assert found["nodes"][0]["node"]["id"] == found["centre"]["id"]
    assert found["links"]
    assert all(0 <= link[end] < len(found["nodes"]) for link in found["links"] for end in ("start", "end"))
    cut = api.get("/v1/neighbourhoods/ITCH", params={"hops": 2, "limit": 3}).json()
    assert (len(cut["nodes"]), cut["cut"], cut["total"]) == (3, True, found["total"])


def test_a_batch_answers_in_order_and_marks_what_it_cannot(api: TestClient):
    pairs = [QUESTION, {"perturbation": "NOTAGENE", "target": "ITCH", "cell_line": "RPE1"}, {**PAIR, "cell_line": ""}]
    answer = api.post("/v1/evidence/batch", json={"pairs": pairs})
    lines = [from_json(line) for line in answer.content.split(b"\n") if line]
    assert [line.query.perturbation for line in lines] == ["TULP1", "NOTAGENE", "TULP1"]
    assert lines[1].coverage[0].code == "unknown-gene"
    assert to_json(lines[0]) == api.get("/v1/evidence", params=QUESTION).content


def test_a_batch_takes_the_definition_of_a_view(api: TestClient):
    plain = next(view for view in api.get("/v1/views").json()["items"] if view["name"] == "path-kg")["definition"]
    asked = {**plain, "name": "mine", "dropped_nodes": [*plain["dropped_nodes"], "GO:0005737"], "degree_cap": 500}
    line = api.post("/v1/evidence/batch", json={"pairs": [QUESTION], "view": asked}).content
    change = {"exclude_node": "GO:0005737", "degree_cap": 500}
    single = api.get("/v1/evidence", params={**QUESTION, **change}).json()
    found = json.loads(line)
    assert found["views"][0] == {"name": "mine", "id": single["views"][0]["id"]}
    assert found["paths"] == single["paths"]
    for wrong in ({**plain, "relations": []}, {**plain, "file": "x"}, {**plain, "minimum_score": -1}, 1):
        assert api.post("/v1/evidence/batch", json={"pairs": [QUESTION], "view": wrong}).status_code == 422


def test_a_batch_comes_as_arrow_where_asked(api: TestClient):
    media = "application/vnd.apache.arrow.stream"
    pairs = [QUESTION] * 250
    answer = api.post("/v1/evidence/batch", json={"pairs": pairs}, headers={"Accept": media})
    assert answer.headers["content-type"] == media
    table = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()
    assert table["row"].to_pylist() == list(range(250))
    assert table["evidence"][0].as_py().encode() == api.get("/v1/evidence", params=QUESTION).content


def test_prompts_are_the_evidence_as_text(api: TestClient):
    answer = api.get("/v1/evidence/prompt", params={**QUESTION, "template": "aroma"}).json()
    assert "TULP1" in answer["text"]
    assert answer["tokens"] > 0
    missing = api.get("/v1/evidence/prompt", params={**QUESTION, "template": "../../../etc/passwd"})
    assert missing.status_code == 404
    assert "aroma" in missing.json()["detail"]


def test_coverage_counts_pairs_and_names(api: TestClient):
    pairs = [QUESTION, {"perturbation": "TULPP1", "target": "ITCH", "cell_line": "Vero"}]
    said = api.post("/v1/coverage", json={"pairs": pairs}).json()
    assert (said["pairs"], said["pairs_resolved"], said["names"], said["names_resolved"]) == (2, 1, 3, 2)
    assert said["unresolved"][0]["nearest"][0] == "TULP1"
    assert said["cell_lines"] == {"RPE1": True, "Vero": False}


def test_releases_sources_views_health_metrics(api: TestClient, sample_home: Home):
    release = require_published(sample_home).release
    page = api.get("/v1/releases").json()
    assert (page["served"], page["items"][0]["served"]) == (release, True)
    assert api.get("/v1/releases/1").json()["release"] == release
    assert api.get(f"/v1/releases/{release[:8]}/audit").json()["release"] == release
    assert api.get("/v1/releases/zzz").status_code == 404
    assert {source["provider"] for source in api.get("/v1/sources").json()["items"]} >= {"hgnc", "string", "corum"}
    assert {view["name"] for view in api.get("/v1/views").json()["items"]} >= {"gene-kg", "path-kg"}
    assert api.get("/v1/health").json()["release"] == release
    assert api.get("/v1/schema/evidence").json() == json.loads(json.dumps(evidence_schema()))
    metrics = api.get("/v1/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'route="/v1/releases"' in metrics.text
    assert f'aroma_release_sequence{{release="{release}"}} 1.0' in metrics.text


def test_an_etag_changes_with_the_release_and_spares_the_answer(api: TestClient):
    first = api.get("/v1/evidence", params=QUESTION)
    tag = first.headers["etag"]
    assert first.json()["release"] in tag
    again = api.get("/v1/evidence", params=QUESTION, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert api.get("/v1/evidence", params=QUESTION, headers={"If-None-Match": '"other"'}).status_code == 200


def test_withheld_outcomes_are_counted_and_unknown_splits_refused(api: TestClient):
    plain = api.get("/v1/evidence", params=QUESTION).json()
    hidden = api.get("/v1/evidence", params={**QUESTION, "withhold": "cell-line:k562"}).json()
    assert hidden["outcomes"] != plain["outcomes"]
    assert hidden["withheld"]["cell_lines"] == ["k562"]
    cases = hidden["contrast"] or {"positives": [], "negatives": []}
    assert all(case["cell_line"] != "K562" for case in cases["positives"] + cases["negatives"])
    for wrong in ("split:nothing", "cell-line:Vero", "perturbation:NOTAGENE", "/etc/hosts.csv", "kind:thing"):
        answer = api.get("/v1/evidence", params={**QUESTION, "withhold": wrong})
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
