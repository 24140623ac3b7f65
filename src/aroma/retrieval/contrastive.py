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
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.kgstore.resolver import GeneResolver
from aroma.retrieval.csr import Int8, Int32, Int64, compiled, read_only
from aroma.retrieval.gene_kernels import KERNELS, GeneKernels
from aroma.retrieval.snapshot import NodeTable
from aroma.retrieval.withhold import NOTHING, Withhold, line_key

NOT_SIGNIFICANT: Final = 0
DOWN: Final = 1
UP: Final = 2
LABEL_NAMES: Final = ("not significant", "down", "up")
_KEPT_PERTURBATIONS: Final = 512
_ROWS: Final[dict[str, type[np.generic]]] = {"targets": np.int32, "perturbations": np.int32, "labels": np.int8}
_TYPES: Final[dict[str, type[np.generic]]] = {**_ROWS, "lines": np.int16, "perturbed": np.int32}


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


@dataclass(frozen=True, slots=True)
class Nearest:
    """The most similar cases of a query, as rows of ``OutcomeIndex.arrays``, best first.

    Attributes:
        positives: Rows that changed the target, at most as many as were asked for.
        negatives: Rows that did not.
        positives_total: How many cases changed the target, similar or not.
        negatives_total: How many did not.
    """

    positives: list[int]
    negatives: list[int]
    positives_total: int
    negatives_total: int


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
        lines = seen["cell_line"].replace_strict(codes, return_dtype=pl.Int16).to_numpy().astype(np.int16)
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
        self.cell_lines, self.digest, self.arrays = (
            cell_lines,
            digest,
            {name: read_only(array, _TYPES[name]) for name, array in arrays.items()},
        )
        arrays = self.arrays
        self.codes = {line_key(name): code for code, name in enumerate(cell_lines)}
        self.perturbed: npt.NDArray[np.int32] = arrays["perturbed"]
        self._targets, self._perturbations = arrays["targets"], arrays["perturbations"]
        self._labels, self._lines = arrays["labels"], arrays["lines"]

    @cached_property
    def columns(self) -> npt.NDArray[np.int32]:
        """int32, rows: where in ``perturbed`` the perturbation of a row stands."""
        found: npt.NDArray[np.int32] = read_only(np.searchsorted(self.perturbed, self._perturbations), np.int32)
        return found

    def rows(self, target: int) -> slice:
        """Return where the outcomes of a target stand in the arrays."""
        return slice(*self._targets.searchsorted(np.array([target, target + 1], dtype=np.int32)))

    def of(self, target: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16], npt.NDArray[np.int8]]:
        """Return perturbations, cell lines (codes) and labels of a target's outcomes."""
        where = self.rows(target)
        return self._perturbations[where], self._lines[where], self._labels[where]

    def row(self, row: int) -> tuple[int, str, int]:
        """Return perturbation, cell line and label of one row."""
        at = self._items
        return at[0][row], self.cell_lines[at[1][row]], at[2][row]

    @cached_property
    def _items(self) -> tuple[memoryview, ...]:
        """Perturbations, lines and labels as memory views, of which an item is a plain int, at once."""
        return self._perturbations.data, self._lines.data, self._labels.data

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
        columns = self.index.columns[self.index.rows(target)][keep]
        similar = self._similarities(perturbation)[:-1, columns]
        return Cases(others[keep], lines[keep], labels[keep], similar, self.index.withheld(target))

    def nearest(self, perturbation: int, target: int, cell_line: str, limit: int | None = 5) -> Nearest:
        """Return the most similar positives and negatives, at most ``limit`` each (None: all of any similarity).

        Ties go to the queried cell line, then to the smaller node number, then to the cell line's name.
        """
        rows, index = self.index.rows(target), self.index
        most = rows.stop - rows.start if limit is None else min(limit, rows.stop - rows.start)
        best = np.empty((2, most), dtype=np.int64)
        alike, code = self._similarities(perturbation)[-1], self._code(cell_line)
        changed, unchanged, positives, negatives = _nearest(
            index.arrays["perturbations"],
            index.arrays["lines"],
            index.arrays["labels"],
            index.columns,
            alike,
            np.array([rows.start, rows.stop, perturbation, code], dtype=np.int64),
            best,
        )
        return Nearest(best[0, :positives].tolist(), best[1, :negatives].tolist(), changed, unchanged)

    def closest(
        self, perturbation: int, target: int, cell_line: str, *, limit: int = 5
    ) -> tuple[list[Case], list[Case]]:
        """Return the most similar positives and negatives, at most ``limit`` each; see ``nearest``."""
        found = self.nearest(perturbation, target, cell_line, limit)
        positives, negatives = (
            [self.case(perturbation, row) for row in side] for side in (found.positives, found.negatives)
        )
        return positives, negatives

    def case(self, perturbation: int, row: int) -> Case:
        """Return what a row says as a case for a perturbation."""
        other, line, label = self.index.row(row)
        similarity, by_kernel = self.likeness(perturbation, row)
        return Case(other, line, label, similarity, by_kernel, other == perturbation)

    def likeness(self, perturbation: int, row: int) -> tuple[float, tuple[float, ...]]:
        """Return how alike a perturbation and that of a row are: the mean of the kernels, and by each."""
        values = self._similarities(perturbation)[:, self.index.columns[row]].tolist()
        *by_kernel, mean = (round(value, 4) for value in values)
        return mean, tuple(by_kernel)

    def _code(self, cell_line: str) -> int:
        return self.index.codes.get(line_key(cell_line), -1)

    def _similarities(self, perturbation: int) -> npt.NDArray[np.float32]:
        """Return float32 (kernels + 1, perturbed genes): by kernel, and their mean; 1 for the perturbation itself."""
        kept = self._recent.get(perturbation)
        if kept is not None:
            with suppress(KeyError):  # another thread may have dropped it meanwhile
                self._recent.move_to_end(perturbation)
            return kept
        found = np.empty((len(self._among) + 1, len(self.index.perturbed)), dtype=np.float32)
        for place, among in enumerate(self._among):
            found[place] = among.similarity(perturbation)
        found[-1] = np.add.reduce(found[:-1], axis=0) / np.float32(len(self._among))
        found[-1, self.index.perturbed == perturbation] = 1
        self._recent[perturbation] = found
        if len(self._recent) > self._kept:
            self._recent.popitem(last=False)
        return found


