"""The models of a home: each in a directory named by its content, put in place by one rename, never changed.

Layout::

    HOME/models/<model id>/card.json, the plug-in's files, training.parquet, origin.json
    HOME/models/served.json          what is served since when (``aroma.model.serving.history``)
    HOME/models/reports/<name>/      reports of promotions

``training.parquet`` holds the rows that the model learned from: it proves that a row was not among them, and says which
rows two models do not share. ``origin.json`` says where they came from.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import ModelError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import content_hash
from aroma.kgstore.tables import write_parquet
from aroma.kgstore.whole import beside, sweep, whole_directory
from aroma.model.ground import TRAINING
from aroma.model.identity import model_id
from aroma.model.plugin import CARD, Card, read_card
from aroma.retrieval.columns import file_sha256

ROWS_FILE: Final = "training.parquet"
ORIGIN_FILE: Final = "origin.json"
_MODEL: Final = re.compile(r"m[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows of a model came from.

    Attributes:
        outcomes: File, directory, or stored version that the rows were read from, as it was named.
        outcomes_sha256: Version of the stored outcomes; None where they came from elsewhere.
        split: How the split was asked for, such as ``official``.
        embeddings: Encoder id to digest of each vector set that the plug-in read.
        added_at: ISO 8601, UTC.
    """

    outcomes: str
    outcomes_sha256: str | None = None
    split: str = ""
    embeddings: dict[str, str] = field(default_factory=dict)
    added_at: str = ""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model of the store."""

    id: str
    directory: Path
    card: Card
    origin: Origin

    def training_rows(self) -> pl.DataFrame:
        """Return the rows that it learned from (columns of ``TRAINING``), checked against the card.

        Raises:
            ModelError: The table is missing or damaged.
        """
        path = self.directory / ROWS_FILE
        try:
            rows = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ModelError(f"{path}: cannot be read ({error}); restore {self.directory} from a backup") from error
        if content_hash(rows) != self.card.training_sha256:
            raise ModelError(f"{path}: holds other rows than model {self.id} learned from; restore it from a backup")
        return rows


def models_directory(home: Home) -> Path:
    """Return where models are kept."""
    return home.path / "models"


def add_model(home: Home, directory: Path, rows: pl.DataFrame, origin: Origin) -> StoredModel:
    """Copy a saved model into the store; one that is there already is left as it is.

    Args:
        home: Where the store is.
        directory: A saved model.
        rows: The rows that it learned from, columns of ``TRAINING``, in any order.
        origin: Where they came from.

    Raises:
        ModelError: No model, damaged files, rows that are not those of its card, or a place that cannot be written.
    """
    card = read_card(directory)
    table = rows.select(list(TRAINING)).unique().sort(list(TRAINING), nulls_last=False)
    if content_hash(table) != card.training_sha256:
        raise ModelError(f"{directory}: its card names other training rows than those given")
    name = model_id(card)
    place = models_directory(home) / name
    if not place.is_dir():
        _put(directory, place, card, table, origin)
    return find_model(home, name)


def find_model(home: Home, asked: str) -> StoredModel:
    """Return a model of the store by its id or the first characters of it.

    Raises:
        UsageError: None or several begin so.
        ModelError: It is damaged.
    """
    ids = [name for name in known_models(home) if name.startswith(asked)] if asked else []
    if len(ids) != 1:
        known = ", ".join(known_models(home)) or "none"
        raise UsageError(f"{len(ids) or 'no'} models of the store begin with {asked!r}; there are: {known}")
    place = models_directory(home) / ids[0]
    try:
        origin = Origin(**json.loads((place / ORIGIN_FILE).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{place / ORIGIN_FILE}: cannot be read ({error}); restore it from a backup") from error
    return StoredModel(ids[0], place, read_card(place), origin)


def known_models(home: Home) -> list[str]:
    """Return the ids of all models of the store, sorted."""
    return sorted(path.name for path in models_directory(home).glob("m*") if _MODEL.fullmatch(path.name))


@contextmanager
def beside_models(home: Home) -> Iterator[Path]:
    """Give an empty directory on the models' file system, in which one is made; it is gone afterwards.

    What processes that were killed left there goes too, once it is an hour old.

    Raises:
        OSError: The place cannot be written.
    """
    place = models_directory(home)
    sweep(place)
    with beside(place) as made:
        yield made


def _put(source: Path, place: Path, card: Card, rows: pl.DataFrame, origin: Origin) -> None:
    """Copy beside and rename, so that a model that is there is whole; who comes second changes nothing."""
    for name, said in card.files.items():
        path = source / name
        if not path.is_file() or file_sha256(path) != said:
            raise ModelError(f"{path}: is not the file that was saved; restore it or train again")
    try:
        with whole_directory(place) as made:
            for name in (*card.files, CARD):
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, made / name)
            write_parquet(rows, made / ROWS_FILE)
            facts = asdict(origin) | {"added_at": datetime.now(tz=UTC).isoformat(timespec="seconds")}
            (made / ORIGIN_FILE).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise ModelError(f"{place}: cannot be written ({error.strerror or error})") from error


def facts_of(model: StoredModel) -> dict[str, Any]:
    """Return a stored model as JSON values."""
    return {"model": model.id, "card": asdict(model.card), "origin": asdict(model.origin)}
