"""``boosted-evidence``: learning, predicting and explaining, against features made row by row in Python.

    python benchmarks/prediction.py --home HOME [--held 0.19] [--sample 40]

A share of each cell line's perturbations is held back and predicted; all others are trained on. Ours: the time of each
part, CPU seconds beside, the time of one new pair and of one explanation after loading, and the largest memory. Peer:
the votes, the pair elsewhere and the nearest rows of a sample of pairs, made as one would from evidence objects: a loop
over the cases of the target and dictionaries of what genes have, with no table of similarities. Both give the same
numbers, and a difference is an error; the ratio is of the time for one row, ours for the batch with *all* columns.
Progress goes to standard error, a table and then one line of JSON to standard output.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import load_outcomes
from aroma.model.evidence_features.layers import LAYERS, Layers
from aroma.model.evidence_features.observations import with_keys
from aroma.model.evidence_features.table import NAMES
from aroma.model.evidence_features.votes import ELSEWHERE, NEAREST, VOTES
from aroma.model.ground import Ground
from aroma.model.plugin import Training
from aroma.model.predictors.boosted_evidence import BoostedEvidence

COLUMNS = [NAMES.index(name) for name in (*VOTES, *NEAREST, *ELSEWHERE)]


class Clock:
    """Wall and CPU seconds of named parts."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[float, float]] = {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        """Run and remember."""
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        self.parts[name] = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{name}: {self.parts[name][0]:.1f} s", file=sys.stderr)
        return found

    def progress(self) -> Callable[[str, float], None]:
        """Return what a fit calls: the time between two calls belongs to the first of them."""
        last: list[tuple[str, float, float]] = []

        def call(what: str, _share: float) -> None:
            now = time.perf_counter(), time.process_time()
            if last:
                name, wall, cpu = last.pop()
                self.parts[f"fit: {name}"] = now[0] - wall, now[1] - cpu
                print(f"{name}: {now[0] - wall:.1f} s", file=sys.stderr)
            last.append((what, *now))

        return call


@dataclass(frozen=True)
class Case:
    """One measured row of a target, as evidence lists it."""

    line: str
    perturbation: str
    node: int
    label: int


def held_back(rows: pl.DataFrame, share: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return rows to train on and rows to predict: a share of the perturbations of each line."""
    groups = rows.select("cell_line", "perturbation").unique().sort("cell_line", "perturbation")
    chosen = groups.sample(fraction=share, seed=0) if share else groups.clear()
    on = ["cell_line", "perturbation"]
    return rows.join(chosen, on=on, how="anti"), rows.join(chosen, on=on, how="semi").drop("label")


