"""The vectors that the graph itself gives (``graph-svd``) as a vector set, with the licences of what went in."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from aroma.kgstore.schema import Label, Relation
from aroma.kgstore.tables import read_table, scan_table
from aroma.retrieval.gene_kernels import GeneKernels
from aroma.retrieval.snapshot import Snapshot
from aroma.retrieval.structural import NAME, side_by_side, structural_vectors
from aroma.retrieval.vector_store import EncoderCard, VectorSet, write_vector_set

DIM: Final = 128
KERNEL_RELATIONS: Final = {
    "go": Relation.ANNOTATED_TO,
    "complex": Relation.MEMBER_OF,
    "pathway": Relation.PARTICIPATES_IN,
    "string": Relation.INTERACTS_WITH,
}
"""The relation whose providers each kernel is made of."""
_VERSION: Final = "1"


def write_structural_set(snapshot: Snapshot, *, dim: int | None = None, seed: int = 0) -> VectorSet:
    """Return the vector set ``graph-svd`` of a release, made first where it is not there.

    Every gene is an item; one that no kernel knows, or that ``dim`` numbers do not reach, has the reason.

    Args:
        snapshot: The opened release.
        dim: Numbers a gene; None takes ``DIM``, or what a small release gives.
        seed: Of the decomposition.

    Raises:
        UsageError: No kernel knows a gene, or ``dim`` is too large for the release.
    """
    kernels = GeneKernels(snapshot)
    if dim is None:
        dim = min(DIM, min(side_by_side(kernels)[1].shape) - 1)
    made = structural_vectors(kernels, dim, seed=seed)
    card = EncoderCard(
        name=NAME,
        kind="graph",
        version=_VERSION,
        dim=dim,
        parameters={"kernels": list(made.kernels), "seed": seed},
        licences=_licences(snapshot, made.kernels),
    )
    ids = snapshot.nodes.ids.series()
    genes = pl.DataFrame({"id": ids, "label": snapshot.nodes.labels.series()}).filter(
        pl.col("label") == str(Label.GENE)
    )
    known, faint = ids.gather(made.genes), ids.gather(made.faint)
    reason = (
        pl.when(pl.col("id").is_in(known.implode()))
        .then(None)
        .when(pl.col("id").is_in(faint.implode()))
        .then(pl.lit(f"what it shares with others does not reach {dim} numbers"))
        .otherwise(pl.lit("no term, complex, pathway or interaction of it is known"))
    )
    items = genes.select("id", pl.lit(snapshot.release).alias("input_sha256"), reason.alias("problem"))

    def fill(matrix: Any) -> None:
        matrix[:] = made.vectors  # both in the order of the ids

    return write_vector_set(snapshot.home, snapshot.release, card, items, fill, facts={"dim": dim, "seed": seed})


def _licences(snapshot: Snapshot, kernels: tuple[str, ...]) -> dict[str, str]:
    directory = snapshot.home.release(snapshot.release)
    wanted = [str(KERNEL_RELATIONS[name]) for name in kernels]
    edges = scan_table(directory, "edges").filter(pl.col("relation").is_in(wanted))
    providers = edges.select(pl.col("provider").unique()).collect()["provider"]
    sources = read_table(directory, "sources").filter(pl.col("provider").is_in(providers.implode()))
    return dict(sources.select("provider", "licence").drop_nulls().sort("provider").iter_rows())
