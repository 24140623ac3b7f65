"""Does the graph help? A plug-in against itself on graphs that keep every degree and nothing else.

A permuted release is a throw-away copy in which the edges of genes are swapped (``aroma.retrieval.permutation``), each
relationship type and provider for itself: a gene keeps how many partners, terms, complexes and pathways it has, and a
term how many genes. The hierarchy of terms stays, so annotations are propagated as ever. Everything that a plug-in
reads (views, kernels, tables) comes from the permuted tables, so any plug-in can be asked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from aroma.kgstore import schema
from aroma.kgstore.home import Home
from aroma.kgstore.publications import Publication, append
from aroma.kgstore.releases import now
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table, tidy, write_parquet
from aroma.model.evaluation.metrics import measure
from aroma.model.evaluation.results import HEADLINES, LOWER_IS_BETTER, headline, number
from aroma.model.evaluation.trials import RATE_BASELINE, Compared, Question, Say, compare, run_plugin
from aroma.model.ground import Ground
from aroma.retrieval.csr import Csr
from aroma.retrieval.permutation import SWAPS_PER_EDGE, permute_edges

LEAST_SEEDS: Final = 5
SWAPPED: Final = (Relation.INTERACTS_WITH, Relation.MEMBER_OF, Relation.ANNOTATED_TO, Relation.PARTICIPATES_IN)
"""Relationship types that are permuted: those that say something of a gene."""


def permuted_home(home: Home, release: str, seed: int, directory: Path) -> Home:
    """Write a home with a permuted copy of a release, published there.

    Args:
        home: Where the release is.
        release: Its id.
        seed: Any integer; the same one gives the same graph on every machine.
        directory: A new or empty directory, which takes the space of one release.

    Raises:
        ReleaseError: A table cannot be read or written.
    """
    made = Home(directory)
    source, place = home.release(release), made.release(f"{release}-permuted-{seed}")
    place.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name != "edges.parquet":
            _share(path, place / path.name)
    write_parquet(permuted_edges(read_table(source, "edges"), seed), place / "edges.parquet")
    append(made, Publication(1, place.name, None, now()))
    return made


def permuted_edges(edges: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return an edges table with the edges of ``SWAPPED`` permuted; scores and references stay with the first end."""
    moved = pl.col("relation").is_in([str(relation) for relation in SWAPPED])
    parts = [edges.filter(~moved)]
    groups = edges.filter(moved).sort("relation", "provider").partition_by("relation", "provider", maintain_order=True)
    parts += [_permuted(group, seed * 1_000_003 + place) for place, group in enumerate(groups)]
    return tidy("edges", pl.concat(parts))


def _permuted(edges: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Permute the edges of one relationship type and provider."""
    symmetric = schema.RELATION_ENDS[Relation(edges["relation"][0])].symmetric
    loops = edges.filter(pl.col("subject") == pl.col("object"))
    rows = edges.filter(pl.col("subject") != pl.col("object"))
    if symmetric:
        ids = pl.concat([rows["subject"], rows["object"]]).unique().sort()
        kinds = np.zeros(len(ids), dtype=np.int64)
    else:
        subjects, objects = rows["subject"].unique().sort(), rows["object"].unique().sort()
        ids = pl.concat([subjects, objects])
        kinds = np.repeat([0, 1], [len(subjects), len(objects)]).astype(np.int64)
    numbers = pl.DataFrame({"id": ids, "number": np.arange(len(ids), dtype=np.int64)})
    for side in ("subject", "object"):
        named = numbers.rename({"id": side, "number": f"_{side}"})
        rows = rows.join(named, on=side, how="left", maintain_order="left")
    rows = rows.sort("_subject", "_object")
    ends = rows.select("_subject", "_object").to_numpy().astype(np.int32)
    graph = Csr.from_edges(len(ids), ends)
    swapped = permute_edges(graph, ends, np.zeros(len(ends), dtype=np.int64), kinds, seed, SWAPS_PER_EDGE)
    if symmetric:
        swapped = np.sort(swapped, axis=1)
    fresh = rows.with_columns(ids.gather(swapped[:, 0]).alias("subject"), ids.gather(swapped[:, 1]).alias("object"))
    return pl.concat([fresh.select(edges.columns), loops])


def _share(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(path, to)


def against_permutations(
    ground: Ground,
    question: Question,
    compared: Compared,
    name: str,
    parameters: dict[str, Any],
    seeds: int,
    say: Say,
) -> dict[str, Any]:
    """Fit a plug-in on permuted graphs and return what it scores there, beside what it scores on the real one.

    Args:
        ground: The real release.
        question: What is asked.
        compared: The models on the real release, this plug-in and the baselines among them.
        name: Of the plug-in.
        parameters: Its settings.
        seeds: How many permuted graphs.
        say: Told what is being done.
    """
    real = next(n for n, trial in enumerate(compared.trials) if trial.name == name)
    baseline = next(trial for trial in compared.trials if trial.name == RATE_BASELINE)
    null: dict[str, list[float]] = {measure_name: [] for measure_name in HEADLINES}
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory(prefix="aroma-permuted-") as directory:
            other = Ground(permuted_home(ground.home, ground.release, seed, Path(directory) / "home"))
            label = f"{name} on permuted graph {seed}"
            trial = run_plugin(other, question, name, parameters=parameters, label=label, say=say)
        rows = compare(question, [trial, baseline]).scored[0]
        for measure_name, value in headline(measure(rows), rows).items():
            null[measure_name].append(value)
    rows = compared.scored[real]
    return {"model": name, "seeds": seeds, "measures": _against(headline(measure(rows), rows), null)}


def _against(real: dict[str, float], null: dict[str, list[float]]) -> dict[str, Any]:
    said = {}
    for name, values in null.items():
        sign = -1 if name in LOWER_IS_BETTER else 1
        as_good = sum(sign * value >= sign * real[name] for value in values)
        said[name] = {
            "real": number(real[name]),
            "permuted": [number(value) for value in values],
            "permuted_mean": number(float(np.mean(values))),
            "gain": number(real[name] - float(np.mean(values))),
            "p": (as_good + 1) / (len(values) + 1),
        }
    return said
