"""Files to a published release, against the same edges written by keyed MERGE batches as CKG-style loaders do.

    python benchmarks/build.py --from DIR [--engine embedded|neo4j|both] [--sample 20000]

Four runs an engine: a first build from the newest files, the same files again, an older GO and CORUM, and the refresh
from those to the newest. The peer writes a sample of the release's edges into a database that holds its nodes and
unique keys; its time for all edges is the sample's rate times their number (keyed MERGE takes many minutes for all).
Progress goes to standard error, a table and then one line of JSON to standard output. The Neo4j server is started from
Maven's artefacts (``tests/support/neo4j_server.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aroma.errors import StoreUnavailableError
from aroma.kgstore.engines import open_engine
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.graph import Graph
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.publications import Publication, require_published
from aroma.kgstore.releases import load_tables
from aroma.kgstore.schema import empty
from aroma.kgstore.tables import ReleaseTables

sys.path.insert(0, str(Path(__file__).parents[1]))

OLDER = ("corum=3.0", "gene_ontology.obo=2021-12-15")
BATCH = 1_000


@dataclass(frozen=True)
class Run:
    """One build as a whole process."""

    seconds: float
    gib: float
    answer: dict[str, Any]


def tell(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


def aroma_build(source: Path, home: Path, uri: str, *options: str) -> Run:
    """Run ``aroma build`` and return its time, the peak memory of its largest process, and its answer."""
    line = [sys.executable, "-m", "aroma.cli", "build", "--from", str(source), "--home", str(home), "--uri", uri]
    started = time.perf_counter()
    process = subprocess.Popen([*line, "--json", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    text = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    answer = json.loads(text)
    return Run(seconds, usage.ru_maxrss / 2**20, answer)


def build_accepting(source: Path, home: Path, uri: str, *options: str) -> tuple[Run, list[str]]:
    """Build; where gates stop it, say which and build again with them accepted. The second run is the one timed."""
    run = aroma_build(source, home, uri, *options)
    if "error" not in run.answer:
        return run, []
    gates = list(run.answer["error"].get("gates", []))
    accepted = [word for gate in gates for word in ("--accept", gate)]
    return aroma_build(source, home, uri, *options, *accepted), gates


def merge_rate(home: Home, target: GraphTarget, sample: int) -> float:
    """Return edges a second of keyed MERGE in batches, into a database that holds all nodes of the release."""
    release = require_published(home).release
    tables = load_tables(home, release)
    edges = tables["edges"].sample(min(sample, tables["edges"].height), seed=1)
    with tempfile.TemporaryDirectory() as place:
        bare_home = Home(Path(place) / "bare")
        bare = ReleaseTables({**tables.frames, "edges": empty("edges")})
        engine = open_engine(bare_home, target)
        engine.project(bare, Publication(1, "rbare", None, "2026-01-01T00:00:00+00:00"), previous=None)
        try:
            with engine.connect("rbare") as graph:
                return _merge(graph, edges, tables["nodes"])
        finally:
            stop_owner(bare_home)


def _merge(graph: Graph, edges: pl.DataFrame, nodes: pl.DataFrame) -> float:
    labels = dict(nodes.select("id", "label").iter_rows())
    written, spent = 0, 0.0
    kept = [name for name in edges.columns if name not in {"subject", "relation", "object", "content"}]
    for (relation,), part in edges.group_by("relation", maintain_order=True):
        rows = part.select("subject", "object", *kept).to_dicts()
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows:
            groups.setdefault((labels[row["subject"]], labels[row["object"]]), []).append(row)
        for (start, end), group in groups.items():
            text = (
                f"UNWIND $rows AS row MATCH (a:{start} {{id: row.subject}}) MATCH (b:{end} {{id: row.object}}) "
                f"MERGE (a)-[r:{relation} {{provider: row.provider}}]->(b) SET r += row.said"
            )
            for first in range(0, len(group), BATCH):
                batch = [
                    {**{key: row[key] for key in ("subject", "object", "provider")},
                     "said": {key: row[key] for key in kept if row[key] is not None}}
                    for row in group[first : first + BATCH]
                ]  # fmt: skip
                begun = time.perf_counter()
                _write(graph, text, batch)
                spent += time.perf_counter() - begun
                written += len(batch)
    return written / spent


def _write(graph: Graph, text: str, rows: list[dict[str, Any]]) -> None:
    """Write a batch; ArcadeDB refuses some batches that meet at one hub, which then go in by halves."""
    try:
        graph.write(text, {"rows": rows})
    except StoreUnavailableError:
        if len(rows) == 1:
            raise
        _write(graph, text, rows[: len(rows) // 2])
        _write(graph, text, rows[len(rows) // 2 :])


@contextlib.contextmanager
def database(engine: str, place: Path) -> Iterator[GraphTarget]:
    """Yield the address of an engine: the embedded one, or a Neo4j server started for this benchmark."""
    if engine == "embedded":
        yield GraphTarget.locate("embedded:")
        return
    from tests.support.neo4j_server import Neo4jServer

    with Neo4jServer(place / "neo4j", heap="2g", page_cache="512m") as server:
        yield GraphTarget(server.uri)


def measure(engine: str, source: Path, sample: int) -> dict[str, Any]:
    """Run everything on one engine."""
    with tempfile.TemporaryDirectory() as place, database(engine, Path(place)) as target:
        home, other = Home(Path(place) / "home"), Home(Path(place) / "other")
        try:
            tell(f"{engine}: first build")
            first = aroma_build(source, home.path, target.uri)
            again = aroma_build(source, home.path, target.uri)
            edges = load_tables(home, first.answer["release"], ("edges",))["edges"].height
            publish = first.answer["steps"]["publish"]
            tell(f"{engine}: {first.seconds:.1f} s; keyed MERGE of {sample:,} edges")
            stop_owner(home)
            if engine == "neo4j":
                tell("neo4j: the peer gets the same server, emptied")
                open_engine(home, target).discard(first.answer["release"])
            rate = merge_rate(home, target, sample)
            if engine == "neo4j":
                open_engine(home, target).discard("rbare")
            tell(f"{engine}: refresh")
            pins = [word for pin in OLDER for word in ("--pin", pin)]
            aroma_build(source, other.path, target.uri, *pins)
            refresh, gates = build_accepting(source, other.path, target.uri)
        finally:
            stop_owner(home)
            stop_owner(other)
    return {
        "engine": engine,
        "release": first.answer["release"],
        "first_seconds": round(first.seconds, 1),
        "first_gib": round(first.gib, 2),
        "steps": first.answer["steps"],
        "again_seconds": round(again.seconds, 1),
        "again_unchanged": again.answer["unchanged"],
        "refresh_seconds": round(refresh.seconds, 1),
        "refresh_gates": gates,
        "edges": edges,
        "merge_edges_a_second": round(rate),
        "merge_seconds_for_all": round(edges / rate, 1),
        "ratio_to_merge": round(edges / rate / publish, 1),
    }


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, default=Path("../shared/kgdata"))
    parser.add_argument("--engine", choices=("embedded", "neo4j", "both"), default="both")
    parser.add_argument("--sample", type=int, default=20_000)
    given = parser.parse_args()
    if not given.source.is_dir():
        tell(f"{given.source} is not there: nothing measured; give the providers' files by --from DIR")
        return
    engines = ("embedded", "neo4j") if given.engine == "both" else (given.engine,)
    results = [measure(engine, given.source, given.sample) for engine in engines]
    for name in results[0]:
        print(f"{name:24}", *(f"{result[name]!s:>30}" for result in results))
    print(json.dumps({"benchmark": "build", "cores": os.cpu_count(), "results": results}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    tell(f"this script's own peak: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
