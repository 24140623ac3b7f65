"""The client against the application, and against the OpenAPI document."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from aroma.api.app import create_app
from aroma.api.settings import Settings
from aroma.client import AsyncClient, Client, Retries, calls, curation
from aroma.errors import ServerAnswerError, UsageError
from aroma.kgstore.home import Home
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.evidence_model import Evidence
from tests.support.asgi import SyncTransport

QUESTION = ("TULP1", "ITCH", "RPE1")
METHODS = [name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")]


@pytest.fixture(scope="module")
def app(sample_home: Home) -> Any:
    return create_app(Settings(home=sample_home.path))


@pytest.fixture(scope="module")
def document(app: Any) -> dict[str, Any]:
    with httpx.Client(base_url="http://test", transport=SyncTransport(app)) as http:
        found: dict[str, Any] = http.get("/v1/openapi.json").json()
        return found


@pytest.fixture
def client(app: Any) -> Iterator[Client]:
    with Client("http://test", transport=SyncTransport(app)) as found:
        yield found


def curation_calls() -> list[calls.Call[Any]]:
    """Every call about curation with all its parameters given."""
    said = {"curator": "c", "reason": "r", "references": ["x"], "date": "d"}
    edge = dict.fromkeys(("subject", "relation", "object", "provider", "statement"), "x")
    return [
        curation.curation(["in force"], "a", 0, 1), curation.assert_edge("a", "b", "c", said),
        curation.retract({**said, **edge}), curation.revoke("e", "c", "r"), curation.review("e", "approve", "c", "r"),
    ]  # fmt: skip


def every_call() -> list[calls.Call[Any]]:
    """Every call with all its parameters given."""
    paths = dict.fromkeys(calls.PathOptions.__annotations__, "1")
    evidence = {**paths, "cases": 1, "withhold": []}
    around = dict.fromkeys(inspect.signature(Client.neighbourhood).parameters.keys() - {"self", "gene"}, "1")
    batch = dict.fromkeys(calls.BatchOptions.__annotations__, "1")
    return [
        *curation_calls(),
        calls.gene("a"), calls.genes("a", 0, 1), calls.resolve(["a"]), calls.search("a", 1),
        calls.paths("a", "b", paths), calls.neighbourhood("a", around), calls.evidence("a", "b", "c", evidence),
        calls.prompt("a", "b", "c", {**evidence, "template": "t", "budget": 1}),
        calls.embeddings("r"), calls.vectors(["a"], "e", "r"),
        calls.similar("a", dict.fromkeys(calls.SimilarOptions.__annotations__, "1")),
        calls.batch([("a", "b", "c")], batch), calls.coverage([("a", "b", "c")]), calls.releases(0, 1),
        calls.release("a"), calls.audit("a"), calls.sources(), calls.views(), calls.health(), calls.metrics(),
        calls.schema(), calls.models(), calls.lineage("a", "b"),
        calls.predictions([("a", "b", "c")], "p", explain=True),
    ]  # fmt: skip


def test_every_call_is_an_operation_of_the_document_with_its_parameters(document: dict[str, Any]):
    for call in every_call():
        operation = document["paths"][call.route][call.method.lower()]
        known = {one["name"]: one["in"] for one in operation.get("parameters", [])}
        assert set(call.places) == {name for name, place in known.items() if place == "path"}
        assert set(call.parameters) == {name for name, place in known.items() if place == "query"}, call.route
        if call.body is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            fields = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
            assert set(call.body) <= set(fields)  # type: ignore[arg-type]
        content = operation["responses"]["200"]["content"]
        if "application/json" in content and "$ref" in content["application/json"].get("schema", {}):
            assert content["application/json"]["schema"]["$ref"].rpartition("/")[2] == call.answer.__name__


def test_every_operation_of_the_document_has_a_call(document: dict[str, Any]):
    there = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert there == {(call.method, call.route) for call in every_call()}


def test_sync_and_async_client_have_the_same_methods():
    for name in METHODS:
        if name == "close":
            continue
        one, other = inspect.signature(getattr(Client, name)), inspect.signature(getattr(AsyncClient, name))
        assert one.parameters == other.parameters, name
    assert set(METHODS) == {name for name, _ in inspect.getmembers(AsyncClient, inspect.isfunction) if name[0] != "_"}


def test_answers_are_records(client: Client, sample_home: Home):
    found = client.evidence(*QUESTION, k=2, cases=1)
    assert isinstance(found, Evidence)
    assert len(found.paths) <= 2
    assert found.release == EvidenceStore(sample_home).snapshot.release
    assert client.gene("AARS").symbol == "AARS1"
    assert client.genes("TULPP1").items[0].symbol == "TULP1"
    assert [one.reason for one in client.resolve(["TULP1", "NOTAGENE"]).items] == [None, "unknown"]
    assert client.paths("TULP1", "ITCH", view="gene-kg", minimum_score=100).paths
    assert client.neighbourhood("ITCH", hops=1).nodes
    assert client.prompt(*QUESTION, template="aroma").text
    assert client.coverage([QUESTION]).pairs_resolved == 1
    assert client.releases().items[0].served
    assert client.release().release == client.audit()["release"] == client.health().release
    assert client.sources().items
    assert client.views().items
    assert "aroma_requests_total" in client.metrics()
    assert client.schema()["title"].startswith("Evidence")


def test_many_pairs_come_in_order(client: Client):
    pairs = [("TULP1", "ITCH", "RPE1"), ("NOTAGENE", "ITCH", "K562")] * 600
    found = list(client.evidence_many(iter(pairs), k=1))
    assert [(one.query.perturbation, one.query.target, one.query.cell_line) for one in found] == pairs


def test_an_unknown_gene_is_an_error_that_names_the_nearest(client: Client):
    with pytest.raises(ServerAnswerError, match="TULP1") as told:
        client.gene("TULPP1")
    assert told.value.status == 404
    assert told.value.problem["nearest"] == ["TULP1"]


def test_names_with_odd_signs_arrive_as_written(client: Client):
    for name in ("a/b", "a b?c=d&e#f", "%2F", "é"):
        with pytest.raises(ServerAnswerError) as told:
            client.gene(name)
        assert repr(name) in str(told.value)


def test_the_async_client_answers_the_same(app: Any, client: Client):
    async def ask() -> tuple[Evidence, list[Evidence]]:
        async with AsyncClient("http://test/v1", transport=httpx.ASGITransport(app)) as other:
            return await other.evidence(*QUESTION), [one async for one in other.evidence_many([QUESTION] * 3)]

    one, many = asyncio.run(ask())
    assert [one, *many] == [client.evidence(*QUESTION)] * 4


class Scripted(httpx.BaseTransport):
    """Gives the answers of a list, one after another; an exception in it is raised."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


