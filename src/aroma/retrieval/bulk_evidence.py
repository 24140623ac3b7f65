"""Evidence of a whole file of pairs: in chunks, by several processes, resumable, in bounded memory.

Each chunk's rows are written to a file of their own in ``<out>.parts-<hash of the inputs>`` and renamed into place, so
a run that was killed goes on where it stopped, and one with other inputs starts anew. At the end the parts are joined
in order, the result is renamed into place, and the parts go.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet

from aroma.errors import InputFileError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import find_release
from aroma.retrieval.columns import file_sha256
from aroma.retrieval.descriptions import read_texts
from aroma.retrieval.evidence import EvidenceOptions, EvidenceStore, Pair
from aroma.retrieval.evidence_model import EVIDENCE_VERSION, Evidence, to_json
from aroma.retrieval.pairs import read_pairs
from aroma.retrieval.prompts import read_template, render
from aroma.retrieval.snapshot import make_snapshot
from aroma.retrieval.token_counting import open_counter
from aroma.retrieval.vector_store import list_vector_sets
from aroma.retrieval.withhold import read_withhold

SUFFIXES: Final = (".parquet", ".jsonl", ".ndjson")
_ROWS_A_CHUNK: Final = 2_000
_MOST_PARTS: Final = 8
_KEPT_PERTURBATIONS: Final = 4_096
_GARBAGE_CHECK: Final = 100_000
_ORPHAN_CHECK_SECONDS: Final = 2.0
_SCHEMA: Final = pa.schema(
    [
        ("row", pa.uint32()),
        ("perturbation", pa.string()),
        ("target", pa.string()),
        ("cell_line", pa.string()),
        ("release", pa.string()),
        ("reason", pa.string()),
        ("evidence", pa.string()),
    ]
)
Rows = list[tuple[int, str, str, str]]
Chunks = list[tuple[int, pl.DataFrame]]


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """What is asked of every row; plain values, since worker processes get it.

    Attributes:
        release: Release id, or None for the published one.
        outcomes: Version of the measured outcomes (its sha256 or the beginning), or None for no outcomes.
        withhold: See ``read_withhold``.
        texts: A file of own descriptions, or None.
        options: Options of the evidence.
        template: Prompt template, or None for no prompts.
        budget: Most tokens of a prompt, or None.
        multimodal: Whether prompts have the section with the placeholders.
        tokenizer: A ``tokenizer.json`` that counts the budget's tokens, or None for the estimate.
    """

    release: str | None = None
    outcomes: str | None = None
    withhold: tuple[str, ...] = ()
    texts: Path | None = None
    options: EvidenceOptions = field(default_factory=EvidenceOptions)
    template: str | None = None
    budget: int | None = None
    multimodal: bool = True
    tokenizer: Path | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: rows ready, of how many, rows a second in this run, and seconds left (None: not known yet)."""

    done: int
    total: int
    rate: float
    left: float | None


def open_store(home: Home, request: BulkRequest, *, kept: int = _KEPT_PERTURBATIONS) -> EvidenceStore:
    """Open the store that answers a request.

    Raises:
        ReleaseError: There is no such release.
        UsageError: Unknown outcomes, or something to withhold that is unknown.
        InputFileError: A file that cannot be read.
    """
    return EvidenceStore(
        home,
        request.release,
        outcomes=request.outcomes,
        withhold=read_withhold(request.withhold, home),
        texts=read_texts(request.texts) if request.texts is not None else None,
        options=replace(request.options, kept=kept),
    )


