"""The gene graph by shared GO terms that GEARS builds, and what GEARS and TxPert load of it.

Sources: ``gears.utils.make_GO`` and ``get_similarity_network`` of cell-gears 0.1.2 (Jaccard index of the genes' term
sets, above 0.1, the 20 nearest genes and the gene itself for each target); ``gspp/data/graphmodule.py`` of TxPert,
which reads ``graphs/go/go_top_50.csv`` and ``graphs/string/v11.5.parquet``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from scipy import sparse

from aroma.errors import UsageError
from aroma.kgstore.ontology import CARRYING, positive_annotations
from aroma.kgstore.schema import Relation
from aroma.retrieval.exports.base import ExportOptions, ExportSource
from aroma.retrieval.exports.gene_vectors import gene_symbols, usable_outcomes
from aroma.retrieval.exports.nearest import Float32, nearest_rows

THRESHOLD: Final = 0.1
"""GEARS keeps pairs whose Jaccard index is above this."""
_TXPERT_GO: Final = 50
"""Nearest genes in the file of that name."""
_NO_ANNOTATION: Final = "no gene of this release is annotated with a GO term; build one with Gene Ontology's files"


class Gears:
    """A directory that serves as GEARS' ``data_path`` once its two pickles are made from the JSON beside them."""

    name = "gears"
    summary = "GEARS: GO graph (go_essential_all.csv), gene list, GO terms by gene"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write the graph, ``genes.txt`` and ``gene2go.json``."""
        terms = direct_terms(source, _wanted(usable_outcomes(source, options)))
        graph = _itself(jaccard_graph(terms, options.k), terms)
        place = out / "go_essential_all"
        place.mkdir(parents=True)
        files = [place / "go_essential_all.csv", out / "genes.txt", out / "gene2go.json"]
        graph.write_csv(files[0])
        symbols = terms["symbol"].unique().sort().to_list()
        files[1].write_text("".join(f"{symbol}\n" for symbol in symbols), encoding="utf-8")
        by_gene = terms.group_by("symbol").agg(pl.col("term").sort()).sort("symbol")
        files[2].write_text(json.dumps(dict(by_gene.iter_rows()), indent=0) + "\n", encoding="utf-8")
        source.count("genes", len(symbols))
        source.count("edges", graph.height)
        source.note(
            f"edges: Jaccard index of direct GO terms above {THRESHOLD}, {options.k} a gene and the gene itself"
        )
        return files


class TxPert:
    """The files under TxPert's ``cache_dir`` (``DATA_DIR/graphs``)."""

    name = "txpert"
    summary = "TxPert: graphs/go/go_top_50.csv and graphs/string/v11.5.parquet by gene symbol"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write the two graphs under ``out``."""
        go, string = out / "go" / "go_top_50.csv", out / "string" / "v11.5.parquet"
        for path in (go, string):
            path.parent.mkdir(parents=True)
        near = jaccard_graph(direct_terms(source, None), max(options.k, _TXPERT_GO))
        near.write_csv(go)
        linked = _interactions(source)
        linked.write_parquet(string)
        source.count("go edges", near.height)
        source.count("string edges", linked.height)
        version = source.licences.filter(pl.col("provider") == "string")["version"].to_list()
        source.note(f"v11.5.parquet is the name that TxPert opens; it holds STRING {', '.join(version) or '(none)'}")
        source.note("string weights are the combined score / 1000, both directions; go weights the Jaccard index")
        return [go, string]


def direct_terms(source: ExportSource, genes: pl.Series | None) -> pl.DataFrame:
    """Return ``symbol`` and ``term``: the terms that a gene is annotated with itself, ``NOT`` respected.

    Args:
        source: The release.
        genes: Ids of the genes wanted; None takes all.

    Raises:
        UsageError: There are none.
    """
    held = direct_annotations(source).rename({"subject": "gene", "object": "term"})
    named = held.join(gene_symbols(source), left_on="gene", right_on="id")
    if genes is not None:
        named = named.filter(pl.col("gene").is_in(genes.implode()))
        source.note(f"{len(genes) - named['gene'].n_unique()} of {len(genes)} genes of the outcomes have no GO term")
    if named.is_empty():
        raise UsageError(_NO_ANNOTATION)
    return named.select("symbol", "term").sort("symbol", "term")


def direct_annotations(source: ExportSource) -> pl.DataFrame:
    """Return ``subject`` (gene) and ``object`` (term) of direct annotations that no ``NOT`` contradicts, each once."""
    relations = (Relation.ANNOTATED_TO, Relation.NOT_ANNOTATED_TO, *CARRYING)
    edges = source.table("edges", pl.col("relation").is_in([str(one) for one in relations]))
    pairs = edges.filter(pl.col("relation") == str(Relation.ANNOTATED_TO)).select("subject", "object").unique()
    return pairs.join(positive_annotations(edges), left_on=["subject", "object"], right_on=["gene", "term"], how="semi")


def jaccard_graph(terms: pl.DataFrame, k: int) -> pl.DataFrame:
    """Return ``source``, ``target`` and ``importance``: the ``k`` nearest genes of each target, by symbol.

    Args:
        terms: ``symbol`` and ``term``, each pair once.
        k: Most sources a target.
    """
    symbols, features = terms["symbol"].unique().sort(), terms["term"].unique().sort()
    row, column = symbols.search_sorted(terms["symbol"]), features.search_sorted(terms["term"])
    ones = np.ones(terms.height, dtype=np.float32)
    held = sparse.csr_matrix((ones, (row, column)), shape=(len(symbols), len(features)))
    size = np.diff(held.indptr).astype(np.float32)

    def jaccard(both: Float32, block: slice) -> Float32:
        found: Float32 = both / (size[block, None] + size[None, :] - both)
        return found

    near = nearest_rows(held, k, jaccard, floor=THRESHOLD)
    return near.select(
        symbols.gather(near["neighbour"]).alias("source"),
        symbols.gather(near["gene"]).alias("target"),
        pl.col("score").alias("importance"),
    )


def _itself(graph: pl.DataFrame, terms: pl.DataFrame) -> pl.DataFrame:
    """Add each gene's edge to itself, as GEARS' own graph has it, and put it first."""
    own = terms.select(pl.col("symbol").unique())
    one = pl.lit(1.0, dtype=pl.Float32).alias("importance")
    loops = own.select(pl.col("symbol").alias("source"), pl.col("symbol").alias("target"), one)
    order = pl.concat([loops, graph], how="vertical").with_row_index("order")
    return order.sort("target", "order").drop("order")


def _interactions(source: ExportSource) -> pl.DataFrame:
    edges = source.table("edges", pl.col("relation") == str(Relation.INTERACTS_WITH))
    symbols = gene_symbols(source)
    named = edges.join(symbols, left_on="subject", right_on="id").join(
        symbols, left_on="object", right_on="id", suffix="_other"
    )
    weight = (pl.col("score") / 1000).cast(pl.Float32).alias("weight")
    ways = [
        named.select(pl.col(one).alias("regulator"), pl.col(other).alias("target"), weight)
        for one, other in (("symbol", "symbol_other"), ("symbol_other", "symbol"))
    ]
    return (
        pl.concat(ways).drop_nulls().group_by("regulator", "target").agg(pl.max("weight")).sort("target", "regulator")
    )


def _wanted(outcomes: pl.DataFrame | None) -> pl.Series | None:
    if outcomes is None:
        return None
    both = pl.concat([outcomes["perturbation_gene"], outcomes["target_gene"]])
    return both.drop_nulls().unique().sort()
