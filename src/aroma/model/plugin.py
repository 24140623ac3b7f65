"""The plug-in contract: what every predictor of outcomes implements, and what it inherits.

A plug-in is a class found by name (entry point group ``aroma.models``). It implements the methods that begin with an
underscore; the public ones are this class's own, so that each plug-in answers unknown genes, repeated and reordered
rows, and interrupted saves in the same way. Nothing is ever pickled.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import AromaError, ModelError
from aroma.kgstore.outcomes import content_hash
from aroma.kgstore.publications import write_durably
from aroma.kgstore.whole import whole_directory
from aroma.model.ground import ROWS, TRAINING, Ground
from aroma.model.labels import COLUMN_OF_LABEL, LABEL_OF_COLUMN, PROBABILITY_COLUMNS, Probabilities
from aroma.model.plugin_settings import read_settings
from aroma.retrieval.columns import file_sha256
from aroma.retrieval.withhold import line_key

CARD: Final = "card.json"
FAILED: Final = "failed: "
"""Begins the flag of a row that was not answered."""
LAYOUT: Final = 1
_TOLERANCE: Final = 1e-6
Setting = bool | int | float | str
Progress = Callable[[str, float], None]
"""Called with what is being done and the share done, 0 to 1."""


def no_progress(_what: str, _share: float) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class Training:
    """What a plug-in may learn from.

    Attributes:
        rows: Columns of ``TRAINING``; no row that is withheld stands here, so nothing withheld can have influence.
        seed: Of every random choice.
        split: Name of the split that made the rows, for the card.
        withheld: How many measured rows the split withheld, for the card.
        expression: Baseline expression (``gene`` id, one column a cell line, log counts), or None.
        magnitudes: ``cell_line``, ``perturbation``, ``target``, ``difference`` (Float64, of mean log counts) of
            training rows where it is known, or None.
        parameters: Settings of the plug-in (``Plugin.defaults``), as text or as values; what is not given keeps its
            default.
        part: The rows are some of a training's, as an ensemble gives them to its members to answer the others.
    """

    rows: pl.DataFrame
    seed: int = 0
    split: str = "all"
    withheld: int = 0
    expression: pl.DataFrame | None = None
    magnitudes: pl.DataFrame | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    part: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """What a saved model says of itself (after the model cards of Mitchell et al. 2019).

    Attributes:
        plugin: Name of the plug-in.
        version: Version of the plug-in; raised when the same rows would give another model.
        licence: Licence of the model; what it learned from can bind it further (``licences``).
        licences: Provider and licence of the evidence that went in.
        release: Release id.
        split: Name of the training split.
        training_sha256: Hash of the sorted training rows.
        training_rows: Their number.
        withheld_rows: Measured rows that the split withheld.
        cell_lines: Cell lines in training.
        seed: Random seed.
        parameters: The plug-in's own settings.
        class_weights: By cell line, and ``*`` for any other: what each class's probability is multiplied with before
            the largest is taken as label, in the order of ``CLASSES``.
        made_at: ISO 8601, UTC.
        files: Files of the model with their sha256.
        metrics: Measured on rows not seen, where there were any.
    """

    plugin: str
    version: str
    licence: str
    licences: Mapping[str, str]
    release: str
    split: str
    training_sha256: str
    training_rows: int
    withheld_rows: int
    cell_lines: tuple[str, ...]
    seed: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    class_weights: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    made_at: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence that moved a prediction.

    Attributes:
        kind: Kind of evidence: ``rates``, ``related perturbations``, ``factorisation``, ``other lines``, ….
        text: What it says, for a biologist.
        share: Its share of the sum of absolute contributions, 0 to 1.
        towards: ``down``, ``not significant``, ``up`` or ``changed``: where it pushed.
        sources: Ids behind it (genes, terms, statements), where there are some.
    """

    kind: str
    text: str
    share: float
    towards: str
    sources: tuple[str, ...] = ()


