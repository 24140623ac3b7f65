"""A whole service as processes, once through: `make smoke`. Ends with 0 only if every step did.

Starts a real Redis and Neo4j with passwords, and the commands of docker-compose.yml with its environment; then one
embedding by the worker, one refresh, one prediction, one curation, one backup, and the end. Everything is made in
build/smoke, and every process that was started is ended, whatever happens.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.support.neo4j_server import Neo4jServer
from tests.support.redis_server import RedisServer
from tests.support.server import free_port

ROOT: Final = Path(__file__).parents[1]
PLACE: Final = ROOT / "build" / "smoke"
SAMPLES: Final = ROOT / "src" / "aroma" / "samples"
AROMA: Final = os.environ.get("AROMA_PROGRAM") or str(Path(sys.executable).with_name("aroma"))
PAIR: Final = {"perturbation": "TULP1", "target": "ITCH", "cell_line": "RPE1"}
CURATOR: Final = "0000-0002-1825-0097"
_SECONDS: Final = 600


class SmokeError(Exception):
    """A step that did not do what it should."""


def say(text: str) -> None:
    """Tell what is done, with the time since the start."""
    sys.stdout.write(f"{time.monotonic() - _STARTED:7.1f} s  {text}\n")
    sys.stdout.flush()


def check(holds: object, what: str) -> None:
    """Stop unless something holds."""
    if not holds:
        raise SmokeError(what)


class Service:
    """The service: its environment, as the compose file gives it, and the address of its API."""

    def __init__(self, redis: RedisServer, neo4j: Neo4jServer) -> None:
        self.compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = secrets.token_hex(24)
        given = {
            "AROMA_HOME": str(PLACE / "home"),
            "AROMA_BROKER": redis.url,
            "GRAPH_URI": neo4j.uri,
            "GRAPH_PASSWORD": str(neo4j.password),
            "AROMA_TOKEN": self.token,
            "AROMA_REFRESH_CRON": "0 3 1 1 *",  # once a year: the refresh here is asked for by hand
        }
        declared = self.compose["services"]["api"]["environment"] | self.compose["x-environment"]
        check(given.keys() <= declared.keys(), "the compose file sets other variables than this script")
        plain = {name: value for name, value in declared.items() if "$" not in value}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AROMA_", "GRAPH_"))}
        self.environment = inherited | plain | given | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2"}

    def command(self, name: str) -> list[str]:
        """Return the command of a service of the compose file, on this machine's loopback."""
        words = self.compose["services"][name]["command"]
        moved = {"0.0.0.0": "127.0.0.1", "8080": str(self.port), "aroma": AROMA}
        return [moved.get(word, word) for word in words]

    @contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a service of the compose file; told to end by SIGTERM, it must end by itself and in order."""
        log = PLACE / f"{name}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                self.command(name), stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, env=self.environment
            )
        try:
            yield process
            check(process.poll() is None, f"{name} ended by itself; see {log}")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = -9
        # uvicorn ends in order and then by the signal itself, as a program should that was asked to.
        check(code in {0, -signal.SIGTERM}, f"{name} ended with {code} when told to end; see {log}")

    def aroma(self, *words: str) -> dict[str, Any]:
        """Run a command to its end and return its last JSON object."""
        done = subprocess.run(
            [AROMA, *words, "--json"],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            raise SmokeError(f"aroma {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
        lines = done.stdout.splitlines()
        said: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return said

    def has(self, command: str) -> bool:
        """Tell whether the program has a command."""
        done = subprocess.run([AROMA, command, "--help"], capture_output=True, env=self.environment, check=False)
        return done.returncode == 0

    def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        """Ask the API."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.request(method, f"{self.url}/v1{path}", headers=headers, timeout=60, trust_env=False, **more)

    def wait_until_served(self, release: str) -> None:
        """Wait until the API answers from a release."""
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.url}/v1/health", timeout=5, trust_env=False).json().get("release") == release:
                    return
            except (httpx.HTTPError, ValueError):
                pass
            time.sleep(0.2)
        raise SmokeError(f"the API does not serve {release} after {_SECONDS} s; see {PLACE / 'api.log'}")


def build_first(service: Service) -> str:
    """Publish the older CORUM and GO of the samples."""
    old = ["--pin", "corum=3.0", "--pin", "gene_ontology=2021-12-15"]
    return str(service.aroma("build", "--from", str(SAMPLES), *old)["release"])


def refresh(service: Service) -> str:
    """Publish the newer files: by `aroma refresh` where the program has it, else by a build."""
    accept = ["--accept", "file-kind:corum"]  # CORUM 3.0 is the core set, 4.1 the whole: the gate is right to ask
    if service.has("refresh"):
        service.aroma("refresh", "--from", str(SAMPLES), *accept)
    else:
        service.aroma("build", "--from", str(SAMPLES), *accept)
    return str(service.aroma("status")["release"]["release"])


