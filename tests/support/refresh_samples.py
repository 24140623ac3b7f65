"""Two states of the providers' files: CORUM 3.0 and GO 2021-12, then CORUM 4.1 and GO 2022-07; planted outcomes."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from tests.support.planted import MODULES, planted
from tests.support.samples import BUNDLED

NEWER = ("corum/coreComplexes.4.1.txt", "go/go-basic.2022-07-01.obo")
ACCEPTED = ("file-kind:corum", "fall:corum.MEMBER_OF", "fall:corum.statements", "fall:corum.Complex")
"""CORUM 4.1 is at hand as its core set alone, which a gate notices."""
_HELD_OUT = tuple(genes[place] for genes in MODULES.values() for place in (1, 3))


def older_files(place: Path) -> Path:
    """Write the older state into a new directory."""
    shutil.copytree(BUNDLED, place)
    for name in NEWER:
        (place / name).unlink()
    for path in (place / "perturbqa").glob("*.csv"):
        path.unlink()
    write_outcomes(place / "perturbqa")
    return place


def newer_files(place: Path) -> Path:
    """Write the newer state into a new directory: the older files are there too, as a mirror keeps them."""
    older_files(place)
    for name in NEWER:
        shutil.copyfile(BUNDLED / name, place / name)
    return place


def write_outcomes(directory: Path) -> None:
    """Write the planted outcomes as PerturbQA has them, one file a line."""
    directory.mkdir(exist_ok=True)
    held = pl.col("pert").is_in(_HELD_OUT)
    named = planted().rename({"perturbation": "pert", "target": "gene"})
    rows = named.with_columns(split=pl.when(held).then(pl.lit("test")).otherwise(pl.lit("train")))
    for (line,), part in rows.group_by("cell_line", maintain_order=True):
        part.select("pert", "gene", "label", "split").write_csv(directory / f"{line}.csv")
