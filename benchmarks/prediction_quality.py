"""The tables of docs/benchmarks.md on predictions: every plug-in on every split, and each kind of evidence left out.

    python benchmarks/prediction_quality.py --home HOME --outcomes DIR --out DIR [--splits dev,strict] [--plugins a,b]
    python benchmarks/prediction_quality.py --home HOME --outcomes DIR --out DIR --ablation [--splits dev]

One Markdown row a model and split: mean F1, per-gene AUROC of change and of direction, Brier skill over gene-frequency,
each with its bootstrap interval over perturbations crossed with targets, the slopes of reliability by class, and the
seconds to fit and predict. An unseen line stands there also by whether the perturbation was measured in another.
``boosted-evidence`` is fitted for known or for unseen lines only, as the split asks; its answers are the same as those
of the whole model. A split that stands in ``--out`` already is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.kgstore.home import Home
from aroma.model.evaluation.results import Options, results
from aroma.model.evaluation.trials import Question, Trial, ask, baselines, compare, run_plugin
from aroma.model.ground import Ground
from aroma.model.predictors.rates import key_of

SPLITS: Final = ("dev", "strict", *(f"unseen-line:{line}" for line in ("HepG2", "Jurkat", "K562", "RPE1")))
PLUGINS: Final = ("core-voting", "nearest-perturbation", "stamp-heads", "calibrated-average", "boosted-evidence")
WITHOUT: Final = (
    "",
    "related-perturbations",
    "process",
    "factorisation",
    "factorisation,process",
    "factorisation,process,related-perturbations",
    "other-lines",
    "similar-targets",
    "gene_ontology",
    "string",
    "gene_ontology,corum,reactome,string",
)
OURS: Final = "boosted-evidence"


def say(text: str) -> None:
    """Tell what is being done."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def models(ground: Ground, question: Question, plugins: tuple[str, ...], seed: int) -> Iterator[Trial]:
    """Yield the answers of every plug-in, baselines first."""
    lines = {"lines": "unseen" if question.name.startswith("unseen-line") else "known"}
    beside = baselines(question)
    for name in (*beside, *(name for name in plugins if name not in beside)):
        yield run_plugin(ground, question, name, seed=seed, parameters=lines if name == OURS else {}, say=say)


def ablations(ground: Ground, question: Question, seed: int) -> Iterator[Trial]:
    """Yield ``boosted-evidence`` without each kind of evidence."""
    lines = "unseen" if question.name.startswith("unseen-line") else "known"
    yield run_plugin(ground, question, "gene-frequency", seed=seed, say=say)
    for without in WITHOUT:
        settings = {"lines": lines, "without": without}
        label = f"without {without.replace(',', ', ')}" if without else "everything"
        yield run_plugin(ground, question, OURS, seed=seed, parameters=settings, label=label, say=say)


def parts(question: Question, trials: list[Trial]) -> Iterator[tuple[str, tuple[Question, list[Trial]]]]:
    """Yield what is scored apart: of an unseen line, by whether the perturbation was measured in another line.

    PerturbQA's test rows have few perturbations that were not; only the others compare with what is reported on them.
    """
    if not question.name.startswith("unseen-line"):
        return
    trained = pl.concat([fold.training.select(key_of("perturbation").alias("key")) for fold in question.folds])["key"]
    known = question.asked.select(key_of("perturbation").is_in(trained.unique().to_list())).to_series()
    for name, kept in ((", perturbation known", known), (", perturbation new", ~known)):
        if kept.any():
            own = replace(question, asked=question.asked.filter(kept))
            yield name, (own, [replace(trial, rows=trial.rows.filter(kept)) for trial in trials])


def row(split: str, model: dict[str, Any]) -> str:
    """Return one row of Markdown."""
    cells = [valued(model["measures"][name]) for name in ("mean_f1", "change", "direction", "skill")]
    slopes = " / ".join("-" if one["slope"] is None else f"{one['slope']:.2f}" for one in model["calibration"])
    seconds = f"{model['seconds']['fit']:.0f}, {model['seconds']['predict']:.1f} s"
    return f"| {split} | {model['name']} | {' | '.join(cells)} | {slopes} | {seconds} |"


def valued(said: dict[str, float | None]) -> str:
    """Return a number and its interval."""
    value, low, high = (None if said[name] is None else f"{said[name]:.3f}" for name in ("value", "low", "high"))
    shown = str(value).replace("0.", ".", 1)
    return shown if low is None or low == high else f"{shown} [{low}, {high}]".replace(" 0.", " .").replace("[0.", "[.")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="home with a published release")
    parser.add_argument("--outcomes", required=True, help="PerturbQA's files")
    parser.add_argument("--out", type=Path, required=True, help="directory for results as JSON")
    parser.add_argument("--splits", default="", help="comma-separated; else all, or dev for --ablation")
    parser.add_argument("--plugins", default=",".join(PLUGINS))
    parser.add_argument("--ablation", action="store_true", help="boosted-evidence without each kind of evidence")
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    ground = Ground(Home(said.home))
    said.out.mkdir(parents=True, exist_ok=True)
    splits = said.splits.split(",") if said.splits else ("dev",) if said.ablation else SPLITS
    print("| split | model | mean F1 | per-gene DE | per-gene direction | Brier skill | slopes | fit, predict |")
    print("|---|---|---|---|---|---|---|---|")
    for split in splits:
        kind = "ablation" if said.ablation else "models"
        path = said.out / f"{kind}-{split.replace(':', '-')}-seed{said.seed}.json"
        if not path.exists():
            question = ask(ground, said.outcomes, split=split, seed=said.seed)
            plugins = tuple(said.plugins.split(","))
            trials = list(
                ablations(ground, question, said.seed)
                if said.ablation
                else models(ground, question, plugins, said.seed)
            )
            options = Options(said.draws, said.seed)
            found = results(compare(question, trials), [], options, say)
            for name, part in parts(question, trials):
                found.setdefault("parts", {})[name] = results(compare(*part), [], options, say)
            path.write_text(json.dumps(found))
        found = json.loads(path.read_text())
        for name, part in {"": found, **found.get("parts", {})}.items():
            for model in part["models"]:
                print(row(f"{split}{name}", model), flush=True)


if __name__ == "__main__":
    main()
