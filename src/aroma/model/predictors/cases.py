"""Cases: known outcomes by target, and the votes of those whose perturbation is like the one asked about.

A row's own outcome is never its case, so the votes of a training row are those of a row that was never measured. All
similarities are computed in one way for one row or a million, so that no answer depends on the others asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from aroma.model.ground import Ground
from aroma.model.labels import COLUMN_OF_LABEL
from aroma.model.predictors.rates import key_of
from aroma.retrieval.csr import Int8, Int32, Int64, compiled
from aroma.retrieval.gene_kernels import KERNELS, Kernel

MEAN: Final = "mean"
_FILE: Final = "cases.parquet"
_CHUNK: Final = 64
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int16 = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Voting:
    """How cases weigh.

    Attributes:
        kernel: One of ``KERNELS``, or ``mean``.
        temperature: Above 0; a case of similarity ``s`` weighs ``s ** (1 / temperature)``, so that at a low one only
            the most similar count.
        top_n: Of each row's cases only the heaviest this many count; 0 for all.
        other_lines: What a case in another cell line weighs beside one in the row's own.
        same: What the same perturbation in another line weighs, before ``other_lines``.
    """

    kernel: str = MEAN
    temperature: float = 1.0
    top_n: int = 0
    other_lines: float = 0.5
    same: float = 1.0


class CaseTable:
    """Training rows as cases, by target.

    Args:
        cases: ``cell_line``, ``perturbation`` (name), ``perturbation_gene``, ``perturbation_key``, ``target_key``,
            ``column`` (Int8, probability column).
        ground: The release.
    """

    def __init__(self, cases: pl.DataFrame, ground: Ground) -> None:
        self.ground = ground
        self.cases = cases.sort("target_key", "cell_line", "perturbation_key", "perturbation", "column")
        self._targets = _codes(self.cases["target_key"])
        self._perturbed = _codes(self.cases["perturbation_key"])
        self.cell_lines: list[str] = self.cases["cell_line"].unique().sort().to_list()
        target = _coded(self.cases["target_key"], self._targets)
        self._starts: Int64 = np.searchsorted(target, np.arange(self._targets.height + 1)).astype(np.int64)
        self._perturbations: Int32 = _coded(self.cases["perturbation_key"], self._perturbed).astype(np.int32)
        self._lines: Int16 = self._line_codes(self.cases["cell_line"])
        self._columns: Int8 = self.cases["column"].to_numpy().astype(np.int8)
        genes = self._perturbed.join(
            self.cases.group_by("perturbation_key").agg(pl.col("perturbation_gene").first()),
            left_on="key", right_on="perturbation_key", how="left", maintain_order="left",
        )  # fmt: skip
        self._nodes = ground.nodes_of(genes["perturbation_gene"])

    @classmethod
    def of(cls, rows: pl.DataFrame, ground: Ground) -> CaseTable:
        """Return the cases of training rows (columns of ``TRAINING``)."""
        made = rows.select(
            "cell_line",
            "perturbation",
            "perturbation_gene",
            key_of("perturbation").alias("perturbation_key"),
            key_of("target").alias("target_key"),
            pl.Series("column", COLUMN_OF_LABEL[rows["label"].to_numpy()], dtype=pl.Int8),
        )
        return cls(made, ground)

    def votes(self, rows: pl.DataFrame, voting: Voting) -> Float64:
        """Return float64 (rows, 3) weights of the cases that say down, not significant, up.

        Args:
            rows: Columns of ``ROWS``.
            voting: How cases weigh.
        """
        out = np.zeros((rows.height, 3))
        if not rows.height or not self.cases.height:
            return out
        places, weights = self._weights(rows, voting)
        keys = self._keys(rows)
        _gather(
            self._starts, self._perturbations, self._lines, self._columns, weights,
            keys.target, places, keys.perturbation, keys.line,
            np.array([voting.other_lines, voting.same]), voting.top_n, out,
        )  # fmt: skip
        return out

    def of_row(self, row: Mapping[str, Any], voting: Voting) -> tuple[Int64, Float64]:
        """Return the cases of one row (rows of ``cases``) and what each weighs, heaviest first."""
        rows = pl.DataFrame([{k: row[k] for k in _ROW}], schema=dict.fromkeys(_ROW, pl.String))
        keys = self._keys(rows)
        if not self.cases.height or keys.target[0] < 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        _, weights = self._weights(rows, voting)
        where = np.arange(self._starts[keys.target[0]], self._starts[keys.target[0] + 1])
        found = weights[0, self._perturbations[where]].astype(np.float64)
        same = self._perturbations[where] == keys.perturbation[0]
        found[same] = voting.same
        foreign = self._lines[where] != keys.line[0]
        found[foreign] *= voting.other_lines
        found[same & ~foreign] = 0.0
        order = np.argsort(-found, kind="stable")
        order = order[: voting.top_n] if voting.top_n else order
        order = order[found[order] > 0]
        return where[order], found[order]

    def save(self, directory: Path) -> None:
        """Write the cases as ``cases.parquet``."""
        self.cases.write_parquet(directory / _FILE)

    @classmethod
    def load(cls, directory: Path, ground: Ground) -> CaseTable:
        """Read what ``save`` wrote."""
        return cls(pl.read_parquet(directory / _FILE), ground)

    @cached_property
    def _rows_by_kernel(self) -> dict[str, tuple[npt.NDArray[np.bool_], sparse.csr_matrix]]:
        """Each kernel's rows of the perturbed genes, and which of them it knows."""
        found = {}
        for name in KERNELS:
            among = self.ground.kernels[name].among(self._nodes)
            found[name] = (among.known, among.rows)
        return found

    def _weights(self, rows: pl.DataFrame, voting: Voting) -> tuple[Int64, Float32]:
        """Return for each row its place among the asked perturbations, and their weights to the perturbed genes."""
        genes = rows["perturbation_gene"].fill_null("")
        asked = genes.unique().sort()
        places = genes.replace_strict(asked.to_list(), range(len(asked)), return_dtype=pl.Int64).to_numpy()
        similar = self._similarities(self.ground.nodes_of(asked), voting.kernel)
        return places, similar ** np.float32(1.0 / voting.temperature)

    def _similarities(self, nodes: Int32, kernel: str) -> Float32:
        names = KERNELS if kernel == MEAN else (kernel,)
        total = np.zeros((len(nodes), len(self._nodes)), dtype=np.float32)
        for name in names:
            total += self._one_kernel(nodes, self.ground.kernels[name])
        return np.maximum(np.round(total / np.float32(len(names)), 5), np.float32(0))

    def _one_kernel(self, nodes: Int32, kernel: Kernel) -> Float32:
        known, others = self._rows_by_kernel[kernel.name]
        found = np.zeros((len(nodes), len(known)), dtype=np.float32)
        if not others.shape[0]:
            return found
        for start in range(0, len(nodes), _CHUNK):
            part = nodes[start : start + _CHUNK]
            # Two columns at least: with one, scipy adds up in another way, and answers would depend on who else asks.
            dense = np.zeros((len(kernel.features), max(len(part), 2)), dtype=np.float32)
            for place, node in enumerate(part.tolist()):
                row = kernel.row_of(node)
                if row is not None:
                    own = slice(kernel.rows.indptr[row], kernel.rows.indptr[row + 1])
                    dense[kernel.rows.indices[own], place] = kernel.rows.data[own]
            found[start : start + len(part), known] = (others @ dense)[:, : len(part)].T
        return found

    def _keys(self, rows: pl.DataFrame) -> _Keys:
        keyed = rows.select("cell_line", p=key_of("perturbation"), t=key_of("target"))
        return _Keys(
            _coded(keyed["p"], self._perturbed).astype(np.int64),
            _coded(keyed["t"], self._targets).astype(np.int64),
            self._line_codes(keyed["cell_line"]),
        )

    def _line_codes(self, names: pl.Series) -> Int16:
        codes = {name: code for code, name in enumerate(self.cell_lines)}
        found = names.replace_strict(list(codes), list(codes.values()), default=-1, return_dtype=pl.Int16)
        return found.fill_null(-1).to_numpy()


