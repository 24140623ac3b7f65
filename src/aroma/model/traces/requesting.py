"""Traces from an endpoint: estimated, asked side by side, written down one by one, and made a data set.

The directory of the data set holds the journal of the run as well. Asked again with the same settings, a run asks only
for what is missing, whatever ended the one before.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from aroma.errors import AromaError, InputFileError, ServerAnswerError, UsageError
from aroma.kgstore.publications import write_durably
from aroma.model.traces.answers import parse
from aroma.model.traces.choosing import Choice
from aroma.model.traces.data_set import Facts, licences_of
from aroma.model.traces.endpoint import Answered, Endpoint, Message, Sampling, ask, open_client
from aroma.model.traces.filters import agreement
from aroma.model.traces.instructions import BLIND, INFORMED, make_messages
from aroma.model.traces.journal import Entry, Journal
from aroma.model.traces.rows import TraceRow, frame_of
from aroma.model.traces.saving import save_data_set
from aroma.model.traces.spending import Estimate, Prices, Purse
from aroma.model.traces.telling import PromptSettings, Told, tell
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.prompts import estimate_tokens

JOURNAL: Final = "requests.jsonl"
RUN: Final = "run.json"
_ROWS_AT_ONCE: Final = 64
_ESTIMATED: Final = 200
_MOST_SILENT: Final = 20
"""So many questions in a row without an answer end a run: the endpoint is not there."""
_KEY: Final = ("cell_line", "perturbation", "target")


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What is asked, and how.

    Attributes:
        mode: ``informed`` or ``blind``.
        instruction: Text of the instruction's template (``instructions.instruction_text``).
        samples: Traces asked a row.
        until_good: Ask a row's next sample only while none of the former reached the measured outcome.
        concurrency: Questions under way at one time.
        prompt: The prompt beside each trace; the question shows the same evidence, without placeholders.
        sampling: How the model is to write.
        prices: Of tokens.
        most_cost: Most to be spent on this data set, earlier runs included; None for no limit.
        again: Ask again for answers that were no good trace.
        expected_tokens: Length of an answer, for the estimate.
        name: Of the data set.
    """

    mode: str
    instruction: str
    samples: int = 1
    until_good: bool = False
    concurrency: int = 8
    prompt: PromptSettings = field(default_factory=PromptSettings)
    sampling: Sampling = field(default_factory=Sampling)
    prices: Prices = field(default_factory=Prices)
    most_cost: float | None = None
    again: bool = False
    expected_tokens: int = 400
    name: str = "perturbation traces"

    def __post_init__(self) -> None:
        if self.samples < 1 or self.concurrency < 1:
            raise UsageError(f"{self.samples} samples, {self.concurrency} at one time: expected 1 or more of both")
        if self.most_cost is not None and not (self.prices.per_million_in or self.prices.per_million_out):
            raise UsageError(
                "a spending limit needs prices: give --price-in and --price-out, or set AROMA_LLM_PRICE_IN"
            )


@dataclass(frozen=True, slots=True)
class Asked:
    """How a run ended.

    Attributes:
        facts: Of the data set as it is now.
        asked: Questions asked by this run.
        missing: Questions that are still to be asked.
        stopped: Why it ended before the last question, or None.
        tokens_in: Of this data set, all runs.
        tokens_out: Of this data set, all runs.
        cost: Of this data set, all runs.
    """

    facts: Facts
    asked: int
    missing: int
    stopped: str | None
    tokens_in: int
    tokens_out: int
    cost: float


