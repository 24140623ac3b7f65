"""Template traces of a whole data set: in parts, by several processes, resumable, the same bytes whoever wrote them."""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from aroma.errors import InputFileError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published, write_durably
from aroma.kgstore.releases import find_release
from aroma.kgstore.tables import write_parquet
from aroma.model.traces.choosing import Choice
from aroma.model.traces.data_set import Facts, check_target, licences_of
from aroma.model.traces.rows import TEMPLATE, frame_of, read_traces, write_traces
from aroma.model.traces.saving import save_data_set
from aroma.model.traces.telling import PromptSettings, tell, template_row
from aroma.model.traces.writer import EVERYTHING, cited_by
from aroma.retrieval.bulk_evidence import Progress, cores, end_with_parent
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.evidence_model import Licence
from aroma.retrieval.snapshot import make_snapshot

_ROWS_A_PART: Final = 4_000
_GARBAGE_CHECK: Final = 100_000


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What is written.

    Attributes:
        prompt: The prompt beside each trace.
        cite_everything: Cite all evidence; else only what the prompt's template shows, so that a trace says nothing
            that the model which learns from it could not have read.
        name: Of the data set.
    """

    prompt: PromptSettings = field(default_factory=PromptSettings)
    cite_everything: bool = False
    name: str = "perturbation traces"

    @property
    def cite(self) -> frozenset[str]:
        """What a trace may cite."""
        return EVERYTHING if self.cite_everything else cited_by(self.prompt.template)


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker needs: plain values and files."""

    home: Path
    release: str
    parts: Path
    options: WriteOptions

    @property
    def training(self) -> Path:
        return self.parts / "training.parquet"

    def part(self, number: int) -> Path:
        return self.parts / f"{number:06d}.parquet"

    def is_ready(self, number: int, rows: int) -> bool:
        path = self.part(number)
        try:
            return path.with_suffix(".json").exists() and read_traces(path).height == rows
        except InputFileError:
            return False


def write_template_traces(
    home: Home,
    choice: Choice,
    out: Path,
    *,
    outcomes: str,
    reserve: int,
    release: str | None = None,
    options: WriteOptions | None = None,
    workers: int | None = None,
    rows_a_part: int = _ROWS_A_PART,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Facts:
    """Write a data set of template traces.

    Each part is renamed into place when it is whole, so a run that was killed goes on where it stopped.

    Args:
        home: Where the release is.
        choice: The rows.
        out: Directory of the data set; must not exist.
        outcomes: What to call the measured outcomes.
        reserve: Rows of each line that were asked for the second stage.
        release: Release, or None for the published one.
        options: What is written.
        workers: Processes; by default one a core, and one where there is one part.
        rows_a_part: Rows of a part.
        progress: Told after each part.

    Raises:
        UsageError: Something is at ``out``, or there is no such template.
        ReleaseError: No such release, or the disk is full.
    """
    check_target(out)
    known = find_release(home, release) if release else require_published(home).release
    options = options or WriteOptions()
    parts = out.with_name(
        f"{out.name}.parts-{_hash(home, known, choice, options, rows_a_part)}"
    )  # a template that is not there is said here
    parts.mkdir(parents=True, exist_ok=True)
    job = _Job(home.path, known, parts, options)
    make_snapshot(home, known)
    chunks = [choice.rows.slice(start, rows_a_part) for start in range(0, choice.rows.height, rows_a_part)]
    missing = [number for number, chunk in enumerate(chunks) if not job.is_ready(number, chunk.height)]
    if missing and not job.training.exists():
        _write_whole(job.training, choice.fold.training)
    done = resumed = choice.rows.height - sum(chunks[number].height for number in missing)
    started = time.perf_counter()
    for number in _run(job, [(number, chunks[number]) for number in missing], workers):
        done += chunks[number].height
        rate = (done - resumed) / (time.perf_counter() - started)
        progress(Progress(done, choice.rows.height, rate, (choice.rows.height - done) / rate))
    facts = _facts(job, choice, outcomes, reserve, len(chunks))
    whole = parts / "whole.parquet"
    pl.scan_parquet([job.part(number) for number in range(len(chunks))]).sink_parquet(whole, compression="zstd")
    made = save_data_set(out, whole, facts)
    shutil.rmtree(parts)
    return made


def _facts(job: _Job, choice: Choice, outcomes: str, reserve: int, parts: int) -> Facts:
    said = [msgspec.json.decode(job.part(number).with_suffix(".json").read_bytes(), type=list[Licence])
            for number in range(parts)]  # fmt: skip
    prompt = job.options.prompt
    return Facts(
        name=job.options.name,
        release=job.release,
        outcomes=outcomes,
        split=choice.fold.name,
        split_asked=choice.split,
        fold=choice.number,
        seed=choice.seed,
        reserve=reserve,
        template=prompt.template,
        budget=prompt.budget,
        multimodal=prompt.multimodal,
        kinds=(TEMPLATE,),
        writers=(TEMPLATE,),
        licences=licences_of(said),
        notes=(
            "The reasoning was written by a template from the evidence; no language model and no person wrote it.",
            *choice.notes,
        ),
        steps=({"step": "write", "cited": sorted(job.options.cite)},),
    )


def _hash(home: Home, release: str, choice: Choice, options: WriteOptions, rows_a_part: int) -> str:
    said = {
        "home": str(home.path),
        "release": release,
        "rows": hashlib.sha256(choice.rows.write_csv().encode()).hexdigest(),
        "training": hashlib.sha256(choice.fold.training.write_csv().encode()).hexdigest(),
        "options": {**asdict(options), "cite": sorted(options.cite)},
        "rows a part": rows_a_part,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def _run(job: _Job, chunks: list[tuple[int, pl.DataFrame]], workers: int | None) -> Iterator[int]:
    wanted = min(workers or cores(), len(chunks))
    if wanted <= 1:
        store = _open(job) if chunks else None
        for number, rows in chunks:
            assert store is not None
            _write_part(store, job, number, rows)
            yield number
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(wanted, context, initializer=_open_worker, initargs=(job,))
    try:
        for future in as_completed([pool.submit(_work, number, rows) for number, rows in chunks]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: dict[str, Any] = {}
"""The store and job of this worker process."""


def _open(job: _Job) -> EvidenceStore:
    return EvidenceStore(Home(job.home), job.release, outcomes=pl.read_parquet(job.training))


def _open_worker(job: _Job) -> None:
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    _worker["job"], _worker["store"] = job, _open(job)
    gc.freeze()
    gc.set_threshold(_GARBAGE_CHECK)


def _work(number: int, rows: pl.DataFrame) -> int:
    _write_part(_worker["store"], _worker["job"], number, rows)
    return number


def _write_part(store: EvidenceStore, job: _Job, number: int, rows: pl.DataFrame) -> None:
    made, licences, cite = [], {}, job.options.cite
    for told in tell(store, rows, job.options.prompt):
        made.append(template_row(told, cite))
        licences.update({one.provider: one for one in told.evidence.licences})
    write_traces(job.part(number), frame_of(made))
    ordered = [msgspec.to_builtins(licences[name]) for name in sorted(licences)]
    write_durably(job.part(number).with_suffix(".json"), json.dumps(ordered))


def _write_whole(path: Path, frame: pl.DataFrame) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    write_parquet(frame, beside)
    beside.replace(path)
