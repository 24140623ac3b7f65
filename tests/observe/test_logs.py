"""Structured logs: ids of requests and runs, in the command, the server and the worker."""

from __future__ import annotations

import contextvars
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aroma.errors import UsageError
from aroma.observe import logs
from tests.support.worker_process import QUIET, Worker, aroma

_CODE = "import sys; from aroma.cli import main; main(sys.argv[1:])"


def line_of(message: str, **more: object) -> dict[str, object]:
    record = logging.LogRecord("aroma.test", logging.INFO, "x.py", 1, message, (), None)
    vars(record).update(more)
    return json.loads(logs.JsonFormatter().format(record))


def test_what_is_bound_is_in_every_line_and_nested():
    with logs.bound(run_id="r1"), logs.bound(request_id="q1"):
        said = line_of("hello", fields={"status": 200})
    assert (said["run_id"], said["request_id"], said["status"], said["event"]) == ("r1", "q1", 200, "hello")
    assert "run_id" not in line_of("after")


def test_a_thread_started_with_the_context_sees_it():
    said: list[dict[str, object]] = []
    with logs.bound(run_id="r1"):
        work = contextvars.copy_context().run
        thread = threading.Thread(target=work, args=(lambda: said.append(line_of("in a thread")),))
        thread.start()
        thread.join()
    assert said[0]["run_id"] == "r1"


def test_a_value_that_json_has_not_is_written_as_text():
    assert line_of("odd", fields={"path": Path("x")})["path"] == "x"


@pytest.mark.parametrize(("value", "expected"), [("", False), ("text", False), ("json", True), (" JSON ", True)])
def test_the_setting(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool):
    monkeypatch.setenv("AROMA_LOG", value)
    assert logs.is_json() is expected


def test_a_setting_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AROMA_LOG", "xml")
    with pytest.raises(UsageError, match="text, json"):
        logs.is_json()


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _CODE, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **QUIET, **environment},
        timeout=120,
        check=False,
    )


def test_a_command_logs_json_lines_under_one_run_id(tmp_path: Path):
    done = command("releases", "show", "--home", str(tmp_path / "none"), AROMA_LOG="json", AROMA_RUN_ID="given-1")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["run_id"], line["level"], line["kind"]) for line in lines] == [("given-1", "error", "ReleaseError")]
    assert done.stdout == ""


def test_a_command_with_a_wrong_setting_says_so_in_one_line(tmp_path: Path):
    done = command("releases", "list", "--home", str(tmp_path), AROMA_LOG="xml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "AROMA_LOG" in done.stderr


def test_a_worker_names_the_run_in_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_home):
    import shutil

    home = tmp_path / "home"
    shutil.copytree(sample_home.path, home)
    monkeypatch.setenv("AROMA_LOG", "json")
    planned = aroma(home, "embed", "protein", "--detach", "--json")
    assert planned.returncode == 0, planned.stderr
    run = json.loads(planned.stdout)["run"]
    with Worker(home, tmp_path / "worker.log", more=("--queue", "cpu", "--idle", "1")) as worker:
        assert worker.process.wait(120) == 0
        lines = [json.loads(line) for line in worker.log().splitlines() if line.startswith("{")]
    assert any(line.get("run_id") == run and "shards done" in line["event"] for line in lines), worker.log()