class Peer:
    """Votes as a loop over cases and dictionaries."""

    def __init__(self, model: BoostedEvidence, layers: Layers, trained: pl.DataFrame) -> None:
        self.model, self.layers = model, layers
        self.floor = model._learned.similarity  # noqa: SLF001 - the same learned similarity, asked pair by pair
        self.table = model._view.rates.table  # noqa: SLF001
        keyed = with_keys(trained)
        nodes = model.ground.nodes_of(keyed["_perturbation"])
        self.cases: dict[str, list[Case]] = {}
        columns = (keyed[name] for name in ("_target", "cell_line", "_perturbation", "label"))
        for (target, line, perturbation, label), node in zip(zip(*columns, strict=True), nodes.tolist(), strict=True):
            self.cases.setdefault(target, []).append(Case(line, perturbation, node, label))

    def side(self, matrix: Any, node: int) -> dict[int, float]:
        """Return what a gene has, by feature."""
        place = int(self.layers.row_of(np.array([node]))[0])
        if place < 0:
            return {}
        span = slice(int(matrix.indptr[place]), int(matrix.indptr[place + 1]))
        return dict(zip(matrix.indices[span].tolist(), matrix.data[span].tolist(), strict=True))

    def similarity(self, left: dict[int, float], node: int) -> list[float]:
        """Return the similarity of a gene to another under each layer and the learned one."""
        found = [0.0] * len(LAYERS)
        for feature, weight in self.side(self.layers.right, node).items():
            if feature in left:
                found[int(self.layers.layer_of[feature])] += weight * left[feature]
        learned = float(self.floor(np.array([found], dtype=np.float32))[0])
        return [*found, learned]

    def columns(self, line: str, perturbation: str, target: str, usual: tuple[float, float]) -> list[float]:
        """Return the votes, the nearest rows and the pair elsewhere of one row."""
        node = int(self.model.ground.nodes_of(pl.Series([perturbation]))[0])
        left = self.side(self.layers.left, node)
        sums = {place: [[0.0, 0.0, 0.0] for _ in range(len(LAYERS) + 1)] for place in (True, False)}
        nearest = [[0.0] * 3 for _ in range(2)]
        pair: list[tuple[int, int]] = []
        for case in self.cases.get(target, []):
            changed, signed = int(case.label > 0), (0, -1, 1)[case.label]
            if case.perturbation == perturbation:
                pair += [(changed, signed)] if case.line != line else []
                continue
            alike = self.similarity(left, case.node)
            for kernel, value in enumerate(alike):
                own = sums[case.line == line][kernel]
                own[0] += value * value
                own[1] += value * value * changed
                own[2] += value * value * signed
            for part, kernel in enumerate((LAYERS.index("string"), len(LAYERS))):
                nearest[part][case.label] = max(nearest[part][case.label], alike[kernel])
        found = [
            (own[1 + what] - usual[what] * own[0]) / (own[0] + 0.05)
            for place in (True, False)
            for own in sums[place]
            for what in range(2)
        ]
        mean = [sum(values) / len(pair) for values in zip(*pair, strict=True)] if pair else [np.nan, np.nan]
        others = len(self.model.card.cell_lines) - 1
        return [*found, *nearest[0], *nearest[1], len(pair) / max(1, others), *mean]

    def usual(self, line: str, target: str) -> tuple[float, float]:
        """Return the target's rates, as the model has them."""
        codes = self.model._learned.codes  # noqa: SLF001
        own = self.table[codes.lines.index(line), codes.targets.index(target) if target in codes.targets else -1]
        return float(own[0]), float(own[0] * (2 * own[3] - 1))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="home with a published release and outcomes")
    parser.add_argument("--held", type=float, default=0.19, help="share of the perturbations that is predicted")
    parser.add_argument("--sample", type=int, default=40, help="rows that the peer makes")
    said = parser.parse_args()
    ground, clock = Ground(Home(said.home)), Clock()
    outcomes = load_outcomes(ground.home).select("cell_line", "perturbation", "target", "label")
    trained, asked = held_back(ground.rows(outcomes), said.held)
    progress = clock.progress()
    fitted = clock.time("fit, all", lambda: BoostedEvidence.fit(Training(trained), ground, progress=progress))
    progress("end", 1.0)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with tempfile.TemporaryDirectory() as directory:
        fitted.save(Path(directory) / "model")
        model = clock.time("load", lambda: BoostedEvidence.load(Path(directory) / "model", ground))
    clock.time("predict", lambda: model.predict(asked))
    features = clock.time("features of the same rows", lambda: model.features(asked))
    sample = asked.with_row_index("_row").sample(said.sample, seed=1).sort("_row")
    singles = [sample.drop("_row")[place] for place in range(sample.height)]
    clock.time("single pairs", lambda: [model.predict(one) for one in singles])
    clock.time("explanations", lambda: [model.explain(one.row(0, named=True)) for one in singles])
    peer = Peer(model, model._layers, trained)  # noqa: SLF001
    keyed = with_keys(sample).select("cell_line", "_perturbation", "_target").rows()
    made = clock.time("peer", lambda: [peer.columns(*row, peer.usual(row[0], row[2])) for row in keyed])
    np.testing.assert_allclose(features[sample["_row"].to_numpy()][:, COLUMNS], made, rtol=1e-3, atol=2e-4)
    parts = clock.parts
    ratio = (parts["peer"][0] / sample.height) / (parts["features of the same rows"][0] / asked.height)
    for name, (wall, cpu) in parts.items():
        print(f"{name:45s} {wall:9.2f} s {cpu:9.2f} s CPU")
    single, explained = (1000 * parts[name][0] / sample.height for name in ("single pairs", "explanations"))
    print(f"one pair {single:.1f} ms, one explanation {explained:.1f} ms, memory {memory:.2f} GiB, ratio {ratio:.0f}")
    counts = {"trained": trained.height, "predicted": asked.height, "peer_rows": sample.height}
    numbers = {"pair_ms": single, "explanation_ms": explained, "memory_gib": memory, "peer_ratio": ratio}
    print(json.dumps({**counts, **numbers, "seconds": parts}))


if __name__ == "__main__":
    main()
