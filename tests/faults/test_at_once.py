"""Two refreshes started at once, and Neo4j restarted while it is asked: nothing doubled, each failure a sentence."""

from __future__ import annotations

import collections
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aroma.kgstore.engines import open_engine
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import load_tables
from tests.faults.stage import Api, Part, Stage, check_tables, command, standing
from tests.support.neo4j_server import Neo4jServer, missing_tools

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(1200)]
RESTARTS = int(os.environ.get("AROMA_KILLS", "3"))


@pytest.fixture
def home(stage: Stage, tmp_path: Path) -> Iterator[Home]:
    """A copy of the stage's home."""
    made = Home(tmp_path / "home")
    stage.copy_to(made)
    yield made
    stop_owner(made)


@pytest.mark.parametrize(
    "other", [pytest.param((), id="the same", marks=pytest.mark.full), pytest.param(("--no-embed",), id="another")]
)
def test_two_refreshes_at_once(other: tuple[str, ...], stage: Stage, home: Home, tmp_path: Path) -> None:
    """The same one twice is one run that both follow; of two different ones the second says who is at work."""
    parts = [
        Part(home, tmp_path / f"refresh{number}.log", *stage.words, *more) for number, more in enumerate([(), other])
    ]
    with parts[0], parts[1]:
        for part in parts:
            assert part.wait(240), part.log()
    codes = sorted(part.process.returncode for part in parts if part.process)
    said = "".join(part.log() for part in parts)
    assert "Traceback" not in said
    assert codes in ([0, 0], [0, 1]), said
    if codes == [0, 1]:
        assert "under way: process" in said
    assert command(home, *stage.words).returncode == 0
    assert standing(home) == stage.after
    check_tables(home, GraphTarget.locate("embedded:"))


@pytest.mark.full
@pytest.mark.neo4j
def test_neo4j_restarted_under_load(stage: Stage, home: Home, tmp_path: Path) -> None:
    """What needs no database is answered all the time; what does gets an answer or 503, and answers again."""
    if problem := missing_tools():
        pytest.skip(problem)
    pair = {"perturbation": "RPL3", "target": "TP53", "cell_line": "K562"}
    seen: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    wrong: list[str] = []
    ended = threading.Event()

    def ask(url: str, path: str, parameters: dict[str, str]) -> None:
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
            while not ended.is_set():
                answer = client.get(path, params=parameters)
                seen[path][answer.status_code] += 1
                if answer.status_code >= 500 and "detail" not in answer.text:
                    wrong.append(answer.text)
                time.sleep(0.02)

    with Neo4jServer(tmp_path / "neo4j", heap="512m", page_cache="64m") as neo4j:
        target, now = GraphTarget.locate(neo4j.uri), require_published(home)
        engine = open_engine(home, target)
        engine.project(load_tables(home, now.release), now, previous=None)
        with Api(home, tmp_path / "api.log", {"GRAPH_URI": neo4j.uri}) as api:
            asked = [("/v1/evidence", pair), ("/v1/search", {"q": "proteasome"}), ("/v1/search", {"q": "kinase"})]
            threads = [threading.Thread(target=ask, args=(api.url, *one)) for one in asked]
            for thread in threads:
                thread.start()
            try:
                for _ in range(RESTARTS):
                    time.sleep(1)
                    os.kill(neo4j.pid, signal.SIGKILL)
                    neo4j.stop()
                    neo4j.start()
                until = time.monotonic() + 60
                while httpx.get(f"{api.url}/v1/search", params={"q": "kinase"}, timeout=60).status_code != 200:
                    assert time.monotonic() < until, seen
                    time.sleep(0.2)
            finally:
                ended.set()
                for thread in threads:
                    thread.join()
        assert not wrong, wrong[:3]
        assert set(seen["/v1/evidence"]) == {200}
        assert set(seen["/v1/search"]) <= {200, 503}
        assert engine.verify(load_tables(home, now.release)) == []
        assert "Traceback" not in api.log()
