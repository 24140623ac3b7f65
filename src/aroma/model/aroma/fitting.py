"""From training rows to a trained AROMA: rows of each stage, prompts, traces, the two stages."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl
import torch

from aroma.errors import ModelError
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.options import AromaOptions
from aroma.model.aroma.prompting import Prompter, PromptRow, without_retrieval
from aroma.model.aroma.settings import NO_TRACES, TEMPLATE_TRACES, is_tiny, sizes_of, stages_of, traces_of
from aroma.model.aroma.shuffled import ShuffledBank
from aroma.model.aroma.storage import load_aroma, read_body
from aroma.model.aroma.training.options import GrpoOptions, SftOptions, StageResult, TrainingRow
from aroma.model.aroma.training.processes import processes
from aroma.model.ground import Ground
from aroma.model.plugin import Progress, Training
from aroma.model.splits import Fold
from aroma.model.traces.answers import completion
from aroma.model.traces.choosing import choose_rows, refuse_leaks
from aroma.model.traces.rows import STAGE_1, STAGE_2, read_traces
from aroma.model.traces.writer import cited_by, write_trace
from aroma.retrieval.evidence import EvidenceStore, Pair
from aroma.retrieval.evidence_model import Evidence
from aroma.retrieval.prompts import render

SAVED: Final = "aroma"
"""Directory of the language model in that of the plug-in."""
TAUGHT: Final = "taught.parquet"
"""In that of the plug-in: which rows the first stage learned from, so that a second one begun later leaves them out."""
_KEY: Final = ("cell_line", "perturbation", "target")
_TEXTS: Final = 200


@dataclass
class Fitted:
    """What a fit made.

    Attributes:
        aroma: The model.
        bank: Vectors of the genes.
        store: Evidence that sees the training outcomes.
        used: Rows of each stage, and rows that were left out with the number by reason.
        curves: Lines of the stages' ``metrics.jsonl``, with ``stage``.
        notes: What a user should know.
        taught: Rows of the first stage (``cell_line``, ``perturbation``, ``target``).
    """

    aroma: Aroma
    bank: ModalityBank
    store: EvidenceStore
    used: dict[str, Any] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    taught: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=dict.fromkeys(_KEY, pl.String)))


@contextmanager
def threads_for(settings: Mapping[str, Any]) -> Iterator[None]:
    """Compute a tiny base with one thread: more bring nothing at its size, and cost much beside other work."""
    before = torch.get_num_threads()
    if is_tiny(settings):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def open_evidence(ground: Ground, training_rows: pl.DataFrame) -> EvidenceStore:
    """Return the evidence that sees the training outcomes and no other.

    A row's own outcome is never in its evidence (``Contrast``), so a training row looks like one that is asked.
    """
    seen = training_rows.with_columns(split=pl.lit("train"))
    return EvidenceStore(ground.home, ground.release, outcomes=seen)


def fit_aroma(training: Training, ground: Ground, options: AromaOptions, progress: Progress) -> Fitted:
    """Return a model trained in the stages that the settings name.

    Args:
        training: Rows and settings (``settings.DEFAULTS``).
        ground: The release.
        options: Of a new model; one that ``start`` names keeps its own.
        progress: Told what is being done.

    Raises:
        ModelError: No row can be trained on, or a stage cannot go on.
        UsageError: A setting that does not fit.
    """
    settings = sizes_of(training.parameters)
    store = open_evidence(ground, training.rows)
    staged = choose_rows(
        training.rows.with_columns(split=pl.lit("train")),
        split="all", seed=training.seed, reserve=int(settings["reserve"]),
    )  # fmt: skip
    progress("opening the language model", 0.02)
    processes()  # where accelerate started several, each takes its GPU before the model is made
    aroma, bank = _model(settings, ground, options, store, staged.rows)
    found = Fitted(aroma, bank, store, notes=list(staged.notes), taught=_taught_before(settings))
    prompter = Prompter(store, aroma.tokenizer, aroma.options, context=aroma.context)
    stages = stages_of(settings)
    with _work_directory(settings, training, aroma) as directory:
        if "sft" in stages:
            own = staged.rows if trace_file(settings) else _sample(staged.rows, STAGE_1, int(settings["rows"]))
            told = _sft_rows(prompter, own, settings, found)
            _sft(found, told, settings, training.seed, directory / "sft", _part(progress, 0.05, 0.6))
        if "grpo" in stages:
            left = _sample(_second_stage(staged.rows, settings, found), STAGE_2, int(settings["grpo_rows"]))
            _grpo(found, prompter, left, settings, training.seed, directory / "grpo", _part(progress, 0.6, 0.9))
    return found


def trace_file(settings: Mapping[str, Any]) -> Path | None:
    """Return the file that the first stage's reasoning comes from, or None where it comes from none."""
    said = traces_of(settings)
    return None if said in (TEMPLATE_TRACES, NO_TRACES) else Path(said)


