"""Soak: a mix of requests at a fixed rate for half an hour, a refresh and a promotion in the middle, memory watched.

    python benchmarks/soak.py [--minutes 30] [--rate 200] [--workers 2] [--home HOME] [--seed 0]

Without ``--home`` a home of the bundled samples (older CORUM and GO, planted outcomes) is made, and in the middle
``aroma refresh`` takes it to the newer files, retrains its model and decides. With ``--home`` that home is copied, and
in the middle a retraction is applied (a new release of the same files). Then another model is put in service.

Requests are sent when they are due, whatever became of those before: what waits in the client counts as latency.
Fails where an answer had a status of 400 or more, a request got none, or memory (RSS of all server processes, or its
anonymous part) was more than 10 % larger at the end than after the warm-up, the first tenth. Progress goes to standard
error, a table and one line of JSON to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.tables import read_table
from aroma.model.serving.history import served_models
from tests.support.refresh_samples import ACCEPTED, newer_files, older_files
from tests.support.server import ServerProcess
from tests.support.worker_process import aroma

MOST_GROWTH: Final = 0.10
MIX: Final = {"evidence": 50, "genes": 16, "paths": 16, "predictions": 12, "pages": 5, "batch": 1}
"""Requests of each kind in a hundred."""
_CONNECTIONS: Final = 32
_SAMPLE_SECONDS: Final = 5.0
_WARM_SHARE: Final = 0.1
_ANSWER_SECONDS: Final = 60.0
_LINES: Final = ("K562", "HepG2", "Jurkat")
_CURATOR: Final = "0000-0002-1825-0097"


def tell(text: str) -> None:
    """Show progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# --- what is asked ---------------------------------------------------------------------------------------------


class Asker:
    """Draws requests, as they go over the wire."""

    def __init__(self, genes: list[str], seed: int) -> None:
        self._genes, self._chance = genes, random.Random(seed)
        self._kinds = [kind for kind, share in MIX.items() for _ in range(share)]

    def draw(self) -> tuple[str, bytes]:
        """Return the kind of a request and its bytes."""
        kind = self._chance.choice(self._kinds)
        pair = self._pair()
        if kind == "evidence":
            return kind, _get(f"/v1/evidence?{urlencode(pair)}")
        if kind == "genes":
            return kind, _get(f"/v1/genes?{urlencode({'q': pair['target'][:4]})}")
        if kind == "paths":
            return kind, _get(
                f"/v1/paths?{urlencode({'perturbation': pair['perturbation'], 'target': pair['target']})}"
            )
        if kind == "predictions":
            return kind, _post("/v1/predictions", {"pairs": [pair, self._pair()]})
        if kind == "batch":
            return kind, _post("/v1/evidence/batch", {"pairs": [self._pair() for _ in range(20)]})
        page = f"/gene/{quote(pair['target'])}" if self._chance.random() < 0.5 else f"/pair?{urlencode(pair)}"
        return kind, _get(page)

    def _pair(self) -> dict[str, str]:
        one, other = self._chance.sample(self._genes, 2)
        return {"perturbation": one, "target": other, "cell_line": self._chance.choice(_LINES)}


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: soak\r\n\r\n".encode()


def _post(path: str, said: Any) -> bytes:
    body = json.dumps(said).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


# --- the client ------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """What became of the requests: times in milliseconds by kind, statuses, what went wrong."""

    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)
    releases: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)


