"""A trace data set on disk: the table, what is known of how it was made, and its cards.

::

    DIR/traces.parquet      see ``rows.TRACES``
    DIR/data-set.json       the facts below
    DIR/croissant.json      the same for programs (Croissant 1.1)
    DIR/README.md           the same for people
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from aroma.errors import InputFileError, UsageError
from aroma.retrieval.columns import file_sha256
from aroma.retrieval.evidence_model import Licence

TABLE: Final = "traces.parquet"
FACTS: Final = "data-set.json"


@dataclass(frozen=True, slots=True)
class Facts:
    """How a data set of traces was made.

    Attributes:
        name: Its name.
        release: Release of the graph.
        outcomes: Where the measured outcomes come from.
        split: Name of the fold whose training rows these are.
        split_asked: The split as asked (``splits.make_folds``), by which the fold is found again.
        fold: Which of its folds, from 1.
        seed: Of the choice of rows.
        reserve: Rows of each line asked for the second stage.
        template: Prompt template.
        budget: Most tokens of a prompt, or None.
        multimodal: Whether prompts have the placeholders of embeddings.
        kinds: ``template``, ``informed``, ``blind``.
        writers: Models that wrote, or ``template``.
        licences: Of the providers whose data is in prompts and traces.
        rows: All rows, dropped ones too.
        sha256: Of ``traces.parquet``.
        made_at: ISO 8601, UTC.
        notes: What a reader must know.
        steps: What was done since, oldest first: each a name and its settings and counts.
    """

    name: str
    release: str
    outcomes: str
    split: str
    split_asked: str
    fold: int
    seed: int
    reserve: int
    template: str
    budget: int | None
    multimodal: bool
    kinds: tuple[str, ...]
    writers: tuple[str, ...]
    licences: tuple[Licence, ...]
    rows: int = 0
    sha256: str = ""
    made_at: str = ""
    notes: tuple[str, ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()

    @property
    def commercial_use(self) -> bool:
        """True where no provider forbids commercial use."""
        return all(one.commercial_use for one in self.licences)

    def after(self, step: str, **said: Any) -> Facts:
        """Return the facts of a data set that was made from this one."""
        return replace(self, steps=(*self.steps, {"step": step, **said}))


def check_target(directory: Path) -> None:
    """Refuse a place where something is already.

    Raises:
        UsageError: It is there and is not an empty directory.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"--out {directory}: something is there already; choose another name or remove it")


def read_facts(directory: Path) -> Facts:
    """Return how a data set was made.

    Raises:
        InputFileError: There is no data set, its facts are damaged, or the table is not the one they are about.
    """
    file = directory / FACTS
    try:
        facts = msgspec.json.decode(file.read_bytes(), type=Facts)
    except (OSError, msgspec.DecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise InputFileError(
            f"cannot be read ({said})", file=file, expected="a trace data set (aroma traces write, request, filter)"
        ) from error
    if not (directory / TABLE).is_file() or file_sha256(directory / TABLE) != facts.sha256:
        raise InputFileError(
            f"{TABLE} is missing or was changed since; make the data set again", file=directory / TABLE
        )
    return facts


def licences_of(lists: Iterable[Iterable[Licence]]) -> tuple[Licence, ...]:
    """Return each provider's licence once, by name."""
    found = {one.provider: one for licences in lists for one in licences}
    return tuple(found[name] for name in sorted(found))


def kept_shares(frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``cell_line``, ``label``, ``rows``, ``kept`` (number) and ``share`` (0 to 1) by line and label, sorted."""
    return (
        frame.group_by("cell_line", "label")
        .agg(pl.len().alias("rows"), pl.col("kept").sum())
        .with_columns((pl.col("kept") / pl.col("rows")).alias("share"))
        .sort("cell_line", "label")
    )


def drop_reasons(frame: pl.DataFrame) -> dict[str, int]:
    """Return how many rows were dropped by reason, the most frequent first."""
    counts = frame.filter(~pl.col("kept")).group_by("reason").len().sort("len", "reason", descending=[True, False])
    return dict(counts.iter_rows())


def plain_facts(facts: Facts) -> dict[str, Any]:
    """Return the facts for JSON."""
    return {**asdict(facts), "licences": msgspec.to_builtins(facts.licences)}
