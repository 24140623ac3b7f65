"""One real server process: slow clients, huge bodies, a new release while it runs, its end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aroma.kgstore.home import Home
from aroma.kgstore.publications import Publication, append, require_published
from aroma.kgstore.releases import load_tables, now, save_release
from aroma.kgstore.tables import ReleaseTables
from tests.support.homes import home_of_files
from tests.support.server import ServerProcess, get

QUESTION = {"perturbation": "TULP1", "target": "ITCH", "cell_line": "RPE1"}
HEADERS = b"Host: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_of_files(tmp_path_factory.mktemp("served") / "home")


@pytest.fixture(scope="module")
def server(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(home.path, tmp_path_factory.mktemp("log") / "server.log") as running:
        yield running


def test_a_client_of_one_byte_a_second_does_not_hold_the_server(server: ServerProcess):
    slow = [server.connect() for _ in range(40)]
    for connection in slow:
        connection.sendall(b"POST /v1/coverage HTTP/1.1\r\n" + HEADERS + b"Content-Length: 1000\r\n\r\n{")
    for _ in range(3):
        for connection in slow:
            connection.sendall(b" ")
        assert get(server, "/evidence", **QUESTION).status_code == 200
        time.sleep(0.2)
    for connection in slow:
        connection.close()


def test_a_request_line_that_does_not_end_is_cut_off(server: ServerProcess):
    with server.connect() as connection:
        connection.sendall(b"GET /v1/health HT")
        assert connection.recv(1000) == b""  # after Limits.header_seconds


def test_what_is_no_http_gets_a_problem(server: ServerProcess):
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        answer = connection.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer


def test_a_body_of_100_mb_is_refused_and_the_server_goes_on(server: ServerProcess):
    headers = {"content-type": "application/json"}
    told = httpx.post(f"{server.url}/v1/coverage", content=b" " * 100_000_000, headers=headers, timeout=60)
    assert (told.status_code, told.json()["limit"]) == (413, 8 * 2**20)
    pieces = (b" " * 1_000_000 for _ in range(100))
    counted = httpx.post(f"{server.url}/v1/coverage", content=pieces, headers=headers, timeout=60)
    assert (counted.status_code, counted.json()["limit"]) == (413, 8 * 2**20)
    assert get(server, "/evidence", **QUESTION).status_code == 200


def test_a_million_pairs_in_one_request_are_refused(server: ServerProcess):
    pair = b'{"perturbation":"A","target":"B"}'
    body = b'{"pairs":[' + b",".join([pair] * 200_000) + b"]}"
    answer = httpx.post(
        f"{server.url}/v1/evidence/batch", content=body, headers={"content-type": "application/json"}, timeout=60
    )
    assert (answer.status_code, answer.json()["limit"]) == (413, 10_000)


def test_a_client_that_does_not_read_a_stream_leaves_others_alone(server: ServerProcess):
    body = json.dumps({"pairs": [QUESTION] * 2_000}).encode()
    head = b"POST /v1/evidence/batch HTTP/1.1\r\n" + HEADERS + f"Content-Length: {len(body)}\r\n\r\n".encode()
    with server.connect() as connection:
        connection.sendall(head + body)
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
        for _ in range(5):
            assert get(server, "/genes/TULP1").status_code == 200


def test_a_release_published_meanwhile_is_opened_and_named(server: ServerProcess, home: Home):
    old = require_published(home)
    tables = load_tables(home, old.release)
    changed = tables["nodes"].filter(tables["nodes"]["id"] != "HGNC:20").sort("id")
    ends = tables["edges"]
    kept = ends.filter((ends["subject"] != "HGNC:20") & (ends["object"] != "HGNC:20"))
    names = tables["gene_names"].filter(tables["gene_names"]["gene"] != "HGNC:20")
    frames = {**tables.frames, "nodes": changed, "edges": kept, "gene_names": names}
    new = save_release(home, ReleaseTables.of(frames))
    assert get(server, "/genes/AARS1").json()["release"] == old.release
    append(home, Publication(old.sequence + 1, new, old.release, now()))
    until = time.monotonic() + 60
    while get(server, "/health").json()["release"] != new and time.monotonic() < until:
        answer = get(server, "/evidence", **QUESTION)
        assert (answer.status_code, answer.json()["release"] in {old.release, new}) == (200, True)
    answer = get(server, "/evidence", **QUESTION)
    assert (answer.json()["release"], new in answer.headers["etag"]) == (new, True)
    assert get(server, "/genes/AARS1").status_code == 404
    as_it_was = get(server, "/evidence", **QUESTION, release=old.release).json()
    assert as_it_was["release"] == old.release


def test_logs_are_json_lines(server: ServerProcess):
    httpx.get(f"{server.url}/v1/genes/TULP1", headers={"X-Request-ID": "in-the-log"}, timeout=60)
    until = time.monotonic() + 30
    while '"in-the-log"' not in server.log() and time.monotonic() < until:
        time.sleep(0.05)  # the line is written after the answer is sent
    said = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    line = next(line for line in said if line.get("request_id") == "in-the-log")
    assert (line["event"], line["path"], line["status"]) == ("request", "/v1/genes/TULP1", 200)
    assert not [line for line in said if line["level"] == "error"]


def test_workers_share_one_port(home: Home, tmp_path: Path):
    with ServerProcess(home.path, tmp_path / "workers.log", "--workers", "2") as running:
        assert {get(running, "/evidence", **QUESTION).status_code for _ in range(10)} == {200}
    assert running.process.returncode == 0, running.log()
