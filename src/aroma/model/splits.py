"""Splits: which outcomes a model learns from, and which it is asked about.

Perturbations and targets are compared by the gene that they stand for, so that an old name and a new one are the same
perturbation. Every random choice depends on the seed and on what is chosen among, never on the order of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import LABELS, Split, define_split, list_splits, load_split
from aroma.retrieval.withhold import line_key

DEV_SHARE: Final = 0.15
TRAIN: Final = "train"
TEST: Final = "test"
KINDS: Final = ("all", "official", "dev", "by-perturbation[:K]", "strict[:SPLIT]", "unseen-line[:LINE]",
                "unseen-target[:K]")  # fmt: skip
_FOLDS: Final = 5
_PERTURBATION: Final = pl.coalesce("perturbation_gene", "perturbation")
_TARGET: Final = pl.coalesce("target_gene", "target")
_TEST_SUFFIX: Final = ".test"


@dataclass(frozen=True, slots=True)
class Fold:
    """What is trained on and what is asked, both with the columns of ``OUTCOMES``.

    Attributes:
        name: For cards, reports and, stored, as the name of a split: ``dev-seed0``, ``by-perturbation-1of5-seed0``, ….
        kind: The split's kind.
        training: Rows to learn from.
        test: Rows to answer; never among the training rows.
        left_out: Rows that are neither, since training on them would give the test away.
    """

    name: str
    kind: str
    training: pl.DataFrame
    test: pl.DataFrame
    left_out: int = 0

    @property
    def withheld(self) -> int:
        """Measured rows that are not trained on."""
        return self.test.height + self.left_out


def make_folds(outcomes: pl.DataFrame, split: str, *, seed: int = 0, home: Home | None = None) -> list[Fold]:
    """Return the folds of a split.

    Args:
        outcomes: Columns of ``OUTCOMES``.
        split: ``all`` (everything is trained on), ``official`` (as the data set says), ``dev`` (15 % of each line's
            training perturbations), ``by-perturbation[:K]``, ``strict[:SPLIT]`` (another split, whose test
            perturbations are taken out of every line's training rows), ``unseen-line[:LINE]`` (each line in turn),
            ``unseen-target[:K]``, or the name of a stored split.
        seed: Of the random choices.
        home: Where stored splits are.

    Raises:
        UsageError: No such split, a fold without rows, a class missing from a fold's training rows, or a
            perturbation, line or target on both sides of a split that forbids it.
    """
    folds = list(_folds(outcomes, split, seed, home))
    for fold in folds:
        _check(fold)
    return folds


def store_fold(home: Home, fold: Fold, outcomes: pl.DataFrame, name: str | None = None) -> Split:
    """Store what a fold withholds as a named split; where it leaves rows out, its test rows as ``<name>.test`` too.

    Args:
        home: Where to store.
        fold: The fold.
        outcomes: All outcomes that the fold was made from.
        name: Else the fold's own name.

    Raises:
        UsageError: Another split has that name, or the fold withholds nothing.
    """
    keys = ["cell_line", "perturbation", "target"]
    withheld = outcomes.join(fold.training, on=keys, how="anti")
    if withheld.is_empty():
        raise UsageError(f"split {fold.name} withholds nothing, so there is nothing to store")
    chosen = name or fold.name
    if fold.left_out:
        define_split(home, f"{chosen}{_TEST_SUFFIX}", fold.test.select(keys))
    return define_split(home, chosen, withheld.select(keys))


def _folds(outcomes: pl.DataFrame, split: str, seed: int, home: Home | None) -> Iterator[Fold]:
    kind, _, argument = split.partition(":")
    if kind == "all":
        yield Fold("all", "all", outcomes, outcomes.clear())
    elif kind == "official":
        yield _official(outcomes)
    elif kind == "dev":
        yield _dev(outcomes, seed)
    elif kind == "by-perturbation":
        yield from _by_perturbation(outcomes, _count(split, argument), seed)
    elif kind == "strict":
        base = argument or ("official" if (outcomes["split"] == TEST).any() else "dev")
        for fold in _folds(outcomes, base, seed, home):
            yield _strict(fold)
    elif kind == "unseen-line":
        yield from _unseen_lines(outcomes, argument)
    elif kind == "unseen-target":
        yield from _unseen_targets(outcomes, _count(split, argument), seed)
    elif home is not None and split in list_splits(home):
        yield _from_store(outcomes, home, split)
    else:
        stored = list_splits(home) if home is not None else []
        raise UsageError(f"there is no split {split!r}; there are: {', '.join([*KINDS, *stored])}")


def _count(split: str, argument: str) -> int:
    if not argument:
        return _FOLDS
    if not argument.isdigit() or int(argument) < 2:  # noqa: PLR2004 - one fold is no split
        raise UsageError(f"split {split}: {argument!r} is no number of folds; give 2 or more, as in by-perturbation:5")
    return int(argument)


def _official(outcomes: pl.DataFrame) -> Fold:
    training, test = outcomes.filter(pl.col("split") == TRAIN), outcomes.filter(pl.col("split") == TEST)
    return Fold("official", "official", training, test, outcomes.height - training.height - test.height)


def _pool(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that folds are made of: official training rows where there is an official split."""
    return outcomes.filter((pl.col("split") == TRAIN) | pl.col("split").is_null())


def _dev(outcomes: pl.DataFrame, seed: int) -> Fold:
    pool = _pool(outcomes)
    share = _places(pool, ["cell_line"], _PERTURBATION, seed)
    held = share.filter((pl.col("place") < (DEV_SHARE * pl.col("of")).round()) | (pl.col("place") == 0))
    fold = _parted(f"dev-seed{seed}", "dev", pool, held, ["cell_line"], _PERTURBATION)
    return Fold(fold.name, fold.kind, fold.training, fold.test, outcomes.height - pool.height)


def _by_perturbation(outcomes: pl.DataFrame, folds: int, seed: int) -> Iterator[Fold]:
    pool = _pool(outcomes)
    places = _places(pool, ["cell_line"], _PERTURBATION, seed)
    for number in range(folds):
        held = places.filter(pl.col("place") % folds == number)
        name = f"by-perturbation-{number + 1}of{folds}-seed{seed}"
        fold = _parted(name, "by-perturbation", pool, held, ["cell_line"], _PERTURBATION)
        yield Fold(fold.name, fold.kind, fold.training, fold.test, outcomes.height - pool.height)


def _unseen_targets(outcomes: pl.DataFrame, folds: int, seed: int) -> Iterator[Fold]:
    pool = _pool(outcomes)
    places = _places(pool, [], _TARGET, seed)
    for number in range(folds):
        held = places.filter(pl.col("place") % folds == number)
        fold = _parted(f"unseen-target-{number + 1}of{folds}-seed{seed}", "unseen-target", pool, held, [], _TARGET)
        yield Fold(fold.name, fold.kind, fold.training, fold.test, outcomes.height - pool.height)


def _unseen_lines(outcomes: pl.DataFrame, asked: str) -> Iterator[Fold]:
    lines = outcomes["cell_line"].unique().sort().to_list()
    chosen = [line for line in lines if not asked or line_key(line) == line_key(asked)]
    if not chosen:
        raise UsageError(f"split unseen-line:{asked}: no outcome is of that line; there are: {', '.join(lines)}")
    for line in chosen:
        training = outcomes.filter(pl.col("cell_line") != line, pl.col("split").fill_null(TRAIN) == TRAIN)
        test = outcomes.filter(pl.col("cell_line") == line)
        left = outcomes.height - training.height - test.height
        yield Fold(f"unseen-line-{line}", "unseen-line", training, test, left)


def _strict(fold: Fold) -> Fold:
    seen = fold.test.select(_PERTURBATION.alias("key")).unique()
    kept = fold.training.with_columns(_PERTURBATION.alias("key")).join(seen, on="key", how="anti").drop("key")
    left = fold.left_out + fold.training.height - kept.height
    return Fold(f"strict-{fold.name}", "strict", kept, fold.test, left)


def _from_store(outcomes: pl.DataFrame, home: Home, name: str) -> Fold:
    withheld = load_split(home, name).select(outcomes)
    keys = ["cell_line", "perturbation", "target"]
    training = outcomes.join(withheld, on=keys, how="anti")
    test = withheld
    if f"{name}{_TEST_SUFFIX}" in list_splits(home):
        test = load_split(home, f"{name}{_TEST_SUFFIX}").select(outcomes)
    return Fold(name, "stored", training, test, withheld.height - test.height)


def _places(pool: pl.DataFrame, groups: list[str], key: pl.Expr, seed: int) -> pl.DataFrame:
    """Return each key of each group with its ``place`` in a random order and how many there are (``of``)."""
    keys = pool.select(*groups, key.alias("key")).unique().sort(*groups, "key")
    drawn = pl.Series("drawn", np.random.default_rng(seed).random(keys.height))
    place, of = pl.col("drawn").rank("ordinal"), pl.len()
    if groups:
        place, of = place.over(groups), of.over(groups)
    return keys.with_columns(drawn).select(
        *groups, "key", (place.cast(pl.Int64) - 1).alias("place"), of.cast(pl.Int64).alias("of")
    )


def _parted(name: str, kind: str, pool: pl.DataFrame, held: pl.DataFrame, groups: list[str], key: pl.Expr) -> Fold:
    keyed = pool.with_columns(key.alias("key"))
    test = keyed.join(held, on=[*groups, "key"], how="semi").drop("key")
    training = keyed.join(held, on=[*groups, "key"], how="anti").drop("key")
    return Fold(name, kind, training, test)


def _check(fold: Fold) -> None:
    if fold.training.is_empty():
        raise UsageError(f"split {fold.name} leaves no training row; choose another split or fewer folds")
    if fold.kind != "all" and fold.test.is_empty():
        why = "no outcome has the split 'test'; use dev" if fold.kind == "official" else "use fewer folds"
        raise UsageError(f"split {fold.name} has no test row: {why}")
    labels = fold.training["label"].unique()
    if absent := [name for label, name in LABELS.items() if label not in labels]:
        raise UsageError(
            f"split {fold.name}: no training row is {absent[0]}; a model needs rows of each label, "
            "so choose another split or give more outcomes"
        )
    _check_sides(fold)


_FORBIDDEN: Final = {
    "official": ("perturbation", ["cell_line"], _PERTURBATION),
    "dev": ("perturbation", ["cell_line"], _PERTURBATION),
    "by-perturbation": ("perturbation", ["cell_line"], _PERTURBATION),
    "strict": ("perturbation", [], _PERTURBATION),
    "unseen-line": ("cell line", [], pl.col("cell_line")),
    "unseen-target": ("target", [], _TARGET),
}


def _check_sides(fold: Fold) -> None:
    """Refuse what stands on both sides where the kind forbids it; by gene, whatever the name."""
    if fold.kind not in _FORBIDDEN:
        return
    what, groups, key = _FORBIDDEN[fold.kind]
    sides = [side.select(*groups, key.alias("key")).unique() for side in (fold.training, fold.test)]
    both = sides[0].join(sides[1], on=[*groups, "key"], how="semi").sort(*groups, "key")
    if both.is_empty():
        return
    named = fold.test.with_columns(key.alias("key")).join(both, on=[*groups, "key"], how="semi")
    column = {"perturbation": "perturbation", "cell line": "cell_line", "target": "target"}[what]
    names = named.select(*groups, column).unique().sort(*groups, column)
    shown = ", ".join(" ".join(reversed([str(part) for part in row])) for row in names.head(5).iter_rows())
    raise UsageError(
        f"split {fold.name}: {names.height} {what}s are in training and in test: {shown}; "
        "move all rows of each to one side, or use a split that is made here (dev, by-perturbation)"
    )


def folds_by_perturbation(rows: pl.DataFrame, folds: int, seed: int = 0) -> pl.Series:
    """Return Int64 fold numbers of training rows: all rows of a perturbation, in every line, have the same one.

    Args:
        rows: With ``perturbation`` and ``perturbation_gene``.
        folds: How many.
        seed: Of the draw.
    """
    places = _places(rows, [], _PERTURBATION, seed).select("key", (pl.col("place") % folds).alias("fold"))
    return rows.select(_PERTURBATION.alias("key")).join(places, on="key", how="left", maintain_order="left")["fold"]
