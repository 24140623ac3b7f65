"""Fitting of ``gat-head`` with torch: the one module of it that needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aroma.errors import ModelError
from aroma.model.labels import CLASSES
from aroma.model.predictors.gene_vectors import GeneVectors

_LINE_WIDTH: Final = 8
_MASKED: Final = 0.05
"""Share of genes and lines taken for absent in training, by which the "absent" vectors are learned."""


class Fitting(nn.Module):
    """The network while it is fitted.

    Args:
        vectors: The encoders' vectors.
        lines: Number of cell lines.
        settings: See ``fit_network``.
        seed: Of every random choice.
    """

    def __init__(self, vectors: GeneVectors, lines: int, settings: Mapping[str, Any], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self._seed, self._batch = seed, int(settings["batch"])
        width, hidden = int(settings["width"]), int(settings["hidden"])
        self._tables = [torch.from_numpy(np.array(one.vectors, dtype=np.float32)) for one in vectors.sets]
        scales = [table.pow(2).mean().sqrt().clamp_min(1e-6) for table in self._tables]
        self._tables = [table / scale for table, scale in zip(self._tables, scales, strict=True)]
        self._scales = [float(scale) for scale in scales]
        sides = [(encoder, side) for encoder in range(len(self._tables)) for side in (0, 1)]
        self.project = nn.ModuleDict({f"{e}-{s}": nn.Linear(self._tables[e].shape[1], width) for e, s in sides})
        self.absent = nn.ParameterDict({f"{e}-{s}": nn.Parameter(torch.zeros(width)) for e, s in sides})
        self.lines = nn.Embedding(lines + 1, _LINE_WIDTH)
        self.hidden = nn.Linear(3 * width * len(self._tables) + _LINE_WIDTH, hidden)
        self.out = nn.Linear(hidden, len(CLASSES))
        self._unknown_line = lines
        self._optimiser = torch.optim.AdamW(self.parameters(), lr=float(settings["rate"]))

    def forward(self, ends: Tensor, codes: Tensor) -> Tensor:
        """Return (rows, 3) logits.

        Args:
            ends: int64 (rows, 2, encoders); -1 for none.
            codes: int64 (rows).
        """
        parts: list[Tensor] = []
        for encoder in range(len(self._tables)):
            one, other = (self._side(ends[:, side, encoder], encoder, side) for side in (0, 1))
            parts += [one, other, one * other]
        return self.out(torch.relu(self.hidden(torch.cat([*parts, self.lines(codes)], dim=1))))  # type: ignore[no-any-return]

    def epoch(
        self, ends: npt.NDArray[np.int32], codes: npt.NDArray[np.int32], labels: npt.NDArray[np.int8], number: int
    ) -> None:
        """Go once over the rows in a random order.

        Raises:
            ModelError: The loss is not finite.
        """
        generator = np.random.default_rng([self._seed, number])
        order = generator.permutation(len(ends))
        self.train()
        with _deterministic():
            self._batches(ends, codes, labels, order, generator, number)

    def _batches(
        self,
        ends: npt.NDArray[np.int32],
        codes: npt.NDArray[np.int32],
        labels: npt.NDArray[np.int8],
        order: npt.NDArray[np.int64],
        generator: np.random.Generator,
        number: int,
    ) -> None:
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            given = ends[rows].astype(np.int64)
            given[generator.random(given.shape) < _MASKED] = -1
            line = np.where(generator.random(len(rows)) < _MASKED, self._unknown_line, codes[rows]).astype(np.int64)
            loss = self._loss(given, line, labels[rows])
            if not torch.isfinite(loss):
                raise ModelError(f"gat-head: the loss of epoch {number} is {loss.item()}; take a smaller rate")
            self._optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()

    def loss(self, ends: npt.NDArray[np.int32], codes: npt.NDArray[np.int32], labels: npt.NDArray[np.int8]) -> float:
        """Return the mean cross-entropy of rows."""
        self.eval()
        with torch.no_grad():
            parts = [
                float(
                    self._loss(ends[at : at + self._batch], codes[at : at + self._batch], labels[at : at + self._batch])
                )
                * len(ends[at : at + self._batch])
                for at in range(0, len(ends), self._batch)
            ]
        return sum(parts) / max(len(ends), 1)

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the parameters as ``Network`` has them; scales of the vectors go into the projections."""
        found = {"lines": self.lines.weight, "hidden": _whole(self.hidden), "out": _whole(self.out)}
        for name, layer in self.project.items():
            encoder, side = name.split("-")
            assert isinstance(layer, nn.Linear)
            weight = torch.cat([layer.weight / self._scales[int(encoder)], layer.bias[:, None]], dim=1)
            found[f"project.{encoder}.{side}"], found[f"absent.{encoder}.{side}"] = weight, self.absent[name]
        return {name: tensor.detach().numpy().copy() for name, tensor in found.items()}

    def _loss(self, ends: npt.NDArray[Any], codes: npt.NDArray[Any], labels: npt.NDArray[np.int8]) -> Tensor:
        logits = self(torch.from_numpy(ends.astype(np.int64)), torch.from_numpy(codes.astype(np.int64)))
        return nn.functional.cross_entropy(logits, torch.from_numpy(labels.astype(np.int64)))

    def _side(self, rows: Tensor, encoder: int, side: int) -> Tensor:
        """Return (rows, width): each gene that stands in the batch is projected once."""
        distinct, place = torch.unique(rows, return_inverse=True)
        name = f"{encoder}-{side}"
        projected = self.project[name](self._tables[encoder][distinct.clamp_min(0)])
        return torch.where((distinct >= 0)[:, None], projected, self.absent[name])[place]


@contextmanager
def _deterministic() -> Iterator[None]:
    """Sum gradients of repeated genes in one order, whatever the threads do."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _whole(layer: nn.Linear) -> Tensor:
    return torch.cat([layer.weight, layer.bias[:, None]], dim=1)