def write_evidence(
    home: Home,
    pairs_file: Path,
    out: Path,
    request: BulkRequest,
    *,
    workers: int | None = None,
    rows_a_chunk: int = _ROWS_A_CHUNK,
    progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Write the evidence for all pairs of a file, one row a row of the input, in its order.

    Columns (or fields of a JSON line): ``row`` (of the input, from 0), ``perturbation``, ``target``, ``cell_line`` as
    asked, ``release``, ``reason`` (null, or why a gene is not known), ``evidence`` (Parquet: JSON text; JSON lines:
    the object) and, with a template, ``prompt``.

    Args:
        home: Where the release is.
        pairs_file: See ``read_pairs``.
        out: ``.parquet``, ``.jsonl`` or ``.ndjson``.
        request: What is asked.
        workers: Processes; by default one a core.
        rows_a_chunk: Rows of a part.
        progress: Told after each part.

    Returns:
        Counts: ``pairs``, ``unresolved`` (rows with a gene that is not known), ``resumed`` (rows that an earlier run
        had ready), ``seconds``, and ``release``.

    Raises:
        InputFileError: The pairs cannot be read.
        UsageError: An unknown suffix, or a prompt that cannot fit the budget.
    """
    started = time.perf_counter()
    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: evidence is written as {', '.join(SUFFIXES)}; give one of these suffixes")
    release = find_release(home, request.release) if request.release else require_published(home).release
    request = replace(request, release=release)
    pairs = read_pairs(pairs_file)
    make_snapshot(home, release)  # once, before the workers ask for it
    parts = out.with_name(f"{out.name}.parts-{_inputs_hash(home, pairs_file, out, request, rows_a_chunk)}")
    parts.mkdir(parents=True, exist_ok=True)
    job = _Job(home.path, request, parts, out.suffix)
    chunks = [pairs.slice(start, rows_a_chunk) for start in range(0, pairs.height, rows_a_chunk)]
    missing = [number for number, chunk in enumerate(chunks) if not job.is_ready(number, chunk.height)]
    resumed = pairs.height - sum(chunks[number].height for number in missing)
    done = resumed
    for made in _run(job, [(number, chunks[number]) for number in missing], workers):
        done += sum(chunks[number].height for number in made)
        rate = (done - resumed) / (time.perf_counter() - started)
        progress(Progress(done, pairs.height, rate, (pairs.height - done) / rate if rate else None))
    unresolved = _join(job, len(chunks), out)
    shutil.rmtree(parts)
    return {
        "pairs": pairs.height,
        "unresolved": unresolved,
        "resumed": resumed,
        "seconds": round(time.perf_counter() - started, 2),
        "release": release,
    }


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker needs to know."""

    home: Path
    request: BulkRequest
    parts: Path
    suffix: str

    def part(self, number: int) -> Path:
        return self.parts / f"{number:06d}{self.suffix}"

    def is_ready(self, number: int, rows: int) -> bool:
        """Tell whether a part is there; a renamed part is complete, unless a disk lost it."""
        path = self.part(number)
        if not path.exists():
            return False
        if self.suffix != ".parquet":
            with path.open("rb") as stream:
                return sum(1 for _ in stream) == rows
        try:
            return int(pa.parquet.read_metadata(path).num_rows) == rows
        except (pa.ArrowException, OSError):
            return False


def _inputs_hash(home: Home, pairs_file: Path, out: Path, request: BulkRequest, rows_a_chunk: int) -> str:
    paths = request.options.paths
    said = {
        "version": EVIDENCE_VERSION,
        "pairs": [pairs_file.name, file_sha256(pairs_file)],
        "request": {**asdict(replace(request, options=EvidenceOptions())), "options": None},
        "paths": [paths.definition.id, paths.k, paths.slack, paths.max_hops],
        "cases": request.options.cases,
        "files": [file_sha256(Path(name)) for name in request.withhold if Path(name).is_file()],
        "texts": file_sha256(request.texts) if request.texts and request.texts.is_file() else None,
        "template": read_template(request.template) if request.template is not None else None,
        "tokenizer": file_sha256(request.tokenizer) if request.tokenizer and request.tokenizer.is_file() else None,
        "outcomes": request.outcomes,
        "embeddings": [one.digest for one in list_vector_sets(home)],
        "rows a chunk": rows_a_chunk,
        "suffix": out.suffix,
        "home": str(home.path),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _turns(chunks: Chunks, workers: int) -> Iterator[Chunks]:
    """Yield what a worker does at a time: several parts, whose paths are searched together, and fewer near the end."""
    done = 0
    while done < len(chunks):
        size = min(_MOST_PARTS, max(1, (len(chunks) - done) // (3 * workers)))
        yield chunks[done : done + size]
        done += size


def _run(job: _Job, chunks: Chunks, workers: int | None) -> Iterator[list[int]]:
    """Make the parts of the chunks; yield the numbers of those that are ready."""
    wanted = min(workers or cores(), len(chunks))
    if wanted <= 1:
        if chunks:
            store = open_store(Home(job.home), job.request)
        for turn in _turns(chunks, 1):
            _make_parts(store, job, [(number, _rows(chunk)) for number, chunk in turn])
            yield [number for number, _ in turn]
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(wanted, context, initializer=_open_worker, initargs=(job,))
    try:
        waiting = _turns(chunks, wanted)
        running: set[Future[list[int]]] = set()
        while True:
            while len(running) < 2 * wanted and (taken := next(waiting, None)) is not None:
                running.add(pool.submit(_work, [(number, _rows(chunk)) for number, chunk in taken]))
            if not running:
                return
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            yield [number for future in ready for number in future.result()]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _rows(chunk: pl.DataFrame) -> Rows:
    return list(chunk.select("row", "perturbation", "target", "cell_line").iter_rows())


_worker: dict[str, Any] = {}
"""The store and job of this worker process."""


def _open_worker(job: _Job) -> None:
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    _worker["job"], _worker["store"] = job, open_store(Home(job.home), job.request)
    gc.freeze()  # the store stays; looking through it again and again for garbage took a tenth of the time
    gc.set_threshold(_GARBAGE_CHECK)


def end_with_parent(parent: int) -> None:
    """End a worker whose parent was killed: nobody waits for it any more."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_SECONDS)
    os._exit(1)


def _work(parts: list[tuple[int, Rows]]) -> list[int]:
    _make_parts(_worker["store"], _worker["job"], parts)
    return [number for number, _ in parts]


def _make_parts(store: EvidenceStore, job: _Job, parts: list[tuple[int, Rows]]) -> None:
    asked = (Pair(perturbation, target, line) for _, rows in parts for _, perturbation, target, line in rows)
    found = store.many_encoded(asked) if job.request.template is None else store.many(asked)
    for number, rows in parts:
        _make_part(job, number, rows, itertools.islice(found, len(rows)))
        gc.collect()  # the Parquet writer leaves a part's buffers in a cycle


def _make_part(job: _Job, number: int, rows: Rows, found: Iterable[Evidence]) -> None:
    answers = zip(rows, found, strict=True)
    path = job.part(number)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    if job.suffix == ".parquet":
        _write_parquet(partial, answers, job.request)
    else:
        _write_lines(partial, answers, job.request)
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.rename(path)


def _write_parquet(path: Path, answers: Iterable[tuple[tuple[Any, ...], Evidence]], request: BulkRequest) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in _schema(request).names}
    for row, evidence in answers:
        for name, value in zip(_SCHEMA.names, (*row, evidence.release, _reason(evidence)), strict=False):
            columns[name].append(value)
        columns["evidence"].append(to_json(evidence))
        if request.template is not None:
            columns["prompt"].append(_prompt(row, evidence, request))
    columns["evidence"] = pa.array(columns["evidence"], type=pa.binary()).cast(pa.string())
    with _writer(path, request, "lz4") as writer:  # read once, when parts are joined
        writer.write_table(pa.table(columns, schema=_schema(request)))


def _schema(request: BulkRequest) -> pa.Schema:
    return _SCHEMA if request.template is None else _SCHEMA.append(pa.field("prompt", pa.string()))


def _writer(path: Path, request: BulkRequest, compression: str = "zstd") -> pa.parquet.ParquetWriter:
    small = ["perturbation", "target", "cell_line", "release", "reason"]
    level = 1 if compression == "zstd" else None
    return pa.parquet.ParquetWriter(
        path,
        _schema(request),
        compression=compression,
        compression_level=level,
        use_dictionary=small,
        write_statistics=["row"],
    )


def _write_lines(path: Path, answers: Iterable[tuple[tuple[Any, ...], Evidence]], request: BulkRequest) -> None:
    encoder = msgspec.json.Encoder()
    with path.open("wb") as stream:
        for row, evidence in answers:
            line: dict[str, Any] = dict(zip(("row", "perturbation", "target", "cell_line"), row, strict=True))
            line |= {"release": evidence.release, "reason": _reason(evidence), "evidence": evidence}
            if request.template is not None:
                line["prompt"] = _prompt(row, evidence, request)
            stream.write(encoder.encode(line) + b"\n")


def _reason(evidence: Evidence) -> str | None:
    """Return why a gene is not known, or None where both are."""
    asked = (("perturbation", evidence.query.perturbation_id), ("target", evidence.query.target_id))
    missing = [role for role, gene in asked if gene is None]
    said = [f"{flag.about}: {flag.message}" for flag in evidence.coverage if flag.about in missing]
    return "; ".join(said) or None


def _prompt(row: tuple[Any, ...], evidence: Evidence, request: BulkRequest) -> str:
    assert request.template is not None
    count = open_counter(request.tokenizer)
    try:
        return render(
            evidence, request.template, budget=request.budget, count=count, multimodal=request.multimodal
        ).text
    except UsageError as error:
        raise UsageError(f"row {row[0]}: {error}") from error


def _join(job: _Job, parts: int, out: Path) -> int:
    """Join the parts in order and rename the result into place; return how many rows have a reason."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        unresolved = (
            _join_parquet(job, parts, partial) if out.suffix == ".parquet" else _join_lines(job, parts, partial)
        )
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputFileError(f"cannot be written ({error.strerror})", file=out) from error
    return unresolved


def _join_parquet(job: _Job, parts: int, partial: Path) -> int:
    unresolved = 0
    with _writer(partial, job.request) as writer:
        for number in range(parts):
            table = pa.parquet.read_table(job.part(number), schema=_schema(job.request))
            unresolved += table.num_rows - table["reason"].null_count
            writer.write_table(table)
    return unresolved


def _join_lines(job: _Job, parts: int, partial: Path) -> int:
    unresolved = 0
    with partial.open("wb") as whole:
        for number in range(parts):
            with job.part(number).open("rb") as stream:
                for line in stream:
                    whole.write(line)
                    unresolved += msgspec.json.decode(line, type=_Reason).reason is not None
    return unresolved


class _Reason(msgspec.Struct):
    """The one field of a line that is counted."""

    reason: str | None


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
