"""What the interaction modules attend over: the vectors of both genes, by modality, as they stand in vector sets.

``gene-kg`` and ``path-kg``: the vectors of the gene and of the nodes within some hops in the encoder's view, the
nearest first, at most ``AromaOptions.neighbours``. ``protein``: the vectors of the residue windows of the proteins that
the gene encodes where the set has them (ids such as ``UniProtKB:P12345#1``, made by ``aroma embed protein --set
windows=256``), else of these proteins as wholes.

A gene that is unknown or has no vector has a mask that is False everywhere; what stands under a mask is never read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import ModelError, UsageError
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.model.aroma.options import AromaOptions
from aroma.model.embeddings.items import WINDOW_MARK
from aroma.model.ground import Ground
from aroma.retrieval.snapshot import View
from aroma.retrieval.subgraphs import neighbourhoods
from aroma.retrieval.vector_store import VectorSet, find_vector_set

try:
    import torch
    from torch import Tensor
except ModuleNotFoundError as error:
    raise ModelError(
        f"AROMA needs the package {error.name}; install it with: pip install 'aroma-evidence[language-model]'"
    ) from error

Int32 = npt.NDArray[np.int32]
_NONE: Final[tuple[Int32, Int32]] = (np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32))


@dataclass(frozen=True, slots=True)
class ModalityBatch:
    """What one modality knows of some pairs; P and T are the most items that a gene of the batch has, at least 1.

    Attributes:
        perturbation: float32 (pairs, P, dim).
        perturbation_mask: bool (pairs, P); False: no item, the numbers there mean nothing.
        perturbation_hops: int64 (pairs, P); hops of an item from the gene, 0 for the gene itself and for proteins.
        target: float32 (pairs, T, dim).
        target_mask: bool (pairs, T).
        target_hops: int64 (pairs, T).
        present: bool (pairs,); whether both genes have an item.
    """

    perturbation: Tensor
    perturbation_mask: Tensor
    perturbation_hops: Tensor
    target: Tensor
    target_mask: Tensor
    target_hops: Tensor
    present: Tensor

    def __len__(self) -> int:
        return len(self.present)

    def to(self, device: torch.device | str) -> Self:
        """Return the batch on a device."""
        return self._each(lambda one: one.to(device, non_blocking=True))

    def select(self, pairs: Tensor | Sequence[int] | slice) -> Self:
        """Return some of the pairs, in the order given."""
        return self._each(lambda one: one[pairs])

    def swapped(self) -> Self:
        """Return the batch with perturbation and target exchanged."""
        return replace(
            self,
            perturbation=self.target,
            perturbation_mask=self.target_mask,
            perturbation_hops=self.target_hops,
            target=self.perturbation,
            target_mask=self.perturbation_mask,
            target_hops=self.perturbation_hops,
        )

    def _each(self, change: Any) -> Self:
        return replace(self, **{name: change(getattr(self, name)) for name in self.__slots__})


class _Items(ABC):
    """The items of a gene in one vector set: rows of the matrix and hops."""

    def __init__(self, vectors: VectorSet, most: int) -> None:
        self.vectors, self.most = vectors, most
        self._kept: dict[str, tuple[Int32, Int32]] = {}

    def of(self, genes: Sequence[str | None]) -> list[tuple[Int32, Int32]]:
        """Return (rows, hops) of each gene; empty where there is nothing."""
        new = sorted({gene for gene in genes if gene is not None and gene not in self._kept})
        if new:
            self._kept.update(zip(new, self._find(new), strict=True))
        return [_NONE if gene is None else self._kept[gene] for gene in genes]

    @abstractmethod
    def _find(self, genes: list[str]) -> list[tuple[Int32, Int32]]:
        """Return (rows, hops) of each gene, nearest first."""


class _Nodes(_Items):
    """The k-hop nodes of a view."""

    def __init__(self, vectors: VectorSet, most: int, *, ground: Ground, view: View, hops: int) -> None:
        super().__init__(vectors, most)
        self._ground, self._view, self._hops = ground, view, hops
        nodes = ground.snapshot.nodes.by_id.select("id", "node")
        rows = pl.DataFrame({"id": vectors.ids.series(), "row": np.arange(len(vectors.ids), dtype=np.int32)})
        held = nodes.join(rows, on="id")
        self._row_of = np.full(len(ground.snapshot.nodes.ids), -1, dtype=np.int32)
        self._row_of[held["node"].to_numpy()] = held["row"].to_numpy()

    def _find(self, genes: list[str]) -> list[tuple[Int32, Int32]]:
        numbers = self._ground.nodes_of(pl.Series(genes, dtype=pl.String))
        local = [None if number < 0 else self._view.local(int(number)) for number in numbers]
        centres = [one for one in local if one is not None]
        if not centres:
            return [_NONE] * len(genes)
        near = neighbourhoods(self._view.csr, centres, self._hops, cap=self.most, edges=False, threads=1)
        found = iter(near.of(place)[:2] for place in range(len(near)))
        return [_NONE if one is None else self._rows(*next(found)) for one in local]

    def _rows(self, nodes: Int32, hops: npt.NDArray[np.int8]) -> tuple[Int32, Int32]:
        rows = self._row_of[np.asarray(self._view.to_release)[nodes]]
        if not len(rows) or rows[0] < 0:  # without a vector of its own a gene is not there, whoever its neighbours are
            return _NONE
        return rows[rows >= 0], hops[rows >= 0].astype(np.int32)


class _Proteins(_Items):
    """The residue windows, or the proteins, that a gene encodes."""

    def __init__(self, vectors: VectorSet, most: int, *, ground: Ground) -> None:
        super().__init__(vectors, most)
        parts: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for row, name in enumerate(vectors.ids):
            protein, _, window = name.partition(WINDOW_MARK)
            parts[protein].append((int(window or 0), row))
        edges = read_table(ground.home.release(ground.release), "edges", ["subject", "relation", "object"])
        encodes = edges.filter(pl.col("relation") == str(Relation.ENCODES)).sort("subject", "object")
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for gene, protein in encodes.select("subject", "object").unique(maintain_order=True).iter_rows():
            rows[gene].extend(row for _, row in sorted(parts.get(protein, ())))
        self._rows = dict(rows)

    def _find(self, genes: list[str]) -> list[tuple[Int32, Int32]]:
        found = [np.array(self._rows.get(gene, ())[: self.most], dtype=np.int32) for gene in genes]
        return [(rows, np.zeros(len(rows), dtype=np.int32)) for rows in found]


class ModalityBank:
    """The vector sets that the modalities of a model read, opened together.

    Attributes:
        dims: Numbers a vector, by modality.
        hops: Most hops of an item, by modality.
    """

    def __init__(self, items: Mapping[str, _Items], hops: Mapping[str, int]) -> None:
        self._items, self.hops = dict(items), dict(hops)
        self.dims = {name: one.vectors.card.dim for name, one in self._items.items()}

    @classmethod
    def open(cls, ground: Ground, options: AromaOptions) -> Self:
        """Open the vector sets of ``options.encoders`` for ``options.modalities``.

        Raises:
            ModelError: The release has no vectors of an encoder, or they are of another kind or view; the message says
                what makes them.
        """
        items: dict[str, _Items] = {}
        for name in options.modalities:
            encoder = options.encoders[name]
            vectors = _open_set(ground, name, encoder)
            if name == "protein":
                items[name] = _Proteins(vectors, options.neighbours, ground=ground)
            else:
                view = ground.snapshot.view(_view_of(name, vectors))
                items[name] = _Nodes(vectors, options.neighbours, ground=ground, view=view, hops=options.hops)
        return cls(items, {name: 0 if name == "protein" else options.hops for name in options.modalities})

    def batch(
        self, perturbation_genes: Sequence[str | None], target_genes: Sequence[str | None]
    ) -> dict[str, ModalityBatch]:
        """Return the batch of each modality for pairs of genes (node ids; None where unknown), on the CPU.

        Raises:
            UsageError: The two lists differ in length.
        """
        if len(perturbation_genes) != len(target_genes):
            raise UsageError(f"{len(perturbation_genes)} perturbation genes and {len(target_genes)} targets; pair them")
        return {name: _batch(one, perturbation_genes, target_genes) for name, one in self._items.items()}

    def card(self) -> dict[str, dict[str, Any]]:
        """Return what each modality reads: encoder name and id, kind, dim, digest of the vector set, licences."""
        return {
            name: {
                "encoder": one.vectors.card.name,
                "id": one.vectors.card.id,
                "kind": one.vectors.card.kind,
                "dim": one.vectors.card.dim,
                "digest": one.vectors.digest,
                "licence": one.vectors.card.licence,
                "licences": dict(one.vectors.card.licences),
            }
            for name, one in self._items.items()
        }


def _open_set(ground: Ground, modality: str, encoder: str) -> VectorSet:
    kind = "protein" if modality == "protein" else "graph"
    makes = "aroma embed protein" if kind == "protein" else f"aroma embed gat --view {modality}"
    try:
        found = find_vector_set(ground.home, ground.release, encoder)
    except UsageError as error:
        raise ModelError(
            f"modality {modality}: {error}; {makes} makes them, or name another encoder, or leave the modality out"
        ) from error
    if found.card.kind != kind:
        raise ModelError(
            f"modality {modality} reads vectors of kind {kind}, and {encoder} has kind {found.card.kind}; name "
            f"another encoder ({makes} makes one)"
        )
    return found


def _view_of(modality: str, vectors: VectorSet) -> str:
    """Return the view that a graph encoder was trained on; one that does not say so is taken to be the modality's."""
    return str(vectors.card.parameters.get("view", modality))


