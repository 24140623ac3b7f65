"""Outcomes planted by a rule on the graph of the samples, and what a model made of them; for ``make demo-aroma``.

    python scripts/toy_rule.py plant --home HOME --out DIR
    python scripts/toy_rule.py curves RUNS
    python scripts/toy_rule.py compare --truth DIR --learned FILE --shuffled FILE

The rule: knocking down a gene with a path to the nucleus takes every target up, one with a path to the cytosol takes it
down, one with neither changes nothing; genes with both are left out. The prompt (``unnamed.txt.j2``) has no names, and
each knock-down is asked in a line in which it is not trained on, so that only the interaction tokens (vectors of the
genes and of their neighbours in the graph) can tell. ``curves`` ends with 1 where a loss did not fall or a reward did
not rise, and ``compare`` where the model that learned is not clearly better than itself with the vectors exchanged.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aroma.kgstore.home import Home
from aroma.kgstore.schema import Label
from aroma.retrieval.snapshot import open_snapshot

NUCLEUS, CYTOSOL = "GO:0005634", "GO:0005829"
VIEW = "path-kg"
BARS = "▁▂▃▄▅▆▇█"
TARGETS, GENES_A_LABEL = 2, 9
MARGIN = 0.2
LINES = ("HepG2", "Jurkat", "K562", "RPE1")
NAMES = ["cell_line", "perturbation", "target"]


def plant(home: Path, out: Path) -> None:
    """Write a file a line (a knock-down is ``test`` in one of them) and ``asked.csv``, the test rows without labels."""
    snapshot = open_snapshot(Home(home))
    view, nodes = snapshot.view(VIEW), snapshot.nodes
    release = np.asarray(view.to_release)
    rows, chosen = [], []
    for local, node in enumerate(release.tolist()):
        if nodes.labels[node] != Label.GENE:
            continue
        near = view.csr.indices[view.csr.indptr[local] : view.csr.indptr[local + 1]]
        chosen.append((nodes.symbols[node], {nodes.ids[int(release[one])] for one in near}))
    chance = np.random.default_rng(0)
    perturbed: list[tuple[str, int]] = []
    for number in chance.permutation(len(chosen)).tolist():
        gene, near = chosen[number]
        label = 2 if NUCLEUS in near else 1 if CYTOSOL in near else 0
        full = sum(label == other for _, other in perturbed) == GENES_A_LABEL
        if not full and not {NUCLEUS, CYTOSOL} <= near:
            perturbed.append((gene, label))
    targets = [gene for gene, _ in perturbed[:TARGETS]]
    for place, (gene, label) in enumerate(perturbed):
        for column, line in enumerate(LINES):
            split = "test" if place % len(LINES) == column else "train"
            rows += [(line, gene, target, label, split) for target in targets if target != gene]
    frame = pl.DataFrame(rows, schema=["cell_line", "pert", "gene", "label", "split"], orient="row")
    out.mkdir(parents=True, exist_ok=True)
    for (line,), part in frame.group_by("cell_line"):
        part.drop("cell_line").write_csv(out / f"{line}.csv")
    asked = frame.filter(split="test").select("cell_line", perturbation="pert", target="gene")
    asked.write_csv(out.parent / "asked.csv")
    counts = frame.group_by("split", "label").len().sort("split", "label").rows()
    print("  ".join(f"{split} {('not significant', 'down', 'up')[label]}: {count}" for split, label, count in counts))


def curves(place: Path) -> int:
    """Print the curves of every stage under a directory, and where their pictures are; 1 where one did not improve."""
    good = True
    for path in sorted(place.rglob("metrics.jsonl"), key=lambda path: path.stat().st_mtime):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        name, sign = ("reward", 1) if "reward" in lines[0] else ("loss", -1)
        values = np.array([line[name] for line in lines if line.get(name) is not None])
        quarters = [float(part.mean()) for part in np.array_split(values, 4)]
        better = sign * quarters[-1] > sign * quarters[0]
        good &= better
        told = f"first quarter {quarters[0]:.3f}, last {quarters[-1]:.3f}"
        print(f"{path.parent.name:5s} {name:7s} {sparkline(values)}  {told}")
        print(f"{'':5s} picture {path.parent / 'curves.png'}")
    print("The loss fell and the reward rose." if good else "A curve did not improve: look at its picture.")
    return 0 if good else 1


def sparkline(values: np.ndarray[Any, Any], width: int = 50) -> str:
    """Return a line of bars, each the mean of some of the values."""
    parts = np.array_split(values, min(width, len(values)))
    means = np.array([part.mean() for part in parts])
    low, high = means.min(), means.max()
    heights = (means - low) / (high - low or 1.0) * (len(BARS) - 1)
    return "".join(BARS[round(height)] for height in heights.tolist())


def compare(truth: Path, learned: Path, shuffled: Path) -> int:
    """Print accuracy and macro F1 of both on the test rows; 1 where the first is not better by ``MARGIN`` in both."""
    parts = [pl.read_csv(path).with_columns(cell_line=pl.lit(path.stem)) for path in sorted(truth.glob("*.csv"))]
    right = pl.concat(parts).filter(split="test").rename({"pert": "perturbation", "gene": "target", "label": "right"})
    found = [scores(right, pl.read_parquet(path)) for path in (learned, shuffled)]
    for name, (accuracy, f1) in zip(("as learned", "interaction tokens shuffled"), found, strict=True):
        print(f"{name:28s} accuracy {accuracy:.3f}, macro F1 {f1:.3f}")
    better = all(one > other + MARGIN for one, other in zip(*found, strict=True))
    print("The model reads its interaction tokens." if better else "The model did not learn the rule.")
    return 0 if better else 1


def scores(right: pl.DataFrame, answered: pl.DataFrame) -> tuple[float, float]:
    """Return accuracy and macro F1 of the largest probabilities."""
    columns = ["p_down", "p_not_significant", "p_up"]
    joined = right.join(answered, on=NAMES, how="inner")
    said = np.array([1, 0, 2])[joined.select(columns).to_numpy().argmax(axis=1)]
    true = joined["right"].to_numpy()
    each = []
    for label in range(3):
        hit = int(((said == label) & (true == label)).sum())
        each.append(2 * hit / max(int((said == label).sum() + (true == label).sum()), 1))
    return float((said == true).mean()), float(np.mean(each))


def main() -> int:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True, dest="what")
    options: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "plant": [("--home", {}), ("--out", {})],
        "curves": [("place", {})],
        "compare": [("--truth", {}), ("--learned", {}), ("--shuffled", {})],
    }
    for name, arguments in options.items():
        part = parts.add_parser(name)
        for argument, more in arguments:
            part.add_argument(argument, type=Path, **({"required": True} if argument.startswith("-") else {}), **more)
    said = parser.parse_args()
    if said.what == "plant":
        plant(said.home, said.out)
    elif said.what == "curves":
        return curves(said.place)
    else:
        return compare(said.truth, said.learned, said.shuffled)
    return 0


if __name__ == "__main__":
    sys.exit(main())