_ROW: Final = ("cell_line", "perturbation", "target", "perturbation_gene", "target_gene")


@dataclass(frozen=True, slots=True)
class _Keys:
    perturbation: Int64
    target: Int64
    line: Int16


def _codes(names: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"key": names.unique().sort()}).with_row_index("code")


def _coded(names: pl.Series, codes: pl.DataFrame) -> Int64:
    found = pl.DataFrame({"key": names}).join(codes, on="key", how="left", maintain_order="left")["code"]
    return found.cast(pl.Int64).fill_null(-1).to_numpy()


@compiled
def _gather(
    starts: Int64,
    perturbations: Int32,
    lines: Int16,
    columns: Int8,
    weights: Float32,
    row_target: Int64,
    row_place: Int64,
    row_perturbation: Int64,
    row_line: Int16,
    scale: Float64,
    top_n: int,
    out: Float64,
) -> None:
    """Add the weight of each row's cases to its class; of more than ``top_n`` only the heaviest, ties by order."""
    longest = 0
    for target in range(len(starts) - 1):
        longest = max(longest, starts[target + 1] - starts[target])
    found = np.empty(longest, dtype=np.float64)
    for row in range(len(row_target)):
        target = row_target[row]
        if target < 0:
            continue
        first, last = starts[target], starts[target + 1]
        for case in range(first, last):
            same = perturbations[case] == row_perturbation[row]
            weight = scale[1] if same else np.float64(weights[row_place[row], perturbations[case]])
            if lines[case] != row_line[row]:
                weight *= scale[0]
            elif same:
                weight = 0.0
            found[case - first] = weight
        count = last - first
        if top_n == 0 or count <= top_n:
            for case in range(count):
                out[row, columns[first + case]] += found[case]
        else:
            for case in np.argsort(-found[:count], kind="mergesort")[:top_n]:
                out[row, columns[first + case]] += found[case]
