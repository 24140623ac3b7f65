"""Features of asked rows, from the view that leaves nothing out: the same for one pair as for a million."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.model.evidence_features.layers import Float32
from aroma.model.evidence_features.learn import candidates, in_threads, ranked
from aroma.model.evidence_features.observations import UNKNOWN, with_keys
from aroma.model.evidence_features.similarity import pad
from aroma.model.evidence_features.state import CANDIDATES, Learned, View, query, related
from aroma.model.evidence_features.table import NAMES, Targets, features
from aroma.retrieval.csr import Int32


def near_unknown(learned: Learned, nodes: Mapping[str, int]) -> dict[str, tuple[Int32, Float32]]:
    """Return the trained targets near each target that was not trained on.

    Args:
        learned: What was learned.
        nodes: Release node number of each target's key; -1 where it has none.
    """
    found = {}
    for key, node in nodes.items():
        names, values = candidates(learned.targets, UNKNOWN, node)
        found[key] = (
            ranked(names, learned.target_similarity(values)) if len(names) else (names, np.zeros(0, np.float32))
        )
    return found


def asked_features(learned: Learned, view: View, rows: pl.DataFrame, nodes: Mapping[str, int]) -> Float32:
    """Return float32 (rows, columns) features of any rows.

    Args:
        learned: What was learned.
        view: The view that answers.
        rows: Columns of ``aroma.model.ground.ROWS``.
        nodes: Release node number of every perturbation's and target's key; -1 where it has none.
    """
    line, perturbation, target = learned.codes.encode(rows)
    keys = with_keys(rows)
    names = keys["_perturbation"].to_numpy(), keys["_target"].to_numpy()
    strangers = {str(key): nodes[key] for key in np.unique(names[1][target == UNKNOWN].astype(str))}
    near = near_unknown(learned, strangers)
    found = np.zeros((len(line), len(NAMES)), dtype=np.float32)
    by_name = keys.with_row_index("_row").group_by("_perturbation", maintain_order=True).agg("_row")

    def fill(place: int) -> None:
        members = by_name["_row"][place].to_numpy().astype(np.int64)
        code = int(perturbation[members[0]])
        asked = query(view, related(learned, code, nodes[by_name["_perturbation"][place]]))
        for one in np.unique(line[members]):
            own = members[line[members] == one]
            targets = _targets(learned, target[own], names[1][own], near)
            found[own] = features(learned, view, asked, int(one), targets)

    in_threads(fill, range(by_name.height))
    return found


def _targets(
    learned: Learned, codes: Int32, keys: npt.NDArray[np.object_], strange: Mapping[str, tuple[Int32, Float32]]
) -> Targets:
    near, weights = learned.near_targets.names[codes], learned.near_targets.weights[codes]
    for place in np.flatnonzero(codes == UNKNOWN):
        names, own = pad([strange[keys[place]]], min(CANDIDATES, near.shape[1]))
        near[place], weights[place] = names[0], own[0]
    return Targets(codes, near, weights)
