"""What two genes share in the graph, and which genes share a kind of thing with one: joins for searches by vector."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from aroma.errors import UsageError
from aroma.kgstore.schema import Relation
from aroma.retrieval.embedding_model import SharedInGraph
from aroma.retrieval.evidence_model import Node
from aroma.retrieval.gene_kernels import TERM_SETS, GeneKernels
from aroma.retrieval.snapshot import Snapshot

SHARES: Final = {"complex": "complex", "pathway": "pathway", "term": TERM_SETS, "string": "string"}
"""What may be asked to be shared, and the kernel that knows it.

Terms hold for their ancestors; complexes, pathways and terms of more than 1,500 genes tell nobody apart and do not
count. ``string`` is an interaction in STRING.
"""
_INTERACTS: Final = tuple(Relation).index(Relation.INTERACTS_WITH)
_SHOWN: Final = 3


def sharing(kernels: GeneKernels, gene: int, what: str) -> npt.NDArray[np.int32]:
    """Return the genes that share something with a gene, itself left out; release node numbers, ascending.

    Args:
        kernels: Of the release.
        gene: Release node number.
        what: One of ``SHARES``.

    Raises:
        UsageError: Nothing of that name can be shared.
    """
    if what not in SHARES:
        raise UsageError(f"genes can share {', '.join(SHARES)}, not {what!r}")
    kernel = kernels[SHARES[what]]
    row = kernel.row_of(gene)
    if row is None:
        return np.empty(0, dtype=np.int32)
    columns = kernel.rows.indices[kernel.rows.indptr[row] : kernel.rows.indptr[row + 1]]
    if what == "string":
        found = kernel.features[columns]
    else:
        wanted = np.zeros(len(kernel.features), dtype=bool)
        wanted[columns] = True
        rows = np.repeat(np.arange(len(kernel.genes)), np.diff(kernel.rows.indptr))
        found = kernel.genes[np.unique(rows[wanted[kernel.rows.indices]])]
    others: npt.NDArray[np.int32] = np.unique(found[found != gene])
    return others


def shared_in_graph(snapshot: Snapshot, kernels: GeneKernels, one: int, other: int) -> SharedInGraph:
    """Return what two genes share (release node numbers)."""

    def named(kernel: str) -> list[Node]:
        found = kernels[kernel].common(one, other, _SHOWN) if one != other else []
        return [snapshot.nodes.node(node) for node, _ in found]

    return SharedInGraph(
        complexes=named("complex"),
        terms=named(TERM_SETS),
        pathways=named("pathway"),
        string=string_score(snapshot, one, other),
    )


def string_score(snapshot: Snapshot, one: int, other: int) -> int | None:
    """Return STRING's combined score of two genes, 0 to 1000, or None where it joins them not."""
    table = snapshot.edges
    edges = table.of(min(one, other))  # symmetric edges stand once, at the smaller id
    span = slice(edges.start, edges.stop)
    fitting = (table.object[span] == max(one, other)) & (table.relation[span] == _INTERACTS)
    scores = table.score[span][fitting]
    return int(scores.max()) if len(scores) and scores.max() >= 0 else None
