"""Writing a trace data set whole: the table, its cards, and last the facts, without which it is none."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from aroma.kgstore.publications import write_durably
from aroma.model.traces.cards import write_cards
from aroma.model.traces.data_set import FACTS, TABLE, Facts, plain_facts
from aroma.model.traces.rows import read_traces, write_traces
from aroma.retrieval.columns import file_sha256


def save_data_set(directory: Path, frame: pl.DataFrame | Path, facts: Facts) -> Facts:
    """Write a data set with its cards; the table may be a finished file, which is moved into place.

    Returns:
        The facts as written, with number of rows, hash and time.

    Raises:
        InputFileError: A row breaks a rule of the table.
        ReleaseError: The disk is full.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if isinstance(frame, Path):
        os.replace(frame, directory / TABLE)  # noqa: PTH105 - over what a killed run left
        frame = read_traces(directory)
    else:
        write_traces(directory / TABLE, frame)
    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    made = replace(facts, rows=frame.height, sha256=file_sha256(directory / TABLE), made_at=now)
    write_cards(directory, made, frame)
    write_durably(directory / FACTS, json.dumps(plain_facts(made), indent=1, ensure_ascii=False))
    return made