def _batch(items: _Items, ones: Sequence[str | None], others: Sequence[str | None]) -> ModalityBatch:
    matrix = items.vectors.vectors
    perturbation, perturbation_mask, perturbation_hops = _padded(matrix, items.of(ones))
    target, target_mask, target_hops = _padded(matrix, items.of(others))
    return ModalityBatch(
        perturbation=perturbation,
        perturbation_mask=perturbation_mask,
        perturbation_hops=perturbation_hops,
        target=target,
        target_mask=target_mask,
        target_hops=target_hops,
        present=perturbation_mask.any(1) & target_mask.any(1),
    )


def _padded(matrix: npt.NDArray[Any], found: list[tuple[Int32, Int32]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return float32 (genes, most, dim), bool (genes, most) and int64 hops; what is masked holds zeros nobody reads."""
    most = max((len(rows) for rows, _ in found), default=0) or 1
    vectors = np.zeros((len(found), most, matrix.shape[1]), dtype=np.float32)
    mask = np.zeros((len(found), most), dtype=np.bool_)
    hops = np.zeros((len(found), most), dtype=np.int64)
    for place, (rows, far) in enumerate(found):
        vectors[place, : len(rows)] = matrix[rows]
        mask[place, : len(rows)] = True
        hops[place, : len(rows)] = far
    return torch.from_numpy(vectors), torch.from_numpy(mask), torch.from_numpy(hops)
