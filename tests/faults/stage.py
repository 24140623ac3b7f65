"""A home in service, what it must be after a refresh, and the processes of the service, each of which can be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from aroma.jobs.refresh.options import RefreshOptions
from aroma.jobs.refresh.run import plan_refresh, refresh_ledger, work_on_refresh
from aroma.jobs.refresh.tasks import KIND, PROBLEM
from aroma.kgstore.curation_log import read_log
from aroma.kgstore.engines import open_engine
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.publications import read_publications, require_published
from aroma.kgstore.releases import load_tables
from aroma.kgstore.tables import read_table
from aroma.kgstore.write_log import read_writes
from aroma.model.serving.answering import ServedModels, answer_pairs
from aroma.model.serving.history import read_promotions, served_models
from aroma.model.serving.store import known_models
from aroma.retrieval.evidence_model import to_json
from aroma.retrieval.served import Opened, Seen
from tests.support.refresh_samples import ACCEPTED, newer_files, older_files
from tests.support.server import free_port
from tests.support.worker_process import environment

PLUGIN = "core-voting"
PAIRS = (("RPL3", "TP53", "K562"), ("PSMA1", "ATF4", "HepG2"), ("TULP1", "ITCH", "RPE1"), ("MDM2", "BAX", "Jurkat"))
MARGIN = 0.2
"""The newer model of the samples may be a little worse; with this much let pass, another model serves after it."""
ALLOWED = (*(word for gate in ACCEPTED for word in ("--accept", gate)), "--margin", str(MARGIN))
CODE = "import sys; from aroma.cli import main; main(sys.argv[1:])"
_SECONDS = 240
Edge = tuple[str, str, str, str]
"""Subject, relation, object, provider."""


@dataclass
class Truth:
    """What may be answered.

    Attributes:
        evidence: Evidence as JSON, by release and pair.
        predictions: Items as the API gives them, by model.
        release_of: The release that each model stands on.
    """

    evidence: dict[str, dict[tuple[str, str, str], Any]] = field(default_factory=dict)
    predictions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    release_of: dict[str, str] = field(default_factory=dict)

    def add(self, home: Home) -> None:
        """Add what a home answers now."""
        now = require_published(home)
        opened = Opened(home, Seen(), now.release, now.sequence)
        self.evidence[now.release] = {pair: json.loads(to_json(opened.base.evidence(*pair))) for pair in PAIRS}
        model = ServedModels(home).find()
        said = json.loads(_json(answer_pairs(home, model, PAIRS)))
        self.predictions[said["model"]], self.release_of[said["model"]] = said["items"], said["release"]


def _json(record: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(record)


@dataclass
class Stage:
    """A home refreshed from the older files, which serves; and what a refresh to the newer ones makes of it.

    Attributes:
        home: The home; never written to.
        older: The older files.
        newer: The newer files.
        old: Release before.
        new: Release after.
        after: ``standing`` after an undisturbed refresh.
        seconds: Of the undisturbed refresh, as a command.
        truth: What may be answered before and after.
        edges: Edges that a curator can retract.
    """

    home: Home
    older: Path
    newer: Path
    old: str
    new: str
    after: dict[str, Any]
    seconds: float
    truth: Truth
    edges: list[Edge]

    def copy_to(self, home: Home) -> None:
        """Make a copy of the home."""
        copy_home(self.home, home.path)

    @property
    def words(self) -> tuple[str, ...]:
        """The command that refreshes to the newer files."""
        return ("refresh", "--from", str(self.newer), *ALLOWED, "--json")


def copy_home(source: Home, place: Path) -> Home:
    """Copy a home without its running owner's files."""
    shutil.copytree(source.path, place, ignore=shutil.ignore_patterns("locks", ".server", "logs"))
    return Home(place)


def make_stage(directory: Path) -> Stage:
    """Make the home, and refresh a copy of it undisturbed."""
    older, newer = older_files(directory / "older"), newer_files(directory / "newer")
    home, truth = Home(directory / "home"), Truth()
    ledger = refresh_ledger(home)
    run = plan_refresh(ledger, RefreshOptions(source=str(older), plugins=(PLUGIN,)))
    work_on_refresh(home, ledger, run.id)
    assert PROBLEM not in ledger.results(run.id)[0], ledger.results(run.id)
    home.curation.mkdir()
    (home.curation / "settings.json").write_text('{"review": true}')  # what is entered meanwhile changes no release
    stop_owner(home)
    truth.add(home)
    other = copy_home(home, directory / "undisturbed")
    old = require_published(home).release
    started = time.monotonic()
    done = command(other, "refresh", "--from", str(newer), *ALLOWED, "--json")
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    stop_owner(other)
    truth.add(other)
    new = require_published(other).release
    assert new != old
    assert served_models(other)[PLUGIN].model != served_models(home)[PLUGIN].model
    return Stage(home, older, newer, old, new, standing(other), seconds, truth, common_edges(home, old, new, other))


def common_edges(home: Home, old: str, new: str, other: Home) -> list[Edge]:
    """Return the edges that both releases have, one a triple, so that each can be retracted before and after."""
    columns = ["subject", "relation", "object", "provider"]
    before, after = read_table(home.release(old), "edges", columns), read_table(other.release(new), "edges", columns)
    both = before.join(after, on=columns, how="semi").unique(columns[:3], keep="none")
    return both.sort(columns).rows()


