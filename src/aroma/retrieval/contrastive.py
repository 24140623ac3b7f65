"""Contrastive evidence (CORE): related perturbations whose outcome on the same target is known.

For a query the cases are the outcomes of its target under other perturbations, and under the same perturbation in
other cell lines. Each is weighed by how alike the two perturbed genes are under the graph kernels. Cases that changed
the target (positives) stand apart from cases that did not (negatives): plausibility is not prediction, and a related
perturbation that left the target alone says as much as one that moved it.

Outcomes that are withheld are taken out before anything is computed, so no answer can reach its own evidence.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.kgstore.resolver import GeneResolver
from aroma.retrieval.gene_kernels import KERNELS, GeneKernels
from aroma.retrieval.snapshot import NodeTable
from aroma.retrieval.withhold import NOTHING, Withhold, line_key

NOT_SIGNIFICANT: Final = 0
DOWN: Final = 1
UP: Final = 2
LABEL_NAMES: Final = ("not significant", "down", "up")
_KEPT_PERTURBATIONS: Final = 512
_ROWS: Final = {"targets": np.int32, "perturbations": np.int32, "labels": np.int8}


@dataclass(frozen=True, slots=True)
class Case:
    """One known outcome on the queried target.

    Attributes:
        perturbation: Release node number of the perturbed gene.
        cell_line: Where it was measured.
        label: 0 not significant, 1 down, 2 up.
        similarity: Mean of the kernels, 0 to 1; 1 for the same perturbation in another cell line.
        by_kernel: Similarity under each kernel, in the order of ``KERNELS``.
        same_perturbation: True for the queried perturbation itself, measured in another cell line.
    """

    perturbation: int
    cell_line: str
    label: int
    similarity: float
    by_kernel: tuple[float, ...]
    same_perturbation: bool


@dataclass(frozen=True)
class Cases:
    """All usable cases of a query, as arrays over cases in a fixed order (target rows of the outcomes table).

    Attributes:
        perturbations: int32, release node numbers.
        lines: int16, positions in ``OutcomeIndex.cell_lines``.
        labels: int8.
        similarities: float32, (kernels, cases).
        withheld: Outcomes on this target that were withheld, over all lines.
    """

    perturbations: npt.NDArray[np.int32]
    lines: npt.NDArray[np.int16]
    labels: npt.NDArray[np.int8]
    similarities: npt.NDArray[np.float32]
    withheld: int


def _digest(cell_lines: list[str], arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return a hash of the outcomes that may be seen, and of nothing else."""
    whole = hashlib.sha256("\n".join(cell_lines).encode())
    for name in ("targets", "perturbations", "lines", "labels"):
        whole.update(arrays[name].tobytes())
    return f"o{whole.hexdigest()[:16]}"


class OutcomeIndex:
    """Outcomes by target gene, without the withheld ones.

    ``arrays`` are rows in the order of target, cell line, perturbation: ``targets`` and ``perturbations`` (int32, node
    numbers), ``lines`` (int16, positions in ``cell_lines``), ``labels`` (int8); and ``perturbed`` (int32, distinct).

    Args:
        outcomes: Columns ``cell_line``, ``perturbation``, ``perturbation_gene``, ``target_gene``, ``label``,
            ``split`` (see ``aroma.kgstore.outcomes``); rows whose genes are not resolved are left out.
        nodes: The release's nodes.
        withhold: What may not be seen.
        resolver: For names in ``withhold`` that are written otherwise than in the outcomes.

    Raises:
        UsageError: ``withhold`` names a split, line or gene that there is not.
    """

    def __init__(
        self,
        outcomes: pl.DataFrame,
        nodes: NodeTable,
        withhold: Withhold = NOTHING,
        resolver: GeneResolver | None = None,
    ) -> None:
        perturbed = nodes.by_id.rename({"id": "perturbation_gene", "node": "p"})
        measured = nodes.by_id.rename({"id": "target_gene", "node": "t"})
        hidden = withhold.mask(outcomes, resolver)
        rows = (
            outcomes.with_columns(hidden)
            .join(perturbed, on="perturbation_gene", maintain_order="left")
            .join(measured, on="target_gene", maintain_order="left")
            .sort("t", "cell_line", "p", maintain_order=True)
        )
        self.withheld_total = int(hidden.sum())
        gone = rows.filter(pl.col("withheld")).group_by("t").len()
        self._withheld: dict[int, int] = dict(gone.iter_rows())
        seen = rows.filter(~pl.col("withheld"))
        cell_lines: list[str] = seen["cell_line"].unique().sort().to_list()
        codes = {name: code for code, name in enumerate(cell_lines)}
        lines = seen["cell_line"].replace_strict(codes, return_dtype=pl.Int16).to_numpy()
        seen_rows = {"targets": seen["t"], "perturbations": seen["p"], "labels": seen["label"]}
        arrays = {name: column.to_numpy().astype(_ROWS[name]) for name, column in seen_rows.items()}
        arrays |= {"lines": lines, "perturbed": np.unique(arrays["perturbations"])}
        self._take(cell_lines, arrays, _digest(cell_lines, arrays))

    @classmethod
    def of_arrays(cls, cell_lines: list[str], arrays: Mapping[str, npt.NDArray[Any]], digest: str) -> OutcomeIndex:
        """Return an index that nothing is withheld from, over arrays (``arrays``) that were laid out before."""
        made = cls.__new__(cls)
        made.withheld_total, made._withheld = 0, {}  # noqa: SLF001 - of the same class
        made._take(cell_lines, arrays, digest)  # noqa: SLF001 - of the same class
        return made

    def _take(self, cell_lines: list[str], arrays: Mapping[str, npt.NDArray[Any]], digest: str) -> None:
        self.cell_lines, self.digest, self.arrays = cell_lines, digest, dict(arrays)
        self.codes = {line_key(name): code for code, name in enumerate(cell_lines)}
        self.perturbed: npt.NDArray[np.int32] = arrays["perturbed"]
        self._targets, self._perturbations = arrays["targets"], arrays["perturbations"]
        self._labels, self._lines = arrays["labels"], arrays["lines"]

    def rows(self, target: int) -> slice:
        """Return where the outcomes of a target stand in the arrays."""
        return slice(*self._targets.searchsorted(np.array([target, target + 1], dtype=np.int32)))

    def of(self, target: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16], npt.NDArray[np.int8]]:
        """Return perturbations, cell lines (codes) and labels of a target's outcomes."""
        where = self.rows(target)
        return self._perturbations[where], self._lines[where], self._labels[where]

    def withheld(self, target: int) -> int:
        """Return how many outcomes of a target were withheld."""
        return int(self._withheld.get(target, 0))


