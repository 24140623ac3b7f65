"""The owner of embedded databases, and the loader, under what happens to processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from aroma.errors import StoreUnavailableError, UsageError
from aroma.kgstore.engines import ensure_copy, open_copy
from aroma.kgstore.engines.embedded import EmbeddedEngine
from aroma.kgstore.engines.embedded_owner import attach, idle_seconds, running_owner
from aroma.kgstore.graph import Graph
from aroma.kgstore.home import Home
from aroma.kgstore.publications import append
from tests.kgstore.release_samples import publication, sample_tables

pytestmark = pytest.mark.embedded
COUNT = "MATCH ()-[r:INTERACTS_WITH]->() RETURN count(r)"


def _wait(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.05)
    return False


def _alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_empty_home_holds_nothing_and_starts_nothing(embedded_home: Home) -> None:
    engine = EmbeddedEngine(embedded_home)
    assert engine.holds() is None
    with pytest.raises(StoreUnavailableError, match="aroma build"):
        engine.connect()
    assert running_owner(embedded_home) is None


def test_releases_stand_side_by_side_and_the_published_one_answers(embedded_home: Home) -> None:
    engine = EmbeddedEngine(embedded_home)
    engine.project(sample_tables(), publication(), previous=None)
    assert engine.holds() is None, "it is not served before it is published"
    append(embedded_home, publication())
    address = open_copy(embedded_home, "r2", sample_tables(pairs=4))
    ensure_copy(embedded_home, "r2", sample_tables(pairs=4))
    with engine.connect() as published, Graph.open(address) as copy:
        assert published.read(COUNT).rows == [(3,)]
        assert copy.read(COUNT).rows == [(4,)]
        card = embedded_home.locks / "embedded-owner.json"
        assert stat.S_IMODE(card.stat().st_mode) == 0o600
    engine.discard("r2")
    engine.discard("r2")
    assert not embedded_home.embedded("r2").exists()
    with pytest.raises(StoreUnavailableError, match="releases open r2"):
        engine.connect("r2")
    with engine.connect() as graph:
        assert graph.read(COUNT).rows == [(3,)]


def test_many_who_come_at_once_share_one_owner(embedded_home: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from aroma.kgstore.home import Home;"
        "from aroma.kgstore.engines.embedded_owner import attach; print(attach(Home(Path(sys.argv[1]))).pid)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(embedded_home.path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    pids = {process.communicate(timeout=120)[0].strip() for process in started}
    assert pids == {str(attach(embedded_home).pid)}


def test_a_killed_owner_is_noticed_and_replaced_and_loses_nothing(embedded_home: Home) -> None:
    engine = EmbeddedEngine(embedded_home)
    engine.project(sample_tables(), publication(), previous=None)
    append(embedded_home, publication())
    with engine.connect() as graph:
        graph.write("CREATE (:CellLine {id: 'kept'})")
    first = attach(embedded_home)
    os.kill(first.pid, signal.SIGKILL)
    assert _wait(lambda: not _alive(first.pid))
    assert running_owner(embedded_home) is None
    with engine.connect() as graph:
        assert graph.read("MATCH (c:CellLine) RETURN c.id").rows == [("kept",)]
    assert attach(embedded_home).pid != first.pid


def test_an_owner_ends_when_idle_or_when_its_home_goes(embedded_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AROMA_EMBEDDED_IDLE", "1")
    idle = attach(embedded_home).pid
    assert _wait(lambda: not _alive(idle))
    assert not (embedded_home.locks / "embedded-owner.json").exists()
    monkeypatch.setenv("AROMA_EMBEDDED_IDLE", "600")
    homeless = attach(embedded_home).pid
    shutil.rmtree(embedded_home.path)
    assert _wait(lambda: not _alive(homeless))
    monkeypatch.setenv("AROMA_EMBEDDED_IDLE", "soon")
    with pytest.raises(UsageError, match="AROMA_EMBEDDED_IDLE='soon'"):
        idle_seconds()


def test_a_card_of_another_service_is_not_believed(embedded_home: Home) -> None:
    embedded_home.locks.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        card = embedded_home.locks / "embedded-owner.json"
        card.write_text(
            f'{{"pid": 1, "port": {other.getsockname()[1]}, "control_port": 1, "reader": "x", "writer": "x"}}'
        )
        assert running_owner(embedded_home) is None


_FILL = """
import sys
from pathlib import Path
from tests.kgstore.release_samples import publication, sample_tables
from aroma.kgstore.engines.embedded import EmbeddedEngine
from aroma.kgstore.home import Home
engine = EmbeddedEngine(Home(Path(sys.argv[1])))
engine.project(sample_tables(pairs=30_000), publication(), previous=None, progress=lambda step: print(step, flush=True))
"""


@pytest.mark.parametrize("step", ["Gene nodes", "INTERACTS_WITH edges", "indexes"])
def test_a_build_killed_while_it_fills_leaves_nothing_half_made(embedded_home: Home, step: str) -> None:
    """The loader ends with its starter, and the next one begins anew."""
    starter = subprocess.Popen(
        [sys.executable, "-c", _FILL, str(embedded_home.path)], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    for line in starter.stdout:
        if step in line:
            starter.kill()
            break
    else:
        pytest.fail(f"it never came to {step!r}")
    starter.wait()
    starter.stdout.close()
    engine = EmbeddedEngine(embedded_home)
    engine.project(sample_tables(), publication(), previous=None)
    append(embedded_home, publication())
    assert engine.verify(sample_tables()) == []
    left = {path.name for path in (embedded_home.path / "embedded").iterdir()}
    assert not [name for name in left if "partial" in name]
    assert "r1" in left


def test_a_failed_load_is_one_sentence(embedded_home: Home) -> None:
    embedded_home.path.mkdir()
    (embedded_home.path / "embedded").write_text("in the way")
    with pytest.raises((StoreUnavailableError, OSError)):
        EmbeddedEngine(embedded_home).project(sample_tables(), publication(), previous=None)


def test_writing_goes_on_while_others_read(embedded_home: Home) -> None:
    engine = EmbeddedEngine(embedded_home)
    engine.project(sample_tables(), publication(), previous=None)
    append(embedded_home, publication())
    seen: list[object] = []

    def read() -> None:
        with engine.connect() as graph:
            seen.extend(row[0] for _ in range(20) for row in graph.read(COUNT).rows)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert seen == [3] * 60