def refuse_foreign_traces(training: Training) -> None:
    """Refuse a file of traces of which one is of no training row, as it may be of a test row.

    The member of an ensemble is given a part of the training rows; traces of the others are not looked at.

    Raises:
        UsageError: A trace of another row, or of another label than measured; the first is named.
    """
    path = trace_file(training.parameters)
    if path is None:
        return
    traces = read_traces(path, kept=True)
    if training.part:
        traces = traces.join(training.rows, on=_KEY, how="semi", maintain_order="left")
    refuse_leaks(traces, Fold(training.split, "", training.rows, training.rows.clear()), path)


def _second_stage(staged: pl.DataFrame, settings: Mapping[str, Any], found: Fitted) -> pl.DataFrame:
    """Return the rows with those marked ``grpo`` that stage 2 may learn from: none that stage 1 learned from.

    Where a file of traces names rows that it keeps for the second stage, it is these; else the reserve.
    """
    path = trace_file(settings)
    named = read_traces(path).filter(pl.col("split") == STAGE_2) if path else None
    if named is not None and named.height:
        staged = staged.join(named, on=_KEY, how="semi", maintain_order="left")
        staged = staged.with_columns(split=pl.lit(STAGE_2))
    return staged.join(found.taught, on=_KEY, how="anti", maintain_order="left")


def _taught_before(settings: Mapping[str, Any]) -> pl.DataFrame:
    """Return the rows that the model which this training goes on from has learned from in its first stage."""
    file = Path(str(settings["start"])) / TAUGHT
    if settings["start"] and file.is_file():
        return pl.read_parquet(file)
    return pl.DataFrame(schema=dict.fromkeys(_KEY, pl.String))


def shown_bank(bank: ModalityBank, ground: Ground, settings: Mapping[str, Any]) -> Any:
    """Return the bank that a model reads: with ``shuffle``, one in which genes have one another's vectors."""
    return ShuffledBank(bank, ground) if settings["shuffle"] else bank


def _model(
    settings: Mapping[str, Any], ground: Ground, options: AromaOptions, store: EvidenceStore, rows: pl.DataFrame
) -> tuple[Aroma, ModalityBank]:
    if settings["start"]:
        start = Path(str(settings["start"]))
        loaded = load_aroma(start / SAVED, ground, device=str(settings["device"]), trainable=True)
        return loaded.aroma, shown_bank(loaded.bank, ground, settings)
    bank = ModalityBank.open(ground, options)
    texts = _texts(store, rows, options) if is_tiny(settings) else ()
    return Aroma.make(options, bank, texts_for_tiny_tokenizer=texts), shown_bank(bank, ground, settings)


