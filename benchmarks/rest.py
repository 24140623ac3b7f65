"""Evidence over REST: latency and rate of single requests, and what bulk gains over asking one by one.

    python benchmarks/rest.py --home HOME --pairs FILE [--requests 4000] [--workers 2] [--bulk 20000]

Starts ``aroma serve`` on a loopback port, asks for distinct pairs of the file (``perturbation,target,cell_line``) over
keep-alive connections with a client that does nothing else, first as pairs that the server has not seen (each answer is
made) and then again (each answer is kept). The bulk run is ``write_evidence`` over pairs of the same file.
Without ``--home`` and ``--pairs`` the bundled samples are used, whose few genes say little about speed.
Progress goes to standard error, a table and then one line of JSON to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import list_outcomes
from aroma.kgstore.releases import known_releases
from aroma.retrieval.bulk_evidence import BulkRequest, write_evidence
from tests.support.homes import home_of_files
from tests.support.server import ServerProcess


@dataclass(frozen=True)
class Run:
    """What one run of requests gave; times in milliseconds."""

    what: str
    connections: int
    requests: int
    rate: float
    p50: float
    p90: float
    p99: float
    bytes: int
    statuses: dict[str, int]


def tell(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


def request_of(pair: tuple[str, str, str]) -> bytes:
    """Return one request as it goes over the wire."""
    names = ("perturbation", "target", "cell_line")
    query = urlencode(dict(zip(names, pair, strict=True)))
    return f"GET /v1/evidence?{query} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


async def ask(port: int, requests: list[bytes], connections: int, what: str) -> Run:
    """Send all requests over some connections and time each."""
    times: list[float] = []
    statuses: dict[str, int] = {}
    size = 0
    waiting = iter(requests)

    async def one() -> None:
        nonlocal size
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        for request in waiting:
            begun = time.perf_counter()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            times.append(1000 * (time.perf_counter() - begun))
            statuses[head[9:12].decode()] = statuses.get(head[9:12].decode(), 0) + 1
            size += length
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    seconds = time.perf_counter() - begun
    times.sort()
    p50, p90, p99 = (round(times[min(int(len(times) * part), len(times) - 1)], 2) for part in (0.5, 0.9, 0.99))
    return Run(
        what, connections, len(times), round(len(times) / seconds, 1), p50, p90, p99, size // len(times), statuses
    )


def bulk_rate(home: Home, pairs: pl.DataFrame, directory: Path) -> float:
    """Return pairs a second of a bulk run."""
    file = directory / "pairs.csv"
    pairs.write_csv(file)
    versions = list_outcomes(home)
    request = BulkRequest(outcomes=versions[-1].sha256 if versions else None)
    begun = time.perf_counter()
    write_evidence(home, file, directory / "evidence.parquet", request)
    return pairs.height / (time.perf_counter() - begun)


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bulk", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        if given.home is None or given.pairs is None:
            tell("no --home and --pairs: the bundled samples, of which nothing follows for real data")
            home = home_of_files(directory / "home")
            genes = pl.read_parquet(home.release(known_releases(home)[0]) / "nodes.parquet")
            symbols = genes.filter(pl.col("label") == "Gene")["symbol"].drop_nulls().sort().to_list()
            rows = [(one, other, "K562") for one in symbols for other in symbols]
            pairs = pl.DataFrame(rows, schema=["perturbation", "target", "cell_line"], orient="row")
        else:
            home, pairs = Home(given.home.resolve()), pl.read_csv(given.pairs, infer_schema=False)
        pairs = pairs.select("perturbation", "target", "cell_line").unique(maintain_order=True)
        show(measure(home, pairs.sample(fraction=1.0, shuffle=True, seed=1), given, directory))


def measure(
    home: Home, pairs: pl.DataFrame, given: argparse.Namespace, directory: Path
) -> tuple[list[Run], float | None, dict[str, object]]:
    """Run the server and the bulk run."""
    each = min(given.requests, pairs.height // 3)
    requests = [request_of(row) for row in pairs.head(each * 3).iter_rows()]
    runs = []
    for workers in dict.fromkeys((1, given.workers)):
        log = directory / f"server-{workers}.log"
        with ServerProcess(home.path, log, "--workers", str(workers)) as server:
            time.sleep(10 if workers > 1 else 0)  # until every worker has opened the release
            tell(f"{workers} worker(s), release open; load average {os.getloadavg()[0]:.1f}")
            plan = (
                ("warming", requests[:each], 1),
                ("new pairs", requests[each : 2 * each], 1),
                ("new pairs", requests[2 * each :], 4),
                ("known pairs", requests[2 * each :], 1),
                ("known pairs", requests[2 * each :], 4),
            )
            for what, part, connections in plan:
                runs.append(asyncio.run(ask(server.port, part, connections, f"{what}, {workers} worker(s)")))
                tell(str(runs[-1]))
    bulk = bulk_rate(home, pairs.head(min(given.bulk, pairs.height)), directory) if given.bulk else None
    return runs, bulk, {"cores": os.cpu_count(), "load": os.getloadavg()[0], "pairs": pairs.height}


def show(found: tuple[list[Run], float | None, dict[str, object]]) -> None:
    """Print the table and the line of JSON."""
    runs, bulk, machine = found
    print(f"{'run':32} {'connections':>11} {'requests/s':>10} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8} {'bytes':>7}")
    for run in runs:
        print(
            f"{run.what:32} {run.connections:>11} {run.rate:>10} {run.p50:>8} {run.p90:>8} {run.p99:>8} {run.bytes:>7}"
        )
    if bulk is not None:
        single = next(run for run in runs if run.what.startswith("new pairs") and run.connections == 1)
        print(f"bulk: {bulk:,.0f} pairs/s, {bulk / single.rate:.1f} x REST one by one ({single.rate:,.0f}/s)")
    print(json.dumps({"runs": [asdict(run) for run in runs], "bulk_pairs_a_second": bulk, **machine}))


if __name__ == "__main__":
    main()
