"""Withholding: which measured outcomes may not be seen, so that no answer leaks into its own evidence.

Names are compared as written and by the gene that they stand for, so that a list with approved symbols hides outcomes
that were written with older ones. What names nothing that is measured is refused, where a misspelt name would leak.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import list_splits, load_split
from aroma.kgstore.resolver import GeneResolver
from aroma.kgstore.user_tables import read_user_table
from aroma.retrieval.pairs import NAMES

_FILE_SUFFIXES: Final = frozenset({".csv", ".tsv", ".parquet"})
_RULE: Final = ("cell_line", "perturbation", "target")


@dataclass(frozen=True, eq=False)
class Withhold:
    """Outcomes that are withheld; a row is withheld when any part of this names it.

    Attributes:
        splits: Values of the outcomes' ``split`` column.
        perturbations: Gene ids or names, withheld in every cell line.
        cell_lines: Names of cell lines.
        pairs: Columns ``perturbation`` and, where given, ``target`` and ``cell_line`` (String, ids or names; a null or
            missing target or line means every one), or None.
    """

    splits: frozenset[str] = frozenset()
    perturbations: frozenset[str] = frozenset()
    cell_lines: frozenset[str] = frozenset()
    pairs: pl.DataFrame | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Withhold):
            return NotImplemented
        names = (self.splits, self.perturbations, self.cell_lines)
        if names != (other.splits, other.perturbations, other.cell_lines):
            return False
        if self.pairs is None or other.pairs is None:
            return self.pairs is other.pairs
        return self.pairs.equals(other.pairs)

    def __hash__(self) -> int:
        return hash((self.splits, self.perturbations, self.cell_lines))

    def mask(self, outcomes: pl.DataFrame, resolver: GeneResolver | None = None) -> pl.Series:
        """Return a Boolean for each outcome row: True where it is withheld.

        Args:
            outcomes: See ``aroma.kgstore.outcomes``.
            resolver: Resolves names that are not written as in the outcomes; without it those match ids only.

        Raises:
            UsageError: A split, cell line or perturbation that no outcome has.
        """
        self._check(outcomes, resolver)
        lines = [line_key(name) for name in self.cell_lines]
        keyed = outcomes.select("split", _line("cell_line"), *_genes("perturbation"), *_genes("target"))
        mask = keyed.select(
            (pl.col("split").is_in(sorted(self.splits)) | pl.col("cell_line").is_in(lines)).fill_null(value=False)
        ).to_series()
        for rules in self._rules(resolver):
            mask = mask | _matches(keyed, rules)
        return mask.alias("withheld")

    def _rules(self, resolver: GeneResolver | None) -> Iterable[pl.DataFrame]:
        """Yield rules with columns among ``_RULE`` and no null: names as written, then the genes they stand for."""
        alone = pl.DataFrame({"perturbation": sorted(self.perturbations)}, schema={"perturbation": pl.String()})
        parts = [alone] if self.pairs is None else [alone, self.pairs]
        given = pl.concat(parts, how="diagonal")
        whole = given.with_columns(
            pl.lit(None, dtype=pl.String).alias(name) for name in _RULE if name not in given.columns
        ).with_columns(_line("cell_line"))
        for line in (True, False):
            for target in (True, False):
                fitting = whole.filter(
                    (pl.col("cell_line").is_not_null() == line)
                    & (pl.col("target").is_not_null() == target)
                    & pl.col("perturbation").is_not_null()
                )
                named = fitting.select("perturbation", *["target"] * target, *["cell_line"] * line).unique()
                if named.height:
                    yield named
                    if resolver is not None:
                        yield _resolved(named, resolver)

    def _check(self, outcomes: pl.DataFrame, resolver: GeneResolver | None) -> None:
        known = outcomes["split"].drop_nulls().unique().sort().to_list()
        if missing := sorted(self.splits - set(known)):
            raise UsageError(f"no outcome is of split {missing[0]!r}; there are: {', '.join(known) or 'none'}")
        lines = {line_key(name): name for name in outcomes["cell_line"].drop_nulls().unique().sort()}
        if unknown := [name for name in sorted(self.cell_lines) if line_key(name) not in lines]:
            raise UsageError(f"no outcome is of cell line {unknown[0]!r}; there are: {', '.join(lines.values())}")
        if not self.perturbations:
            return
        measured = {*outcomes["perturbation"].drop_nulls(), *outcomes["perturbation_gene"].drop_nulls()}
        for name in sorted(self.perturbations - measured):
            if resolver is None or resolver.resolve(name).gene is None:
                near = f"; did you mean {', '.join(resolver.nearest(name, 3))}?" if resolver else ""
                raise UsageError(f"--withhold perturbation:{name}: no gene has that name{near}")

    def describe(self) -> dict[str, Any]:
        """Return what is withheld, short, as answers carry it."""
        return {
            "splits": sorted(self.splits),
            "perturbations": sorted(self.perturbations),
            "cell_lines": sorted(self.cell_lines),
            "pairs": 0 if self.pairs is None else self.pairs.height,
        }


NOTHING = Withhold()


def line_key(name: str) -> str:
    """Return a cell line's spelling without case, blanks and hyphens: K-562 and k562 are one line."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def _line(column: str) -> pl.Expr:
    return pl.col(column).str.replace_all(r"[\s_-]+", "").str.to_lowercase()


