"""Nearest neighbours by HNSW against exact search: recall at ten, and the time of a search by each.

    python benchmarks/similar.py                     20,000 x 1,024 drawn in clusters of uneven size
    python benchmarks/similar.py --home HOME         the graph's own vectors (graph-svd) of the published release
    python benchmarks/similar.py --vectors FILE.npy  rows of a file

Ours: the HNSW index as ``aroma similar --index hnsw`` makes it. Peers, exact: FAISS' flat index and one NumPy product.
Recall is over ``--queries`` rows against the exact ten, the row itself left out; of rows that are equally near any
counts (in graph-svd one gene in twenty has more than ten others with its very vector). Queries are asked one at a
time, as the API asks them. Drawn vectors: cluster sizes fall as 1/rank, each cluster has directions of its own in 16
dimensions and noise in all, which is how close the rows of real sets are to their neighbours; independent Gaussian rows
would have no near neighbours at all. Seconds are CPU seconds of one thread; wall time stands beside. Progress goes to
standard error, a table and then one line of JSON to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aroma.retrieval.vector_index import MEASURED_AT, SEARCH_WIDTH, make_hnsw, measure_recall

Float32 = npt.NDArray[np.float32]
GOAL = 0.98


def drawn(rows: int, dim: int, seed: int = 0, clusters: int = 400, inner: int = 16) -> Float32:
    """Return float32 (rows, dim) in clusters of uneven size."""
    rng = np.random.default_rng(seed)
    sizes = 1.0 / np.arange(1, clusters + 1)
    which = rng.choice(clusters, rows, p=sizes / sizes.sum())
    centres = rng.normal(size=(clusters, dim)).astype(np.float32)
    found = centres[which] + 0.3 * rng.normal(size=(rows, dim)).astype(np.float32)
    for cluster in range(clusters):
        own = np.flatnonzero(which == cluster)
        directions = rng.normal(size=(inner, dim)).astype(np.float32)
        found[own] += rng.normal(size=(len(own), inner)).astype(np.float32) @ directions / np.sqrt(inner)
    return found


def of_home(home: Path, dim: int) -> Float32:
    """Return the graph's own vectors of the published release."""
    from aroma.kgstore.home import Home
    from aroma.retrieval.gene_kernels import GeneKernels
    from aroma.retrieval.snapshot import open_snapshot
    from aroma.retrieval.structural import structural_vectors

    return structural_vectors(GeneKernels(open_snapshot(Home.locate(home))), dim).vectors


def timed(ask: Callable[[Float32], object], queries: Float32) -> tuple[float, float]:
    """Return CPU and wall seconds a query, asked one at a time."""
    ask(queries[:1])
    cpu, wall = time.process_time(), time.perf_counter()
    for row in range(len(queries)):
        ask(queries[row : row + 1])
    return (time.process_time() - cpu) / len(queries), (time.perf_counter() - wall) / len(queries)


def measure(name: str, vectors: Float32, queries: int) -> dict[str, Any]:
    """Make the index, measure its recall, and time all three."""
    import faiss

    faiss.omp_set_num_threads(1)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    print(f"{name}: {unit.shape[0]:,} x {unit.shape[1]:,}", file=sys.stderr)
    cpu = time.process_time()
    hnsw = make_hnsw(unit)
    built = time.process_time() - cpu
    print(f"built in {built:.0f} CPU seconds", file=sys.stderr)
    flat = faiss.IndexFlatIP(unit.shape[1])
    flat.add(unit)
    chosen = np.random.default_rng(1).permutation(len(unit))[:queries]
    asked, k = np.ascontiguousarray(unit[chosen]), MEASURED_AT + 1
    parameters = faiss.SearchParametersHNSW(efSearch=SEARCH_WIDTH)

    def by_numpy(query: Float32) -> object:
        scores = unit @ query[0]
        best = np.argpartition(-scores, k)[:k]
        return best[np.argsort(-scores[best])]

    times = {
        "hnsw": timed(lambda query: hnsw.search(query, k, params=parameters), asked),
        "flat": timed(lambda query: flat.search(query, k), asked),
        "numpy": timed(by_numpy, asked),
    }
    return {
        "vectors": name,
        "rows": unit.shape[0],
        "dim": unit.shape[1],
        "queries": len(chosen),
        "recall_at_10": measure_recall(hnsw, "hnsw", unit, chosen),
        "build_cpu_seconds": built,
        "cpu_seconds": {name: spent[0] for name, spent in times.items()},
        "wall_seconds": {name: spent[1] for name, spent in times.items()},
        "times_less_cpu": {peer: times[peer][0] / times["hnsw"][0] for peer in ("flat", "numpy")},
    }


def print_table(row: dict[str, Any]) -> None:
    """Print what was measured for a person."""
    print("| vectors | recall@10 | HNSW, CPU ms | FAISS flat | NumPy | built, CPU s |")
    print("|---|---|---|---|---|---|")
    peers = " | ".join(
        f"{row['cpu_seconds'][peer] * 1e3:.2f} ({row['times_less_cpu'][peer]:.1f} times)" for peer in ("flat", "numpy")
    )
    print(
        f"| {row['vectors']}, {row['rows']:,} x {row['dim']:,} | {row['recall_at_10']:.4f} | "
        f"{row['cpu_seconds']['hnsw'] * 1e3:.2f} | {peers} | {row['build_cpu_seconds']:.0f} |"
    )


def main() -> None:
    """Read the options, measure, print; end with 1 where the recall is below the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="AROMA_HOME with a published release")
    parser.add_argument("--vectors", type=Path, help="a .npy file, a row a vector")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--json", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    if arguments.vectors:
        name, vectors = arguments.vectors.stem, np.load(arguments.vectors, allow_pickle=False)
    elif arguments.home:
        name, vectors = "graph-svd", of_home(arguments.home, arguments.dim)
    else:
        name, vectors = "drawn", drawn(arguments.rows, arguments.dim)
    row = measure(name, vectors, arguments.queries)
    print_table(row)
    result = {"load_at_end": os.getloadavg()[0], "goal": GOAL, **row}
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(0 if row["recall_at_10"] >= GOAL else 1)


if __name__ == "__main__":
    main()
