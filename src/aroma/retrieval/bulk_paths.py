"""Paths of a whole file of pairs: from CSV or Parquet in to Parquet out, by columns and not by objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from aroma.kgstore.home import Home
from aroma.kgstore.node_names import resolver_of
from aroma.kgstore.schema import Relation
from aroma.kgstore.views import CO_MEMBERSHIP
from aroma.retrieval import search
from aroma.retrieval.pairs import read_pairs
from aroma.retrieval.paths import PathOptions
from aroma.retrieval.snapshot import DERIVED, Snapshot, View, open_snapshot, pair_numbers

PERMUTED: Final = "PERMUTED"
"""Relation name of a step of a permuted view: nobody states it."""
_ROWS_A_CHUNK: Final = 125_000
_REASONS: Final = {
    search.Status.SAME_NODE: "perturbation and target are the same gene",
    search.Status.TOO_FAR: "no path within the hops allowed",
    search.Status.UNREACHABLE: "no path: the genes are in separate parts of the view",
}
Progress = Callable[[int, int], None]


def write_paths(
    home: Home,
    pairs_file: Path,
    out: Path,
    options: PathOptions,
    *,
    release: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> dict[str, Any]:
    """Write the ranked paths of all pairs of a file.

    The result has a row for each path and one for each pair without a path, in the input's order: ``row``
    (of the input, from 0), ``perturbation``, ``target``, ``rank``, ``hops``, ``nodes`` (names), ``node_ids``,
    ``relationships``, ``provenance`` (lists), ``reason`` (null where there is a path). It is written beside ``out`` and
    renamed when complete.

    Args:
        home: Where the release is.
        pairs_file: See ``read_pairs``.
        out: Parquet, or CSV by suffix (lists joined by ``;``).
        options: How paths are searched.
        release: Release, or None for the published one.
        progress: Told rows done and rows in all.

    Returns:
        Counts: ``pairs``, ``with_paths``, ``paths``, ``unresolved``, and ``release`` and ``view``.

    Raises:
        InputFileError: The pairs cannot be read.
    """
    pairs = read_pairs(pairs_file)
    snapshot = open_snapshot(home, release)
    view = snapshot.view(options.definition)
    asked = _numbered(pairs, home, snapshot, view)
    counts = {"pairs": pairs.height, "with_paths": 0, "paths": 0, "unresolved": 0}
    counts["unresolved"] = int(((asked["source"] < 0) | (asked["sink"] < 0)).sum())
    partial = out.with_name(f".{out.name}.partial")
    for done, table in _written(asked, snapshot, view, options, partial):
        counts["paths"] += table.num_rows - table["rank"].null_count
        counts["with_paths"] += pa.compute.sum(pa.compute.equal(table["rank"], 1)).as_py() or 0
        progress(done, pairs.height)
    partial.rename(out)
    return {**counts, "release": snapshot.release, "view": view.definition.id}


def _written(
    asked: pl.DataFrame, snapshot: Snapshot, view: View, options: PathOptions, partial: Path
) -> Iterator[tuple[int, pa.Table]]:
    """Search and write chunk by chunk; yield the rows done and the table of each.

    Threads make the columns while the first chunk is searched, and write a chunk while the next one is.
    """
    writer: Callable[[pa.Table | None], None] | None = None
    with ThreadPoolExecutor(1) as aside:
        columns = aside.submit(_Columns, snapshot, view)
        writing: Future[None] | None = None
        for chunk in [*asked.iter_slices(_ROWS_A_CHUNK)] or [asked]:
            table = _answer(chunk, view, options, columns.result)
            writer = writer or _writer(partial, table.schema, Path(partial.stem).suffix)
            if writing is not None:
                writing.result()
            writing = aside.submit(writer, table)
            yield (int(chunk["row"][-1]) + 1 if chunk.height else 0), table
        if writing is not None and writer is not None:
            writing.result()
            writer(None)


def _numbered(pairs: pl.DataFrame, home: Home, snapshot: Snapshot, view: View) -> pl.DataFrame:
    """Add ``source`` and ``sink``, view node numbers, -1 where there is none, and ``reason`` for that."""
    names = pl.concat([pairs["perturbation"], pairs["target"]]).unique()
    found = resolver_of(home, snapshot.release).resolve_column(names)
    places = np.searchsorted(view.to_release, np.arange(len(snapshot.nodes.ids)))
    places = np.minimum(places, max(len(view.to_release) - 1, 0))
    inside = view.to_release[places] == np.arange(len(snapshot.nodes.ids)) if len(view.to_release) else places < 0
    numbers = snapshot.nodes.by_id.with_columns(pl.Series("local", np.where(inside, places, -1).astype(np.int32)))
    known = found.select("query", "gene", "reason").join(numbers, left_on="gene", right_on="id", how="left")
    told = known.select(
        "query",
        pl.col("local").fill_null(-1),
        pl.when(pl.col("reason").is_not_null())
        .then(pl.col("reason") + pl.lit(" gene"))
        .when(pl.col("local").fill_null(-1) < 0)
        .then(pl.lit("has no edge in the view"))
        .alias("why"),
    )
    joined = pairs
    for column, number in (("perturbation", "source"), ("target", "sink")):
        side = told.rename({"query": column, "local": number, "why": f"{column}_why"})
        joined = joined.join(side, on=column, how="left", maintain_order="left")
    said = [
        pl.when(pl.col(f"{column}_why").is_not_null()).then(
            pl.lit(f"{column} ") + pl.col(column) + pl.lit(": ") + pl.col(f"{column}_why")
        )
        for column in ("perturbation", "target")
    ]
    return joined.with_columns(
        pl.col("source").fill_null(-1),
        pl.col("sink").fill_null(-1),
        pl.concat_str(said, separator="; ", ignore_nulls=True).alias("reason"),
    ).drop("perturbation_why", "target_why")


class _Columns:
    """Text that the answer repeats, as dictionaries: node ids, names, and what joins each pair of the view."""

    def __init__(self, snapshot: Snapshot, view: View) -> None:
        chosen = pl.Series(view.to_release)
        ids = snapshot.nodes.ids.series().gather(chosen)
        symbols, names = (column.series().gather(chosen) for column in (snapshot.nodes.symbols, snapshot.nodes.names))
        frame = pl.DataFrame({"id": ids, "symbol": symbols, "name": names})
        shown = frame.select(
            pl.when(pl.col("symbol") != "").then("symbol").when(pl.col("name") != "").then("name").otherwise("id")
        ).to_series()
        self.ids, self.names = ids.to_arrow(), shown.to_arrow()
        self.relations, self.provenance = _joining(snapshot, view)


def _joining(snapshot: Snapshot, view: View) -> tuple[pa.Array, pa.Array]:
    """Return relation names and provenance text of each joined pair of the view."""
    permuted = view.definition.permutation_seed is not None
    derived = pl.lit(PERMUTED if permuted else CO_MEMBERSHIP), pl.lit("" if permuted else "corum")
    owner = np.repeat(np.arange(len(view.pair_start) - 1, dtype=np.int32), np.diff(view.pair_start))
    behind = pl.DataFrame({"pair": owner, "edge": view.pair_edges})
    rows = behind.join(_told(snapshot, view), on="edge", how="left", maintain_order="left").with_columns(
        pl.col("relation").fill_null(derived[0]), pl.col("provenance").fill_null(derived[1])
    )
    joined = rows.group_by("pair", maintain_order=True).agg(
        pl.col("relation").unique(maintain_order=True).str.join("|"), pl.col("provenance").str.join("|")
    )
    return joined["relation"].to_arrow(), joined["provenance"].to_arrow()


def _told(snapshot: Snapshot, view: View) -> pl.DataFrame:
    """Return ``edge``, ``relation`` and ``provenance`` (provider, evidence codes, first line) of the view's edges."""
    table = snapshot.edges
    edges = np.unique(view.pair_edges)
    edges = edges[edges != DERIVED]
    starts, counts = table.starts[edges], table.starts[edges + 1] - table.starts[edges]
    owner = np.repeat(np.arange(len(edges), dtype=np.int32), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    words = pl.Series("word", list(table.words["evidence"]), dtype=pl.String)
    codes = pl.DataFrame({"place": owner, "code": table.codes["evidence"][np.repeat(starts, counts) + within]})
    distinct = codes.unique(maintain_order=True)
    evidence = (
        distinct.with_columns(words.gather(distinct["code"]).alias("word"))
        .group_by("place", maintain_order=True)
        .agg(pl.col("word").str.join(","))
    )
    relations = pl.Series([str(relation) for relation in Relation])
    providers = pl.Series([source[0] for source in table.sources])
    return pl.DataFrame({"edge": edges, "place": np.arange(len(edges), dtype=np.int32)}).select(
        "edge",
        relations.gather(pl.Series(table.relation[edges].astype(np.int32))).alias("relation"),
        pl.format(
            "{} {} ({})",
            providers.gather(pl.Series(table.source[edges].astype(np.int32))),
            evidence["word"],
            table.statements.series().gather(pl.Series(starts)),
        ).alias("provenance"),
    )


def _answer(chunk: pl.DataFrame, view: View, options: PathOptions, made: Callable[[], _Columns]) -> pa.Table:
    source, sink = chunk["source"].to_numpy(), chunk["sink"].to_numpy()
    inside = np.flatnonzero((source >= 0) & (sink >= 0))
    table = search.k_shortest_paths(
        view.csr, source[inside], sink[inside], k=options.k, slack=options.slack, max_hops=options.max_hops
    )
    columns = made()
    paths_of = np.diff(table.pair_offsets)
    per_row = np.ones(chunk.height, dtype=np.int64)  # a pair without a path has one row that says why
    per_row[inside] = np.maximum(paths_of, 1)
    has_path = np.zeros(chunk.height, dtype=bool)
    has_path[inside] = paths_of > 0
    row_of = np.repeat(np.arange(chunk.height), per_row)
    is_path = has_path[row_of]
    start_of = np.cumsum(per_row) - per_row
    rank = (np.arange(len(row_of)) - start_of[row_of] + 1).astype(np.int16)
    reasons = chunk["reason"].to_numpy().copy()
    for status, text in _REASONS.items():
        reasons[inside[table.status == status]] = text
    reasons[has_path] = None
    lengths = np.zeros(len(row_of), dtype=np.int64)
    lengths[is_path] = np.diff(table.path_offsets)
    hops = lengths - 1
    node_offsets = _offsets(lengths)
    hop_offsets = _offsets(np.maximum(hops, 0))
    last = np.zeros(len(table.nodes), dtype=bool)
    last[table.path_offsets[1:] - 1] = True
    starts = np.flatnonzero(~last)
    ones, others = table.nodes[starts], table.nodes[starts + 1]
    steps = pair_numbers(view.csr.indptr, view.csr.indices, view.first_pair, ones, others)
    return pa.table(
        {
            "row": pa.array(chunk["row"].to_numpy()[row_of]),
            "perturbation": chunk["perturbation"].gather(row_of).to_arrow(),
            "target": chunk["target"].gather(row_of).to_arrow(),
            "rank": pa.array(rank, mask=~is_path),
            "hops": pa.array(hops.astype(np.int16), mask=~is_path),
            "nodes": _lists(node_offsets, table.nodes, columns.names),
            "node_ids": _lists(node_offsets, table.nodes, columns.ids),
            "relationships": _lists(hop_offsets, steps, columns.relations),
            "provenance": _lists(hop_offsets, steps, columns.provenance),
            "reason": pa.array(reasons[row_of], type=pa.string()),
        }
    )


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)])


def _lists(offsets: npt.NDArray[np.int64], numbers: npt.NDArray[Any], words: pa.Array) -> pa.Array:
    values = pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), words)
    return pa.LargeListArray.from_arrays(pa.array(offsets), values)


def _writer(path: Path, schema: pa.Schema, suffix: str) -> Callable[[pa.Table | None], None]:
    """Return a function that writes tables to ``path`` and, given None, closes it."""
    if suffix == ".csv":
        return _csv_writer(path)
    parquet = pa.parquet.ParquetWriter(path, schema, compression="zstd", compression_level=1)

    def write(table: pa.Table | None) -> None:
        parquet.close() if table is None else parquet.write_table(table)

    return write


def _csv_writer(path: Path) -> Callable[[pa.Table | None], None]:
    stream = path.open("wb")
    pieces: Iterator[bool] = iter([True])

    def write(table: pa.Table | None) -> None:
        if table is None:
            stream.close()
            return
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        flat = frame.with_columns(pl.col(pl.List).cast(pl.List(pl.String)).list.join(";"))
        flat.write_csv(stream, include_header=next(pieces, False))

    return write
