"""A control: genes with one another's vectors. A model that reads its interaction tokens must do worse with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from aroma.kgstore.schema import Label
from aroma.model.aroma.modalities import ModalityBank, ModalityBatch
from aroma.model.ground import Ground

_AT_ONCE: Final = 256


class ShuffledBank:
    """A bank that answers, for each gene, with the vectors of another one, always the same for a seed.

    The exchange is drawn once over all genes that have vectors, so rows and batches do not matter.

    Args:
        bank: The right one.
        ground: The release, for its genes.
        seed: Of the exchange.
    """

    def __init__(self, bank: ModalityBank, ground: Ground, seed: int = 0) -> None:
        self.bank, self.dims, self.hops = bank, bank.dims, bank.hops
        genes = _with_vectors(bank, ground)
        order = np.random.default_rng(seed).permutation(len(genes))
        turned = np.roll(order, 1)  # one cycle: no gene keeps its own
        self._other: Mapping[str, str] = {
            genes[one]: genes[other] for one, other in zip(order.tolist(), turned.tolist(), strict=True)
        }

    def batch(
        self, perturbation_genes: Sequence[str | None], target_genes: Sequence[str | None]
    ) -> dict[str, ModalityBatch]:
        """Return ``ModalityBank.batch`` of other genes; an unknown gene stays unknown."""
        return self.bank.batch([self._of(one) for one in perturbation_genes], [self._of(one) for one in target_genes])

    def card(self) -> dict[str, dict[str, Any]]:
        """Return the right bank's card."""
        return self.bank.card()

    def _of(self, gene: str | None) -> str | None:
        return None if gene is None else self._other.get(gene, gene)


def _with_vectors(bank: ModalityBank, ground: Ground) -> list[str]:
    """Return the genes of which any modality has vectors."""
    nodes = ground.snapshot.nodes
    genes = [name for name, label in zip(nodes.ids, nodes.labels, strict=True) if label == Label.GENE]
    found = []
    for start in range(0, len(genes), _AT_ONCE):
        some = genes[start : start + _AT_ONCE]
        present = np.zeros(len(some), dtype=bool)
        for batch in bank.batch(some, some).values():
            present |= batch.present.numpy()
        found += [gene for gene, there in zip(some, present.tolist(), strict=True) if there]
    return found
