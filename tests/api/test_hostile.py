"""Bad requests: bounded, clear, never a 5xx, and the server goes on."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from aroma.api.app import create_app
from aroma.api.settings import Limits, Settings
from aroma.kgstore.home import Home

QUESTION = {"perturbation": "TULP1", "target": "ITCH", "cell_line": "RPE1"}
PROBLEM = "application/problem+json"


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    """Check that an answer is a problem of this status, and return it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text[:500]
    said = answer.json()
    assert said["status"] == status
    assert said["detail"]
    assert said["request_id"] == answer.headers["x-request-id"]
    return said


@pytest.mark.parametrize(
    "change",
    [
        {"k": 0},
        {"k": 10**9},
        {"k": "three"},
        {"k": "9" * 5000},
        {"slack": -1},
        {"max_hops": 99},
        {"cases": -1},
        {"view": "path-kgg"},
        {"view": "\x00"},
        {"annotated_until": "yesterday"},
        {"degree_cap": 0},
        {"minimum_score": 1001},
        {"relation": "KNOWS"},
        {"perturbation": ""},
        {"target": "A" * 10_000},
        {"cell_line": ""},
        {"unknown_parameter": "1"},
        {"withhold": "x" * 5_000},
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(api: TestClient, change):
    said = problem(api.get("/v1/evidence", params={**QUESTION, **change}), 422)
    assert next(iter(change)) in str(said["detail"]) or "view" in str(said["detail"])


@pytest.mark.parametrize(
    "cell_line", ["K562/HepG2", "a\x00b", "Ä∂ü 🧬", "../../x", "%00", "' OR 1=1 --", "\u202e\ud7ff"]
)
def test_any_cell_line_is_answered_and_flagged(api: TestClient, cell_line):
    answer = api.get("/v1/evidence", params={**QUESTION, "cell_line": cell_line})
    assert answer.status_code == 200
    said = answer.json()
    assert said["query"]["cell_line"] == cell_line
    assert "unknown-cell-line" in {flag["code"] for flag in said["coverage"]}


@pytest.mark.parametrize("name", ["\x00", "a/b", "É", "🧬", "..", "%2e%2e", "x" * 200, "HGNC:999999", " "])
def test_any_gene_name_is_an_answer_or_a_404(api: TestClient, name):
    answer = api.get("/v1/evidence", params={**QUESTION, "perturbation": name})
    assert problem(answer, 404)["reason"] == "unknown"
    assert api.get("/v1/genes/" + "".join(f"%{byte:02X}" for byte in name.encode())).status_code in {404, 422}


def test_a_pair_of_one_gene_is_answered_and_flagged(api: TestClient):
    said = api.get("/v1/evidence", params={**QUESTION, "target": "TULP1"}).json()
    assert "same-gene" in {flag["code"] for flag in said["coverage"]}
    assert api.get("/v1/paths", params={"perturbation": "TULP1", "target": "TULP1"}).json()["paths"] == []


def test_what_is_not_there_is_a_problem(api: TestClient):
    problem(api.get("/v1/nothing"), 404)
    problem(api.get("/v2"), 404)
    answer = api.delete("/v1/evidence")
    problem(answer, 405)
    assert answer.headers["allow"] == "GET"


def test_too_many_pairs_are_refused_with_the_number_allowed(api: TestClient):
    said = problem(api.post("/v1/evidence/batch", json={"pairs": [QUESTION] * 501}), 413)
    assert said["limit"] == 500
    assert problem(api.post("/v1/genes/resolve", json={"names": ["a"] * 501}), 413)["limit"] == 500


def test_a_body_is_checked(api: TestClient):
    send = {"content-type": "application/json"}
    for content in (b"", b"{", b"\xff\xfe", b'{"names": ["\\ud800"]}', b"nul"):
        problem(api.post("/v1/genes/resolve", content=content, headers=send), 400)
    deep = api.post("/v1/genes/resolve", content=b'{"names": ' + b"[" * 20_000, headers=send)
    assert deep.status_code in {400, 422}
    for body in ([], {"names": 3}, {"names": [3]}, {"names": ["a"], "more": 1}, {"names": ["x" * 201]}, {}):
        problem(api.post("/v1/genes/resolve", json=body), 422)
    problem(api.post("/v1/genes/resolve", content=b"{}", headers={"content-type": "text/xml"}), 415)
    assert problem(api.post("/v1/coverage", content=b" " * 200_001, headers=send), 413)["limit"] == 200_000


def test_a_body_without_a_length_is_counted_while_it_comes(api: TestClient):
    pieces = (b" " * 10_000 for _ in range(100))
    answer = api.post("/v1/coverage", content=pieces, headers={"content-type": "application/json"})
    assert problem(answer, 413)["limit"] == 200_000


def test_a_request_id_is_kept_where_it_is_harmless(api: TestClient):
    assert api.get("/v1/health", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    given = "a b\tc" + "x" * 100
    assert api.get("/v1/health", headers={"X-Request-ID": given}).headers["x-request-id"] != given


def test_each_request_is_one_log_line_with_its_id(api: TestClient, caplog: pytest.LogCaptureFixture):
    logging.getLogger("aroma").propagate = True
    with caplog.at_level(logging.INFO, logger="aroma"):
        api.get("/v1/genes/TULP1", headers={"X-Request-ID": "line-1"})
    fields = [vars(record)["fields"] for record in caplog.records if record.getMessage() == "request"]
    assert [(line["request_id"], line["path"], line["status"]) for line in fields] == [
        ("line-1", "/v1/genes/TULP1", 200)
    ]
    json.dumps(fields)


def test_a_token_protects_everything_but_health(sample_home: Home):
    settings = Settings(home=sample_home.path, token="a-secret-of-this-test")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        assert client.get("/v1/health").status_code == 200
        answer = client.get("/v1/sources")
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer", "Bearer x", "Basic a-secret-of-this-test", "Bearer a-secret-of-this-test2", "Bearer é"):
            assert client.get("/v1/sources", headers={"Authorization": wrong.encode()}).status_code == 401
        right = {"Authorization": "Bearer a-secret-of-this-test"}
        assert client.get("/v1/sources", headers=right).status_code == 200
        assert client.get("/v1/openapi.json", headers=right).json()["security"] == [{"token": []}]


async def _together(app: httpx.ASGITransport, count: int) -> list[httpx.Response]:
    async with httpx.AsyncClient(transport=app, base_url="http://test") as client:
        asked = [client.get("/v1/genes", params={"q": f"T{number}"}) for number in range(count)]
        return await asyncio.gather(*asked)


def test_more_requests_than_allowed_get_503_and_when_to_try_again(sample_home: Home):
    app = create_app(Settings(home=sample_home.path, limits=Limits(requests=2)))
    answers = asyncio.run(_together(httpx.ASGITransport(app), 10))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    problem(refused, 503)
    assert refused.headers["retry-after"] == "1"


def test_an_answer_that_takes_too_long_is_given_up(sample_home: Home):
    app = create_app(Settings(home=sample_home.path, limits=Limits(seconds=0.0)))
    with TestClient(app, raise_server_exceptions=False) as client:
        said = problem(client.get("/v1/evidence", params=QUESTION), 504)
        assert "within 0 s" in str(said["detail"])


def test_a_defect_is_a_500_without_its_details(sample_home: Home, monkeypatch: pytest.MonkeyPatch):
    from aroma.retrieval import answers

    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(answers, "list_sources", broken)
    app = create_app(Settings(home=sample_home.path))
    with TestClient(app, raise_server_exceptions=False) as client:
        said = problem(client.get("/v1/sources"), 500)
        assert "secret" not in json.dumps(said)
        assert client.get("/v1/views").status_code == 200


def test_files_of_the_server_cannot_be_named(api: TestClient, tmp_path: Path):
    file = tmp_path / "pairs.csv"
    file.write_text("perturbation,target\nTULP1,ITCH\n")
    problem(api.get("/v1/evidence", params={**QUESTION, "withhold": str(file)}), 422)
    body = {"pairs": [QUESTION], "withhold": [str(file)]}
    problem(api.post("/v1/evidence/batch", json=body), 422)
