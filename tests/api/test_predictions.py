"""Models in service, asked through a real server that is never restarted: promotion, roll back, a newer release."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest
from starlette.testclient import TestClient

from aroma.api.app import create_app
from aroma.api.settings import Settings
from aroma.client import Client
from aroma.errors import ServerAnswerError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import Publication, append, require_published
from aroma.kgstore.releases import load_tables, now, save_release
from aroma.kgstore.tables import ReleaseTables
from aroma.model.identity import inputs_hash, prediction_id
from aroma.model.predicting import open_model, predict_one
from aroma.model.serving.history import OVERRIDE, put_in_service, roll_back_model, served_path
from aroma.model.serving.store import models_directory
from tests.support.asgi import SyncTransport
from tests.support.in_service import serve_plugin, store_plugin
from tests.support.planted import planted
from tests.support.server import ServerProcess

PAIRS = [("RPL3", "TP53", "K562"), ("NOGENE", "TP53", "K562"), ("RPL3+YAP1", "MDM2", "Jurkat")]


@pytest.fixture
def home(sample_home: Home, tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    shutil.copytree(sample_home.path, made.path)
    return made


@pytest.fixture
def app(home: Home) -> Iterator[Client]:
    serve_plugin(home, "gene-frequency")
    with Client("http://test", transport=SyncTransport(create_app(Settings(home=home.path)))) as client:
        yield client


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_answers_are_those_of_the_model_without_a_server(app: Client, home: Home):
    found = app.predictions(PAIRS, explain=True)
    (listed,) = app.models().items
    assert (found.model, found.release, found.plugin) == (listed.model, listed.release, "gene-frequency")
    assert (listed.is_published_release, listed.action, listed.answers_now) == (True, "override", found.model)
    model = open_model(home, models_directory(home) / found.model)
    for item, (perturbation, target, line) in zip(found.items, PAIRS, strict=True):
        alone = predict_one(model, perturbation, target, line, explain=True)
        assert (item.p_down, item.p_not_significant, item.p_up, item.label) == pytest.approx(
            (alone.p_down, alone.p_not_significant, alone.p_up, alone.label)
        )
        assert tuple(item.flags) == alone.flags
        assert [reason.text for reason in item.reasons] == [reason.text for reason in alone.reasons]
    assert "unknown perturbation" in found.items[1].flags
    columns = ("perturbation", "target", "cell_line")
    asked = pl.DataFrame(PAIRS, schema=columns, orient="row")
    assert found.prediction == prediction_id(found.model, inputs_hash(asked))
    assert app.predictions(PAIRS).prediction == found.prediction
    assert app.predictions(PAIRS[:2]).prediction != found.prediction


def test_what_cannot_be_asked_says_why(app: Client, home: Home):
    with pytest.raises(
        ServerAnswerError, match="no model of plug-in 'gat-head' is served; served are: gene-freq"
    ) as no:
        app.predictions(PAIRS, plugin="gat-head")
    assert no.value.status == 422
    with pytest.raises(ServerAnswerError, match="51 in one request; at most 50"):
        app.predictions(PAIRS[:1] * 51, explain=True)
    assert app.predictions([]).items == []
    serve_plugin(home, "nearest-perturbation")
    until(lambda: len(app.models().items) == 2)
    with pytest.raises(ServerAnswerError, match="name a plug-in; served are: gene-frequency, nearest-perturbation"):
        app.predictions(PAIRS)
    assert app.predictions(PAIRS, plugin="nearest-perturbation").plugin == "nearest-perturbation"


def test_nothing_is_served_before_a_promotion(sample_home: Home):
    with TestClient(create_app(Settings(home=sample_home.path))) as client:
        assert client.get("/v1/models").json()["items"] == []
        answer = client.post("/v1/predictions", json={"pairs": []})
    assert answer.status_code == 422
    assert "aroma promote" in answer.json()["detail"]


def test_a_model_that_cannot_be_opened_leaves_the_old_one_serving(app: Client, home: Home):
    first = app.predictions(PAIRS).model
    other = store_plugin(home, "gene-frequency", planted().filter(pl.col("cell_line") != "Jurkat"))
    next(iter(other.directory.glob("*.parquet"))).write_bytes(b"damaged")
    (other.directory / "rates.parquet").write_bytes(b"damaged")
    put_in_service(home, "gene-frequency", other.id, other.card.release, action=OVERRIDE, reason="a test")
    until(lambda: app.predictions(PAIRS).model == first and app.models().items[0].problem is not None)
    (listed,) = app.models().items
    assert (listed.model, listed.answers_now) == (other.id, first)
    assert "rates.parquet" in (listed.problem or "")
    served_path(home).write_text("no JSON")
    time.sleep(0.3)
    assert app.predictions(PAIRS).model == first


def publish_another(home: Home) -> str:
    """Publish a release with other content."""
    before = require_published(home)
    tables = load_tables(home, before.release)
    fewer = ReleaseTables({**tables.frames, "edges": tables["edges"].slice(3)})
    release = save_release(home, fewer)
    append(home, Publication(before.sequence + 1, release, before.release, now()))
    return release


def test_promotion_roll_back_and_a_newer_release_while_a_client_asks(home: Home, tmp_path: Path):
    first = serve_plugin(home, "gene-frequency")
    seen: list[tuple[str, str, str]] = []
    problems: list[str] = []
    stop = threading.Event()

    with ServerProcess(home.path, tmp_path / "server.log") as server, Client(server.url) as client:
        assert client.predictions(PAIRS).model == first.model

        def poll() -> None:
            with httpx.Client(base_url=server.url, timeout=60) as http:
                body = {"pairs": [{"perturbation": p, "target": t, "cell_line": c} for p, t, c in PAIRS]}
                while not stop.is_set():
                    answer = http.post("/v1/predictions", json=body)
                    said = answer.json()
                    if answer.status_code != 200:
                        problems.append(answer.text)
                        continue
                    seen.append((said["model"], said["release"], str([item["p_up"] for item in said["items"]])))

        asking = threading.Thread(target=poll)
        asking.start()
        try:
            newer = publish_another(home)
            until(lambda: client.health().release == newer)
            assert client.predictions(PAIRS).release == first.release  # the model stands on its own release
            assert client.models().items[0].is_published_release is False
            second = serve_plugin(home, "gene-frequency", planted().filter(pl.col("cell_line") != "HepG2"))
            until(lambda: client.predictions(PAIRS).model == second.model)
            assert client.predictions(PAIRS).release == newer
            back = roll_back_model(home)
            until(lambda: client.predictions(PAIRS).model == first.model)
        finally:
            stop.set()
            asking.join()
    assert back.model == first.model
    assert problems == []
    assert {(model, release) for model, release, _ in seen} == {(first.model, first.release), (second.model, newer)}
    assert len({answers for _, _, answers in seen}) == 2  # each model has one answer: no mixture was ever seen
