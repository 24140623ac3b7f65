"""Outcomes and predictions from AnnData: single-cell expression with a perturbation column, labelled as the paper does.

The rule (appendix B.1 of the AROMA paper): counts per ten thousand, ``log(1 + x)``; for each perturbation and gene the
perturbed cells against the non-targeting controls of the same cell line by a two-sided Wilcoxon test; p-values
adjusted by Benjamini and Hochberg over the genes of a perturbation; significant ones are up or down by the sign of the
difference of means. The paper writes "signed-rank", which needs pairs; cells are not paired, so this is the rank-sum
test (Mann-Whitney), normal approximation with the tie and continuity corrections.

The same rule reduces *predicted* expression (AnnData as GEARS, STATE or TxPert write it) to labels and scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse
from scipy.special import expit, ndtr
from scipy.stats import false_discovery_control

from aroma.errors import InputFileError, ModelError, UsageError
from aroma.retrieval.csr import compiled

CONTROLS: Final = ("non-targeting", "control", "ctrl", "NT", "nontargeting", "non_targeting", "NTC", "DMSO_TF")
"""Names of controls that are tried, in this order, where none is given."""
PER_CELL: Final = 10_000.0
_GENES_A_CHUNK: Final = 512
_DECIMALS: Final = 9
_COLUMNS: Final = ("cell_line", "perturbation", "target", "label", "difference", "p_adjusted", "z")
Float64 = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Labelling:
    """How an AnnData is read and labelled.

    Attributes:
        perturbation_column: Column of ``obs``; GEARS's ``A+ctrl`` is read as ``A``.
        control: Value of that column for controls; None tries ``CONTROLS``.
        cell_line: Name of the cell line, where there is no column for it.
        cell_line_column: Column of ``obs``.
        gene_column: Column of ``var`` with gene names; None for ``var_names``.
        layer: Layer instead of ``X``.
        normalised: The values are log counts per ten thousand already.
        level: Adjusted p-values below this are significant.
        minimum_cells: Perturbations of fewer cells are left out and named; 1 allows mean profiles, which are labelled
            by ``minimum_difference`` alone.
        minimum_difference: Least absolute difference of means of a changed gene.
    """

    perturbation_column: str = "perturbation"
    control: str | None = None
    cell_line: str | None = None
    cell_line_column: str | None = None
    gene_column: str | None = None
    layer: str | None = None
    normalised: bool = False
    level: float = 0.05
    minimum_cells: int = 10
    minimum_difference: float = 0.0


@dataclass(frozen=True, slots=True)
class Labelled:
    """What came of an AnnData.

    Attributes:
        rows: ``cell_line``, ``perturbation``, ``target``, ``label`` (Int8), ``difference`` (of mean log expression),
            ``p_adjusted``, ``z`` (signed test statistic; for mean profiles null, as is ``p_adjusted``).
        skipped: Perturbations that were left out, with the reason.
        controls: Control cells by cell line.
    """

    rows: pl.DataFrame
    skipped: dict[str, str] = field(default_factory=dict)
    controls: dict[str, int] = field(default_factory=dict)


def label_file(path: Path, labelling: Labelling, *, progress: Progress = lambda _done, _all: None) -> Labelled:
    """Return the outcomes of an ``.h5ad`` file.

    Raises:
        ModelError: The extra ``anndata`` is not installed.
        InputFileError: The file cannot be read, lacks a column or layer, or its values are no counts.
        UsageError: No control, or no perturbation with enough cells.
    """
    try:
        import anndata
    except ImportError as error:
        raise ModelError("AnnData files need the extra: pip install 'aroma-evidence[anndata]'") from error
    try:
        data = anndata.read_h5ad(path)
    except (OSError, KeyError, ValueError, TypeError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputFileError(f"cannot be read ({said})", file=path, expected="AnnData (.h5ad)") from error
    return label_cells(data, labelling, file=path, progress=progress)


def label_cells(
    data: Any, labelling: Labelling, *, file: Path | str = "AnnData", progress: Progress = lambda _done, _all: None
) -> Labelled:
    """Return the outcomes of an AnnData in memory; see ``label_file``."""
    cells = _Cells.of(data, labelling, str(file))
    found: list[pl.DataFrame] = []
    skipped: dict[str, str] = {}
    controls: dict[str, int] = {}
    groups = list(cells.groups(labelling))
    for number, (line, control, perturbed) in enumerate(groups):
        controls[line] = len(control)
        few = {name: len(rows) for name, rows in perturbed.items() if len(rows) < labelling.minimum_cells}
        skipped |= {
            f"{line} {name}": f"{count} cells, fewer than {labelling.minimum_cells}" for name, count in few.items()
        }
        kept = {name: rows for name, rows in perturbed.items() if name not in few}
        found += _label_line(cells, line, control, kept, labelling)
        progress(number + 1, len(groups))
    if not found:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3]) or "only controls"
        raise UsageError(f"{file}: no perturbation can be labelled ({why})")
    return Labelled(pl.concat(found), skipped, controls)


def as_predictions(labelled: Labelled) -> pl.DataFrame:
    """Return predicted expression as a predictions table: ``label`` by the rule, probabilities that rank as it does.

    ``p_up + p_down`` grows with the absolute test statistic (of mean profiles: with the absolute difference) and is
    one half where the rule begins to say "changed"; ``p_up`` takes the share of it that the sign and size say.
    """
    score = pl.coalesce("z", pl.col("difference") / _scale(labelled.rows))
    rows = labelled.rows.with_columns(score.alias("score"))
    size, called = rows["score"].abs().to_numpy(), (rows["label"] != 0).to_numpy()
    line = rows.select("cell_line", "perturbation").with_columns(
        least=pl.Series(np.where(called, size, np.nan)).fill_nan(None),
        most=pl.Series(np.where(called, np.nan, size)).fill_nan(None),
    )
    border = line.select(
        ((pl.col("least").min().over(_PERTURBED) + pl.col("most").max().over(_PERTURBED)) / 2)
        .fill_null(pl.col("least").min().over(_PERTURBED))
        .fill_null(pl.col("most").max().over(_PERTURBED) * 2)
        .alias("border")
    )["border"].to_numpy()
    changed = size / (size + np.maximum(border, 1e-9))
    up = expit(rows["score"].to_numpy())
    return rows.select("cell_line", "perturbation", "target").with_columns(
        p_down=pl.Series(changed * (1 - up)),
        p_not_significant=pl.Series(1 - changed),
        p_up=pl.Series(changed * up),
        label=rows["label"],
    )


_PERTURBED: Final = ("cell_line", "perturbation")


def rank_sum(control: Float64, perturbed: Float64) -> tuple[Float64, Float64]:
    """Return the signed z and two-sided p of the Wilcoxon rank-sum test of each gene.

    Args:
        control: float64 (control cells, genes), each column sorted ascending.
        perturbed: float64 (perturbed cells, genes).

    Returns:
        float64 (genes): z above 0 where the perturbed cells have more; 0 and p 1 where all cells are equal.
    """
    ordered = np.sort(perturbed, axis=0)
    above, ties = np.zeros(control.shape[1]), np.zeros(control.shape[1])
    _merge(np.ascontiguousarray(control.T), np.ascontiguousarray(ordered.T), above, ties)
    few, many = float(len(perturbed)), float(len(control))
    whole = few + many
    spread = np.sqrt(few * many / 12.0 * ((whole + 1) - ties / (whole * (whole - 1))))
    off = above - few * many / 2.0
    shrunk = np.sign(off) * np.maximum(np.abs(off) - 0.5, 0.0)
    z = np.divide(shrunk, spread, out=np.zeros_like(shrunk), where=spread > 0)
    return z, np.minimum(2 * ndtr(-np.abs(z)), 1.0)


@compiled
def _merge(control: Float64, perturbed: Float64, above: Float64, ties: Float64) -> None:
    """Count, by gene, pairs in which the perturbed cell has more (half for equal ones), and ``sum(t^3 - t)``."""
    for gene in range(len(control)):
        low, first = control[gene], perturbed[gene]
        at, place = 0, 0
        while at < len(low) or place < len(first):
            take_low = place == len(first) or (at < len(low) and low[at] < first[place])
            value = low[at] if take_low else first[place]
            before = at
            while at < len(low) and low[at] == value:
                at += 1
            start = place
            while place < len(first) and first[place] == value:
                place += 1
            same, own = at - before, place - start
            above[gene] += own * (before + 0.5 * same)
            count = np.float64(same + own)
            ties[gene] += count * count * count - count


@dataclass(frozen=True)
class _Cells:
    """Normalised expression by cell (CSR, float64), and what each cell and gene is."""

    values: sparse.csr_matrix
    perturbations: npt.NDArray[np.str_]
    lines: npt.NDArray[np.str_]
    genes: list[str]
    control: str

    @classmethod
    def of(cls, data: Any, how: Labelling, file: str) -> _Cells:
        perturbations = np.array([_condition(name) for name in _column(data.obs, how.perturbation_column, file, "obs")])
        lines = (
            np.array(_column(data.obs, how.cell_line_column, file, "obs"))
            if how.cell_line_column
            else np.full(len(perturbations), how.cell_line or Path(file).name.split(".")[0])
        )
        genes = (
            _column(data.var, how.gene_column, file, "var")
            if how.gene_column
            else [str(name) for name in data.var_names]
        )
        present = set(perturbations.tolist())
        control = next((name for name in ([how.control] if how.control else CONTROLS) if name in present), None)
        if control is None:
            asked = f"no cell has {how.control!r}" if how.control else f"none of {', '.join(CONTROLS)} is there"
            shown = ", ".join(sorted(present)[:5])
            raise UsageError(f"{file}: no controls in column {how.perturbation_column}: {asked}; it has {shown}, …")
        return cls(_normalised(data, how, file), perturbations, lines, genes, control)

    def groups(self, how: Labelling) -> Iterator[tuple[str, npt.NDArray[np.int64], dict[str, npt.NDArray[np.int64]]]]:
        """Yield each cell line with its control cells and the cells of each perturbation (row numbers)."""
        for line in sorted(set(self.lines.tolist())):
            own = np.flatnonzero(self.lines == line)
            control = own[self.perturbations[own] == self.control]
            if not len(control):
                raise UsageError(f"cell line {line} has no {self.control} cells to compare with; leave it out")
            names, codes = np.unique(self.perturbations[own], return_inverse=True)
            order = np.argsort(codes, kind="stable")
            parts = np.split(own[order], np.cumsum(np.bincount(codes))[:-1])
            yield (
                line,
                control,
                {str(name): rows for name, rows in zip(names, parts, strict=True) if name not in {self.control, ""}},
            )


def _label_line(
    cells: _Cells,
    line: str,
    control: npt.NDArray[np.int64],
    perturbed: dict[str, npt.NDArray[np.int64]],
    how: Labelling,
) -> list[pl.DataFrame]:
    genes = len(cells.genes)
    table = {name: np.zeros((3, genes)) for name in perturbed}
    base, rows = cells.values[control].tocsc(), {name: cells.values[own].tocsc() for name, own in perturbed.items()}
    for start in range(0, genes, _GENES_A_CHUNK):
        part = slice(start, min(start + _GENES_A_CHUNK, genes))
        reference = np.sort(base[:, part].toarray(), axis=0)
        middle = reference.mean(axis=0)
        for name, own in rows.items():
            values = own[:, part].toarray()
            table[name][0, part] = values.mean(axis=0) - middle
            if len(values) > 1:
                table[name][1, part], table[name][2, part] = rank_sum(reference, values)
    return [_labelled(cells, line, name, *table[name], many=len(perturbed[name]) > 1, how=how) for name in perturbed]


def _labelled(
    cells: _Cells, line: str, name: str, difference: Float64, z: Float64, p: Float64, *, many: bool, how: Labelling
) -> pl.DataFrame:
    adjusted = false_discovery_control(p, method="bh") if many else np.zeros(len(p))
    changed = (adjusted < how.level) & (difference != 0) & (np.abs(difference) >= how.minimum_difference)
    label = np.where(changed, np.where(difference > 0, 2, 1), 0).astype(np.int8)
    made = pl.DataFrame(
        {
            "cell_line": pl.Series([line] * len(label), dtype=pl.String),
            "perturbation": pl.Series([name] * len(label), dtype=pl.String),
            "target": cells.genes,
            "label": label,
            "difference": difference,
            "p_adjusted": adjusted if many else pl.Series([None] * len(label), dtype=pl.Float64),
            "z": z if many else pl.Series([None] * len(label), dtype=pl.Float64),
        }
    )
    return made.select(_COLUMNS).filter(pl.col("target") != name)


def _normalised(data: Any, how: Labelling, file: str) -> sparse.csr_matrix:
    if how.layer is not None and how.layer not in data.layers:
        raise InputFileError(
            f"has no layer {how.layer!r}", file=file, expected=f"one of {', '.join(data.layers) or 'X'}"
        )
    raw = data.layers[how.layer] if how.layer is not None else data.X
    values = sparse.csr_matrix(raw, dtype=np.float64)
    if not np.isfinite(values.data).all():
        raise InputFileError(
            "has values that are no numbers", file=file, expected="counts, or log counts with --normalised"
        )
    if how.normalised:
        return values
    if values.nnz and (values.data.min() < 0 or (values.data != np.round(values.data)).any()):
        raise InputFileError("has values that are no counts", file=file, expected="whole numbers, or --normalised")
    totals = np.asarray(values.sum(axis=1)).ravel()
    scale = np.divide(PER_CELL, totals, out=np.zeros_like(totals), where=totals > 0)
    found = (sparse.diags(scale) @ values).tocsr().log1p()
    found.data = found.data.round(_DECIMALS)  # 1 of 50 and 2 of 100 are a tie, which division leaves a last bit apart
    return found


def _column(table: Any, name: str, file: str, side: str) -> list[str]:
    if name not in table.columns:
        known = ", ".join(map(str, table.columns)) or "none"
        raise InputFileError(f"{side} has no column {name!r}", file=file, expected=f"one of its columns: {known}")
    return ["" if missing else str(value) for value, missing in zip(table[name], table[name].isna(), strict=True)]


def _condition(name: str) -> str:
    """Return GEARS's ``A+ctrl`` and ``ctrl+A`` as ``A``; ``A+B`` stays."""
    parts = [part for part in name.split("+") if part.strip() and part.strip() != "ctrl"]
    return "+".join(parts) if parts and "+" in name else name


def _scale(rows: pl.DataFrame) -> float:
    """Return the standard deviation of differences, by which those of mean profiles are measured."""
    spread = rows["difference"].std()
    return float(spread) if isinstance(spread, float) and spread > 0 else 1.0
