"""The network of ``gat-head``: fitted with torch, answered without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aroma.errors import ModelError
from aroma.model.labels import CLASSES, Probabilities
from aroma.model.plugin import Progress, no_progress
from aroma.model.predictors.gene_vectors import GeneVectors
from aroma.retrieval.csr import compiled

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
_LINE_WIDTH: Final = 8
_PATIENCE: Final = 2


@dataclass(frozen=True)
class Fitted:
    """A network, and the epoch at which it did best on what was watched."""

    network: Network
    best_epoch: int


class Network:
    """The parameters, as arrays.

    Args:
        arrays: ``project.<encoder>.<side>`` (width, dim + 1: a bias last), ``absent.<encoder>.<side>`` (width),
            ``lines`` (lines + 1, 8), ``hidden`` and ``out`` with a bias column last; float32.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._arrays = {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}

    def arrays(self) -> Mapping[str, Float32]:
        """Return the parameters by name."""
        return self._arrays

    def probabilities(self, vectors: GeneVectors, ends: Int32, codes: Int32) -> Probabilities:
        """Return float64 (rows, 3).

        Args:
            vectors: The encoders' vectors.
            ends: int32 (rows, 2, encoders), rows of the vector sets; -1 for none.
            codes: int32 (rows), cell lines.
        """
        parts: list[Float64] = []
        for encoder, one in enumerate(vectors.sets):
            sides = [self._projected(one.vectors, ends[:, side, encoder], encoder, side) for side in (0, 1)]
            parts += [*sides, sides[0] * sides[1]]
        inputs = np.concatenate([*parts, self._arrays["lines"][codes].astype(np.float64)], axis=1)
        found = np.empty((len(inputs), len(CLASSES)))
        hidden, out = (self._arrays[name].astype(np.float64) for name in ("hidden", "out"))
        _answer(np.ascontiguousarray(inputs), hidden, out, found)
        return found

    def _projected(self, vectors: npt.NDArray[Any], rows: Int32, encoder: int, side: int) -> Float64:
        """Return float64 (rows, width), each gene projected by itself so that it is the same in any company."""
        weight = self._arrays[f"project.{encoder}.{side}"].astype(np.float64)
        distinct, place = np.unique(rows, return_inverse=True)
        projected = np.empty((len(distinct), len(weight)))
        for at, row in enumerate(distinct):
            projected[at] = (
                self._arrays[f"absent.{encoder}.{side}"]
                if row < 0
                else weight[:, :-1] @ np.asarray(vectors[row], dtype=np.float64) + weight[:, -1]
            )
        return projected[place]


@compiled
def _answer(inputs: Float64, hidden: Float64, out: Float64, found: Float64) -> None:
    """Hidden layer, rectifier, softmax; a row at a time, summed in one order."""
    width = inputs.shape[1]
    middle = np.empty(len(hidden))
    for row in range(len(inputs)):
        for unit in range(len(hidden)):
            total = hidden[unit, width]
            for number in range(width):
                total += hidden[unit, number] * inputs[row, number]
            middle[unit] = max(total, 0.0)
        most = -np.inf
        for label in range(len(out)):
            total = out[label, len(middle)]
            for unit in range(len(middle)):
                total += out[label, unit] * middle[unit]
            found[row, label] = total
            most = max(most, total)
        whole = 0.0
        for label in range(len(out)):
            found[row, label] = np.exp(found[row, label] - most)
            whole += found[row, label]
        for label in range(len(out)):
            found[row, label] /= whole


def fit_network(
    vectors: GeneVectors,
    ends: Int32,
    codes: Int32,
    labels: npt.NDArray[np.int8],
    lines: int,
    settings: Mapping[str, Any],
    seed: int,
    *,
    watch: tuple[Int32, Int32, npt.NDArray[np.int8]] | None = None,
    progress: Progress = no_progress,
) -> Fitted:
    """Fit by Adam on cross-entropy; with ``watch`` stop when it gets no better there, and return the best epoch.

    Args:
        vectors: The encoders' vectors.
        ends: int32 (rows, 2, encoders).
        codes: int32 (rows).
        labels: int8 (rows), probability columns.
        lines: Number of cell lines.
        settings: ``width``, ``hidden``, ``epochs``, ``rate``, ``batch``.
        seed: Of weights, order and the masking of genes and lines.
        watch: The same three of rows that are not learned from.
        progress: Told of each epoch.

    Raises:
        ModelError: The extra ``embeddings`` is not installed, or the loss is not finite.
    """
    try:
        from aroma.model.predictors import gat_head_training
    except ImportError as error:
        raise ModelError(
            "gat-head is fitted with torch; install it: pip install 'aroma-evidence[embeddings]'"
        ) from error
    fitting = gat_head_training.Fitting(vectors, lines, settings, seed)
    best, best_loss, kept = -1, np.inf, fitting.arrays()
    for epoch in range(int(settings["epochs"])):
        progress("network", epoch / int(settings["epochs"]))
        fitting.epoch(ends, codes, labels, epoch)
        loss = fitting.loss(*watch) if watch is not None else -float(epoch)
        if loss < best_loss:
            best, best_loss, kept = epoch, loss, fitting.arrays()
        elif epoch - best >= _PATIENCE:
            break
    return Fitted(Network(kept), best)