class TraceRequests:
    """A run of questions for one data set.

    Args:
        store: The evidence (``telling.open_evidence``).
        choice: The rows.
        out: Directory of the data set.
        endpoint: Where to ask.
        options: What is asked.

    Raises:
        UsageError: ``out`` belongs to a run with other settings.
    """

    def __init__(
        self, store: EvidenceStore, choice: Choice, out: Path, endpoint: Endpoint, options: RequestOptions
    ) -> None:
        self._store, self._choice, self.out = store, choice, out
        self._endpoint, self._options = endpoint, options
        self._check()

    def _identity(self) -> dict[str, Any]:
        options = self._options
        return {
            "mode": options.mode,
            "model": self._endpoint.model,
            "instruction": hashlib.sha256(options.instruction.encode()).hexdigest()[:16],
            "prompt": asdict(options.prompt),
            "sampling": asdict(options.sampling),
            "release": self._store.snapshot.release,
            "split": self._choice.fold.name,
            "seed": self._choice.seed,
            "rows": hashlib.sha256(self._choice.rows.write_csv().encode()).hexdigest()[:16],
        }

    def _check(self) -> None:
        path = self.out / RUN
        if not path.exists():
            if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
                raise UsageError(f"--out {self.out}: something is there already; choose another name or remove it")
            return
        try:
            there = json.loads(path.read_text())
        except ValueError as error:
            raise InputFileError(f"cannot be read ({error})", file=path) from error
        mine = self._identity()
        if other := [name for name, value in mine.items() if there.get(name) != value]:
            raise UsageError(
                f"--out {self.out}: a run with another {', '.join(other)} is there ({there.get(other[0])!r}, now "
                f"{mine[other[0]]!r}); give its settings to go on with it, or choose another --out"
            )

    # --- what is missing ---------------------------------------------------------------------------------------

    def _samples(self, key: tuple[str, str, str], label: int, journal: Journal | None) -> list[int]:
        """Return which samples of a row are still to be asked."""
        entries = {} if journal is None else journal.entries
        known = {number: entries.get((*key, number)) for number in range(self._options.samples)}
        if self._options.until_good and any(one is not None and _is_good(one, label) for one in known.values()):
            return []
        return [number for number, entry in known.items() if entry is None or self._asked_again(entry)]

    def _asked_again(self, entry: Entry) -> bool:
        return not entry.answered or (self._options.again and entry.problem is not None)

    def _missing(self, journal: Journal | None) -> pl.DataFrame:
        """Return the rows with a question to be asked, with the samples of each (``samples``)."""
        rows = self._choice.rows
        keys = rows.select(*_KEY, "label").iter_rows()
        samples = [self._samples((line, one, other), label, journal) for line, one, other, label in keys]
        column = pl.Series("samples", samples, dtype=pl.List(pl.Int64))
        return rows.with_columns(column).filter(pl.col("samples").list.len() > 0)

    def _messages(self, told: Told) -> list[Message]:
        prompt = self._options.prompt
        return make_messages(told, self._options.instruction, self._options.mode, prompt.template, prompt.budget)

    def preview(self) -> tuple[Estimate, list[Message]]:
        """Return what a run would ask and cost, and its first question; nothing is sent or written.

        Raises:
            LockHeldError: The run is under way.
        """
        if (self.out / JOURNAL).exists():
            with Journal(self.out / JOURNAL) as journal:
                missing, answered = self._missing(journal), sum(one.answered for one in journal.entries.values())
        else:
            missing, answered = self._missing(None), 0
        size = min(_ESTIMATED, missing.height)
        sampled = missing.sample(size, seed=self._choice.seed) if size else missing
        asked = [self._messages(told) for told in tell(self._store, sampled, self._options.prompt) if not told.problem]
        each = sum(map(count_tokens, asked)) / max(len(asked), 1)
        questions = int(missing["samples"].list.len().sum())
        tokens_in, tokens_out = round(each * questions), self._options.expected_tokens * questions
        prices = self._options.prices
        most = prices.cost(tokens_in, self._options.sampling.most_tokens * questions)
        cost = prices.cost(tokens_in, tokens_out)
        return Estimate(questions, answered, tokens_in, tokens_out, cost, most, size), asked[0] if asked else []

    # --- asking ------------------------------------------------------------------------------------------------

    def run(self, progress: Callable[[int, int, float], None] = lambda *_: None) -> Asked:
        """Ask what is missing and write the data set of all that was answered.

        Args:
            progress: Told questions done, questions in all, and what was spent, after each.

        Raises:
            ServerAnswerError: The endpoint refuses or answers nobody; what was answered is kept in the journal.
            LockHeldError: Another process is asking for the same data set.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        write_durably(self.out / RUN, json.dumps(self._identity(), indent=1))
        with Journal(self.out / JOURNAL) as journal:
            missing = self._missing(journal)
            asking = _Asking(self, journal, missing, progress)
            asyncio.run(asking.run())
            facts = self._finish(journal, asking.stopped)
            left = int(self._missing(journal)["samples"].list.len().sum())
            cost = self._options.prices.cost(journal.spent_in, journal.spent_out)
            return Asked(facts, asking.done, left, asking.stopped, journal.spent_in, journal.spent_out, cost)

    def _finish(self, journal: Journal, stopped: str | None) -> Facts:
        rows: list[TraceRow] = []
        licences = []
        answered = {key[:3] for key in journal.entries}
        wanted = self._choice.rows.filter(
            pl.Series([key in answered for key in self._choice.rows.select(_KEY).iter_rows()], dtype=pl.Boolean)
        )
        for told in tell(self._store, wanted, self._options.prompt):
            licences.append(told.evidence.licences)
            rows += self._rows(told, journal)
        options = self._options
        entries = journal.entries.values()
        facts = Facts(
            name=options.name,
            release=self._store.snapshot.release,
            outcomes=f"{self._choice.fold.training.height:,} training rows",
            split=self._choice.fold.name,
            split_asked=self._choice.split,
            fold=self._choice.number,
            seed=self._choice.seed,
            reserve=self._choice.rows.filter(pl.col("split") == "grpo").height,
            template=options.prompt.template,
            budget=options.prompt.budget,
            multimodal=options.prompt.multimodal,
            kinds=(options.mode,),
            writers=(self._endpoint.model,),
            licences=licences_of(licences),
            notes=(_NOTES[options.mode], *self._choice.notes, *([f"Not complete: {stopped}."] if stopped else [])),
        )
        counts = {
            "questions": len(entries),
            "unanswered": sum(not one.answered for one in entries),
            "no good trace": sum(one.problem is not None for one in entries),
            "tokens_in": journal.spent_in,
            "tokens_out": journal.spent_out,
        }
        facts = facts.after(
            "request", mode=options.mode, model=self._endpoint.model, **asdict(options.sampling), **counts
        )
        return save_data_set(self.out, frame_of(rows), facts)

    def _rows(self, told: Told, journal: Journal) -> list[TraceRow]:
        found, identifier = [], ""
        for number in range(self._options.samples):
            entry = journal.entries.get((told.cell_line, told.perturbation, told.target, number))
            if entry is None:
                continue
            parsed = parse(entry.text)
            reason = told.problem or entry.problem or agreement(parsed.answer, told.label)
            row = told.row(
                parsed.reasoning, parsed.answer, kind=self._options.mode, writer=self._endpoint.model, reason=reason,
                evidence=identifier,
            )  # fmt: skip
            identifier = row.evidence_id
            found.append(row)
        return found


_NOTES: Final = {
    INFORMED: "The writer was told the measured outcome and explained it; that it agrees with it proves nothing.",
    BLIND: "The writer was not told the measured outcome; traces that reached another are dropped.",
}


class _Asking:
    """The questions of one run, side by side."""

    def __init__(
        self, run: TraceRequests, journal: Journal, missing: pl.DataFrame, progress: Callable[[int, int, float], None]
    ) -> None:
        self._run, self._journal, self._rows, self._progress = run, journal, missing, progress
        options = run._options  # noqa: SLF001 - of one module
        self._options, self._endpoint = options, run._endpoint  # noqa: SLF001
        self._purse = Purse(options.prices, options.most_cost, journal.spent_in, journal.spent_out)
        self._total = int(missing["samples"].list.len().sum())
        self._silent = 0
        self.done = 0
        self.stopped: str | None = None

    async def run(self) -> None:
        """Ask everything, or until the purse is empty."""
        queue: asyncio.Queue[tuple[Told, list[int]] | None] = asyncio.Queue(2 * self._options.concurrency)
        try:
            async with open_client(self._endpoint, self._options.concurrency) as client, asyncio.TaskGroup() as group:
                group.create_task(self._produce(queue))
                for _ in range(self._options.concurrency):
                    group.create_task(self._work(client, queue))
        except BaseExceptionGroup as problems:
            known = problems.subgroup(AromaError)
            if known is None:
                raise
            raise known.exceptions[0] from None

    async def _produce(self, queue: asyncio.Queue[tuple[Told, list[int]] | None]) -> None:
        async for told, samples in self._told():
            if self.stopped:
                break
            await queue.put((told, samples))
        for _ in range(self._options.concurrency):
            await queue.put(None)

    async def _told(self) -> AsyncIterator[tuple[Told, list[int]]]:
        """Yield rows with their evidence; it is looked up in a thread, so that answers are not kept waiting."""
        store, prompt = self._run._store, self._options.prompt  # noqa: SLF001
        for start in range(0, self._rows.height, _ROWS_AT_ONCE):
            part = self._rows.slice(start, _ROWS_AT_ONCE)
            found = await asyncio.to_thread(_tell_all, store, part, prompt)
            for told, samples in zip(found, part["samples"].to_list(), strict=True):
                yield told, samples

    async def _work(self, client: Any, queue: asyncio.Queue[tuple[Told, list[int]] | None]) -> None:
        while (taken := await queue.get()) is not None:
            told, samples = taken
            for sample in samples:
                if self.stopped:
                    break
                entry = await self._one(client, told, sample)
                if entry is not None and self._options.until_good and _is_good(entry, told.label):
                    break

    async def _one(self, client: Any, told: Told, sample: int) -> Entry | None:
        if told.problem is not None:
            return self._write(told, sample, Answered("", told.problem, answered=True, attempts=0), 0, 0)
        messages = self._run._messages(told)  # noqa: SLF001
        tokens_in, most_out = count_tokens(messages), self._options.sampling.most_tokens
        held = self._purse.take(tokens_in, most_out)
        if held is None:
            self.stopped = f"the spending limit of {self._options.most_cost} is reached"
            return None
        found = await ask(client, self._endpoint, messages, self._options.sampling, sample)
        used = tokens_in if found.answered else 0
        counted = found.tokens_in if found.tokens_in is not None else used
        written = found.tokens_out if found.tokens_out is not None else estimate_tokens(found.text)
        self._purse.pay(held, counted, written)
        entry = self._write(told, sample, found, counted, written)
        self._silent = 0 if found.answered else self._silent + 1
        if self._silent >= _MOST_SILENT:
            raise ServerAnswerError(
                f"{self._endpoint.url}: {self._silent} questions in a row got no answer, the last one {found.problem}; "
                "what was answered is kept; run the command again to go on"
            )
        return entry

    def _write(self, told: Told, sample: int, found: Answered, tokens_in: int, tokens_out: int) -> Entry:
        entry = Entry(
            cell_line=told.cell_line,
            perturbation=told.perturbation,
            target=told.target,
            sample=sample,
            text=found.text,
            problem=found.problem,
            answered=found.answered,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            attempts=found.attempts,
        )
        self._journal.append(entry)
        self.done += 1
        self._progress(self.done, self._total, self._purse.spent)
        return entry


def _tell_all(store: EvidenceStore, rows: pl.DataFrame, prompt: PromptSettings) -> list[Told]:
    return list(tell(store, rows, prompt))


def count_tokens(messages: list[Message]) -> int:
    """Return roughly how many tokens a conversation has."""
    return sum(estimate_tokens(message["content"]) + 4 for message in messages)


def _is_good(entry: Entry, label: int) -> bool:
    return entry.problem is None and agreement(parse(entry.text).answer, label) is None
