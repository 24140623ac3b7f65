"""Who may do what: tokens, scopes, rates, the log of writes; against the application and one real server process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.testclient import TestClient

from aroma.api.app import create_app
from aroma.api.guard import Guard
from aroma.api.problems import ProblemError, response_of
from aroma.api.rates import Rates
from aroma.api.scopes import require
from aroma.api.settings import Limits, Settings, check_exposure
from aroma.kgstore.home import Home
from aroma.kgstore.tokens import create_token, read_tokens, revoke_token, tokens_file
from aroma.kgstore.write_log import read_writes
from tests.support.server import ServerProcess


@pytest.fixture
def home(sample_home: Home, tmp_path: Path) -> Home:
    """The sample home with room for tokens of its own."""
    place = Home(tmp_path / "home")
    place.path.mkdir()
    for entry in sample_home.path.iterdir():
        if entry.name not in {"locks", "tokens.json", "audit"}:
            (place.path / entry.name).symlink_to(entry)
    return place


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def client_of(home: Home, **settings: object) -> TestClient:
    return TestClient(create_app(Settings(home=home.path, **settings)), raise_server_exceptions=False)


def writing_app(home: Home, **limits: float) -> TestClient:
    """An application with one route that writes, behind the real guard."""
    app = FastAPI(openapi_url=None)

    @app.post("/v1/things/{name}")
    async def write(request: Request, name: str) -> dict[str, str]:
        return {"by": require(request, "curate", f"thing {name}").name}

    @app.get("/v1/things")
    async def read(request: Request) -> dict[str, str]:
        return {"by": require(request, "read").name}

    async def problem(_: Request, error: Exception) -> object:
        assert isinstance(error, ProblemError)
        return response_of(error.problem)

    app.add_exception_handler(ProblemError, problem)
    from aroma.api.metrics import Metrics

    return TestClient(Guard(app, Settings(home=home.path, limits=Limits(**limits)), Metrics()))


def test_a_token_opens_until_it_is_revoked_and_closes_the_door_for_others(home: Home):
    with client_of(home) as client:
        assert client.get("/v1/sources").status_code == 200  # no token was ever made
        _, secret = create_token(home, "script", "read")
        assert client.get("/v1/sources").status_code == 401
        assert client.get("/v1/sources", headers=bearer(secret)).status_code == 200
        assert client.get("/v1/sources", headers=bearer(secret[:-1])).status_code == 401
        revoke_token(home, "script")
        assert client.get("/v1/sources", headers=bearer(secret)).status_code == 401
        assert client.get("/v1/health").status_code == 200


def test_the_servers_own_token_works_beside_others(home: Home):
    _, secret = create_token(home, "script", "read")
    with client_of(home, token="a-secret-of-this-test") as client:
        for good in (secret, "a-secret-of-this-test"):
            assert client.get("/v1/sources", headers=bearer(good)).status_code == 200
        assert client.get("/v1/sources").status_code == 401


def test_a_damaged_file_of_tokens_is_a_503_and_nobody_gets_in(home: Home):
    create_token(home, "script", "read")
    tokens_file(home).write_text("{")
    with client_of(home, token="a-secret-of-this-test") as client:
        assert client.get("/v1/sources", headers=bearer("aroma_of_somebody")).status_code == 503
        assert client.get("/v1/sources").status_code == 401
        assert client.get("/v1/sources", headers=bearer("a-secret-of-this-test")).status_code == 200


def test_the_first_use_of_a_day_is_written_down(home: Home):
    _, secret = create_token(home, "script", "read")
    with client_of(home) as client:
        for _ in range(3):
            client.get("/v1/sources", headers=bearer(secret))
    assert read_tokens(home)[0].last_used is not None


def test_scopes_decide_what_a_token_may_do_and_writes_are_logged(tmp_path: Path):
    home = Home(tmp_path / "home")
    secrets = {scope: create_token(home, scope, scope)[1] for scope in ("read", "curate", "operate")}
    with writing_app(home) as client:
        for scope, status in (("read", 403), ("curate", 200), ("operate", 200)):
            assert client.get("/v1/things", headers=bearer(secrets[scope])).json() == {"by": scope}
            headers = {**bearer(secrets[scope]), "X-Request-ID": f"of-{scope}"}
            answer = client.post("/v1/things/one", headers=headers)
            assert answer.status_code == status, answer.text
            if status == 403:
                assert "--scope curate" in answer.json()["detail"]
    writes = list(read_writes(home))
    assert [(write.who, write.outcome, write.request) for write in writes] == [
        ("read", "403", "of-read"),
        ("curate", "200", "of-curate"),
        ("operate", "200", "of-operate"),
    ]
    assert {(write.route, write.what, write.scope) for write in writes} == {
        ("POST /v1/things/{name}", "thing one", "curate")
    }
    assert writes[1].token == next(token.id for token in read_tokens(home) if token.name == "curate")


def test_without_any_token_this_machine_may_write_and_that_is_logged(tmp_path: Path):
    home = Home(tmp_path / "home")
    with writing_app(home) as client:
        assert client.post("/v1/things/one").json() == {"by": "local"}
    assert [(write.who, write.token) for write in read_writes(home)] == [("local", "")]


def test_a_log_that_cannot_be_written_does_not_undo_the_change(tmp_path: Path):
    home = Home(tmp_path / "home")
    home.path.mkdir()
    (home.path / "audit").write_text("in the way")
    with writing_app(home) as client:
        assert client.post("/v1/things/one").status_code == 200


def test_a_caller_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path):
    home = Home(tmp_path / "home")
    (_, one), (_, other) = create_token(home, "one", "read"), create_token(home, "other", "read")
    with writing_app(home, rate=0.001, burst=3) as client:
        statuses = [client.get("/v1/things", headers=bearer(one)).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = client.get("/v1/things", headers=bearer(one))
        assert 1 <= int(refused.headers["retry-after"]) <= 1000
        assert refused.json()["type"] == "urn:aroma:problem:too-many-requests"
        assert client.get("/v1/things", headers=bearer(other)).status_code == 200


def test_guessing_tokens_is_slowed_down_and_good_ones_are_not(tmp_path: Path):
    home = Home(tmp_path / "home")
    _, secret = create_token(home, "one", "read")
    with writing_app(home, failures=0.001) as client:
        statuses = {client.get("/v1/things", headers=bearer(f"guess-{number}")).status_code for number in range(30)}
        assert statuses == {401, 429}
        assert client.get("/v1/things", headers=bearer(secret)).status_code == 200


def test_buckets_fill_again_and_do_not_pile_up():
    now = 0.0
    rates = Rates(2.0, 2, lambda: now)
    assert [rates.wait("a") for _ in range(3)] == [0, 0, 1]
    now = 0.5
    assert [rates.wait("a"), rates.wait("a")] == [0, 1]
    now = 100.0
    assert [rates.wait("a") for _ in range(3)] == [0, 0, 1]  # no more than the burst was saved
    for number in range(20_000):
        rates.wait(str(number))
    assert len(rates._buckets) == 10_000
    assert Rates(0.0, 1).wait("any") == 0


def test_tokens_of_the_home_let_a_server_listen_to_others():
    check_exposure("0.0.0.0", None, has_tokens=True)


@pytest.fixture(scope="module")
def served(sample_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, ServerProcess]]:
    directory = tmp_path_factory.mktemp("access")
    home = Home(directory / "home")
    shutil.copytree(sample_home.path, home.path)
    create_token(home, "first", "read")
    with ServerProcess(home.path, directory / "server.log", "--workers", "2", "--host", "0.0.0.0") as running:
        yield home, running


def test_running_workers_take_and_refuse_tokens_at_once(served: tuple[Home, ServerProcess]):
    home, server = served
    _, secret = create_token(home, "later", "read")

    def statuses() -> set[int]:
        asked = [httpx.get(f"{server.url}/v1/sources", headers=bearer(secret), timeout=60) for _ in range(12)]
        return {answer.status_code for answer in asked}

    assert statuses() == {200}
    revoke_token(home, "later")
    assert statuses() == {401}


def test_metrics_tell_how_the_home_stands(home: Home):
    with client_of(home) as client:
        client.get("/v1/genes/TULP1")
        text = client.get("/v1/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["aroma_requests_in_flight"]) == 1  # the one that asks
    assert 0 <= float(values["aroma_release_age_seconds"]) < 1e6
    assert float(values["aroma_releases"]) == 1
    assert float(values["aroma_home_free_bytes"]) > 0
    assert 'aroma_requests_total{method="GET",route="/v1/genes/{name:path}",status="200"}' in values
    assert any(name.startswith('aroma_request_seconds_bucket{le="0.005"') for name in values)
    json.dumps(values)
