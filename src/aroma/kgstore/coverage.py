"""How much of a file of gene pairs a release knows: names and rows that resolve, how, and which do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import InputFileError, UsageError
from aroma.kgstore.resolver import GeneResolver, Tier
from aroma.kgstore.user_tables import read_user_table

_PAIR_COLUMNS: Final = {"perturbation": ("pert",), "target": ("gene",)}
_SUFFIXES: Final = (".csv", ".parquet")
_NEAREST: Final = 3
_EXPECTED: Final = "columns perturbation,target or pert,gene"


@dataclass(frozen=True, slots=True)
class Count:
    """``names``: distinct names; ``mentions``: how often they stand in a row (a row has two)."""

    names: int
    mentions: int


@dataclass(frozen=True, slots=True)
class FileCoverage:
    """One file: ``rows_resolved`` are rows of which both names stand for a gene."""

    file: str
    rows: int
    rows_resolved: int
    names: int
    names_resolved: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a release knows of some files of pairs.

    Attributes:
        files: One entry a file, in name order.
        skipped: Files of a directory that hold no pairs, with the reason.
        rows: Rows of all files.
        rows_resolved: Rows of which both names stand for a gene.
        rows_without_name: Rows in which a name is missing.
        names: Distinct names.
        names_resolved: Distinct names that stand for a gene.
        by_tier: How names were resolved.
        by_reason: Why names were not.
        by_flag: Flags of resolved names; a name can have several.
        once_anothers: Approved symbols that are the previous symbol of another gene too.
        flagged: ``name``, ``gene``, ``symbol``, ``tier``, ``flags``, ``candidates``, ``mentions`` of flagged names.
        unresolved: ``name``, ``reason``, ``candidates``, ``nearest``, ``mentions`` of names without a gene.
    """

    files: tuple[FileCoverage, ...]
    skipped: dict[str, str]
    rows: int
    rows_resolved: int
    rows_without_name: int
    names: int
    names_resolved: int
    by_tier: dict[str, Count]
    by_reason: dict[str, Count]
    by_flag: dict[str, Count]
    once_anothers: tuple[str, ...]
    flagged: tuple[dict[str, Any], ...]
    unresolved: tuple[dict[str, Any], ...]


def coverage(path: Path, resolver: GeneResolver) -> Coverage:
    """Resolve all names of a file of pairs, or of every such file directly in a directory.

    Args:
        path: CSV or Parquet with ``perturbation,target`` or PerturbQA's ``pert,gene``; or a directory of them.
        resolver: Of the release asked about.

    Raises:
        UsageError: No such path, or a directory without a file of pairs.
        InputFileError: The file cannot be read or has neither pair of columns.
    """
    frames, skipped = _read(path)
    pairs = pl.concat([frame.with_columns(pl.lit(name).alias("file")) for name, frame in frames.items()])
    mentions = (
        pl.concat([pairs["first"], pairs["second"]])
        .drop_nulls()
        .value_counts(name="mentions")
        .rename({"first": "query"})
    )
    resolved = resolver.resolve_column(mentions["query"]).join(mentions, on="query", how="left")
    known = resolved.filter(pl.col("gene").is_not_null())
    good = known["query"].implode()
    marked = pairs.with_columns(
        (pl.col("first").is_in(good) & pl.col("second").is_in(good)).fill_null(value=False).alias("ok")
    )
    flagged = known.filter(pl.col("flags").list.len() > 0)
    return Coverage(
        files=tuple(_file(name, part, good) for (name,), part in marked.group_by("file", maintain_order=True)),
        skipped=skipped,
        rows=pairs.height,
        rows_resolved=int(marked["ok"].sum()),
        rows_without_name=pairs.filter(pl.any_horizontal(pl.col("first", "second").is_null())).height,
        names=resolved.height,
        names_resolved=known.height,
        by_tier=_counts(known, "tier", [str(tier) for tier in Tier]),
        by_reason=_counts(resolved.filter(pl.col("gene").is_null()), "reason"),
        by_flag=_counts(flagged.explode("flags"), "flags"),
        once_anothers=_once_anothers(resolver, known),
        flagged=tuple(_rows(flagged, ["gene", "symbol", "tier", "flags", "candidates"])),
        unresolved=tuple(
            {**row, "nearest": resolver.nearest(row["name"], _NEAREST)}
            for row in _rows(resolved.filter(pl.col("gene").is_null()), ["reason", "candidates"])
        ),
    )


def _read(path: Path) -> tuple[dict[str, pl.DataFrame], dict[str, str]]:
    if path.is_file():
        return {path.name: _pairs(path)}, {}
    if not path.is_dir():
        raise UsageError(f"{path} is neither a file nor a directory; give a file of pairs ({_EXPECTED})")
    frames, skipped = {}, {}
    for file in sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES):
        try:
            frames[file.name] = _pairs(file)
        except InputFileError as error:
            skipped[file.name] = error.problem
    if not frames:
        why = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise UsageError(f"{path} has no CSV or Parquet file of pairs ({_EXPECTED})" + (f": {why}" if why else ""))
    return frames, skipped


def _pairs(path: Path) -> pl.DataFrame:
    """Read the two columns of names as ``first`` and ``second``; empty names become null."""
    frame = read_user_table(path, required=_PAIR_COLUMNS)
    return frame.rename(dict(zip(_PAIR_COLUMNS, ("first", "second"), strict=True)))


def _file(name: Any, part: pl.DataFrame, good: pl.Series) -> FileCoverage:
    names = pl.concat([part["first"], part["second"]]).drop_nulls().unique()
    resolved = int(names.is_in(good).sum())
    return FileCoverage(str(name), part.height, int(part["ok"].sum()), names.len(), resolved)


def _counts(frame: pl.DataFrame, column: str, order: Sequence[str] = ()) -> dict[str, Count]:
    rows = frame.group_by(column).agg(pl.len(), pl.col("mentions").sum()).sort(column).rows()
    counted = {str(value): Count(int(names), int(mentions)) for value, names, mentions in rows}
    return {value: counted[value] for value in (order or counted) if value in counted}


def _once_anothers(resolver: GeneResolver, known: pl.DataFrame) -> tuple[str, ...]:
    both = (pl.col("tier") == str(Tier.SYMBOL)) & (pl.col("other_tier") == str(Tier.PREVIOUS))
    names = resolver.conflicts().filter(both)["name"]
    return tuple(known.filter(pl.col("tier") == str(Tier.SYMBOL), pl.col("query").is_in(names.implode()))["query"])


def _rows(frame: pl.DataFrame, columns: list[str]) -> list[dict[str, Any]]:
    ordered = frame.sort(["mentions", "query"], descending=[True, False])
    return ordered.select(pl.col("query").alias("name"), *columns, "mentions").to_dicts()