@compiled
def _nearest(
    perturbations: Int32,
    lines: npt.NDArray[np.int16],
    labels: Int8,
    columns: Int32,
    alike: npt.NDArray[np.float32],
    query: Int64,
    best: Int64,
) -> tuple[int, int, int, int]:
    """Fill ``best`` (2, most) with the rows that changed the target and those that did not, most similar first.

    Args:
        perturbations: Of all outcomes.
        lines: Of all outcomes.
        labels: Of all outcomes.
        columns: Of all outcomes, into ``alike``.
        alike: Mean similarity to the queried perturbation.
        query: First row, end of the rows, queried perturbation, code of the queried cell line.
        best: Filled here.

    Returns:
        Cases that changed, cases that did not, rows filled of each.
    """
    counts, filled = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    most = best.shape[1]
    for row in range(query[0], query[1]):
        if perturbations[row] == query[2] and lines[row] == query[3]:
            continue  # the queried triple itself
        side = 1 if labels[row] == NOT_SIGNIFICANT else 0
        counts[side] += 1
        mean = alike[columns[row]]
        if not mean > 0:
            continue
        place = filled[side]
        while place > 0:
            other = best[side, place - 1]
            theirs = alike[columns[other]]
            if theirs > mean:
                break
            if theirs == mean:
                foreign, foreign_other = lines[row] != query[3], lines[other] != query[3]
                if (foreign_other, perturbations[other], lines[other]) <= (foreign, perturbations[row], lines[row]):
                    break
            if place < most:
                best[side, place] = other
            place -= 1
        if place < most:
            best[side, place] = row
            filled[side] = min(filled[side] + 1, most)
    return counts[0], counts[1], filled[0], filled[1]