class Connection:
    """One keep-alive connection; one that the server closed while it was idle is opened again, as clients do."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Return status, lower-case head and body.

        Raises:
            OSError: No answer: refused, reset, or cut off.
        """
        fresh = self._open is None
        try:
            return await self._once(request)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            if fresh:
                raise
        return await self._once(request)

    async def _once(self, request: bytes) -> tuple[int, bytes, bytes]:
        if self._open is None:
            self._open = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        reader, writer = self._open
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await self._body(reader, head)
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), head, body

    async def _body(self, reader: asyncio.StreamReader, head: bytes) -> bytes:
        if b"transfer-encoding: chunked" not in head:
            return await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        parts = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(parts)

    def close(self) -> None:
        """Close it."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


async def send(port: int, asker: Asker, rate: float, seconds: float) -> Found:
    """Send requests at a rate, each when it is due."""
    found, due = Found(), asyncio.Queue[tuple[float, str, bytes] | None]()

    async def one() -> None:
        connection = Connection(port)
        while (wanted := await due.get()) is not None:
            when, kind, request = wanted
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    status, head, body = await connection.ask(request)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                connection.close()
                found.unanswered.append(f"{kind}: {type(error).__name__} {error}")
                continue
            found.times[kind].append(1000 * (time.perf_counter() - when))
            _note(found, kind, status, head, body)
        connection.close()

    hands = [asyncio.create_task(one()) for _ in range(_CONNECTIONS)]
    begun = time.perf_counter()
    for number in range(int(rate * seconds)):
        when = begun + number / rate
        if (left := when - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        due.put_nowait((when, *asker.draw()))
    for _ in hands:
        due.put_nowait(None)
    await asyncio.gather(*hands)
    return found


def _note(found: Found, kind: str, status: int, head: bytes, body: bytes) -> None:
    found.statuses[status] += 1
    if status >= 400:
        found.bad.append(f"{kind} {status}: {body[:300]!r}")
    if kind == "evidence":
        found.releases[head.partition(b'etag: "')[2].partition(b".")[0].decode()] += 1
    if kind == "predictions":
        found.models[head.partition(b"x-model: ")[2].partition(b"\r\n")[0].decode()] += 1


# --- memory ----------------------------------------------------------------------------------------------------


def descendants(pid: int) -> list[int]:
    """Return a process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(deeper for child in children for deeper in descendants(int(child)))]


def memory(pid: int) -> tuple[float, float]:
    """Return resident and anonymous memory of a process and all below it, MiB."""
    resident = anonymous = 0
    for one in descendants(pid):
        try:
            said = dict(line.split(":", 1) for line in Path(f"/proc/{one}/status").read_text().splitlines())
        except OSError:
            continue
        resident += int(said.get("VmRSS", "0").split()[0])
        anonymous += int(said.get("RssAnon", "0").split()[0])
    return resident / 1024, anonymous / 1024


async def watch(pid: int, samples: list[tuple[float, float, float]]) -> None:
    """Add a sample every few seconds: seconds since the start, resident, anonymous."""
    begun = time.perf_counter()
    while True:
        samples.append((time.perf_counter() - begun, *memory(pid)))
        await asyncio.sleep(_SAMPLE_SECONDS)


# --- the middle ------------------------------------------------------------------------------------------------


@dataclass
class Story:
    """A home, and what happens to it in the middle."""

    home: Home
    files: Path | None
    directory: Path

    def happen(self) -> list[str]:
        """Publish another release, then serve another model; return what was done."""
        before = served_models(self.home)
        said = [self._refresh() if self.files else self._curate()]
        plugin, entry = next(iter(before.items()))
        if served_models(self.home)[plugin].model != entry.model:
            return [*said, f"the refresh promoted {served_models(self.home)[plugin].model}"]
        model = train(self.home, self.directory / "other", plugin, seed=1)
        return [*said, f"the refresh kept {entry.model}; {model} was put in service by hand"]

    def _refresh(self) -> str:
        accepted = [word for gate in ACCEPTED for word in ("--accept", gate)]
        said = run(self.home, "refresh", "--from", str(self.files), *accepted)
        return f"refresh to {said['release']['release']} in {said['seconds']} s"

    def _curate(self) -> str:
        edges = read_table(self.home.release(require_published(self.home).release), "edges")
        row = edges.filter(pl.col("relation") == "MEMBER_OF").row(0, named=True)
        about = [row["subject"], row["relation"], row["object"], "--provider", row["provider"]]
        run(self.home, "curate", "retract", *about, "--reason", "Tried by the soak", "--curator", _CURATOR)
        run(self.home, "curate", "apply")
        return f"a retraction applied: {require_published(self.home).release}"


