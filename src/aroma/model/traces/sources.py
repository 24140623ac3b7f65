"""Source tracing of a whole data set: its traces beside their evidence, and the share that the evidence supports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from aroma.errors import InputFileError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import LABELS
from aroma.model.splits import make_folds
from aroma.model.traces.data_set import Facts
from aroma.model.traces.rows import TraceRow, evidence_id, rows_of
from aroma.model.traces.telling import open_evidence
from aroma.model.traces.tracing import Resolve, Traced, Tracer
from aroma.retrieval.evidence import EvidenceStore, Pair
from aroma.retrieval.evidence_model import Evidence

SENTENCES: Final[dict[str, pl.DataType]] = {
    "row": pl.UInt32(),  # of the trace table, from 0
    "cell_line": pl.String(),
    "perturbation": pl.String(),
    "target": pl.String(),
    "sentence": pl.UInt16(),  # from 1
    "text": pl.String(),
    "kind": pl.String(),  # claim, conclusion, link
    "supported": pl.Boolean(),
    "coverage": pl.Float32(),
    "unknown": pl.List(pl.String()),  # genes that the evidence has not
    "items": pl.List(pl.String()),  # items of the evidence, best first
    "statements": pl.List(pl.String()),  # statements behind them
}

_ROWS_A_PART: Final = 500
"""Rows whose sentences are held as Python objects; a table of them takes a tenth of the memory."""


@dataclass(frozen=True, slots=True)
class WithEvidence:
    """A trace beside its evidence; ``same`` is false where that is no longer what the trace was written from."""

    place: int
    row: TraceRow
    evidence: Evidence
    same: bool


def open_again(home: Home, facts: Facts, outcomes: pl.DataFrame) -> EvidenceStore:
    """Open the evidence of a data set as it was when the traces were written.

    Args:
        home: Where its release is.
        facts: Of the data set.
        outcomes: The measured outcomes (columns of ``OUTCOMES``).

    Raises:
        ReleaseError: The release is gone.
        UsageError: The split is gone.
    """
    folds = make_folds(outcomes, facts.split_asked, seed=facts.seed, home=home)
    if not 1 <= facts.fold <= len(folds) or folds[facts.fold - 1].name != facts.split:
        raise UsageError(
            f"split {facts.split_asked} is no longer what it was when the traces were made ({facts.split})"
        )
    return open_evidence(home, facts.release, folds[facts.fold - 1])


def beside_evidence(store: EvidenceStore, frame: pl.DataFrame) -> Iterator[WithEvidence]:
    """Yield each trace with its evidence, in order; ``frame`` has a column ``row`` with the places in the table."""
    places = frame["row"].to_list()
    rows = rows_of(frame)
    found = store.many(Pair(row.perturbation, row.target, row.cell_line) for row in rows)
    for place, row, evidence in zip(places, rows, found, strict=True):
        yield WithEvidence(place, row, evidence, evidence_id(evidence) == row.evidence_id)


def resolver_of(store: EvidenceStore) -> Resolve:
    """Return what finds the gene behind a name."""
    return lambda name: store.resolve(name).gene


def trace_data_set(
    store: EvidenceStore, frame: pl.DataFrame, progress: Callable[[int, int], None] = lambda *_: None
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Trace every row to its own evidence, and to that of another row, drawn by chance, for comparison.

    Args:
        store: See ``open_again``.
        frame: Columns of ``TRACES``.
        progress: Told rows done and rows in all, now and then.

    Returns:
        Sentences (columns of ``SENTENCES``); ``cell_line``, ``label``, ``rows``, ``claims``, ``supported``, ``share``
        and ``control`` (the share with another row's evidence) by line and label; and the number of rows whose
        evidence is no longer what it was.

    Raises:
        InputFileError: There are no rows.
    """
    if frame.is_empty():
        raise InputFileError("has no rows to trace", file="traces.parquet")
    resolve, changed = resolver_of(store), 0
    sentences: list[dict[str, Any]] = []
    parts = [pl.DataFrame(schema=SENTENCES)]
    counts: list[dict[str, Any]] = []
    before: Tracer | None = None
    placed = frame if "row" in frame.columns else frame.with_row_index("row")
    drawn = placed.sample(fraction=1.0, shuffle=True, seed=0)
    for done, one in enumerate(beside_evidence(store, drawn), start=1):
        changed += not one.same
        tracer = Tracer(one.evidence, resolve)
        traced = tracer.trace(one.row.reasoning)
        sentences += _sentences(one, traced)
        said = {"cell_line": one.row.cell_line, "label": one.row.label, "rows": 1}
        said |= {"claims": traced.claims, "supported": traced.supported}
        control = before.trace(one.row.reasoning) if before is not None else None
        said |= {"control_claims": control.claims if control else 0, "control": control.supported if control else 0}
        counts.append(said)
        before = tracer
        if done % _ROWS_A_PART == 0 or done == frame.height:
            parts.append(pl.DataFrame(sentences, schema=SENTENCES))
            sentences.clear()
            progress(done, frame.height)
    table = pl.concat(parts).sort("row", "sentence")
    return table, _shares(pl.DataFrame(counts)), changed


def _sentences(one: WithEvidence, traced: Traced) -> Iterator[dict[str, Any]]:
    for number, sentence in enumerate(traced.sentences, start=1):
        items = [traced.items[source.item] for source in sentence.sources]
        yield {
            "row": one.place,
            "cell_line": one.row.cell_line,
            "perturbation": one.row.perturbation,
            "target": one.row.target,
            "sentence": number,
            "text": sentence.text,
            "kind": sentence.kind,
            "supported": sentence.supported,
            "coverage": sentence.coverage,
            "unknown": list(sentence.unknown),
            "items": [item.id for item in items],
            "statements": [statement for item in items for statement in item.statements],
        }


def _shares(counts: pl.DataFrame) -> pl.DataFrame:
    def shares(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(
            (pl.col("supported") / pl.col("claims")).alias("share"),
            (pl.col("control") / pl.col("control_claims")).alias("control"),
        ).drop("control_claims")

    sums = [pl.col(name).sum() for name in ("rows", "claims", "supported", "control", "control_claims")]
    by = counts.group_by("cell_line", "label").agg(sums).sort("cell_line", "label")
    whole = counts.select(pl.lit("all").alias("cell_line"), pl.lit(None, dtype=pl.Int64).alias("label"), *sums)
    return shares(pl.concat([by, whole.head(1)], how="vertical_relaxed"))


def label_name(label: int | None) -> str:
    """Return a label in words; ``all`` for none."""
    return "all" if label is None else LABELS[label]
