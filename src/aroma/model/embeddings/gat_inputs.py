"""What the nodes of a view go into graph attention with: fixed random numbers, structure, or another encoder's vectors.

Random inputs exist for every node. Structural and other vectors may be missing for some (a term has no kernel, a gene
no text): such a node comes in as zeros with a flag set in a column of its own. The first layer is linear, so its
weights for that column are a learned input for "nothing is known": no mean of the others, no zero taken for a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aroma.errors import UsageError
from aroma.model.embeddings.gat_model import GatOptions, random_inputs
from aroma.retrieval.snapshot import Snapshot, View
from aroma.retrieval.vector_store import find_vector_set

RANDOM: Final = "random"
STRUCTURAL: Final = "structural"


@dataclass(frozen=True, slots=True)
class NodeInputs:
    """Inputs of a view's nodes.

    Attributes:
        matrix: float32 (nodes, numbers), by view node; where some are unknown the last column is the flag.
        known: bool, nodes.
        facts: For the card: what they are, how many are known, whether they were made from the edges that are tested.
        licences: Provider and licence of what went into them.
    """

    matrix: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    facts: Mapping[str, Any]
    licences: Mapping[str, str] = field(default_factory=dict)


def view_ids(snapshot: Snapshot, view: View) -> list[str]:
    """Return the node ids of a view, by view node."""
    ids: list[str] = snapshot.nodes.ids.series().gather(view.to_release).to_list()
    return ids


def node_inputs(snapshot: Snapshot, view: View, options: GatOptions) -> NodeInputs:
    """Return the inputs that ``options.inputs`` names.

    Raises:
        UsageError: No vector set has that name, or none of its vectors belongs to a node of the view.
    """
    ids = view_ids(snapshot, view)
    if options.inputs == RANDOM:
        matrix = random_inputs(ids, options.input_dim, options.seed)
        return NodeInputs(matrix, np.ones(len(ids), dtype=bool), {"inputs": RANDOM, "saw_tested_edges": False})
    if options.inputs == STRUCTURAL:
        return _structural(snapshot, view, options)
    found = find_vector_set(snapshot.home, snapshot.release, options.inputs)
    vectors, known = found.of(ids)
    facts = {"inputs": found.card.name, "encoder": found.card.id, "saw_tested_edges": found.card.kind == "graph"}
    return _flagged(vectors, known, facts, found.card.licences, options)


def _structural(snapshot: Snapshot, view: View, options: GatOptions) -> NodeInputs:
    from aroma.retrieval.gene_kernels import GeneKernels
    from aroma.retrieval.structural import NAME, structural_vectors

    made = structural_vectors(GeneKernels(snapshot), options.input_dim, seed=options.seed)
    place = np.searchsorted(made.genes, view.to_release)
    place = np.minimum(place, len(made.genes) - 1)
    known = made.genes[place] == view.to_release
    vectors = np.where(known[:, None], made.vectors[place], np.float32(np.nan))
    facts = {"inputs": NAME, "kernels": list(made.kernels), "saw_tested_edges": True}
    return _flagged(vectors, known, facts, {}, options)


def _flagged(
    vectors: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    facts: Mapping[str, Any],
    licences: Mapping[str, str],
    options: GatOptions,
) -> NodeInputs:
    """Bring vectors to a mean square of one, as random ones have, and flag the rows that have none."""
    if not known.any():
        raise UsageError(
            f"no node of view {options.view} has a vector in {facts['inputs']}; take inputs that embed its nodes"
        )
    scale = float(np.sqrt(np.mean(np.square(vectors[known], dtype=np.float64)))) or 1.0
    matrix = np.zeros((len(known), vectors.shape[1] + 1), dtype=np.float32)
    matrix[known, :-1] = vectors[known] / scale
    matrix[~known, -1] = 1
    return NodeInputs(matrix, known, {**facts, "known": int(known.sum()), "unknown": int((~known).sum())}, licences)
