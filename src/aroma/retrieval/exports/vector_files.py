"""Gene vectors as tables that other programs read: Parquet, anndata, and the CSV that gene-benchmark takes.

Source of the last: ``gene_benchmark.encoder.PreComputedEncoder`` of BiomedSciAI/gene-benchmark, which reads a CSV with
``pandas.read_csv(file, index_col="symbol")`` and takes every other column as a number of the vector.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.tables import write_parquet
from aroma.retrieval.exports.base import ExportOptions, ExportSource
from aroma.retrieval.exports.gene_vectors import Embeddings, gene_embeddings


class VectorsParquet:
    """``id``, ``symbol`` and ``vector`` (fixed-size list of float32) by gene."""

    name = "vectors-parquet"
    summary = "Gene vectors as Parquet: id, symbol, vector"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write one file, a gene a row."""
        found = gene_embeddings(source, options)
        vector = pl.Series("vector", found.matrix, dtype=pl.Array(pl.Float32, found.matrix.shape[1]))
        write_parquet(pl.DataFrame([found.ids.alias("id"), found.symbols.alias("symbol"), vector]), out)
        return [out]


class VectorsAnnData:
    """An ``.h5ad`` with a gene a row of ``obs`` (by symbol) and its vector in ``X``, ready for ``varm``."""

    name = "vectors-anndata"
    summary = "Gene vectors as .h5ad: a gene a row, for varm of your cells or for scanpy as they are"
    extra: str | None = "anndata"
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write one file; ``uns`` has the release, the encoder and the licences."""
        try:
            import anndata
        except ImportError as error:
            raise UsageError(
                "anndata is not installed; install it with: pip install 'aroma-evidence[anndata]'"
            ) from error
        found = gene_embeddings(source, options)
        made = anndata.AnnData(np.ascontiguousarray(found.matrix), obs={"id": found.ids.to_list()})
        made.obs_names = found.symbols.to_list()
        made.var_names = [f"{found.encoder}_{column}" for column in range(found.matrix.shape[1])]
        made.uns |= {"release": source.release, "encoder": found.encoder, "licences": dict(found.licences)}
        made.write_h5ad(out, compression="gzip")
        source.note("vectors.to_df().reindex(cells.var_names) is what cells.varm takes; unknown genes become NaN rows")
        return [out]


class GeneBenchmark:
    """The CSV of gene-benchmark's ``PreComputedEncoder``: ``symbol``, then a column a number."""

    name = "gene-benchmark"
    summary = "Gene vectors for gene-benchmark's PreComputedEncoder: CSV, symbol and a column a number"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write one CSV, a gene a row."""
        found = gene_embeddings(source, options)
        _numbers(found).write_csv(out)
        source.note("PreComputedEncoder draws random numbers for a gene that is not in the file unless told otherwise")
        return [out]


def _numbers(found: Embeddings) -> pl.DataFrame:
    columns = {str(place): found.matrix[:, place] for place in range(found.matrix.shape[1])}
    return pl.DataFrame({"symbol": found.symbols, **columns})