def embed(service: Service) -> None:
    """Have the worker make vectors."""
    done = service.aroma("embed", "protein")
    check(done.get("vectors"), f"no vectors were made: {done}")
    workers = {worker["name"] for worker in service.aroma("status")["workers"]}
    check(workers, "no worker is seen")


def predict(service: Service) -> None:
    """Train a model, serve it, and ask for a prediction."""
    model, measured = PLACE / "model", str(SAMPLES / "perturbqa")
    service.aroma("train", "gene-frequency", "--outcomes", measured, "--split", "dev", "--out", str(model))
    override = ["--split", "dev", "--force", "--reason", "Tried by the smoke test"]
    service.aroma("promote", str(model), "--outcomes", measured, *override)
    until = time.monotonic() + 30
    while not service.ask("GET", "/models").json()["items"] and time.monotonic() < until:
        time.sleep(0.2)
    answer = service.ask("POST", "/predictions", json={"pairs": [PAIR]})
    check(answer.status_code == 200, f"no prediction: {answer.text[:500]}")
    (item,) = answer.json()["items"]
    total = item["p_down"] + item["p_not_significant"] + item["p_up"]
    check(abs(total - 1) < 1e-6, f"probabilities that do not sum to 1: {item}")


def curate(service: Service) -> None:
    """Retract an edge with a token that may, and be refused with one that may not."""
    reader = service.aroma("tokens", "create", "reader", "--scope", "read")["token"]
    curator = service.aroma("tokens", "create", "curator", "--scope", "curate", "--expires", "1d")["token"]
    edge = {"subject": "TULP1", "relation": "ANNOTATED_TO", "object": "GO:0007601"}
    asked = {**edge, "curator": CURATOR, "reason": "Tried by the smoke test"}
    refused = service.ask("POST", "/curation/retract", reader, json=asked)
    check(refused.status_code == 403, f"a reader's token may curate: {refused.status_code} {refused.text[:300]}")
    entered = service.ask("POST", "/curation/retract", curator, json=asked)
    check(entered.status_code == 200, f"a curator's token may not curate: {entered.text[:500]}")
    lines = (PLACE / "home" / "audit" / "writes.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    check(("curator", "200") in {(line["who"], line["outcome"]) for line in logged}, "the write is not in the log")
    service.aroma("tokens", "revoke", "curator")
    check(service.ask("GET", "/sources", curator).status_code == 401, "a revoked token is let in")


def back_up(service: Service, release: str) -> None:
    """Make a backup while all runs, and restore it elsewhere."""
    service.aroma("backup", "--to", str(PLACE / "backups"))
    restored = service.aroma("restore", str(PLACE / "backups"), "--home", str(PLACE / "restored"), "--no-project")
    check(restored["release"] == release, f"the backup holds {restored['release']}, not {release}")


def run(stack: ExitStack) -> None:
    """Do every step."""
    redis = stack.enter_context(RedisServer(PLACE, secrets.token_hex(12)))
    say("Redis answers")
    neo4j = stack.enter_context(Neo4jServer(PLACE / "neo4j", secrets.token_hex(12), heap="1g", page_cache="128m"))
    say("Neo4j answers")
    service = Service(redis, neo4j)
    first = build_first(service)
    say(f"release {first} is built and published to Neo4j")
    with ExitStack() as services:
        for name in ("api", "worker", "schedule"):
            if name == "schedule" and not service.has("schedule"):
                say("this program has no schedule command: its service is not started")
                continue
            services.enter_context(service.running(name))
        service.wait_until_served(first)
        say("the API serves it; worker and schedule run")
        check(service.ask("GET", "/evidence", params=PAIR).status_code == 200, "no evidence")
        embed(service)
        say("the worker made vectors")
        second = refresh(service)
        check(second != first, "the refresh published nothing new")
        service.wait_until_served(second)
        say(f"release {second} is refreshed and served")
        predict(service)
        say("a model is served and predicts")
        curate(service)
        say("a curator was heard, a reader refused")
        back_up(service, second)
        say("a backup was made and restored")
        service.aroma("doctor", "--api", service.url)
        check("aroma_release_age_seconds" in service.ask("GET", "/metrics").text, "no metrics")
        say("the doctor finds nothing broken")
    check("Finished server process" in (PLACE / "api.log").read_text(), "the API did not end in order")
    say("API, worker and schedule ended in order")


def main() -> int:
    """Run, and return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then, too
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    try:
        with ExitStack() as stack:
            run(stack)
    except (SmokeError, subprocess.TimeoutExpired, httpx.HTTPError, AssertionError) as error:
        say(f"FAILED: {error}")
        return 1
    say("all steps done; Redis and Neo4j are ended")
    return 0


_STARTED: Final = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
