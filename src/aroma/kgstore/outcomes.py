"""Measured outcomes and splits: tables outside the release, each version named by the hash of its content.

An outcome says what perturbing one gene did to another in one cell line: not significant (0), down (1), up (2). The
same rows in any order are the same version. A split is a named list of the rows that are held out (or trained on),
with a hash of its own, so that a model's card can say exactly what it has not seen.

Layout below the home::

    outcomes/<sha256>/outcomes.parquet, manifest.json
    outcomes/splits/<name>/split.parquet, manifest.json
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import ReleaseError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.schema import Column
from aroma.kgstore.tables import write_parquet
from aroma.kgstore.whole import whole_directory

OUTCOMES: Final[dict[str, Column]] = {
    "cell_line": pl.String(),
    "perturbation": pl.String(),  # names as written
    "target": pl.String(),
    "perturbation_gene": pl.String(),  # node ids, null where the name does not resolve
    "target_gene": pl.String(),
    "label": pl.Int8(),  # a key of LABELS
    "split": pl.String(),
    "data_set": pl.String(),
    "line": pl.Int64(),  # one-based, in the provider's file
}
LABELS: Final = {0: "not significant", 1: "down", 2: "up"}
SPLIT_KEY: Final = ("cell_line", "perturbation", "target")
_TABLE: Final = "outcomes.parquet"
_SPLIT_TABLE: Final = "split.parquet"
_MANIFEST: Final = "manifest.json"
_SPLITS: Final = "splits"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class OutcomesVersion:
    """One stored set of outcomes.

    Attributes:
        sha256: Hash of the sorted rows, hex; the version's name.
        rows: Number of outcomes.
        cell_lines: Rows by cell line.
        data_sets: Names of the data sets.
        stored_at: When it was first stored, ISO 8601, UTC.
    """

    sha256: str
    rows: int
    cell_lines: Mapping[str, int]
    data_sets: tuple[str, ...]
    stored_at: str


@dataclass(frozen=True, slots=True)
class Split:
    """A named selection of outcomes.

    Attributes:
        name: Its name.
        sha256: Hash of the sorted rows, hex.
        rows: Columns ``cell_line``, ``perturbation`` and ``target`` (null: every target of the perturbation).
    """

    name: str
    sha256: str
    rows: pl.DataFrame

    def select(self, outcomes: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of ``outcomes`` that the split names."""
        whole = self.rows.filter(pl.col("target").is_null())
        single = self.rows.filter(pl.col("target").is_not_null())
        places = outcomes.with_row_index("_row")
        by_perturbation = places.join(whole, on=list(SPLIT_KEY[:2]), how="semi")
        by_pair = places.join(single, on=list(SPLIT_KEY), how="semi")
        return pl.concat([by_perturbation, by_pair]).unique("_row").sort("_row").drop("_row")


def store_outcomes(home: Home, frame: pl.DataFrame) -> OutcomesVersion:
    """Store outcomes under the hash of their content; the same content again changes nothing.

    Args:
        home: Where to store.
        frame: Columns of ``OUTCOMES``, in any row order.

    Raises:
        UsageError: A column is missing or too many, there are no rows, or a label is not 0, 1 or 2.
        ReleaseError: The place cannot be written.
    """
    table = _conform(frame)
    sha256 = content_hash(table)
    with contextlib.suppress(ReleaseError):
        return _read_manifest(home.outcomes / sha256)
    version = OutcomesVersion(
        sha256,
        table.height,
        dict(table.group_by("cell_line").len().sort("cell_line").iter_rows()),
        tuple(table["data_set"].drop_nulls().unique().sort()),
        datetime.now(tz=UTC).isoformat(timespec="seconds"),
    )
    _write_whole(home.outcomes / sha256, _TABLE, table, asdict(version))
    return _read_manifest(home.outcomes / sha256)


def list_outcomes(home: Home) -> list[OutcomesVersion]:
    """Return the stored versions, the latest stored last."""
    found = [_read_manifest(path) for path in home.outcomes.glob("*") if path.is_dir() and _HASH.fullmatch(path.name)]
    return sorted(found, key=lambda version: (version.stored_at, version.sha256))


def load_outcomes(home: Home, ref: str | None = None) -> pl.DataFrame:
    """Return one version's rows (columns of ``OUTCOMES``), checked against its hash.

    Args:
        home: Where it is stored.
        ref: The version's sha256 or the first digits of it; the latest stored where not given.

    Raises:
        UsageError: No version, or several, begin with ``ref``.
        ReleaseError: The stored table is damaged.
    """
    version = _find(home, ref)
    path = home.outcomes / version.sha256 / _TABLE
    return _checked(path, version.sha256, "run aroma build again with the files it came from")


