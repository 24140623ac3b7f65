"""Links to learn from: which edges train, validate and test, what messages they may see, and pairs that are no edges.

Every undirected edge stands in one part only, whichever way round, so no edge that is asked about is ever a message in
either direction. Training edges take turns: in each epoch one fold is asked about and the others carry the messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from aroma.errors import UsageError
from aroma.model.embeddings.edge_softmax import MessageGraph
from aroma.retrieval.csr import Csr

Pairs = npt.NDArray[np.int32]
"""int32, (2, pairs): two ends, the smaller number first."""
FOLDS: Final = 4
_MOST_DRAWS: Final = 50


@dataclass(frozen=True)
class Links:
    """The edges of a view in their parts.

    Attributes:
        nodes: Number of nodes.
        folds: Training edges in ``FOLDS`` parts.
        validation: Edges to choose the best epoch by.
        test: Edges to report on, touched once.
        every: All edges, in order.
    """

    nodes: int
    folds: tuple[Pairs, ...]
    validation: Pairs
    test: Pairs
    every: Pairs

    @classmethod
    def of(cls, graph: Csr, seed: int, *, validation: float = 0.1, test: float = 0.1) -> Links:
        """Part the edges of a view.

        Args:
            graph: The view.
            seed: Of the parting.
            validation: Share of the edges.
            test: Share of the edges.

        Raises:
            UsageError: The shares leave nothing to train on, or there are too few edges.
        """
        if validation <= 0 or test <= 0 or validation + test >= 1:
            raise UsageError(f"validation {validation} and test {test} must be shares that leave edges to train on")
        every = undirected(graph)
        total = every.shape[1]
        ends = int(total * test), int(total * (test + validation))
        if ends[0] < 1 or ends[1] <= ends[0] or total - ends[1] < FOLDS:
            raise UsageError(f"a view of {total} edges is too small to part into training, validation and test")
        order = np.random.default_rng(seed).permutation(total)
        held_out, chosen, training = np.split(order, ends)
        folds = tuple(every[:, np.sort(part)] for part in np.array_split(training, FOLDS))
        return cls(len(graph.indptr) - 1, folds, every[:, np.sort(chosen)], every[:, np.sort(held_out)], every)

    @cached_property
    def training_graphs(self) -> tuple[MessageGraph, ...]:
        """For each fold, the graph of the other folds: what may be seen while that fold is asked about."""
        return tuple(
            both_ways(self.nodes, *(other for place, other in enumerate(self.folds) if place != fold))
            for fold in range(len(self.folds))
        )

    def validation_graph(self) -> MessageGraph:
        """Return the graph of all training edges."""
        return both_ways(self.nodes, *self.folds)

    def test_graph(self) -> MessageGraph:
        """Return the graph of training and validation edges."""
        return both_ways(self.nodes, *self.folds, self.validation)

    @cached_property
    def _keys(self) -> npt.NDArray[np.int64]:
        return _keys(self.every, self.nodes)

    def non_edges(self, count: int, generator: np.random.Generator, *, by_degree: bool = False) -> Pairs:
        """Draw pairs that are no edge of the whole view and no self-loop; a pair may come twice.

        Args:
            count: How many.
            generator: Of the draw.
            by_degree: Draw each end with the chance that it is an end of a random edge, so that degree alone does not
                tell edges from non-edges; else every node alike, which makes the task easy.

        Raises:
            UsageError: The view is so dense that hardly any pair is no edge.
        """
        found: list[Pairs] = []
        left = count
        for _ in range(_MOST_DRAWS):
            drawn = np.sort(self._draw(int(left * 1.2) + 16, generator, by_degree=by_degree), axis=0)
            keys = _keys(drawn, self.nodes)
            place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            good = drawn[:, (self._keys[place] != keys) & (drawn[0] != drawn[1])][:, :left]
            found.append(good)
            left -= good.shape[1]
            if left == 0:
                return np.concatenate(found, axis=1)
        raise UsageError("the view is so dense that pairs without an edge cannot be drawn; choose another view")

    def _draw(self, count: int, generator: np.random.Generator, *, by_degree: bool) -> Pairs:
        if not by_degree:
            return generator.integers(0, self.nodes, size=(2, count), dtype=np.int32)
        ends = self.every.ravel()
        return ends[generator.integers(0, len(ends), size=(2, count))]


def undirected(graph: Csr) -> Pairs:
    """Return each edge once, the smaller node first, in order."""
    sources = np.repeat(np.arange(len(graph.indptr) - 1, dtype=np.int32), np.diff(graph.indptr))
    once = sources < graph.indices
    return np.stack([sources[once], graph.indices[once]])


def both_ways(nodes: int, *parts: Pairs) -> MessageGraph:
    """Return the message graph of undirected edges, each in both directions, with self-loops."""
    edges = np.concatenate(parts, axis=1)
    return MessageGraph.of(nodes, np.concatenate([edges[0], edges[1]]), np.concatenate([edges[1], edges[0]]))


def _keys(pairs: Pairs, nodes: int) -> npt.NDArray[np.int64]:
    keys: npt.NDArray[np.int64] = pairs[0].astype(np.int64) * nodes + pairs[1]
    return keys