FAST = Retries(attempts=3, first_wait=0.0, longest_wait=1.0)


def turned_away(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"detail": "busy"})


def served() -> httpx.Response:
    return httpx.Response(200, json={"release": "r", "items": []})


@pytest.mark.parametrize("first", [turned_away(503), turned_away(429, **{"Retry-After": "0"}), httpx.ConnectError("x")])
def test_a_request_that_was_turned_away_is_sent_again(first: httpx.Response | Exception):
    transport = Scripted(first, served())
    assert Client(transport=transport, retries=FAST).views().release == "r"
    assert transport.asked == 2


@pytest.mark.parametrize("answer", [turned_away(500), turned_away(404), turned_away(503, **{"Retry-After": "3600"})])
def test_other_answers_are_not_asked_for_again(answer: httpx.Response):
    transport = Scripted(answer, served())
    with pytest.raises(ServerAnswerError, match="busy"):
        Client(transport=transport, retries=FAST).views()
    assert transport.asked == 1


def test_tries_end():
    transport = Scripted(*[turned_away(503)] * 9)
    with pytest.raises(ServerAnswerError, match="503"):
        Client(transport=transport, retries=FAST).views()
    assert transport.asked == 3
    with pytest.raises(ServerAnswerError, match="aroma serve"):
        Client(transport=Scripted(*[httpx.ConnectError("refused")] * 9), retries=FAST).views()


def test_a_stream_that_ends_with_a_problem_says_where():
    lines = b'{"problem":"gone","row":7}\n'
    with pytest.raises(ServerAnswerError, match="pair 7: gone"):
        list(Client(transport=Scripted(httpx.Response(200, content=lines))).evidence_many([QUESTION]))


def test_the_token_is_sent_and_an_address_is_checked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AROMA_TOKEN", "from-the-environment")
    assert Client()._http.headers["authorization"] == "Bearer from-the-environment"
    assert Client(token="given")._http.headers["authorization"] == "Bearer given"
    with pytest.raises(UsageError, match="http"):
        Client("localhost:8080")