def _texts(store: EvidenceStore, rows: pl.DataFrame, options: AromaOptions) -> list[str]:
    """Return prompts and traces of some rows, from which a tiny tokenizer learns its words."""
    some = rows.gather_every(max(rows.height // _TEXTS, 1)).select("perturbation", "target", "cell_line", "label")
    pairs = [(Pair(*names), label) for *names, label in some.iter_rows() if all(names)]
    found = []
    for (_, label), evidence in zip(pairs, store.many(pair for pair, _ in pairs), strict=True):
        shown = evidence if options.retrieval else without_retrieval(evidence)
        found += [render(shown, options.template).text, write_trace(shown, label)]
    return found


def _sample(rows: pl.DataFrame, stage: str, most: int) -> pl.DataFrame:
    """Return the rows of a stage, at most so many (0: all), spread evenly over lines and perturbations."""
    own = rows.filter(pl.col("split") == stage)
    if not most or own.height <= most:
        return own
    drawn = pl.struct(_KEY).hash(seed=1)
    return own.sort(drawn).head(most).sort(_KEY)


def _sft_rows(prompter: Prompter, rows: pl.DataFrame, settings: Mapping[str, Any], found: Fitted) -> list[TrainingRow]:
    """Return prompts with what is to be written after them; rows that cannot be one are counted by reason."""
    path = trace_file(settings)
    reasonings = None if path is None else _of_file(path, rows, found)
    if reasonings is not None:
        rows = rows.join(pl.DataFrame(list(reasonings), schema=list(_KEY), orient="row"), on=_KEY, how="semi")
    cite = cited_by(prompter.options.template) if prompter.options.retrieval else frozenset[str]()
    made: list[TrainingRow] = []
    for row, evidence in _told(prompter, rows):
        prompt = prompter.row({name: row[name] for name in _ROW}, evidence)
        if prompt.problem is not None:
            _left_out(found, prompt.problem.removeprefix(prompt.name).lstrip(": "))
            continue
        label = int(row["label"])
        if reasonings is not None:
            texts = reasonings[_key_of(row)]
        else:
            texts = [write_trace(evidence, label, cite=cite)] if traces_of(settings) == TEMPLATE_TRACES else []
        texts = [*texts, *([""] if settings["direct"] or not texts else [])]
        made += [TrainingRow(prompt, completion(text, label), label) for text in texts]
    learned = sorted({(row.prompt.cell_line, row.prompt.perturbation, row.prompt.target) for row in made})
    found.used["sft"] = len(learned)
    taught = pl.DataFrame(learned, schema=found.taught.schema, orient="row")
    found.taught = pl.concat([found.taught, taught]).unique().sort(_KEY)  # a first stage may go on from another one
    if not made:
        raise ModelError(f"no row can be trained on: {found.used.get('left_out', 'there is none')}; look at the traces")
    return made


_ROW: Final = ("cell_line", "perturbation", "target", "perturbation_gene", "target_gene")


def _told(prompter: Prompter, rows: pl.DataFrame) -> Iterator[tuple[dict[str, Any], Evidence]]:
    """Yield rows with their evidence."""
    asked = list(rows.iter_rows(named=True))
    pairs = (Pair(row["perturbation"], row["target"], row["cell_line"]) for row in asked)
    yield from zip(asked, prompter.store.many(pairs), strict=True)


def _of_file(path: Path, rows: pl.DataFrame, found: Fitted) -> dict[tuple[str, ...], list[str]]:
    """Return the reasoning of kept traces by row; those of rows that are kept from this fit are counted."""
    kept = read_traces(path, kept=True).filter(pl.col("split") == STAGE_1)
    of_rows = kept.join(rows, on=_KEY, how="semi", maintain_order="left")
    _left_out(found, "trace of a row that is kept for calibration", kept.height - of_rows.height)
    texts: dict[tuple[str, ...], list[str]] = {}
    for row in of_rows.iter_rows(named=True):
        texts.setdefault(_key_of(row), []).append(row["reasoning"])
    if not texts:
        raise ModelError(
            f"{path}: of {kept.height:,} kept traces of the first stage none is of a row that is trained on; make "
            "traces of more rows (aroma traces)"
        )
    return texts


def _key_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in _KEY)


def _left_out(found: Fitted, why: str, count: int = 1) -> None:
    if count:
        told = found.used.setdefault("left_out", {})
        told[why] = told.get(why, 0) + count


def _sft(
    found: Fitted, rows: Sequence[TrainingRow], settings: Mapping[str, Any], seed: int, place: Path, progress: Progress
) -> None:
    from aroma.model.aroma.training.sft import train_sft

    options = SftOptions(
        epochs=int(settings["epochs"]),
        rate=float(settings["rate"]),
        rows_per_step=int(settings["rows_per_step"]),
        tokens_per_batch=int(settings["tokens_per_batch"]),
        precision=str(settings["dtype"]),
        train_base=is_tiny(settings) and bool(settings["train_base"]),
        validation_share=0.0 if is_tiny(settings) else 0.05,
        gradient_checkpointing=not is_tiny(settings),
        seed=seed,
    )
    _remember(found, "sft", train_sft(found.aroma, rows, found.bank, options, place, progress))


def _grpo(
    found: Fitted, prompter: Prompter, rows: pl.DataFrame, settings: Mapping[str, Any], seed: int, place: Path,
    progress: Progress,
) -> None:  # fmt: skip
    from aroma.model.aroma.training.grpo import train_grpo

    asked: list[tuple[PromptRow, int]] = []
    for prompt, label in zip(prompter.rows(rows), rows["label"].to_list(), strict=True):
        if prompt.problem is None:
            asked.append((prompt, int(label)))
        else:
            _left_out(found, prompt.problem.removeprefix(prompt.name).lstrip(": "))
    if not asked:
        raise ModelError("no row is left for stage 2; lower the setting reserve, or give more outcomes")
    options = GrpoOptions(
        epochs=int(settings["grpo_epochs"]),
        rate=float(settings["grpo_rate"]),
        prompts_per_step=int(settings["prompts_per_step"]),
        samples=int(settings["samples"]),
        max_new_tokens=int(settings["max_new_tokens"]),
        tokens_per_batch=int(settings["tokens_per_batch"]),
        precision=str(settings["dtype"]),
        train_base=is_tiny(settings) and bool(settings["train_base"]),
        train_interaction=is_tiny(settings),
        gradient_checkpointing=not is_tiny(settings),
        seed=seed,
    )
    found.used["grpo"] = len(asked)
    _remember(found, "grpo", train_grpo(found.aroma, asked, found.bank, options, place, progress))


def _remember(found: Fitted, stage: str, result: StageResult) -> None:
    from aroma.model.aroma.training.metrics import read_lines

    found.curves += [{"stage": stage, **line} for line in read_lines(result.metrics)]
    found.notes += result.notes
    found.used[f"{stage}_best_step"] = result.best_step


@contextmanager
def _work_directory(settings: Mapping[str, Any], training: Training, aroma: Aroma) -> Iterator[Path]:
    """Give a place for checkpoints and curves: the one set, in which a killed training goes on, or one that goes."""
    if not settings["directory"]:
        with tempfile.TemporaryDirectory(prefix="aroma-training-") as temporary:
            yield Path(temporary)
        return
    said = {name: value for name, value in settings.items() if name not in _NO_MATTER}
    rows = hashlib.sha256(training.rows.write_csv().encode()).hexdigest()
    start = read_body(Path(str(settings["start"])) / SAVED)["files"] if settings["start"] else None
    options = {name: value for name, value in aroma.options.as_json().items() if name != "device"}
    facts = [said, rows, training.seed, start, options]
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    place = Path(str(settings["directory"])) / name
    place.mkdir(parents=True, exist_ok=True)
    yield place


_NO_MATTER: Final = ("directory", "device", "batch_tokens", "reasoning", "votes", "calibration_rows")


def _part(progress: Progress, start: float, end: float) -> Callable[[str, float], None]:
    def tell(what: str, share: float) -> None:
        progress(what, start + (end - start) * share)

    return tell
