"""Asking saved models: one pair with its reasons, or a file of pairs in chunks.

A perturbation of several genes at once is written ``A+B`` (a drug stands as its target genes). No model here has seen
one: each gene is asked by itself, the probabilities are averaged in logit space, and the answer is flagged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet

from aroma.errors import IdentifierError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import write_durably
from aroma.kgstore.releases import now
from aroma.kgstore.user_tables import read_user_table
from aroma.model.ground import Ground
from aroma.model.identity import inputs_hash, model_id, prediction_id
from aroma.model.labels import PROBABILITY_COLUMNS, Probabilities
from aroma.model.plugin import FAILED, Plugin, Reason, read_card
from aroma.model.prediction_origin import KEY, PredictionOrigin, sidecar
from aroma.model.prediction_parts import answer_in_parts, remove_parts
from aroma.model.registry import plugin
from aroma.retrieval.columns import file_sha256
from aroma.retrieval.pairs import NAMES

SEVERAL: Final = "several perturbations: extrapolation"
_PLUS: Final = "+"
_FAILED: Final = FAILED.strip(": ")
_SMALLEST: Final = 1e-9
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """One predicted pair: its prediction id, names as asked and as resolved, probabilities, label and why."""

    prediction: str
    cell_line: str
    perturbation: str
    target: str
    perturbation_genes: tuple[str | None, ...]
    target_gene: str | None
    p_down: float
    p_not_significant: float
    p_up: float
    label: int
    flags: tuple[str, ...]
    reasons: tuple[Reason, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def open_model(home: Home, directory: Path, release: str | None = None, *, ground: Ground | None = None) -> Plugin:
    """Return a saved model on the release it was trained on.

    Args:
        home: Where the release is.
        directory: Where the model was saved.
        release: Another release to insist on; else the card's.
        ground: That release, where it is open already.

    Raises:
        ModelError: No model, a damaged one, or one of another release.
        UsageError: Its plug-in is not installed.
    """
    card = read_card(directory)
    return plugin(card.plugin).load(directory, ground or Ground(home, release or card.release))


def predict_rows(model: Plugin, asked: pl.DataFrame) -> pl.DataFrame:
    """Return ``Plugin.predict``'s columns for each row asked, in order; ``A+B`` is answered from A and B.

    Args:
        model: The model.
        asked: ``cell_line``, ``perturbation``, ``target``.
    """
    rows = asked.select(pl.col(name).cast(pl.String) for name in ("cell_line", "perturbation", "target"))
    numbered = rows.with_row_index("row")
    several = pl.col("perturbation").str.contains(_PLUS, literal=True).fill_null(value=False)
    single, combined = numbered.filter(~several), numbered.filter(several)
    found = model.predict(model.ground.rows(single)).with_columns(single["row"])
    if combined.is_empty():
        return found.drop("row")
    merged = _combined(model, combined)
    return pl.concat([found, merged.select(found.columns)]).sort("row").drop("row")


def _combined(model: Plugin, asked: pl.DataFrame) -> pl.DataFrame:
    """Return the answers to rows of several perturbations (with ``row``), from those to each of them."""
    parts = asked.with_columns(_genes(pl.col("perturbation")).alias("perturbation")).explode("perturbation")
    places = parts.select("row").join(asked.select("row").with_row_index("place"), on="row", maintain_order="left")
    found = model.predict(model.ground.rows(parts)).with_columns(places["place"])
    merged = _merged(found, asked.height)
    own = {"cell_line", "perturbation", "target", *PROBABILITY_COLUMNS, "label", "flags", "place"}
    more = [name for name in found.columns if name not in own]
    flags = pl.col("flags").explode().drop_nulls().unique(maintain_order=True)
    by_row = found.group_by("place").agg(flags, pl.col(more).mean()).sort("place")
    return asked.with_columns(
        **{name: pl.Series(merged[:, place]) for place, name in enumerate(PROBABILITY_COLUMNS)},
        label=pl.Series(model.label(model.ground.rows(asked), merged)),
        flags=by_row.select(pl.concat_list("flags", pl.lit([SEVERAL])))["flags"],
        **{name: by_row[name] for name in more},
    )


def predict_one(model: Plugin, perturbation: str, target: str, cell_line: str, *, explain: bool = False) -> Answer:
    """Return the answer for one pair, with its reasons where asked; an unknown gene is answered and flagged.

    Raises:
        IdentifierError: A name that could be one of several genes.
    """
    asked = pl.DataFrame({"cell_line": [cell_line], "perturbation": [perturbation], "target": [target]})
    row = predict_rows(model, asked).row(0, named=True)
    parts, reasons = reasons_of(
        model, cell_line=cell_line, perturbation=perturbation, target=target, explain=explain, strict=True
    )
    return Answer(
        prediction=prediction_id(model_id(model.card), inputs_hash(asked)),
        cell_line=cell_line,
        perturbation=perturbation,
        target=target,
        perturbation_genes=tuple(parts["perturbation_gene"]),
        target_gene=parts["target_gene"][0],
        p_down=row["p_down"],
        p_not_significant=row["p_not_significant"],
        p_up=row["p_up"],
        label=int(row["label"]),
        flags=tuple(row["flags"]),
        reasons=reasons,
    )


def reasons_of(
    model: Plugin, *, cell_line: str, perturbation: str, target: str, explain: bool, strict: bool = False
) -> tuple[pl.DataFrame, tuple[Reason, ...]]:
    """Return the rows of ``ROWS`` that a pair stands for (one a gene of ``A+B``), and what moved its answer.

    Args:
        model: The model.
        cell_line: As asked.
        perturbation: As asked.
        target: As asked.
        explain: Whether the reasons are wanted.
        strict: Refuse a name that could be one of several genes.

    Raises:
        IdentifierError: Such a name, where ``strict`` is set.
    """
    asked = pl.DataFrame({"perturbation": [perturbation]}, schema={"perturbation": pl.String})
    names = asked.select(_genes(pl.col("perturbation")).alias("perturbation")).row(0)[0] or [perturbation]
    parts = model.ground.rows(
        pl.DataFrame({"cell_line": [cell_line] * len(names), "perturbation": names, "target": [target] * len(names)})
    )
    if strict:
        _refuse_ambiguous(model.ground, [*names, target])
    return parts, _reasons(model, parts) if explain else ()


def predict_file(
    model: Plugin,
    pairs: Path,
    out: Path,
    *,
    cell_line: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> dict[str, int]:
    """Answer a file of pairs in parts: a row for each input row, in order; what is not known is flagged.

    A long file's parts stand beside ``out`` until it is complete: killed, it goes on there; rows that failed are asked
    again when the file is (``aroma.model.prediction_parts``).

    Args:
        model: The model.
        pairs: CSV or Parquet with ``perturbation,target[,cell_line]`` or ``pert,gene``.
        out: Parquet, or CSV by suffix (flags joined by ``;``); written beside and renamed when complete. Which model
            answered what stands in the Parquet's metadata, or beside the CSV (``aroma.model.prediction_origin``).
        cell_line: For rows that name none; else the file's name, as PerturbQA has it.
        progress: Told rows done and rows in all.

    Returns:
        ``pairs``, ``flagged`` (rows with a flag), and rows by flag; ``failed`` is those not answered, for any reason.

    Raises:
        InputFileError: The pairs cannot be read.
        UsageError: ``out`` ends neither in .parquet nor in .csv.
    """
    asked = _read(pairs, cell_line)
    origin = _origin(model, asked, pairs)
    counts = {"pairs": asked.height, "flagged": 0}
    partial = out.with_name(f".{out.name}.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _writer(partial, out.suffix, origin) as write:
            done = 0
            for found in answer_in_parts(model, asked, out, lambda rows: predict_rows(model, rows)):
                write(found)
                _count_flags(found, counts)
                done += found.height
                progress(done, asked.height)
        if out.suffix == ".csv":
            write_durably(sidecar(out), origin.to_json() + "\n")
        partial.replace(out)
        if _FAILED not in counts:
            remove_parts(model, asked, out)
    finally:
        partial.unlink(missing_ok=True)
    return counts


def _count_flags(found: pl.DataFrame, counts: dict[str, int]) -> None:
    """Add flagged rows, and rows by flag; all that failed are one, whatever the reason."""
    counts["flagged"] += int((found["flags"].list.len() > 0).sum())
    flags = found.select(pl.col("flags").explode().drop_nulls())
    short = flags.select(
        pl.when(pl.col("flags").str.starts_with(FAILED))
        .then(pl.lit(FAILED.strip(": ")))
        .otherwise("flags")
        .alias("flag")
    )
    for flag, count in short.group_by("flag").len().sort("flag").iter_rows():
        counts[flag] = counts.get(flag, 0) + count


def _genes(column: pl.Expr) -> pl.Expr:
    """Return the names of a perturbation of several genes; a name that is empty stays as one unknown gene."""
    parts = (
        column.fill_null("").str.split(_PLUS).list.eval(pl.element().str.strip_chars()).list.unique(maintain_order=True)
    )
    named = parts.list.eval(pl.element().filter(pl.element() != ""))
    return pl.when(named.list.len() > 0).then(named).otherwise(pl.concat_list(column.fill_null("")))


def _merged(found: pl.DataFrame, rows: int) -> Probabilities:
    """Return (rows, 3): the mean of the log probabilities of each row's parts, made to sum to one."""
    logits = np.log(np.maximum(found.select(PROBABILITY_COLUMNS).to_numpy(), _SMALLEST))
    places = found["place"].to_numpy()
    whole = np.zeros((rows, len(PROBABILITY_COLUMNS)))
    np.add.at(whole, places, logits)
    whole /= np.bincount(places, minlength=rows)[:, None]
    merged: Probabilities = np.exp(whole - whole.max(axis=1, keepdims=True))
    merged /= merged.sum(axis=1, keepdims=True)
    return merged


