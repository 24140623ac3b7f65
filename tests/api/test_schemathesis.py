"""Generated requests over the whole OpenAPI document: no 5xx, no answer outside the schema."""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from aroma.api import curation_routes, evidence_routes, graph_routes, release_routes

EXAMPLES = int(os.environ.get("AROMA_API_EXAMPLES", "100"))
HEALTH = list(HealthCheck)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


ROUTES = [
    (route.path.replace(":path", ""), method)
    for module in (curation_routes, evidence_routes, graph_routes, release_routes)
    for route in module.router.routes
    for method in sorted(route.methods)
    if route.path != "/v1/search"  # needs a database; tests/contracts has it
]


@pytest.fixture(scope="module")
def document(api: TestClient) -> schemathesis.BaseSchema:
    """The document, and the application behind it."""
    return schemathesis.openapi.from_asgi("/v1/openapi.json", api.app)


@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_no_answer_is_outside_the_document(document: schemathesis.BaseSchema, path: str, method: str):
    @given(case=document[path][method].as_strategy())
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=HEALTH)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    check()


PAIR = {"perturbation": "TULP1", "target": "ITCH"}
QUESTION = {**PAIR, "cell_line": "RPE1"}
GOOD = [
    ("/v1/evidence", {"query": {**QUESTION, "cases": 3}}),
    ("/v1/evidence", {"query": {"perturbation": "AAMP", "target": "AGPAT1", "cell_line": "Jurkat", "k": 9}}),
    ("/v1/evidence/prompt", {"query": QUESTION}),
    ("/v1/schema/evidence", {}),
    ("/v1/paths", {"query": {**PAIR, "view": "gene-kg"}}),
    ("/v1/genes", {"query": {"q": "TULPP"}}),
    ("/v1/genes/{name}", {"path_parameters": {"name": "TULP1"}}),
    ("/v1/neighbourhoods/{gene}", {"path_parameters": {"gene": "ITCH"}, "query": {"hops": 2}}),
    ("/v1/releases", {}),
    ("/v1/releases/{release}", {"path_parameters": {"release": "published"}}),
    ("/v1/releases/{release}/audit", {"path_parameters": {"release": "1"}}),
    ("/v1/sources", {}),
    ("/v1/views", {}),
    ("/v1/health", {}),
    ("/v1/metrics", {}),
    ("/v1/evidence/batch", {"body": {"pairs": [QUESTION, {"perturbation": "?", "target": ""}]}}),
    ("/v1/genes/resolve", {"body": {"names": ["TULP1", "?"]}}),
    ("/v1/curation", {"query": {"state": ["in force", "revoked"]}}),
    ("/v1/coverage", {"body": {"pairs": [QUESTION, {"perturbation": "?", "target": ""}]}}),
]


@pytest.mark.parametrize(("path", "given"), GOOD)
def test_good_answers_fit_the_document(document: schemathesis.BaseSchema, path: str, given: dict[str, object]):
    method = "POST" if "body" in given else "GET"
    more = {"media_type": "application/json"} if "body" in given else {}
    answer = document[path][method].Case(**given, **more).call_and_validate(checks=CHECKS)
    assert answer.status_code == 200
