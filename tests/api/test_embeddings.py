"""The routes about embeddings: answers, reasons, bounds, and generated requests over the document."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import schemathesis
from hypothesis import given, settings
from starlette.testclient import TestClient

from aroma.api import embedding_routes
from aroma.api.app import create_app
from aroma.api.settings import Limits, Settings
from aroma.client import Client
from aroma.errors import ServerAnswerError
from aroma.kgstore.home import Home
from aroma.retrieval.embedding_answers import vectors_of
from aroma.retrieval.embedding_model import SimilarAnswer
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.evidence_model import to_builtins
from aroma.retrieval.similar import SimilarOptions, similar_in
from aroma.retrieval.structural_set import write_structural_set
from aroma.retrieval.vector_store import find_vector_set
from tests.api.test_schemathesis import CHECKS, EXAMPLES, HEALTH
from tests.support.asgi import SyncTransport
from tests.support.vectors import make_vectors

ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def home(sample_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The samples with the graph's own vectors."""
    place = tmp_path_factory.mktemp("embedded") / "home"
    shutil.copytree(sample_home.path, place)
    write_structural_set(EvidenceStore(Home(place)).snapshot)
    return Home(place)


@pytest.fixture(scope="module")
def store(home: Home) -> EvidenceStore:
    return EvidenceStore(home)


@pytest.fixture(scope="module")
def app(home: Home) -> Any:
    return create_app(Settings(home=home.path, limits=Limits(body_bytes=200_000, batch_pairs=500)))


@pytest.fixture(scope="module")
def http(app: Any) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_sets_are_listed_with_their_licences(http: TestClient, store: EvidenceStore):
    said = http.get("/v1/embeddings").json()
    assert said["release"] == store.snapshot.release
    assert [(item["encoder"], item["commercial_use"]) for item in said["items"]] == [("graph-svd", False)]
    assert said["items"][0]["rows"] == len(find_vector_set(store.snapshot.home, said["release"], "graph-svd").ids)


def test_similar_is_what_the_package_answers(http: TestClient, store: EvidenceStore):
    answer = http.get("/v1/similar", params={"name": "TULP1", "k": 5})
    assert answer.json() == to_builtins(similar_in(store, "TULP1", None, SimilarOptions(k=5)))
    tag = answer.headers["etag"]
    assert http.get("/v1/similar", params={"name": "TULP1", "k": 5}, headers={"If-None-Match": tag}).status_code == 304
    shared = http.get("/v1/similar", params={"name": "TULP1", "shares": ["term"]}).json()
    assert shared["items"]
    assert all(item["shared"]["terms"] for item in shared["items"])


@pytest.mark.parametrize(
    ("asked", "status", "kind", "said"),
    [
        ({"name": "TULPP1"}, 404, "unknown-gene", "TULP1"),
        ({"name": "TULP1", "encoder": "graph-sdv"}, 404, "not-found", "did you mean 'graph-svd'"),
        ({"name": "CORUM:no"}, 404, "unknown-gene", "names no gene"),
        ({"name": "GO:0008150"}, 404, "no-vector", "it was not among what was embedded"),
        ({"name": "TULP1", "k": 0}, 422, "unprocessable-entity", "query.k"),
        ({"name": "TULP1", "shares": "name"}, 422, "unprocessable-entity", "query.shares"),
        ({"name": "TULP1", "index": "hnsw"}, 422, "unprocessable-entity", "has no HNSW index yet"),
        ({"name": "TULP1", "index": "neo4j"}, 422, "unprocessable-entity", "--uri bolt"),
        ({}, 422, "unprocessable-entity", "query.name"),
    ],
)
def test_what_cannot_be_answered_says_why(http: TestClient, asked: dict[str, Any], status: int, kind: str, said: str):
    answer = http.get("/v1/similar", params=asked)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:aroma:problem:{kind}")
    assert said in answer.json()["detail"]


def test_vectors_come_as_json_and_as_arrow(http: TestClient, store: EvidenceStore):
    asked = {"ids": ["TULP1", "NOTAGENE", "GO:0008150", "AARS"], "encoder": "graph-svd"}
    plain = http.post("/v1/embeddings/vectors", json=asked).json()
    assert plain == to_builtins(vectors_of(store, "graph-svd", asked["ids"]))  # type: ignore[arg-type]
    assert [item["vector"] is None for item in plain["items"]] == [False, True, True, False]
    answer = http.post("/v1/embeddings/vectors", json=asked, headers={"Accept": ARROW})
    assert answer.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()
    assert table["problem"].to_pylist() == [item["problem"] for item in plain["items"]]
    assert table["vector"].null_count == 2, "what has no vector is null there, not zeros"
    assert np.array_equal(table["vector"][0].as_py(), plain["items"][0]["vector"])
    assert table.schema.metadata[b"encoder"] == b"graph-svd"


def test_answers_are_bounded(http: TestClient, home: Home, store: EvidenceStore):
    assert http.post("/v1/embeddings/vectors", json={"ids": ["TULP1"] * 501}).status_code == 413
    wide = {"HGNC:12423": [1.0] * 20_000}
    make_vectors(home, store.snapshot.release, wide, name="wide")
    answer = http.post("/v1/embeddings/vectors", json={"ids": ["TULP1"] * 101, "encoder": "wide"})
    assert (answer.status_code, "at most 100" in answer.json()["detail"]) == (422, True)
    shutil.rmtree(find_vector_set(home, store.snapshot.release, "wide").directory)


def test_the_client_has_typed_answers(app: Any):
    with Client("http://test", transport=SyncTransport(app)) as aroma:
        assert aroma.embeddings().items[0].encoder == "graph-svd"
        found = aroma.similar("TULP1", k=3)
        assert isinstance(found, SimilarAnswer)
        assert [item.rank for item in found.items] == [1, 2, 3]
        batch = aroma.vectors(["TULP1", "NOTAGENE"], encoder="graph-svd")
        assert len(batch.items[0].vector or []) == batch.encoder.dim
        with pytest.raises(ServerAnswerError, match="TULP1") as error:
            aroma.similar("TULPP1")
        assert error.value.status == 404


@pytest.fixture(scope="module")
def document(http: TestClient) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/v1/openapi.json", http.app)


ROUTES = [(route.path, method) for route in embedding_routes.router.routes for method in sorted(route.methods)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_no_answer_is_outside_the_document(document: schemathesis.BaseSchema, path: str, method: str):
    @given(case=document[path][method].as_strategy())
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=HEALTH)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    check()


GOOD: list[tuple[str, dict[str, Any]]] = [
    ("/v1/embeddings", {}),
    ("/v1/similar", {"query": {"name": "TULP1", "k": 3, "encoder": "graph-svd"}}),
    ("/v1/similar", {"query": {"name": "TULP1", "shares": ["term", "string"]}}),
    ("/v1/embeddings/vectors", {"body": {"ids": ["TULP1", "?"]}, "media_type": "application/json"}),
]


@pytest.mark.parametrize(("path", "asked"), GOOD)
def test_good_answers_fit_the_document(document: schemathesis.BaseSchema, path: str, asked: dict[str, Any]):
    method = "POST" if "body" in asked else "GET"
    assert document[path][method].Case(**asked).call_and_validate(checks=CHECKS).status_code == 200
