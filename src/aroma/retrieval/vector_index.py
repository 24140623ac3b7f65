"""Nearest rows of a vector set by cosine: exact with NumPy, or through FAISS (flat or HNSW; extra ``embeddings``).

A flat index is the vectors once more, so it is made in memory when first asked for. An HNSW graph takes long to make
and is kept inside the vector set's directory as FAISS' own file, with a manifest: checksum, parameters, the vectors it
was made of, and its recall against the exact answer, measured when it was made::

    <vector set>/index-hnsw/ faiss.index, manifest.json

FAISS trusts the bytes that it reads, so the checksum is compared before each reading. Whatever finds the candidates,
their cosines are computed here, in float64, so that every index gives the same numbers.
"""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aroma.errors import SnapshotError, UsageError
from aroma.retrieval.parts import check_part, make_part, open_part
from aroma.retrieval.vector_store import VectorSet

AUTO: Final = "auto"
KINDS: Final = (AUTO, "numpy", "flat", "hnsw")
"""``auto``: FAISS' flat index where FAISS is installed, else NumPy; both are exact."""
LINKS: Final = 32
"""Links a node of the HNSW graph (M of Malkov and Yashunin 2018, doi:10.1109/TPAMI.2018.2889473)."""
BUILD_WIDTH: Final = 200
SEARCH_WIDTH: Final = 256
MEASURED_AT: Final = 10
"""Neighbours at which the recall is measured."""
_MEASURED_QUERIES: Final = 200
_BLOCK: Final = 8192
_EQUAL: Final = 1e-6
"""Cosines in float32 that differ by less are equal."""
_FILE: Final = "faiss.index"
_FEW: Final = 0.1
"""Below this part of the rows each allowed one is compared: an HNSW search would mostly meet rows that are not."""
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class VectorIndex:
    """A vector set opened for search.

    Args:
        vectors: The vector set.
        kind: One of ``KINDS``.
        build: Whether an HNSW graph that is not there may be made now, which takes minutes for large sets.

    Attributes:
        kind: ``numpy``, ``flat`` or ``hnsw``: what ``auto`` became.
        recall: Of HNSW, the mean part of the exact ten nearest that it finds; None for exact ones.

    Raises:
        UsageError: No such kind, FAISS is asked for and not installed, or the graph is not there and may not be made.
        SnapshotError: The graph cannot be written.
    """

    def __init__(self, vectors: VectorSet, kind: str = AUTO, *, build: bool = True) -> None:
        if kind not in KINDS:
            raise UsageError(f"index {kind!r} is not known; it is one of {', '.join(KINDS)}")
        self.vectors = vectors
        self.kind = kind if kind != AUTO else "flat" if has_faiss() else "numpy"
        self.recall: float | None = None
        self._faiss: Any = None
        if self.kind == "flat":
            self._faiss = _flat(vectors, self.lengths)
        elif self.kind == "hnsw":
            self._faiss, self.recall = _open_hnsw(vectors, self.lengths, build=build)

    @cached_property
    def lengths(self) -> Float32:
        """float32 length of each vector, 1 for a vector of zeros."""
        found = np.ones(len(self.vectors.ids), dtype=np.float32)
        for block in _blocks(len(found)):
            found[block] = np.linalg.norm(self.vectors.vectors[block].astype(np.float32), axis=1)
        found[found == 0] = 1
        return found

    def near(self, query: Float32, k: int, allowed: npt.NDArray[np.bool_] | None = None) -> Int64:
        """Return the rows nearest to a vector, nearest first, at most ``k``.

        Args:
            query: float32, (dim).
            k: Most rows.
            allowed: bool, (rows): which rows may be found; None for all. Where few may, each is compared.
        """
        most = min(k, len(self.vectors.ids) if allowed is None else int(allowed.sum()))
        if most <= 0:
            return np.empty(0, dtype=np.int64)
        unit = (query / (np.linalg.norm(query) or 1)).astype(np.float32)
        if self._faiss is None or (allowed is not None and allowed.mean() < _FEW):
            return self._exact(unit, most, allowed)
        found: Int64 = _search(self._faiss, self.kind, unit[None, :], most, allowed)[0]
        kept: Int64 = found[found >= 0]
        return kept

    def cosines(self, query: Float32, rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return float64 cosines of a vector and rows; 0 where either is all zeros."""
        exact = query.astype(np.float64)
        chosen = np.asarray(self.vectors.vectors[rows], dtype=np.float64)
        lengths = np.linalg.norm(chosen, axis=1) * np.linalg.norm(exact)
        product = chosen @ exact
        found: npt.NDArray[np.float64] = np.divide(product, lengths, out=np.zeros_like(product), where=lengths > 0)
        return found

    def _exact(self, unit: Float32, k: int, allowed: npt.NDArray[np.bool_] | None) -> Int64:
        rows = np.arange(len(self.vectors.ids)) if allowed is None else np.flatnonzero(allowed)
        scores = np.empty(len(rows), dtype=np.float32)
        for block in _blocks(len(rows)):
            taken = block if allowed is None else rows[block]
            scores[block] = self.vectors.vectors[taken].astype(np.float32, copy=False) @ unit
        scores /= self.lengths[rows]
        best = np.argpartition(-scores, k - 1)[:k] if k < len(rows) else np.arange(len(rows))
        order = np.lexsort((best, -scores[best]))
        found: Int64 = rows[best[order]].astype(np.int64)
        return found


def has_faiss() -> bool:
    """Tell whether FAISS is installed."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True


def measure_recall(index: Any, kind: str, unit: Float32, queries: Int64, k: int = MEASURED_AT) -> float:
    """Return the mean part of the ``k`` nearest rows that an index finds, the row itself left out.

    A row found counts where its cosine is no less than the exact ``k``-th one: of rows that are equally near (genes of
    which the graph knows the same have the same vector) any will do.

    Args:
        index: Of FAISS.
        kind: ``flat`` or ``hnsw``.
        unit: float32 (rows, dim), rows of length one.
        queries: Rows that are asked for.
        k: Neighbours.
    """
    k = min(k, len(unit) - 1)
    if k < 1:
        return 1.0
    hits = 0
    for block in _blocks(len(queries), 256):
        asked = queries[block]
        found = _search(index, kind, unit[asked], k + 1, None)
        scores = unit[asked] @ unit.T
        scores[np.arange(len(asked)), asked] = -np.inf
        least = np.partition(scores, -k, axis=1)[:, -k] - _EQUAL
        for row, rows in enumerate(found):
            others = np.unique(rows[(rows >= 0) & (rows != asked[row])])
            near = np.sort(scores[row, others])[::-1][:k]
            hits += int((near >= least[row]).sum())
    return hits / (k * len(queries))


def make_hnsw(unit: Float32, *, links: int = LINKS, build: int = BUILD_WIDTH, search: int = SEARCH_WIDTH) -> Any:
    """Return FAISS' HNSW index of rows of length one, by inner product.

    Raises:
        UsageError: FAISS is not installed.
    """
    faiss = _import_faiss()
    index = faiss.IndexHNSWFlat(unit.shape[1], links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = build
    index.hnsw.efSearch = search
    index.add(unit)
    return index


def unit_rows(vectors: VectorSet, lengths: Float32) -> Float32:
    """Return a float32 (rows, dim) copy of the vectors, each of length one."""
    unit = np.empty(vectors.vectors.shape, dtype=np.float32)
    for block in _blocks(len(unit)):
        unit[block] = vectors.vectors[block] / lengths[block, None]
    return unit


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise UsageError(
            "this index needs FAISS: pip install 'aroma-evidence[embeddings]' (--index numpy needs nothing)"
        ) from error
    return faiss


def _flat(vectors: VectorSet, lengths: Float32) -> Any:
    index = _import_faiss().IndexFlatIP(vectors.card.dim)
    index.add(unit_rows(vectors, lengths))
    return index


def _open_hnsw(vectors: VectorSet, lengths: Float32, *, build: bool) -> tuple[Any, float]:
    """Return the index and its recall; made first where it is missing, damaged, or of other vectors."""
    faiss = _import_faiss()
    place = vectors.directory / "index-hnsw"
    said = _said(place, vectors)
    if said is None:
        if not build:
            raise UsageError(
                f"encoder {vectors.card.name} has no HNSW index yet; aroma similar --index hnsw makes one, and "
                "--index auto is exact"
            )
        shutil.rmtree(place, ignore_errors=True)
        _make_part(vectors, lengths, place)
        said = _said(place, vectors)
        if said is None:
            raise SnapshotError(f"{place}: was written and does not hold; look at the disk")
    return faiss.read_index(str(place / _FILE)), float(said["recall"])


def _said(place: Path, vectors: VectorSet) -> dict[str, Any] | None:
    """Return what the manifest says of an index that is whole and of these vectors, else None."""
    try:
        said: dict[str, Any] = open_part(place, vectors.release)["index"]
    except (SnapshotError, KeyError):
        return None
    fitting = said.get("vectors_sha256") == vectors.vectors_sha256 and {"recall"} <= said.keys()
    return said if fitting and not check_part(place) else None


def _make_part(vectors: VectorSet, lengths: Float32, place: Path) -> None:
    unit = unit_rows(vectors, lengths)
    index = make_hnsw(unit)
    queries = np.random.default_rng(0).permutation(len(unit))[:_MEASURED_QUERIES]
    said = {
        "kind": "hnsw",
        "links": LINKS,
        "build_width": BUILD_WIDTH,
        "search_width": SEARCH_WIDTH,
        "vectors_sha256": vectors.vectors_sha256,
        "recall": round(measure_recall(index, "hnsw", unit, queries), 4),
        "recall_at": MEASURED_AT,
        "recall_queries": len(queries),
    }
    make_part(place, vectors.release, {"index": said}, lambda target: _write(index, target / _FILE))


def _write(index: Any, path: Path) -> None:
    try:
        _import_faiss().write_index(index, str(path))
    except RuntimeError as error:  # FAISS' own, for a full disk
        raise SnapshotError(f"{path}: the index cannot be written ({str(error).splitlines()[0]})") from error


def _search(index: Any, kind: str, unit: Float32, k: int, allowed: npt.NDArray[np.bool_] | None) -> Int64:
    faiss = _import_faiss()
    parameters = None
    width = max(SEARCH_WIDTH, 2 * k)
    if allowed is not None:
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
        if kind == "hnsw":
            share = max(float(allowed.mean()), _FEW)
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=int(width / share))
        else:
            parameters = faiss.SearchParameters(sel=selector)
    elif kind == "hnsw":
        parameters = faiss.SearchParametersHNSW(efSearch=width)
    _, rows = index.search(np.ascontiguousarray(unit), k, params=parameters)
    found: Int64 = rows
    return found


def _blocks(rows: int, step: int = _BLOCK) -> list[slice]:
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
