"""Files of an embedding run: its plan (what goes in which shard) and the vectors of each finished shard.

Both are renamed into place whole. A shard's file names its inputs, so a file that is found is taken only where it holds
just what the plan asks for, whoever wrote it and whatever became of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import ModelError, ReleaseError
from aroma.kgstore.home import Home
from aroma.kgstore.tables import write_parquet
from aroma.kgstore.work_loop import TryAgainError
from aroma.retrieval.columns import open_array
from aroma.retrieval.vector_store import embeddings_directory

PLAN: Final = "plan.parquet"


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A finished shard, its vectors left on the disk.

    Attributes:
        path: Where.
        inputs: sha256 of each input, in the order of the rows.
        problems: sha256 of the inputs that have no vector, and why.
    """

    path: Path
    inputs: tuple[str, ...]
    problems: Mapping[str, str]


def run_directory(home: Home, run: str) -> Path:
    """Return where the files of a run stand."""
    return embeddings_directory(home) / "runs" / run


def cut(texts: Mapping[str, str], cost: Callable[[str], int], most: int) -> list[dict[str, str]]:
    """Cut inputs (by sha256) into parts of at most ``most`` cost; like lengths together, so that batches waste little.

    The order is by cost, then sha256: the same inputs give the same parts on any machine.
    """
    costs = {sha256: cost(text) for sha256, text in texts.items()}
    parts: list[dict[str, str]] = []
    spent = most
    for sha256 in sorted(texts, key=lambda sha256: (-costs[sha256], sha256)):
        if spent + costs[sha256] > most or not parts:
            parts.append({})
            spent = 0
        parts[-1][sha256] = texts[sha256]
        spent += costs[sha256]
    return parts


def write_plan(home: Home, run: str, table: pl.DataFrame, shards: Sequence[Mapping[str, str]]) -> None:
    """Write the items of a run (``id``, ``sha256``, ``text``, ``problem``) with the shard of each.

    Raises:
        ModelError: The disk is full or the place cannot be written.
    """
    number = {sha256: place for place, texts in enumerate(shards) for sha256 in texts}
    numbered = table.with_columns(shard=pl.col("sha256").replace_strict(number, default=None, return_dtype=pl.Int32))
    directory = run_directory(home, run)
    partial = directory / f".{PLAN}.{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_parquet(numbered, partial)
        partial.replace(directory / PLAN)
    except OSError as error:
        raise ModelError(f"{directory}: the plan cannot be written ({error.strerror or error})") from error
    except ReleaseError as error:
        raise ModelError(str(error)) from error
    finally:
        partial.unlink(missing_ok=True)


def read_plan(home: Home, run: str, shard: int | None = None) -> pl.DataFrame:
    """Return the plan of a run, or of one shard of it.

    Raises:
        ModelError: It is not there or damaged.
    """
    place = run_directory(home, run) / PLAN
    try:
        whole = pl.scan_parquet(place)
        return (whole if shard is None else whole.filter(pl.col("shard") == shard)).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ModelError(
            f"{place}: the plan of the run cannot be read ({error}); all workers need the same AROMA_HOME. "
            "If the file is lost, ask for the embedding again: it is planned anew"
        ) from error


def other_input(home: Home, run: str, shard: int) -> str | None:
    """Return the shortest input of a run that is in another shard, or None.

    Raises:
        ModelError: The plan is not there or damaged.
    """
    others = read_plan(home, run).filter(pl.col("shard") != shard)
    return others.sort(pl.col("text").str.len_bytes(), "id")["text"][0] if others.height else None


def shard_path(home: Home, run: str, number: int) -> Path:
    """Return where the vectors of a shard stand."""
    return run_directory(home, run) / f"{number}.safetensors"


def write_shard(place: Path, order: Sequence[str], vectors: npt.NDArray[Any], problems: Mapping[str, str]) -> None:
    """Write the vectors of a shard, on the disk before it returns.

    Raises:
        TryAgainError: The disk is full or the place cannot be written.
    """
    from safetensors.numpy import save

    partial = place.with_name(f".{place.name}.{os.getpid()}")
    metadata = {"inputs": json.dumps(list(order)), "problems": json.dumps(dict(problems))}
    try:
        with partial.open("wb") as stream:
            stream.write(save({"vectors": np.ascontiguousarray(vectors, dtype=np.float32)}, metadata))
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(place)
    except OSError as error:
        raise TryAgainError(
            f"{place}: cannot be written ({error.strerror or error}); free some space, then: "
            f"aroma runs resume {place.parent.name}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def open_shard(place: Path, wanted: Sequence[str]) -> ShardFile | None:
    """Return a finished shard, or None where there is no whole file of just the wanted inputs."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(place, framework="numpy") as opened:
            said = opened.metadata()
            found = ShardFile(place, tuple(json.loads(said["inputs"])), json.loads(said["problems"]))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    return found if sorted(found.inputs) == sorted(wanted) else None


def gather(matrix: npt.NDArray[Any], rows: Sequence[str], where: Mapping[str, tuple[Path, int]]) -> None:
    """Fill a matrix, a row an input, from where their vectors stand; file by file, so that each is opened once."""
    wanted: dict[Path, list[tuple[int, int]]] = {}
    for row, sha256 in enumerate(rows):
        place, source = where[sha256]
        wanted.setdefault(place, []).append((row, source))
    for place, pairs in wanted.items():
        to, source_rows = np.array(pairs).T
        with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, and is refused with its name
            matrix[to] = _vectors(place)[source_rows]


def _vectors(place: Path) -> npt.NDArray[Any]:
    if place.suffix == ".npy":
        return open_array(place)
    from safetensors.numpy import load_file

    found: npt.NDArray[Any] = load_file(place)["vectors"]
    return found
