"""Snapshot and evidence: making, opening, memory, one pair at a time, a file of pairs in bulk.

    python benchmarks/evidence.py --home HOME [--pairs FILE_OR_DIR] [--rows 100000]     a published release
    python benchmarks/evidence.py                                                       a release of the bundled samples

The peer of the bulk run is the same store asked pair by pair, and the two answers are compared byte for byte on a
sample. The snapshot is made in a copy of the home (links to its tables), so that HOME stays as it is. Progress goes to
standard error, a table and then one line of JSON to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from aroma.importers.base import ImportOptions
from aroma.importers.build import read_all
from aroma.importers.discover import discover
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import list_outcomes, store_outcomes
from aroma.kgstore.publications import Publication, append, require_published
from aroma.kgstore.releases import now, save_release
from aroma.retrieval.bulk_evidence import BulkRequest, open_store, write_evidence
from aroma.retrieval.evidence_model import to_json
from aroma.retrieval.pairs import read_pairs
from aroma.retrieval.snapshot import make_snapshot

SAMPLES = Path(__file__).parents[1] / "src" / "aroma" / "samples"
SINGLE = 400
OPENING = """
import sys, time
from pathlib import Path
def memory():
    lines = dict(line.split(":") for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
    return int(lines["Anonymous"].split()[0]) / 1024, int(lines["Rss"].split()[0]) / 1024
from aroma.kgstore.home import Home
from aroma.retrieval.snapshot import make_snapshot
before = memory()
begin = time.perf_counter()
snapshot = make_snapshot(Home(Path(sys.argv[1])))
seconds = time.perf_counter() - begin
for name in ("gene-kg", "path-kg"):
    view = snapshot.view(name)
    csr = view.csr
    for array in (csr.indptr, csr.indices, view.to_release, view.first_pair, view.pair_start, view.pair_edges):
        int(array.sum())
after = memory()
print(seconds, after[0] - before[0], after[1] - before[1])
"""


def say(message: str) -> None:
    """Show progress."""
    print(message, file=sys.stderr)


def home_of_samples(directory: Path) -> Home:
    """Publish the bundled samples in a new home."""
    read = read_all(discover(SAMPLES, pins={}), ImportOptions(), lambda _: None)
    home = Home(directory)
    release = save_release(home, read.tables)
    append(home, Publication(1, release, None, now()))
    for outcomes in read.outcomes:
        store_outcomes(home, outcomes)
    return home


def linked_copy(home: Home, directory: Path) -> Home:
    """Return a home with the same release and no snapshot."""
    release = require_published(home).release
    copy = Home(directory)
    copy.release("x").parent.mkdir(parents=True)
    copy.release(release).symlink_to(home.release(release))
    copy.published.write_text(home.published.read_text())
    if home.outcomes.exists():
        copy.outcomes.symlink_to(home.outcomes)
    return copy


def asked(home: Home, pairs: Path | None, rows: int) -> pl.DataFrame:
    """Return pairs to ask for, in random order: those of the files, else of the stored outcomes."""
    if pairs is None:
        version = list_outcomes(home)[-1]
        frame = pl.read_parquet(home.outcomes / version.sha256 / "outcomes.parquet")
    else:
        files = sorted(pairs.glob("*.csv")) if pairs.is_dir() else [pairs]
        frame = pl.concat([read_pairs(file) for file in files])
    chosen = frame.select("perturbation", "target", "cell_line")
    return chosen.sample(min(rows, chosen.height), shuffle=True, seed=1)


def timed(work: Callable[[], object]) -> float:
    """Return seconds of wall time."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def opening(home: Home, repeats: int = 3) -> dict[str, float]:
    """Open the snapshot in fresh processes; memory is what opening and reading both views adds to the imports."""
    runs = []
    for _ in range(repeats):
        run = subprocess.run(
            [sys.executable, "-c", OPENING, str(home.path)], capture_output=True, text=True, check=True
        )
        runs.append([float(value) for value in run.stdout.split()])
    best = min(runs)
    return {"open_ms": best[0] * 1000, "own_memory_mb": best[1], "mapped_memory_mb": best[2]}


def single(home: Home, request: BulkRequest, pairs: pl.DataFrame) -> dict[str, float]:
    """Ask pair by pair; the first answers, which warm the caches, are not counted."""
    store = open_store(home, request)
    rows = list(pairs.head(2 * SINGLE).iter_rows())
    for row in rows[:SINGLE]:
        store.evidence(*row)
    spent = sorted(timed(lambda row=row: to_json(store.evidence(*row))) for row in rows[SINGLE:] or rows)
    return {"p50_ms": spent[len(spent) // 2] * 1000, "p99_ms": spent[int(len(spent) * 0.99)] * 1000}


def bulk(home: Home, request: BulkRequest, pairs: pl.DataFrame, directory: Path) -> dict[str, float]:
    """Write the evidence of all pairs, and compare some rows with single answers."""
    pairs.write_csv(directory / "pairs.csv")
    out = directory / "evidence.parquet"
    before = cpu()
    seconds = timed(lambda: write_evidence(home, directory / "pairs.csv", out, request, progress=_show))
    spent = cpu() - before
    table = pl.read_parquet(out, columns=["evidence"])["evidence"]
    store = open_store(home, request)
    for row in random.Random(1).sample(range(len(table)), min(50, len(table))):
        if to_json(store.evidence(*pairs.row(row))).decode() != table[row]:
            raise SystemExit(f"row {row}: the bulk answer is not the single answer")
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "pairs": len(table),
        "seconds": seconds,
        "pairs_a_second": len(table) / seconds,
        "cpu_seconds": spent,
        "pairs_a_cpu_second": len(table) / spent,
        "largest_process_mb": largest,
    }


def cpu() -> float:
    """Return CPU seconds of this process and its ended children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _show(state: Any) -> None:
    say(f"{state.done:,} of {state.total:,} pairs, {state.rate:,.0f} a second")


def rows(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'make the snapshot, both views':<44}{result['make_seconds']:>12.1f} s"
    yield f"{'open it':<44}{result['open_ms']:>12.1f} ms"
    yield f"{'memory of its own, both views read':<44}{result['own_memory_mb']:>12.1f} MB"
    yield f"{'with what it maps (shared by processes)':<44}{result['mapped_memory_mb']:>12.1f} MB"
    yield f"{'one evidence, p50 / p99':<44}{result['p50_ms']:>12.2f} / {result['p99_ms']:.2f} ms"
    yield f"{'evidence in bulk':<44}{result['pairs_a_second']:>12,.0f} pairs/s ({result['pairs']:,} pairs)"
    yield f"{'evidence in bulk, a second of one core':<44}{result['pairs_a_cpu_second']:>12,.0f} pairs/s"
    yield f"{'largest process':<44}{result['largest_process_mb']:>12,.0f} MB"


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        source = Home.locate(arguments.home) if arguments.home else home_of_samples(directory / "samples")
        home = linked_copy(source, directory / "home")
        say("making the snapshot")
        result: dict[str, Any] = {"release": require_published(home).release, "cores": os.cpu_count()}
        result["make_seconds"] = timed(lambda: make_snapshot(home))
        stored = list_outcomes(home)
        request = BulkRequest(outcomes=stored[-1].sha256 if stored else None)
        pairs = asked(home, arguments.pairs, arguments.rows)
        result |= opening(home)
        say("one pair at a time")
        result |= single(home, request, pairs)
        result |= bulk(home, request, pairs, directory)
    print("\n".join(rows(result)))
    print(json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in result.items()}))


if __name__ == "__main__":
    main()