class Plugin(ABC):
    """A predictor of outcomes.

    Class attributes:
        name: By which it is found; lower case with hyphens.
        version: See ``Card.version``.
        licence: SPDX identifier of the plug-in's own code and parameters.
        summary: One sentence.
        providers: Providers whose edges it reads; their licences go on the card.
        embeddings: Names of the encoders whose vectors it needs.
        rows_a_part: Rows of a file that are answered before anything is written; a file of more is answered in parts
            that stay when the run is killed.
        defaults: Settings that a user may change (``aroma train --param``), with the values they have otherwise;
            a setting's type is its default's.

    Attributes:
        ground: The release that it stands on.
        card: What it says of itself.
        settings: The settings it was trained with, every one of ``defaults``.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    licence: ClassVar[str] = "Apache-2.0"
    summary: ClassVar[str]
    providers: ClassVar[tuple[str, ...]] = ()
    embeddings: ClassVar[tuple[str, ...]] = ()
    rows_a_part: ClassVar[int] = 100_000
    defaults: ClassVar[Mapping[str, Setting]] = {}

    def __init__(self, ground: Ground, card: Card) -> None:
        self.ground, self.card = ground, card
        self.settings: dict[str, Any] = {
            **self.defaults,
            **{k: v for k, v in card.parameters.items() if k in self.defaults},
        }

    # --- what a plug-in implements -----------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, training: Training, progress: Progress) -> None:
        """Learn from ``training``; random choices from ``training.seed`` alone."""

    @abstractmethod
    def _probabilities(self, rows: pl.DataFrame) -> Probabilities:
        """Return (rows, 3) probabilities for distinct rows (columns of ``ROWS``), genes and line possibly unknown."""

    @abstractmethod
    def _save(self, directory: Path) -> None:
        """Write what was learned as safetensors, npy, Parquet, JSON or the library's own text format."""

    @abstractmethod
    def _load(self, directory: Path) -> None:
        """Read what ``_save`` wrote."""

    @abstractmethod
    def _explain(self, row: Mapping[str, Any]) -> list[Reason]:
        """Return what moved the prediction of one row (columns of ``ROWS``); shares are scaled by the caller."""

    def _class_weights(self) -> Mapping[str, tuple[float, float, float]]:
        """Return the weights of ``Card.class_weights`` that were learned; none: the largest one is the label."""
        return {}

    def _parameters(self) -> Mapping[str, Any]:
        """Return what else was set or learned and belongs on the card, beside ``settings``."""
        return {}

    def _providers(self) -> tuple[str, ...]:
        """Return the providers whose edges went in, where settings choose among ``providers``."""
        return self.providers

    def _more(self, rows: pl.DataFrame) -> Mapping[str, pl.Series]:
        """Return further columns of ``predict``, one value a row, for what is not a class."""
        return {}

    def _failures(self, rows: pl.DataFrame) -> pl.Series | None:
        """Return, for rows that ``_probabilities`` was asked last, why one has no answer of its own (text or null).

        Such a row's probabilities are what is usual, and its flags say ``failed: …``; it can be asked again.
        """
        return None

    # --- what every plug-in does -------------------------------------------------------------------------------

    @classmethod
    def fit(cls, training: Training, ground: Ground, *, progress: Progress = no_progress) -> Self:
        """Return a model that learned from ``training``.

        Row order and repeated rows do not matter: rows are made distinct and sorted first.

        Raises:
            ModelError: A training row has two labels, there are no rows, a class is missing from all of them, or the
                plug-in failed on them.
            UsageError: A setting that the plug-in has not, or of another type.
        """
        rows = _distinct(training.rows)
        settings = read_settings(cls, training.parameters)
        model = cls(ground, replace(_card(cls, rows, training, ground), parameters=settings))
        try:
            model._fit(replace(training, rows=rows, parameters=settings), progress)
        except AromaError:
            raise
        except Exception as error:
            said = str(error).strip().splitlines() or [""]
            raise ModelError(
                f"plug-in {cls.name} cannot learn from these {rows.height:,} rows ({type(error).__name__}: {said[0]}); "
                "give more outcomes, or tell who made the plug-in"
            ) from error
        model.card = replace(
            model.card,
            class_weights=dict(model._class_weights()),
            parameters={**settings, **model._parameters()},
            licences={name: ground.licences[name] for name in model._providers() if name in ground.licences},
        )
        return model

    def predict_proba(self, rows: pl.DataFrame) -> Probabilities:
        """Return float64 (rows, 3) probabilities in the order of ``CLASSES``; every row is answered.

        Args:
            rows: Columns of ``ROWS`` (``Ground.rows`` makes them), in any order, repeated or not.

        Raises:
            ModelError: The plug-in gave something that is no probability.
        """
        if rows.is_empty():
            return np.zeros((0, len(PROBABILITY_COLUMNS)))
        asked = self._in_own_words(rows)
        distinct = asked.unique().sort(list(ROWS), nulls_last=False)
        found = np.asarray(self._probabilities(distinct), dtype=np.float64)
        self._check(found, distinct.height)
        places = distinct.with_row_index("_place")
        order = asked.join(places, on=list(ROWS), how="left", nulls_equal=True, maintain_order="left")["_place"]
        answered: Probabilities = found[order.to_numpy()]
        return answered

    def label(self, rows: pl.DataFrame, probabilities: Probabilities) -> npt.NDArray[np.int8]:
        """Return int8 labels: the class with the largest weighted probability, weights by cell line."""
        return labels_of(self._in_own_words(rows)["cell_line"], probabilities, self.card.class_weights)

    def predict(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``cell_line, perturbation, target, p_down, p_not_significant, p_up, label, flags`` for each row.

        ``flags`` lists what the answer has to do without: ``unknown perturbation``, ``unknown target``,
        ``unknown cell line`` (none of its rows were trained on); ``failed: …`` says why a row was not answered.
        """
        found = self.predict_proba(rows)
        own_words = self._in_own_words(rows)
        failures = self._failures(own_words) if rows.height else None
        columns = {name: found[:, place] for place, name in enumerate(PROBABILITY_COLUMNS)}
        return rows.select("cell_line", "perturbation", "target").with_columns(
            **{name: pl.Series(values) for name, values in columns.items()},
            label=pl.Series(self.label(rows, found)),
            flags=_flags(own_words, self.card.cell_lines, failures),
            **(self._more(own_words) if rows.height else {}),
        )

    def explain(self, row: Mapping[str, Any], *, limit: int = 8) -> list[Reason]:
        """Return the evidence that moved one row's prediction, largest share first; shares sum to one or less.

        Args:
            row: Columns of ``ROWS``.
            limit: At most this many.
        """
        asked = self._in_own_words(pl.DataFrame([{name: row[name] for name in ROWS}], schema=ROWS)).row(0, named=True)
        found = self._explain(asked)
        reasons = [reason for reason in found if reason.share != 0.0] or found  # where nothing moved it, that is said
        total = sum(abs(reason.share) for reason in reasons) or 1.0
        scaled = [replace(reason, share=round(abs(reason.share) / total, 4)) for reason in reasons]
        return sorted(scaled, key=lambda reason: (-reason.share, reason.kind, reason.text))[:limit]

    def save(self, directory: Path) -> None:
        """Write the model into a directory that is there whole or not at all.

        Raises:
            ModelError: Something is in the way, or the place cannot be written.
        """
        if directory.exists():
            raise ModelError(f"{directory}: something is there already; choose another --out or remove it")
        try:
            with whole_directory(directory, or_theirs=False) as made:
                self._save(made)
                paths = sorted(path for path in made.rglob("*") if path.is_file())
                files = {path.relative_to(made).as_posix(): file_sha256(path) for path in paths}
                self.card = replace(self.card, files=files, made_at=datetime.now(tz=UTC).isoformat(timespec="seconds"))
                said = {"layout": LAYOUT, **asdict(self.card)}
                write_durably(made / CARD, json.dumps(said, indent=1, sort_keys=True))
        except OSError as error:
            raise ModelError(f"{directory}: cannot be written ({error.strerror or error})") from error

    @classmethod
    def load(cls, directory: Path, ground: Ground) -> Self:
        """Return a saved model; it must stand on the release that it was trained on.

        Raises:
            ModelError: No model, another plug-in's, a damaged file, or another release.
        """
        card = read_card(directory)
        if (card.plugin, card.version) != (cls.name, cls.version):
            raise ModelError(
                f"{directory}: made by {card.plugin} {card.version}, this is {cls.name} {cls.version}; train it again"
            )
        if card.release != ground.release:
            raise ModelError(
                f"{directory}: trained on release {card.release}, not {ground.release}; open that release "
                "(--release) or train again"
            )
        damaged = [name for name, said in card.files.items() if _sha256(directory / name) != said]
        if damaged:
            raise ModelError(f"{directory / damaged[0]}: is not the file that was saved; restore it or train again")
        model = cls(ground, card)
        model._load(directory)
        return model

    def _in_own_words(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the columns of ``ROWS``, cell lines spelt as in training (K-562 as K562), no name as the empty one."""
        spelling = {line_key(name): name for name in self.card.cell_lines}
        names = rows["cell_line"].drop_nulls().unique()
        known = {name: spelling.get(line_key(name), name) for name in names}
        return rows.select(
            pl.col("cell_line").replace(known).fill_null(""),
            pl.col("perturbation", "target").fill_null(""),
            "perturbation_gene",
            "target_gene",
        )

    def _check(self, found: Probabilities, rows: int) -> None:
        if found.shape != (rows, len(PROBABILITY_COLUMNS)):
            raise ModelError(f"plug-in {self.name} gave an array of shape {found.shape} for {rows} rows")
        off = ~np.isfinite(found).all(axis=1) | (found < 0).any(axis=1) | (np.abs(found.sum(axis=1) - 1) > _TOLERANCE)
        if off.any():
            raise ModelError(f"plug-in {self.name} gave {found[off][0].tolist()}, which are no probabilities")


def labels_of(
    cell_lines: pl.Series, probabilities: Probabilities, weights: Mapping[str, Sequence[float]]
) -> npt.NDArray[np.int8]:
    """Return int8 labels: the class with the largest probability after weighing by cell line.

    Args:
        cell_lines: Of each row.
        probabilities: float64 (rows, 3).
        weights: By cell line, ``*`` for any other; none: not weighed.
    """
    other = weights.get("*", (1.0, 1.0, 1.0))
    names = cell_lines.fill_null("").unique().to_list()
    table = {name: np.asarray(weights.get(name, other), dtype=np.float64) for name in names}
    codes = cell_lines.fill_null("").replace_strict(names, range(len(names)), return_dtype=pl.Int32).to_numpy()
    scale = np.stack([table[name] for name in names]) if names else np.ones((0, 3))
    best = (probabilities * scale[codes]).argmax(axis=1) if len(codes) else np.zeros(0, dtype=np.int64)
    found: npt.NDArray[np.int8] = LABEL_OF_COLUMN[best]
    return found


def column_of(labels: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return the probability column of each label."""
    found: npt.NDArray[np.int8] = COLUMN_OF_LABEL[labels]
    return found


def read_card(directory: Path) -> Card:
    """Return what a saved model says of itself.

    Raises:
        ModelError: There is no model, or its card is damaged or of another layout.
    """
    path = directory / CARD
    try:
        said = json.loads(path.read_text())
        layout = said.pop("layout")
        weights = {line: tuple(values) for line, values in said["class_weights"].items()}
        card = Card(**{**said, "class_weights": weights, "cell_lines": tuple(said["cell_lines"])})
    except FileNotFoundError as error:
        raise ModelError(
            f"{directory}: there is no model here ({CARD} is missing); give the --out of a training"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: is no model card ({error}); restore it or train again") from error
    if layout != LAYOUT:
        raise ModelError(f"{path}: layout {layout}, this program reads {LAYOUT}; train again")
    return card


def _card(cls: type[Plugin], rows: pl.DataFrame, training: Training, ground: Ground) -> Card:
    sources = ground.licences
    return Card(
        plugin=cls.name,
        version=cls.version,
        licence=cls.licence,
        licences={name: sources[name] for name in cls.providers if name in sources},
        release=ground.release,
        split=training.split,
        training_sha256=content_hash(rows),
        training_rows=rows.height,
        withheld_rows=training.withheld,
        cell_lines=tuple(rows["cell_line"].unique().sort()),
        seed=training.seed,
    )


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    """Return training rows once each, in one order."""
    missing = [name for name in TRAINING if name not in rows.columns]
    if missing:
        raise ModelError(f"training rows lack the column {', '.join(missing)}; make them with Ground.rows")
    table = rows.select(list(TRAINING)).unique().sort(list(TRAINING), nulls_last=False)
    if table.is_empty():
        raise ModelError("there are no training rows; look at what the split leaves")
    twice = table.filter(pl.struct(list(ROWS)).is_duplicated())
    if twice.height:
        line, perturbation, target = twice.row(0)[:3]
        raise ModelError(f"{line}, {perturbation}, {target} has two labels in training; remove one")
    absent = [name for label, name in enumerate(("not significant", "down", "up")) if label not in table["label"]]
    if absent:
        raise ModelError(f"no training row is {absent[0]}; a model needs rows of each label")
    return table


def _flags(rows: pl.DataFrame, known_lines: Sequence[str], failures: pl.Series | None) -> pl.Series:
    why = pl.lit(None, pl.String) if failures is None else pl.lit(FAILED) + pl.lit(failures)
    said = rows.select(
        pl.concat_list(
            pl.when(pl.col("perturbation_gene").is_null()).then(pl.lit("unknown perturbation")),
            pl.when(pl.col("target_gene").is_null()).then(pl.lit("unknown target")),
            pl.when(~pl.col("cell_line").is_in(list(known_lines)).fill_null(value=False)).then(
                pl.lit("unknown cell line")
            ),
            why,
        )
        .list.drop_nulls()
        .alias("flags")
    )
    return said.to_series()


def _sha256(path: Path) -> str | None:
    return file_sha256(path) if path.is_file() else None
