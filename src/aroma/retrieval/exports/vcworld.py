"""Neighbour lists as VCWorld's retrieval reads them, with genes in the place of drugs.

Source: VCWorld's ``stages/retrieve.py`` and ``utils/common.py`` (``load_similarity_json``): JSON, item to list of
items, nearest first, or item to an object with ``direct_neighbors``; outcomes as ``<cell line>_DE.csv`` (``pert, gene,
label, split``; label 1 where the gene changed) and ``<cell line>_DIR.csv`` (changed genes only; label 1 for up).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from aroma.kgstore.schema import Relation
from aroma.kgstore.views import CO_MEMBERSHIP
from aroma.retrieval.exports.base import ExportOptions, ExportSource
from aroma.retrieval.exports.gene_vectors import gene_symbols, perturbed_genes, usable_kernels, usable_outcomes
from aroma.retrieval.exports.nearest import Float32, nearest_rows
from aroma.retrieval.gene_kernels import GeneKernels
from aroma.retrieval.snapshot import open_snapshot
from aroma.retrieval.structural import side_by_side

_UP = 2
_BETWEEN_GENES = (str(Relation.INTERACTS_WITH), CO_MEMBERSHIP)


class VCWorld:
    """Similar perturbations, similar genes, graph neighbours, and the outcomes where they are asked for."""

    name = "vcworld"
    summary = "VCWorld: similar genes by the kernels, neighbours in the view, outcomes as its CSV files"
    extra: str | None = None
    default_view: str | None = "gene-kg"

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write ``drug_sim.json``, ``gene_sim.json``, ``gene_graph.json`` and the CSV files of each cell line."""
        out.mkdir()
        symbols = gene_symbols(source)
        known = symbols
        outcomes = usable_outcomes(source, options)
        if outcomes is not None:
            perturbed = perturbed_genes(outcomes)
            known = symbols.filter(pl.col("id").is_in(perturbed.implode()))
        files = [out / "drug_sim.json", out / "gene_sim.json", out / "gene_graph.json"]
        near = _similar(source, symbols, options.k)
        _write_lists(near, files[1])
        source.count("genes with similar genes", near["gene"].n_unique())
        if known.height < symbols.height:
            near = _similar(source, known, options.k)
        _write_lists(near, files[0])
        source.count("perturbations with similar perturbations", near["gene"].n_unique())
        joined = _joined(source, symbols)
        _write_lists(joined, files[2], field="direct_neighbors")
        source.count("genes with graph neighbours", joined["gene"].n_unique())
        source.note(f"{symbols.height} genes are in the release; those without any neighbour are in no list")
        if outcomes is not None:
            files += _outcome_files(source, outcomes, symbols, out)
        return files


def _similar(source: ExportSource, symbols: pl.DataFrame, k: int) -> pl.DataFrame:
    """Return ``gene`` and ``neighbour`` (symbols), nearest first: mean similarity over the kernels."""
    snapshot = open_snapshot(source.home, source.release)
    names = usable_kernels(source)
    genes, rows, used = side_by_side(GeneKernels(snapshot), names)
    ids = pl.DataFrame({"id": snapshot.nodes.ids.series().gather(genes)}).join(symbols, on="id", how="left")
    named = np.flatnonzero(ids["symbol"].is_not_null().to_numpy())

    def mean(both: Float32, block: slice) -> Float32:
        return both / np.float32(len(used))

    near = nearest_rows(rows, k, mean, chosen=named)
    column = ids["symbol"]
    return near.select(column.gather(near["gene"]).alias("gene"), column.gather(near["neighbour"]).alias("neighbour"))


def _joined(source: ExportSource, symbols: pl.DataFrame) -> pl.DataFrame:
    """Return ``gene`` and ``neighbour`` (symbols) of the view, members of one complex first, then by STRING's score."""
    edges = source.edges().filter(pl.col("relation").is_in(_BETWEEN_GENES))
    strength = pl.when(pl.col("relation") == CO_MEMBERSHIP).then(1001).otherwise(pl.col("score")).alias("strength")
    named = edges.select("subject", "object", strength.fill_null(0))
    both = pl.concat(
        [named, named.select(pl.col("object").alias("subject"), pl.col("subject").alias("object"), "strength")]
    )
    best = both.group_by("subject", "object").agg(pl.max("strength"))
    rows = best.join(symbols, left_on="subject", right_on="id").join(
        symbols, left_on="object", right_on="id", suffix="_other"
    )
    ordered = rows.sort("symbol", "strength", "symbol_other", descending=[False, True, False])
    return ordered.select(pl.col("symbol").alias("gene"), pl.col("symbol_other").alias("neighbour"))


def _write_lists(pairs: pl.DataFrame, path: Path, field: str | None = None) -> None:
    grouped = pairs.group_by("gene", maintain_order=True).agg("neighbour").sort("gene")
    lists = {gene: near if field is None else {field: near} for gene, near in grouped.iter_rows()}
    path.write_text(json.dumps(lists, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def _outcome_files(source: ExportSource, outcomes: pl.DataFrame, symbols: pl.DataFrame, out: Path) -> list[Path]:
    named = outcomes.join(symbols.rename({"id": "perturbation_gene", "symbol": "pert"}), on="perturbation_gene").join(
        symbols.rename({"id": "target_gene", "symbol": "gene"}), on="target_gene"
    )
    if gone := outcomes.height - named.height:
        source.note(f"{gone} outcomes have a name that is no gene of the release and are left out")
    source.count("outcomes", named.height)
    files = []
    for (line,), rows in named.sort("cell_line", "line").group_by("cell_line", maintain_order=True):
        place = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in str(line))
        changed = (pl.col("label") != 0).cast(pl.Int8).alias("label")
        way = (pl.col("label") == _UP).cast(pl.Int8).alias("label")
        for kind, label, kept in (("DE", changed, rows), ("DIR", way, rows.filter(pl.col("label") != 0))):
            files.append(out / f"{place}_{kind}.csv")
            kept.select("pert", "gene", label, "split").write_csv(files[-1])
    return files
