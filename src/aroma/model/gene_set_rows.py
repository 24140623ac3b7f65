"""PerturbQA's set-level rows: did a perturbation change a set of genes, and which way, told from rows of single genes.

A plug-in answers for every gene of the set; its answer for the set is the mean over the genes that it knows. Rows are
scored within a set, over perturbations that were held out of training, beside the lookup of each gene's training rate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from aroma.errors import InputFileError, UsageError
from aroma.kgstore.user_tables import read_user_table
from aroma.model.evaluation.metrics import change_score, direction_score, grouped_auroc, mean_known
from aroma.model.ground import Ground
from aroma.model.plugin import Plugin, Training
from aroma.model.registry import plugin
from aroma.model.splits import folds_by_perturbation

TASKS: Final = ("changed", "direction")
_BASELINE: Final = "gene-frequency"


@dataclass(frozen=True, slots=True)
class SetRows:
    """Rows of one cell line and task: ``perturbation``, ``set``, ``label`` (Int8: 1 changed or up, 0 not)."""

    task: str
    cell_line: str
    rows: pl.DataFrame


@dataclass(frozen=True, slots=True)
class SetScores:
    """AUROC within sets, by plug-in.

    Attributes:
        task: ``changed`` or ``direction``.
        rows: Rows that were scored.
        mean: Mean over sets that have both labels in a fold, by plug-in.
        by_set: The same of each set.
    """

    task: str
    rows: int
    mean: Mapping[str, float]
    by_set: Mapping[str, Mapping[str, float]]


def read_set_mapping(path: Path) -> dict[str, list[str]]:
    """Read PerturbQA's ``*_set-mapping.json``: the genes of each set, by its name.

    Raises:
        InputFileError: The file cannot be read or is no such mapping.
    """
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputFileError(f"cannot be read as JSON ({error})", file=path, expected="sets by name") from error
    good = isinstance(said, dict) and all(
        isinstance(genes, list) and genes and all(isinstance(gene, str) for gene in genes) for genes in said.values()
    )
    if not good or not said:
        raise InputFileError("is no mapping of sets", file=path, expected='{"name": ["gene", …], …}')
    return dict(said)


def read_set_rows(path: Path, task: str, cell_line: str, sets: Mapping[str, Sequence[str]]) -> SetRows:
    """Read set-level rows (``pert,gene,label``, where ``gene`` is a set's name).

    Raises:
        InputFileError: A label is not 0 or 1, or a set is not in the mapping; the line is named.
        UsageError: The task is unknown.
    """
    if task not in TASKS:
        raise UsageError(f"task {task!r} is unknown; there are {', '.join(TASKS)}")
    names = {"perturbation": ("pert",), "set": ("gene",), "label": ()}
    frame = read_user_table(path, required=names, line="line")
    wrong = frame.filter(
        ~pl.col("label").is_in(["0", "1"]).fill_null(value=False)
        | ~pl.col("set").is_in(list(sets)).fill_null(value=False)
        | pl.col("perturbation").is_null()
    )
    if wrong.height:
        row = wrong.row(0, named=True)
        raise InputFileError(
            f"{row['perturbation']},{row['set']},{row['label']} is no set-level row",
            file=path,
            line=row["line"],
            expected="a perturbation, a set of the mapping, and 0 or 1",
        )
    return SetRows(task, cell_line, frame.select("perturbation", "set", pl.col("label").cast(pl.Int8)))


def score_sets(
    ground: Ground,
    outcomes: pl.DataFrame,
    asked: SetRows,
    sets: Mapping[str, Sequence[str]],
    names: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 0,
    say: Callable[[str], None] = lambda _text: None,
) -> SetScores:
    """Fit plug-ins without each fold of perturbations and score what they say of the sets there.

    Args:
        ground: The release.
        outcomes: Rows of single genes to learn from (columns of ``OUTCOMES``).
        asked: The set-level rows.
        sets: Genes of each set, names as written.
        names: Plug-ins; ``gene-frequency`` is always beside them.
        folds: Of perturbations, each held out in every line.
        seed: Of folds and fits.
        say: Told what is being done.
    """
    rows = _with_genes(ground, asked)
    number = folds_by_perturbation(pl.concat([_keys(rows), _keys(outcomes)]), folds, seed)
    fold, trained_fold = number[: rows.height], number[rows.height :]
    found: dict[str, dict[str, list[float]]] = {}
    for name in dict.fromkeys((_BASELINE, *names)):
        areas: dict[str, list[float]] = {}
        for place in range(folds):
            say(f"{name}, fold {place + 1} of {folds}")
            training = outcomes.filter(trained_fold != place)
            fitted = plugin(name).fit(Training(training, seed, f"sets-{place + 1}of{folds}"), ground)
            held = rows.filter(fold == place)
            for set_name, area in _areas(fitted, held, asked, sets).items():
                areas.setdefault(set_name, []).append(area)
        found[name] = areas
    by_set = {
        name: {one: round(float(np.mean(values)), 4) for one, values in areas.items()} for name, areas in found.items()
    }
    mean = {name: round(mean_known(np.array(list(areas.values()))), 4) for name, areas in by_set.items()}
    return SetScores(asked.task, rows.height, mean, by_set)


def _areas(model: Plugin, held: pl.DataFrame, asked: SetRows, sets: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the AUROC of each set with both labels, over the perturbations of one fold."""
    genes = pl.DataFrame(
        [(name, gene) for name, members in sets.items() for gene in members], schema=["set", "target"], orient="row"
    )
    pairs = held.select("perturbation", "set").unique(maintain_order=True).join(genes, on="set", maintain_order="left")
    rows = model.ground.rows(pairs.select(pl.lit(asked.cell_line).alias("cell_line"), "perturbation", "target"))
    probabilities = model.predict_proba(rows)
    score = change_score(probabilities) if asked.task == "changed" else direction_score(probabilities)
    answered = pairs.with_columns(score=pl.Series(score)).group_by("perturbation", "set").agg(pl.col("score").mean())
    scored = held.join(answered, on=["perturbation", "set"], how="left", maintain_order="left").sort("set")
    names = scored["set"].unique(maintain_order=True)
    codes = scored["set"].replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()
    areas, groups = grouped_auroc(codes, scored["score"].to_numpy(), (scored["label"] == 1).to_numpy())
    return {names[int(group)]: float(area) for group, area in zip(groups, areas, strict=True)}


def _with_genes(ground: Ground, asked: SetRows) -> pl.DataFrame:
    named = ground.rows(
        asked.rows.select(pl.lit(asked.cell_line).alias("cell_line"), "perturbation", pl.col("set").alias("target"))
    )
    return asked.rows.with_columns(named["perturbation_gene"])


def _keys(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("perturbation", "perturbation_gene")