def define_split(home: Home, name: str, rows: pl.DataFrame) -> Split:
    """Store a split under ``name``; a stored split is never changed, since models name it.

    Args:
        home: Where to store.
        name: Letters, digits, ``.``, ``_`` and ``-``.
        rows: ``cell_line``, ``perturbation`` and, for single pairs, ``target`` (names as the outcomes write them).

    Raises:
        UsageError: A bad name, missing columns, no rows, or another split has that name.
    """
    directory = _split_directory(home, name)
    missing = [column for column in SPLIT_KEY[:2] if column not in rows.columns]
    if missing or rows.is_empty():
        problem = f"lacks the column {', '.join(missing)}" if missing else "has no rows"
        raise UsageError(f"split {name!r} {problem}; give cell_line, perturbation and, for single pairs, target")
    if "target" not in rows.columns:
        rows = rows.with_columns(pl.lit(None, dtype=pl.String).alias("target"))
    table = rows.select(pl.col(column).cast(pl.String) for column in SPLIT_KEY).unique().sort(SPLIT_KEY)
    if table["cell_line"].null_count() or table["perturbation"].null_count():
        raise UsageError(f"split {name!r} has rows without a cell line or perturbation; fill or remove them")
    split = Split(name, content_hash(table), table)
    if not directory.exists():
        _write_whole(directory, _SPLIT_TABLE, table, {"name": name, "sha256": split.sha256, "rows": table.height})
    stored = load_split(home, name)
    if stored.sha256 != split.sha256:
        raise UsageError(f"another split is called {name!r} ({stored.sha256[:12]}); choose a new name")
    return stored


def load_split(home: Home, name: str) -> Split:
    """Return a stored split, checked against its hash.

    Raises:
        UsageError: No split has that name.
        ReleaseError: It is damaged.
    """
    directory = _split_directory(home, name)
    if not directory.is_dir():
        raise UsageError(f"there is no split {name!r}; there are: {', '.join(list_splits(home)) or 'none'}")
    said = _json(directory)
    sha256 = str(said.get("sha256"))
    return Split(name, sha256, _checked(directory / _SPLIT_TABLE, sha256, "define the split again"))


def list_splits(home: Home) -> list[str]:
    """Return the names of stored splits."""
    return sorted(path.name for path in (home.outcomes / _SPLITS).glob("*") if _NAME.fullmatch(path.name))


def content_hash(table: pl.DataFrame) -> str:
    r"""Return the sha256 of a table's rows in their order, after the column names.

    A row is its values as text, joined by U+001F and ended by a line feed; in a value, backslash, line feed and U+001F
    are written ``\\``, ``\n`` and ``\u``, and null is ``\0``, so that two different tables never give one text.
    """
    escaped = [
        pl.col(name)
        .cast(pl.String)
        .str.replace_all("\\", "\\\\", literal=True)
        .str.replace_all("\n", "\\n", literal=True)
        .str.replace_all("\x1f", "\\u", literal=True)
        .fill_null("\\0")
        for name in table.columns
    ]
    rows = table.select(pl.concat_str(escaped, separator="\x1f").alias("text"))["text"]
    whole = hashlib.sha256("\x1f".join(table.columns).encode() + b"\n")
    whole.update("\n".join(rows.to_list()).encode())
    return whole.hexdigest()


def _conform(frame: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in OUTCOMES if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in OUTCOMES]
    if missing or unknown:
        wrong = f"lack the column {', '.join(missing)}" if missing else f"have an unknown column {', '.join(unknown)}"
        raise UsageError(f"outcomes {wrong}; the columns are {', '.join(OUTCOMES)}")
    if frame.is_empty():
        raise UsageError("outcomes have no rows; give a file with at least one well-formed row")
    bad = frame.filter(~pl.col("label").is_in(list(LABELS)) | pl.col("label").is_null())
    if bad.height:
        raise UsageError(f"outcomes have {bad.height} labels that are not 0, 1 or 2; the first: {bad['label'][0]}")
    return frame.select(pl.col(name).cast(dtype) for name, dtype in OUTCOMES.items()).sort(
        list(OUTCOMES), nulls_last=False
    )


def _find(home: Home, ref: str | None) -> OutcomesVersion:
    versions = list_outcomes(home)
    if not versions:
        raise UsageError(f"no outcomes are stored in {home.outcomes}; build with PerturbQA's files in --from first")
    if ref is None:
        return versions[-1]
    fits = [version for version in versions if version.sha256.startswith(ref)] if ref else []
    if len(fits) != 1:
        known = ", ".join(version.sha256[:12] for version in versions)
        raise UsageError(f"{len(fits) or 'no'} versions of outcomes begin with {ref!r}; there are: {known}")
    return fits[0]


def _checked(path: Path, sha256: str, remedy: str) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ReleaseError(f"{path}: cannot be read ({error}); {remedy}") from error
    if content_hash(table) != sha256:
        raise ReleaseError(f"{path}: the content is not what its name says; remove its directory and {remedy}")
    return table


def _read_manifest(directory: Path) -> OutcomesVersion:
    said = _json(directory)
    try:
        return OutcomesVersion(**{**said, "data_sets": tuple(said["data_sets"])})
    except (KeyError, TypeError) as error:
        raise ReleaseError(f"{directory / _MANIFEST}: not a manifest of outcomes; remove {directory}") from error


def _json(directory: Path) -> dict[str, Any]:
    path = directory / _MANIFEST
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path}: cannot be read ({error}); remove {directory} and store it again") from error
    if not isinstance(said, dict):
        raise ReleaseError(f"{path}: not a manifest; remove {directory} and store it again")
    return said


def _write_whole(directory: Path, table_name: str, table: pl.DataFrame, manifest: Mapping[str, object]) -> None:
    try:
        with whole_directory(directory) as made:
            write_parquet(table, made / table_name)
            (made / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise ReleaseError(f"{directory}: cannot be written ({error.strerror or error})") from error


def _split_directory(home: Home, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError(f"split name {name!r} does not fit; use letters, digits, '.', '_' and '-'")
    return home.outcomes / _SPLITS / name
