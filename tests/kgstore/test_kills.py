"""kill -9 at any moment of a build: the old release is served, and a rerun completes with the same id.

Kill moments are spread evenly over the time that an undisturbed build takes, so that all steps are hit: reading,
staging, writing tables, filling the database, switching. ``AROMA_KILLS`` says how many an engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from aroma.errors import GateStoppedError
from aroma.importers.build import BuildRequest, build
from aroma.kgstore.engines import open_engine
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.publications import published
from aroma.kgstore.query_service import Question, run_query
from tests.conftest import empty_database

SAMPLES = Path(__file__).parents[2] / "src" / "aroma" / "samples"
KILLS = int(os.environ.get("AROMA_KILLS", "3"))
OLD_PINS = {"corum": "3.0", "gene_ontology.obo": "2021-12-15"}


@dataclass(frozen=True)
class Stage:
    """A home with the old release served, and what the new one is."""

    home: Home
    target: GraphTarget
    old: str
    new: str
    accept: tuple[str, ...]
    seconds: float


def command(stage: Stage, home: Home) -> list[str]:
    accepted = [word for gate in stage.accept for word in ("--accept", gate)]
    options = ["--from", str(SAMPLES), "--home", str(home.path), "--uri", stage.target.uri, "--json", *accepted]
    return [sys.executable, "-m", "aroma.cli", "build", *options]


def copy_home(source: Home, place: Path) -> Home:
    """Copy a home without its running owner's files."""
    shutil.copytree(source.path, place, ignore=shutil.ignore_patterns("locks", ".server", "logs"))
    return Home(place)


@pytest.fixture(
    scope="module",
    params=[pytest.param("embedded", marks=pytest.mark.embedded), pytest.param("neo4j", marks=pytest.mark.neo4j)],
)
def stage(request, tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("kills") / "home")
    target = GraphTarget.locate("embedded:")
    if request.param == "neo4j":
        target = GraphTarget.locate(request.getfixturevalue("neo4j_uri"))
        empty_database(target.uri)
    old = build(home, target, BuildRequest(SAMPLES, OLD_PINS)).release
    try:
        build(home, target, BuildRequest(SAMPLES, dry_run=True))
        accept: tuple[str, ...] = ()
    except GateStoppedError as stopped:
        accept = stopped.gates
    rehearsal = copy_home(home, home.path.with_name("rehearsal"))
    draft = Stage(home, target, old, "", accept, 0)
    started = time.monotonic()
    done = subprocess.run(command(draft, rehearsal), capture_output=True, text=True, check=True)
    seconds = time.monotonic() - started
    stop_owner(rehearsal)
    yield Stage(home, target, old, json.loads(done.stdout)["release"], accept, seconds)
    stop_owner(home)


def served(home: Home, target: GraphTarget) -> str:
    """Ask the graph which release it is, as a curator would."""
    answer = run_query(home, target, Question(cypher="MATCH (r:Release) RETURN r.id"))
    ((release,),) = answer.result.rows
    return str(release)


@pytest.mark.timeout(3600)
def test_a_killed_build_leaves_the_old_release_served_and_a_rerun_completes(stage, tmp_path):
    assert stage.new != stage.old
    killed = 0
    for number in range(KILLS):
        home = copy_home(stage.home, tmp_path / f"home{number}")
        back_to_old(stage, home)
        process = subprocess.Popen(
            command(stage, home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(stage.seconds * (number + 0.5) / KILLS)
        with contextlib.suppress(ProcessLookupError):  # it was quicker than the rehearsal
            os.killpg(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        now = published(home)
        assert now is not None
        assert now.release in {stage.old, stage.new}
        assert served(home, stage.target) in {stage.old, stage.new}
        if stage.target.is_embedded:
            assert served(home, stage.target) == now.release
        finished = subprocess.run(command(stage, home), capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        assert json.loads(finished.stdout)["release"] == stage.new
        assert served(home, stage.target) == stage.new
        assert open_engine(home, stage.target).verify(tables_of(home, stage.new)) == []
        assert list(home.staging.glob("*")) == []
        stop_owner(home)
    assert killed, "no kill hit a build that was still running"


def back_to_old(stage: Stage, home: Home) -> None:
    """Make the one database of Neo4j hold the old release again; embedded copies have their own."""
    if not stage.target.is_embedded:
        build(home, stage.target, BuildRequest(SAMPLES, OLD_PINS))


def tables_of(home: Home, release: str):
    from aroma.kgstore.releases import load_tables

    return load_tables(home, release)