class Contrast:
    """Finds contrastive cases; keeps the similarities of recent perturbations, since bulk queries repeat them."""

    def __init__(self, index: OutcomeIndex, kernels: GeneKernels, *, kept: int = _KEPT_PERTURBATIONS) -> None:
        self.index = index
        self._kept = kept
        self._among = [kernels[name].among(index.perturbed) for name in KERNELS]
        self._recent: OrderedDict[int, npt.NDArray[np.float32]] = OrderedDict()

    def cases(self, perturbation: int, target: int, cell_line: str) -> Cases:
        """Return all usable cases: everything known of the target but the queried triple itself."""
        others, lines, labels = self.index.of(target)
        own = (others == perturbation) & (lines == self._code(cell_line))
        keep = ~own
        others, lines, labels = others[keep], lines[keep], labels[keep]
        similar = self._similarities(perturbation)
        columns = np.searchsorted(self.index.perturbed, others)
        return Cases(others, lines, labels, similar[:, columns], self.index.withheld(target))

    def closest(
        self, perturbation: int, target: int, cell_line: str, *, limit: int = 5, found: Cases | None = None
    ) -> tuple[list[Case], list[Case]]:
        """Return the most similar positives and negatives, at most ``limit`` each.

        Ties go to the queried cell line, then to the smaller node number, then to the cell line's name.
        """
        cases = found if found is not None else self.cases(perturbation, target, cell_line)
        same = cases.perturbations == perturbation
        mean = np.add.reduce(cases.similarities, axis=0) / np.float32(len(cases.similarities))
        mean[same] = 1
        foreign = cases.lines != self._code(cell_line)
        order = np.lexsort((cases.lines, cases.perturbations, foreign, -mean))
        order = order[mean[order] > 0]
        changed = cases.labels[order] != NOT_SIGNIFICANT
        positives, negatives = (
            self._listed(cases, order[side][:limit], mean, perturbation) for side in (changed, ~changed)
        )
        return positives, negatives

    def _listed(
        self, cases: Cases, places: npt.NDArray[np.int64], mean: npt.NDArray[np.float32], perturbation: int
    ) -> list[Case]:
        columns = (
            cases.perturbations[places].tolist(),
            cases.lines[places].tolist(),
            cases.labels[places].tolist(),
            mean[places].tolist(),
            cases.similarities[:, places].T.tolist(),
        )
        names = self.index.cell_lines
        return [
            Case(
                other, names[line], label, round(alike, 4), tuple([round(one, 4) for one in by]), other == perturbation
            )
            for other, line, label, alike, by in zip(*columns, strict=True)
        ]

    def _code(self, cell_line: str) -> int:
        return self.index.codes.get(line_key(cell_line), -1)

    def _similarities(self, perturbation: int) -> npt.NDArray[np.float32]:
        """Return float32 (kernels, perturbed genes)."""
        kept = self._recent.get(perturbation)
        if kept is not None:
            with suppress(KeyError):  # another thread may have dropped it meanwhile
                self._recent.move_to_end(perturbation)
            return kept
        found = np.stack([among.similarity(perturbation) for among in self._among])
        self._recent[perturbation] = found
        if len(self._recent) > self._kept:
            self._recent.popitem(last=False)
        return found


def _rounded(values: list[float]) -> tuple[float, ...]:
    return tuple([round(value, 4) for value in values])
