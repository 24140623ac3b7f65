"""The doctor: each thing that goes wrong is found, named, and has something to do about it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aroma.cli.app import app
from aroma.errors import ReleaseError
from aroma.jobs import doctor, doctor_home, findings
from aroma.jobs.findings import Finding, Standing
from aroma.kgstore import home as home_module
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.locks import exclusive
from aroma.kgstore.publications import published, write_durably
from aroma.kgstore.tokens import create_token, tokens_file
from aroma.retrieval.snapshot import make_snapshot
from tests.support.homes import home_of_tables
from tests.support.random_release import random_release
from tests.support.server import ServerProcess, free_port

EMBEDDED = GraphTarget("embedded:")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = home_of_tables(tmp_path_factory.mktemp("doctor") / "home", random_release(5))
    make_snapshot(home)
    return home


@pytest.fixture
def home(made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("AROMA_BROKER", "AROMA_LEDGER", "OTEL_EXPORTER_OTLP_ENDPOINT", "AROMA_API", "GRAPH_URI"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(made.path, tmp_path / "home")
    return Home(tmp_path / "home")


def found(home: Home, area: str, api: str | None = None) -> list[Finding]:
    return [finding for finding in doctor.examine(home, EMBEDDED, api) if finding.area == area]


def standing(home: Home, area: str) -> list[str]:
    return [str(finding.standing) for finding in found(home, area)]


def test_a_sound_home_has_nothing_broken(home: Home):
    everything = doctor.examine(home, EMBEDDED)
    assert {finding.area for finding in everything} == {
        "program", "home", "release", "snapshot", "disk", "clock", "database", "broker",
    }  # fmt: skip
    assert [finding for finding in everything if finding.standing is Standing.BROKEN] == []
    assert all(finding.do for finding in everything if finding.standing in {Standing.WARNING, Standing.BROKEN})


def test_a_place_without_a_home_is_no_defect(tmp_path: Path):
    said = doctor.examine(Home(tmp_path / "none"), EMBEDDED)
    assert {str(finding.standing) for finding in said} <= {"good", "note"}
    assert any(finding.do == "aroma build --from DIR" for finding in said)


def damaged_list(home: Home) -> None:
    home.published.write_text("{")


def lost_table(home: Home) -> None:
    (home.release(published(home).release) / "edges.parquet").unlink()


def older_schema(home: Home) -> None:
    path = home.release(published(home).release) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 0}))


def lost_manifest(home: Home) -> None:
    (home.release(published(home).release) / "manifest.json").unlink()


def no_snapshot(home: Home) -> None:
    shutil.rmtree(home.path / "snapshots")


def old_snapshot(home: Home) -> None:
    for path in home.snapshot(published(home).release).glob("*/manifest.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "layout": 1}))


def cut_snapshot(home: Home) -> None:
    part = next(home.snapshot(published(home).release).glob("*/*.npy"))
    os.truncate(part, 10)


def left_lock(home: Home) -> None:
    (home.locks / "x.lock").touch()
    said = {"pid": 1, "host": "h", "since": "2020-01-01T00:00:00+00:00", "command": "aroma build"}
    (home.locks / "x.holder").write_text(json.dumps(said))


def left_build(home: Home) -> None:
    (home.staging / "b1").mkdir(parents=True)


def damaged_tokens(home: Home) -> None:
    tokens_file(home).write_text("{")


def open_tokens(home: Home) -> None:
    create_token(home, "script", "read")
    tokens_file(home).chmod(0o644)


def ending_token(home: Home) -> None:
    create_token(home, "script", "read", expires="2d")


def future_release(home: Home) -> None:
    rows = json.loads(home.published.read_text())
    rows[-1]["published_at"] = (datetime.now(tz=UTC) + timedelta(days=2)).isoformat()
    write_durably(home.published, json.dumps(rows))


@pytest.mark.parametrize(
    ("harm", "area", "expected"),
    [
        (damaged_list, "release", "broken"),
        (lost_table, "release", "broken"),
        (older_schema, "release", "broken"),
        (lost_manifest, "release", "broken"),
        (no_snapshot, "snapshot", "warning"),
        (old_snapshot, "snapshot", "warning"),
        (cut_snapshot, "snapshot", "warning"),
        (left_lock, "locks", "note"),
        (left_build, "locks", "note"),
        (damaged_tokens, "tokens", "broken"),
        (open_tokens, "tokens", "warning"),
        (ending_token, "tokens", "note"),
        (future_release, "clock", "warning"),
    ],
)
def test_what_is_wrong_is_found(home: Home, harm: Callable[[Home], None], area: str, expected: str):
    home.locks.mkdir(exist_ok=True)
    harm(home)
    said = found(home, area)
    assert expected in [str(finding.standing) for finding in said], said
    assert all(finding.do for finding in said if str(finding.standing) == expected)


@pytest.mark.parametrize("harm", [no_snapshot, old_snapshot, cut_snapshot])
def test_an_upgrade_makes_the_snapshot_anew(home: Home, harm: Callable[[Home], None]):
    harm(home)
    doctor.upgrade(home)
    assert standing(home, "snapshot") == ["good"]


def test_little_room_is_a_warning_and_none_is_broken(home: Home, monkeypatch: pytest.MonkeyPatch):
    for free, expected in ((2**40, "good"), (2**30, "warning"), (2**20, "broken")):
        monkeypatch.setattr(doctor_home.shutil, "disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert standing(home, "disk") == [expected]


def test_a_clock_that_is_not_the_file_systems(home: Home, monkeypatch: pytest.MonkeyPatch):
    real = doctor_home.time.time
    monkeypatch.setattr(doctor_home.time, "time", lambda: real() - 3600)
    assert "+3600 s" in found(home, "clock")[0].found


def test_a_lock_that_is_held_names_its_holder(home: Home):
    with exclusive(home.locks / "build.lock", "a build"):
        (said,) = found(home, "locks")
    assert said.standing is Standing.GOOD
    assert str(os.getpid()) in said.found


def test_homes_of_other_layouts_are_refused_with_what_to_run(home: Home, monkeypatch: pytest.MonkeyPatch):
    assert standing(home, "home") == ["good"]
    monkeypatch.setattr(home_module, "LAYOUT", 2)
    with pytest.raises(ReleaseError, match="aroma doctor --upgrade"):
        Home.locate(home.path)
    assert found(home, "home")[0].do == "aroma doctor --upgrade"
    assert found(home, "release") == []  # what cannot be read is not looked at
    (home.path / "layout.json").write_text('{"layout": 3}')
    with pytest.raises(ReleaseError, match="a newer program made it"):
        Home.locate(home.path)
    with pytest.raises(ReleaseError, match="a newer program made it"):
        doctor.upgrade(home)
    (home.path / "layout.json").write_text("{")
    with pytest.raises(ReleaseError, match=r"layout\.json"):
        Home.locate(home.path)


def test_a_home_without_a_number_is_of_the_first_layout_and_gets_one(home: Home):
    (home.path / "layout.json").unlink()
    Home.locate(home.path)
    assert standing(home, "home") == ["note"]
    doctor.upgrade(home)
    assert standing(home, "home") == ["good"]


def test_a_broker_that_does_not_answer_and_an_extra_that_is_missing(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AROMA_BROKER", f"redis://:secret@127.0.0.1:{free_port()}/0")
    (said,) = found(home, "broker")
    assert (said.standing, "secret" in said.found) == (Standing.WARNING, False)
    monkeypatch.setattr(doctor, "missing_of_extra", lambda _: ["celery"])
    assert found(home, "broker")[0].do == "pip install 'aroma-evidence[jobs]'"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert found(home, "telemetry")[0].do == "pip install 'aroma-evidence[telemetry]'"


def test_extras_are_compared_with_what_is_installed(monkeypatch: pytest.MonkeyPatch):
    from importlib import metadata

    assert findings.missing_of_extra("jobs") == []
    real = metadata.version
    monkeypatch.setattr(findings.metadata, "version", lambda name: "0.1" if name == "celery" else real(name))
    assert findings.missing_of_extra("jobs") == ["celery"]


def test_a_server_that_is_down_and_one_that_is_up(home: Home, sample_home: Home, tmp_path: Path):
    (said,) = found(home, "api", f"http://127.0.0.1:{free_port()}")
    assert (said.standing, said.do) == (Standing.BROKEN, "aroma serve")
    with ServerProcess(sample_home.path, tmp_path / "server.log") as server:
        assert found(sample_home, "api", server.url)[0].standing is Standing.GOOD
        (behind,) = found(home, "api", server.url)
        assert (behind.standing, "published is" in behind.found) == (Standing.WARNING, True)


@pytest.mark.neo4j
def test_a_neo4j_that_holds_nothing_then_the_release(home: Home, empty_neo4j: str):
    target = GraphTarget(empty_neo4j)

    def database() -> list[tuple[str, str]]:
        said = [finding for finding in doctor.examine(home, target) if finding.area == "database"]
        return [(str(finding.standing), finding.do) for finding in said]

    assert database() == [("broken", "aroma releases verify --repair"), ("broken", "aroma migrate")]
    arguments = ["--home", str(home.path), "--uri", empty_neo4j, "--json"]
    for command in (["releases", "verify", "--repair"], ["migrate"]):
        assert CliRunner().invoke(app, [*command, *arguments]).exit_code == 0
    assert [one for one, _ in database()] == ["good", "good"]
    gone = [
        finding for finding in doctor.examine(home, GraphTarget("bolt://127.0.0.1:1")) if finding.area == "database"
    ]
    assert [finding.standing for finding in gone] == [Standing.BROKEN]


def test_the_command_fails_only_where_something_is_broken(home: Home):
    arguments = ["doctor", "--home", str(home.path), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    lost_table(home)
    done = CliRunner().invoke(app, arguments)
    said = json.loads(done.output)
    assert (done.exit_code, said["counts"]["broken"]) == (1, 1)
    assert CliRunner().invoke(app, ["doctor", "--home", str(home.path)]).exit_code == 1


def test_status_says_what_is_under_way_and_what_room_there_is(home: Home):
    with exclusive(home.locks / "build.lock", "a build"):
        said = json.loads(CliRunner().invoke(app, ["status", "--home", str(home.path), "--json"]).output)
    assert [(one["lock"], one["pid"]) for one in said["under_way"]] == [("build", str(os.getpid()))]
    assert said["disk_free_bytes"] > 0
    after = json.loads(CliRunner().invoke(app, ["status", "--home", str(home.path), "--json"]).output)
    assert after["under_way"] == []