def _genes(side: str) -> tuple[pl.Expr, pl.Expr]:
    return pl.col(side), pl.col(f"{side}_gene")


def _resolved(named: pl.DataFrame, resolver: GeneResolver) -> pl.DataFrame:
    """Put gene ids in the place of names; rows with a name that stands for no gene go."""
    for side in ("perturbation", "target"):
        if side in named.columns:
            genes = resolver.resolve_column(named[side]).select(pl.col("query").alias(side), "gene")
            named = named.join(genes, on=side, how="left").with_columns(pl.col("gene").alias(side)).drop("gene")
    return named.drop_nulls().unique()


def _matches(outcomes: pl.DataFrame, rules: pl.DataFrame) -> pl.Series:
    """Return which outcomes have a rule's names or ids, every mixture of the two allowed."""
    mask = pl.Series([False], dtype=pl.Boolean).new_from_index(0, outcomes.height)
    line = ["cell_line"] if "cell_line" in rules.columns else []
    targets = ("target", "target_gene") if "target" in rules.columns else (None,)
    for perturbation in ("perturbation", "perturbation_gene"):
        for target in targets:
            left = [*line, perturbation, *([target] if target else [])]
            right = [*line, "perturbation", *(["target"] if target else [])]
            found = outcomes.select(left).join(
                rules.with_columns(pl.lit(value=True).alias("hit")),
                left_on=left,
                right_on=right,
                how="left",
                maintain_order="left",
            )
            mask = mask | found["hit"].fill_null(value=False)
    return mask


def read_withhold(asked: Iterable[str], home: Home | None = None) -> Withhold:
    """Read what a command was told to withhold.

    Args:
        asked: Each ``split:NAME`` (a stored split, or a value of the outcomes' split column), ``perturbation:GENE``,
            ``cell-line:NAME``, or a CSV or Parquet file of pairs or perturbations
            (``perturbation[,target][,cell_line]``, or PerturbQA's ``pert,gene``); a bare word is a split.
        home: Where splits are stored.

    Raises:
        InputFileError: A file that cannot be read or lacks a column.
        UsageError: An unknown kind.
    """
    found = NOTHING
    pairs: list[pl.DataFrame] = []
    for item in asked:
        kind, separator, name = item.partition(":")
        if not _FILE_SUFFIXES.isdisjoint(Path(item).suffixes):
            pairs.append(_read_rules(Path(item)))
        elif kind == "perturbation" and name:
            found = replace(found, perturbations=found.perturbations | {name})
        elif kind == "cell-line" and name:
            found = replace(found, cell_lines=found.cell_lines | {name})
        elif separator and (kind != "split" or not name):
            raise UsageError(f"--withhold {item}: expected split:NAME, perturbation:GENE, cell-line:NAME or a file")
        elif home is not None and (name or item) in list_splits(home):
            pairs.append(load_split(home, name or item).rows)
        else:
            found = replace(found, splits=found.splits | {name or item})
    return replace(found, pairs=pl.concat(pairs, how="diagonal")) if pairs else found


def _read_rules(path: Path) -> pl.DataFrame:
    others = {name: NAMES.get(name, ()) for name in _RULE}
    needed = {"perturbation": others.pop("perturbation")}
    return read_user_table(path, required=needed, optional=others)
