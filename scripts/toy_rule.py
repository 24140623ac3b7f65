"""Outcomes planted by a rule on the graph of the samples, and what a model made of them; for ``make demo-aroma``.

    python scripts/toy_rule.py plant --home HOME --out DIR
    python scripts/toy_rule.py curves RUNS
    python scripts/toy_rule.py compare --truth DIR --learned FILE --shuffled FILE

The rule: knocking down a gene with a path to the nucleus takes every target up, one with a path to the cytosol takes it
down, one with neither changes nothing; genes with both are left out. The prompt (``unnamed.txt.j2``) has no names, and
each knock-down is asked in a line in which it is not trained on, so that only the interaction tokens (vectors of the
genes and of their neighbours in the graph) can tell. ``compare`` ends with 1 where the model that learned is not better
than itself with the vectors exchanged.
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
TARGETS, GENES_A_LABEL = 2, 8
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


def curves(place: Path) -> None:
    """Print the curves of every stage under a directory, and where their pictures are."""
    for path in sorted(place.rglob("metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for name in ("loss", "reward"):
            values = [line[name] for line in lines if line.get(name) is not None]
            if values:
                print(f"{path.parent.name:5s} {name:7s} {sparkline(values)}  {values[0]:.3f} → {values[-1]:.3f}")
        print(f"{'':5s} picture {path.parent / 'curves.png'}")


def sparkline(values: list[float], width: int = 60) -> str:
    """Return a line of bars, each the mean of some of the values."""
    parts = np.array_split(np.asarray(values, dtype=float), min(width, len(values)))
    means = np.array([part.mean() for part in parts])
    low, high = means.min(), means.max()
    heights = (means - low) / (high - low or 1.0) * (len(BARS) - 1)
    return "".join(BARS[round(height)] for height in heights.tolist())


def compare(truth: Path, learned: Path, shuffled: Path) -> int:
    """Print accuracy and macro F1 of both on the test rows; 1 where the first is not better by both."""
    parts = [pl.read_csv(path).with_columns(cell_line=pl.lit(path.stem)) for path in sorted(truth.glob("*.csv"))]
    right = pl.concat(parts).filter(split="test").rename({"pert": "perturbation", "gene": "target", "label": "right"})
    found = [scores(right, pl.read_parquet(path)) for path in (learned, shuffled)]
    for name, (accuracy, f1) in zip(("as learned", "interaction tokens shuffled"), found, strict=True):
        print(f"{name:28s} accuracy {accuracy:.3f}, macro F1 {f1:.3f}")
    better = all(one > other for one, other in zip(*found, strict=True))
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
        curves(said.place)
    else:
        return compare(said.truth, said.learned, said.shuffled)
    return 0


if __name__ == "__main__":
    sys.exit(main())
