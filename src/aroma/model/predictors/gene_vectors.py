"""Vectors of genes for predictors: those of graph and text encoders, and those of the proteins that genes encode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import ModelError, UsageError
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.model.ground import Ground
from aroma.retrieval.vector_store import VectorSet, find_vector_set


@dataclass(frozen=True)
class GeneVectors:
    """The vector sets of some encoders, asked by gene.

    Attributes:
        sets: One an encoder.
        places: By encoder: the row of each gene that has a vector.
    """

    sets: tuple[VectorSet, ...]
    places: tuple[dict[str, int], ...]

    def rows_of(self, genes: pl.Series) -> npt.NDArray[np.int32]:
        """Return int32 (genes, encoders) rows; -1 where a gene is null or has no vector."""
        found = np.full((len(genes), len(self.sets)), -1, dtype=np.int32)
        for place, rows in enumerate(self.places):
            known = genes.replace_strict(rows, default=-1, return_dtype=pl.Int32) if rows else None
            if known is not None:
                found[:, place] = known.fill_null(-1).to_numpy()
        return found


def open_gene_vectors(ground: Ground, encoders: tuple[str, ...]) -> GeneVectors:
    """Open the vector sets of some encoders; opened once a ground.

    A gene with several proteins has the vector of the longest, the first by id among equals: the reviewed canonical
    sequence of a gene is most often that one, and a mean of proteins is no protein.

    Raises:
        ModelError: The release has no vectors of an encoder.
    """
    kept: dict[tuple[str, ...], GeneVectors] = ground.__dict__.setdefault("_gene_vectors", {})
    if encoders not in kept:
        try:
            sets = tuple(find_vector_set(ground.home, ground.release, name) for name in encoders)
        except UsageError as error:
            raise ModelError(f"{error}; gat-head needs them (aroma embed gat --view gene-kg, then path-kg)") from error
        kept[encoders] = GeneVectors(sets, tuple(_places(ground, one) for one in sets))
    return kept[encoders]


def _places(ground: Ground, vectors: VectorSet) -> dict[str, int]:
    rows = {name: row for row, name in enumerate(vectors.ids)}
    if vectors.card.kind != "protein":
        return rows
    directory = ground.home.release(ground.release)
    edges = read_table(directory, "edges", ["subject", "relation", "object"])
    lengths = read_table(directory, "nodes", ["id", "length"])
    encoded = (
        edges.filter(pl.col("relation") == str(Relation.ENCODES))
        .join(lengths.rename({"id": "object"}), on="object")
        .filter(pl.col("object").is_in(list(rows)))
        .sort("subject", "length", "object", descending=[False, True, False])
        .unique("subject", keep="first")
    )
    return {gene: rows[protein] for gene, protein in encoded.select("subject", "object").iter_rows()}
