"""The ground that a model stands on: one opened release, and the rows that it is asked about.

Rows are a polars frame with the columns of ``ROWS``; training rows have a ``label`` as well. Names stand as written,
beside the genes they resolve to (null where they do not), so that every plug-in sees one spelling of a gene.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.node_names import resolver_of
from aroma.kgstore.resolver import GeneResolver
from aroma.kgstore.tables import read_table
from aroma.retrieval.gene_kernels import GeneKernels
from aroma.retrieval.snapshot import Snapshot, open_snapshot
from aroma.retrieval.withhold import line_key

ROWS: Final[dict[str, pl.DataType]] = {
    "cell_line": pl.String(),
    "perturbation": pl.String(),  # names as written
    "target": pl.String(),
    "perturbation_gene": pl.String(),  # node ids, null where the name does not resolve
    "target_gene": pl.String(),
}
_FEW: Final = 16
TRAINING: Final[dict[str, pl.DataType]] = {**ROWS, "label": pl.Int8()}


class Ground:
    """One release opened for models: its snapshot, kernels and gene names; opened parts are shared by all plug-ins.

    Args:
        home: Where the release is.
        release: Release, or None for the published one.

    Raises:
        ReleaseError: Nothing is published, or there is no such release.
    """

    def __init__(self, home: Home, release: str | None = None) -> None:
        self.home = home
        self.snapshot: Snapshot = open_snapshot(home, release)
        self.release: str = self.snapshot.release

    @cached_property
    def kernels(self) -> GeneKernels:
        """How alike genes are, by what they share."""
        return GeneKernels(self.snapshot)

    @cached_property
    def resolver(self) -> GeneResolver:
        """Gene names of the release."""
        return resolver_of(self.home, self.release)

    @cached_property
    def licences(self) -> dict[str, str]:
        """Licence of each provider of the release."""
        sources = read_table(self.home.release(self.release), "sources", ["provider", "licence"])
        return dict(sources.iter_rows())

    def rows(self, asked: pl.DataFrame) -> pl.DataFrame:
        """Return rows with the columns of ``ROWS`` (and ``label`` where given), names resolved by this release.

        Args:
            asked: ``cell_line``, ``perturbation``, ``target`` and, where known, ``label``; genes that stand there
                already are resolved anew, as ids can be merged from release to release.

        Raises:
            UsageError: A column is missing.
        """
        missing = [name for name in ("cell_line", "perturbation", "target") if name not in asked.columns]
        if missing:
            raise UsageError(f"rows lack the column {', '.join(missing)}; give cell_line, perturbation and target")
        labels = ["label"] if "label" in asked.columns else []
        frame = asked.select(pl.col("cell_line", "perturbation", "target").cast(pl.String), *labels)
        for side in ("perturbation", "target"):
            names = frame[side].unique().drop_nulls()
            genes = self._genes(names).rename({"name": side, "gene": f"{side}_gene"})
            frame = frame.join(genes, on=side, how="left", maintain_order="left")
        wanted = {**ROWS, **({"label": pl.Int8()} if labels else {})}
        return frame.select(pl.col(name).cast(dtype) for name, dtype in wanted.items())

    def _genes(self, names: pl.Series) -> pl.DataFrame:
        """Return the gene of each distinct name; a few names one by one, as a column costs tens of milliseconds."""
        if len(names) > _FEW:
            found = self.resolver.resolve_column(names).select(pl.col("query").alias("name"), "gene")
            return found.unique("name")
        genes = [self.resolver.resolve(name).gene for name in names]
        return pl.DataFrame({"name": names, "gene": pl.Series(genes, dtype=pl.String)})

    def _node(self, gene: str) -> int:
        row = self.snapshot.nodes.ids.find(gene)
        return -1 if row is None else row

    def nodes_of(self, genes: pl.Series) -> npt.NDArray[np.int32]:
        """Return int32 release node numbers of gene ids; -1 for null and for ids the release has not."""
        if len(genes) <= _FEW:
            return np.array([-1 if gene is None else self._node(gene) for gene in genes], dtype=np.int32)
        numbers = self.snapshot.nodes.by_id.rename({"id": "gene", "node": "number"})
        found = pl.DataFrame({"gene": genes}).join(numbers, on="gene", how="left", maintain_order="left")
        return found["number"].cast(pl.Int32).fill_null(-1).to_numpy()


def same_line(one: str, other: str) -> bool:
    """Tell whether two spellings mean one cell line (K-562 and k562)."""
    return line_key(one) == line_key(other)