def run(home: Home, *words: str) -> dict[str, Any]:
    """Run a command and return its last JSON object."""
    done = aroma(home.path, *words, "--json")
    if done.returncode:
        raise SystemExit(f"aroma {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    lines = done.stdout.splitlines()
    said: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return said


def train(home: Home, place: Path, plugin: str, seed: int) -> str:
    """Train a plug-in on the stored outcomes and put it in service, whatever it is worth; return its id."""
    run(home, "train", plugin, "--out", str(place), "--split", "official", "--seed", str(seed))
    run(home, "promote", str(place), "--split", "official", "--force", "--reason", "Tried by the soak")
    return served_models(home)[plugin].model


def prepare(given: Path | None, directory: Path) -> Story:
    """Make the home."""
    home = Home(directory / "home")
    if given is None:
        tell("a home of the bundled samples")
        older, newer = older_files(directory / "older"), newer_files(directory / "newer")
        run(home, "refresh", "--from", str(older), "--plugins", "core-voting")
        return Story(home, newer, directory)
    tell(f"a copy of {given}")
    shutil.copytree(given, home.path, ignore=shutil.ignore_patterns("locks", ".server", "logs"))
    if not served_models(home):
        train(home, directory / "first", "gene-frequency", seed=0)
    return Story(home, None, directory)


# --- the whole -------------------------------------------------------------------------------------------------


async def soak(story: Story, given: argparse.Namespace) -> dict[str, Any]:
    """Run it and return what was found."""
    genes = read_table(story.home.release(require_published(story.home).release), "nodes")
    symbols = genes.filter(pl.col("label") == "Gene")["symbol"].drop_nulls().sort().to_list()
    seconds, log = given.minutes * 60, story.directory / "server.log"
    samples: list[tuple[float, float, float]] = []
    with ServerProcess(story.home.path, log, "--workers", str(given.workers)) as server:
        await asyncio.sleep(20)  # until every worker has opened the release
        tell(f"load average {os.getloadavg()[0]:.1f}; {given.rate:g} requests a second for {given.minutes:g} minutes")
        watching = asyncio.create_task(watch(server.process.pid, samples))
        sending = asyncio.create_task(send(server.port, Asker(symbols, given.seed), given.rate, seconds))
        await asyncio.sleep(seconds / 2)
        done = await asyncio.to_thread(story.happen)
        tell("; ".join(done))
        begun = time.perf_counter()
        found = await sending
        watching.cancel()
        waited = time.perf_counter() - begun
        defects = server.log().count('"defect"')
    return summed(found, samples, given) | {"middle": done, "seconds_after": round(waited), "defects_logged": defects}


def summed(found: Found, samples: list[tuple[float, float, float]], given: argparse.Namespace) -> dict[str, Any]:
    """Return the figures."""
    every = {"all": [one for times in found.times.values() for one in times], **found.times}
    warm = _WARM_SHARE * samples[-1][0]
    after = [sample for sample in samples if sample[0] >= warm][:6]
    ends = samples[-6:]
    mean = {name: [sum(row[column] for row in rows) / len(rows) for column in (1, 2)]
            for name, rows in {"start": samples[:1], "after warm-up": after, "end": ends}.items()}  # fmt: skip
    growth = [last / first - 1 for last, first in zip(mean["end"], mean["after warm-up"], strict=True)]
    answered = len(every["all"])
    return {
        "minutes": given.minutes, "rate": given.rate, "workers": given.workers, "home": str(given.home or "samples"),
        "requests": answered, "reached": round(answered / (given.minutes * 60), 1), "statuses": dict(found.statuses),
        "unanswered": len(found.unanswered), "bad": found.bad[:5] + found.unanswered[:5],
        "milliseconds": {kind: quantiles(times) for kind, times in every.items()},
        "releases": dict(found.releases), "models": dict(found.models),
        "resident_mib": {name: round(two[0]) for name, two in mean.items()},
        "anonymous_mib": {name: round(two[1]) for name, two in mean.items()},
        "most_mib": [round(max(row[column] for row in samples)) for column in (1, 2)],
        "growth": [round(one, 4) for one in growth],
        "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
        "passed": not found.unanswered and not found.bad and max(growth) <= MOST_GROWTH,
    }  # fmt: skip


def quantiles(times: list[float]) -> dict[str, float]:
    """Return quantiles of times."""
    ordered = sorted(times)
    return {
        name: round(ordered[min(int(len(ordered) * part), len(ordered) - 1)], 1)
        for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    }


def show(said: dict[str, Any]) -> None:
    """Print the table and the line of JSON."""
    print(f"{'kind':12} {'p50 ms':>9} {'p90 ms':>9} {'p99 ms':>9} {'max ms':>9}")
    for kind, found in said["milliseconds"].items():
        print(f"{kind:12} " + " ".join(f"{found[name]:>9}" for name in ("p50", "p90", "p99", "max")))
    for name in ("resident_mib", "anonymous_mib"):
        print(f"{name:14} " + ", ".join(f"{when} {value:,}" for when, value in said[name].items()))
    print(json.dumps(said))


def main() -> int:
    """Measure, show, and return 0 where nothing was amiss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        story = prepare(given.home, Path(place))
        try:
            said = asyncio.run(soak(story, given))
        finally:
            stop_owner(story.home)
        show(said)
    return 0 if said["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
