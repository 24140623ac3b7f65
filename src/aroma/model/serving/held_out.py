"""Which rows a model learned from and which were withheld: proved by the card's hash, never taken on trust."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import content_hash, list_outcomes
from aroma.model.data_sets import STORED, read_data_set
from aroma.model.evaluation.trials import Question
from aroma.model.ground import ROWS, TRAINING, Ground
from aroma.model.plugin import Card
from aroma.model.predictors.rates import key_of
from aroma.model.serving.store import StoredModel
from aroma.model.splits import TEST, Fold, make_folds

_SHOWN: Final = 3
_KEY: Final = ("cell_line", "p", "t")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A model's training rows and the rows that its split withheld.

    Attributes:
        fold: The fold that it was trained on.
        rows: What it learned from, columns of ``TRAINING``.
        question: Its test rows, to be asked.
        outcomes: Version of the stored outcomes; None where they came from elsewhere.
    """

    fold: Fold
    rows: pl.DataFrame
    question: Question
    outcomes: str | None


def default_split(outcomes: pl.DataFrame) -> str:
    """Return ``official`` where the outcomes say which rows are for testing, else ``dev``."""
    return "official" if (outcomes["split"] == TEST).any() else "dev"


def held_out(ground: Ground, card: Card, outcomes: str | Path, split: str | None) -> HeldOut:
    """Find the fold that a model was trained on, by the hash of its training rows.

    Args:
        ground: The release of the card.
        card: The model's.
        outcomes: File, directory, ``stored`` or a stored version.
        split: As ``aroma train --split`` was told; None for the official one where there is one, else ``dev``.

    Raises:
        UsageError: No fold of that split gives the rows of the card, or the split withholds nothing.
    """
    data = read_data_set(ground, outcomes)
    asked = split or default_split(data.outcomes)
    for fold in make_folds(data.outcomes, asked, seed=card.seed, home=ground.home):
        rows = fold.training.select(list(TRAINING)).unique().sort(list(TRAINING), nulls_last=False)
        if content_hash(rows) == card.training_sha256:
            return HeldOut(fold, rows, _question(data.name, data.outcomes, fold), _version(ground.home, outcomes))
    raise UsageError(
        f"no fold of split {asked!r} (seed {card.seed}) of {data.name} gives the {card.training_rows:,} rows that this "
        f"model learned from (its card says split {card.split}, rows {card.training_sha256[:12]}); give the --outcomes "
        "and --split that it was trained with"
    )


def refuse_trained_rows(model: StoredModel, asked: pl.DataFrame, what: str) -> None:
    """Refuse to ask a model about rows that it learned from; genes are compared by id.

    Args:
        model: A stored model.
        asked: Columns of ``ROWS``.
        what: What the model is, for the message.

    Raises:
        UsageError: It learned from one or more of them.
    """
    keys = [pl.col("cell_line"), key_of("perturbation").alias("p"), key_of("target").alias("t")]
    learned = model.training_rows().select(keys).unique()
    names = model.training_rows().select("cell_line", pl.col("perturbation").alias("p"), pl.col("target").alias("t"))
    keyed = asked.with_columns(keys[1:])
    by_id = keyed.join(learned, on=list(_KEY), how="semi")
    by_name = asked.join(names, left_on=["cell_line", "perturbation", "target"], right_on=list(_KEY), how="semi")
    seen = pl.concat([by_id.select(list(ROWS)), by_name.select(list(ROWS))]).unique().sort(list(ROWS), nulls_last=False)
    if seen.height:
        shown = "; ".join(
            " ".join(row) for row in seen.select("cell_line", "perturbation", "target").head(_SHOWN).iter_rows()
        )
        raise UsageError(
            f"{what} {model.id} (split {model.card.split}) learned from {seen.height:,} of the {asked.height:,} "
            f"held-out rows ({shown}); compare on a split that both models withheld"
        )


def _question(name: str, outcomes: pl.DataFrame, fold: Fold) -> Question:
    """Return the fold's test rows as a question, without those that training has under other names of the genes."""
    keys = [pl.col("cell_line"), key_of("perturbation").alias("p"), key_of("target").alias("t")]
    learned = fold.training.select(keys)
    test = fold.test.with_columns(keys[1:]).join(learned, on=list(_KEY), how="anti", maintain_order="left")
    asked = test.select(*ROWS, pl.col("label").cast(pl.Int8)).with_columns(fold=pl.lit(fold.name))
    if asked.is_empty():
        raise UsageError(
            f"split {fold.name} withholds no row, so there is nothing to compare models on; train with --split "
            "official, dev or another that withholds some"
        )
    return Question(fold.name, (fold,), asked, outcomes, name, ())


def _version(home: Home, outcomes: str | Path) -> str | None:
    versions = list_outcomes(home)
    if str(outcomes) == STORED:
        return versions[-1].sha256 if versions else None
    return next((one.sha256 for one in versions if one.sha256.startswith(str(outcomes))), None)