def _reasons(model: Plugin, parts: pl.DataFrame) -> tuple[Reason, ...]:
    each = [
        replace(reason, share=round(reason.share / parts.height, 4))
        for row in parts.iter_rows(named=True)
        for reason in model.explain(row)
    ]
    return tuple(sorted(each, key=lambda reason: (-reason.share, reason.kind, reason.text)))


def _refuse_ambiguous(ground: Ground, names: list[str]) -> None:
    for name in names:
        found = ground.resolver.resolve(name)
        if found.gene is None and found.candidates:
            raise IdentifierError(f"{name!r} could be {' or '.join(found.candidates)}; give one of them")


def _origin(model: Plugin, asked: pl.DataFrame, pairs: Path) -> PredictionOrigin:
    card, name, inputs = model.card, model_id(model.card), inputs_hash(asked)
    return PredictionOrigin(
        prediction=prediction_id(name, inputs),
        model=name,
        plugin=card.plugin,
        version=card.version,
        release=card.release,
        inputs_sha256=inputs,
        pairs_file=pairs.name,
        pairs_sha256=file_sha256(pairs),
        rows=asked.height,
        made_at=now(),
    )


def _read(pairs: Path, cell_line: str | None) -> pl.DataFrame:
    frame = read_user_table(pairs, required=NAMES, optional={"cell_line": ()})
    missing = cell_line if cell_line is not None else pairs.name.split(".")[0]
    if "cell_line" not in frame.columns:
        frame = frame.with_columns(pl.lit(missing).alias("cell_line"))
    elif cell_line is not None:
        frame = frame.with_columns(pl.col("cell_line").fill_null(cell_line))
    return frame.select(pl.col(name).fill_null("") for name in ("cell_line", "perturbation", "target"))


@contextlib.contextmanager
def _writer(path: Path, suffix: str, origin: PredictionOrigin) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Yield what appends a chunk to a Parquet or CSV file."""
    if suffix == ".csv":
        with path.open("wb") as stream:

            def add(frame: pl.DataFrame) -> None:
                text = frame.with_columns(pl.col("flags").list.join("; "))
                text.write_csv(stream, include_header=stream.tell() == 0)

            yield add
    elif suffix == ".parquet":
        writer: pa.parquet.ParquetWriter | None = None

        def append(frame: pl.DataFrame) -> None:
            nonlocal writer
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            table = table.replace_schema_metadata({KEY: origin.to_json()})
            writer = writer or pa.parquet.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)

        try:
            yield append
        finally:
            if writer is not None:
                writer.close()
    else:
        raise UsageError(f"--out must end in .parquet or .csv, not {suffix or 'nothing'}")