def standing(home: Home) -> dict[str, Any]:
    """Return what must be the same however often something was killed."""
    ledger = refresh_ledger(home)
    steps: Counter[tuple[str, str, str]] = Counter()
    for run in ledger.runs():
        if run.kind == KIND and run.facts["step"] != "plan":  # one a refresh, and a rerun is another refresh
            (gave,) = ledger.results(run.id) or [{}]
            about = {"evaluate": ("model", "against", "passed"), "train": ("model",), "promote": ("model", "action")}
            said = [str(gave.get(name)) for name in about.get(run.facts["step"], ("release",))]
            steps[run.facts["step"], str(run.state), " ".join(said)] += 1
    return {
        "publications": [(one.sequence, one.release, one.parent, one.action) for one in read_publications(home)],
        "promotions": [(one.sequence, one.plugin, one.model, one.action) for one in read_promotions(home)],
        "served": {name: one.model for name, one in served_models(home).items()},
        "models": known_models(home),
        "steps": sorted(steps.items()),
        "tracked": tracked_runs(home),
    }


def tracked_runs(home: Home) -> list[tuple[str, str]]:
    """Return model and state of each MLflow run."""
    with closing(sqlite3.connect(home.path / "models" / "mlflow.sqlite")) as database:
        return sorted(database.execute("SELECT name, status FROM runs"))


def check_tables(home: Home, target: GraphTarget) -> None:
    """Check that the database holds the published release and nothing else, and that nothing half-made is left."""
    release = require_published(home).release
    assert open_engine(home, target).verify(load_tables(home, release)) == []
    assert list(home.staging.glob("*")) == []


def check_curation(home: Home, asked: Mapping[str, tuple[Edge, bool]]) -> None:
    """Check that what a curator was told is entered is in both logs once, and nothing is there twice.

    Args:
        home: Whose logs.
        asked: Edge and whether the API said that it is entered, by request id.
    """
    entered = Counter((one.subject, one.relation, one.object) for one in read_log(home))
    written = Counter(one.request for one in read_writes(home))
    assert set(entered.values()) <= {1}
    assert set(written.values()) <= {1}
    for request, (edge, is_told) in asked.items():
        assert not is_told or entered[edge[:3]] == 1, f"lost: {edge}"
        assert not is_told or written[request] == 1, f"not in the log of writes: {request}"
    assert set(entered) <= {edge[:3] for edge, _ in asked.values()}


def command(home: Home, *words: str, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-c", CODE, *words],
        capture_output=True,
        text=True,
        env={**environment(), "AROMA_HOME": str(home.path), **(more or {})},
        timeout=_SECONDS,
        check=False,
    )


class Part:
    """A process of the service: started, killed, started again; ended with the block."""

    def __init__(self, home: Home, log: Path, *words: str, more: Mapping[str, str] | None = None) -> None:
        self._home, self._file, self._words, self._more = home, log, words, dict(more or {})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self._file.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CODE, *self._words],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={**environment(), "AROMA_HOME": str(self._home.path), **self._more},
            )

    def kill(self) -> None:
        """Kill it as the kernel does (signal 9)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def is_running(self) -> bool:
        """False once it ended."""
        return self.process is not None and self.process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Wait until it ends; return whether it did."""
        assert self.process is not None
        try:
            self.process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def log(self) -> str:
        """Return what it has logged, over all its starts."""
        return self._file.read_text(errors="replace") if self._file.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            if not self.wait(40):
                self.kill()


class Api(Part):
    """``aroma serve`` on a port that it has again after a restart."""

    def __init__(self, home: Home, log: Path, more: Mapping[str, str] | None = None, *, workers: int = 1) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(home, log, "serve", "--port", str(self.port), "--workers", str(workers), more=more)

    def wait_until_free(self) -> None:
        """Wait until nobody answers on the port any more."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.url}/v1/health", timeout=5)
            except httpx.TransportError:
                return
            time.sleep(0.05)
        raise AssertionError("a server that was killed still answers")

    def start(self) -> None:
        """Start it and wait until it answers."""
        super().start()
        until = time.monotonic() + 120
        while time.monotonic() < until and self.is_running:
            try:
                httpx.get(f"{self.url}/v1/health", timeout=5).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"the server did not start: {self.log()[-2000:]}")


def kill_engine(home: Home, parent: Part, seconds: float, delay: float) -> bool:
    """Kill what fills or owns the embedded database a moment after it is there; return whether it was in time.

    Args:
        home: Whose database.
        parent: The part whose refresh starts it.
        seconds: How long to wait for it.
        delay: How long to let it work.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = _engines(parent.process.pid) if parent.process else []
        with suppress(OSError, ValueError, KeyError):
            found.append(int(json.loads((home.locks / "embedded-owner.json").read_text())["pid"]))
        time.sleep(delay if found else 0.01)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
    return False


def _engines(pid: int) -> list[int]:
    """Return the processes below one that run an embedded engine."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                is_engine = b"aroma.kgstore.engines" in Path(f"/proc/{child}/cmdline").read_bytes()
                found += [int(child)] if is_engine else _engines(int(child))
    return found
