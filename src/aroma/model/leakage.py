"""What of a fold's test rows training gives away: the same pair elsewhere, the perturbation elsewhere, duplicates.

Genes are compared by id, so that a perturbation under an old name in one line and a new one in another is seen as one.
None of this is forbidden but by the split's own rule; a reader of a result must know it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import polars as pl

from aroma.model.predictors.rates import key_of
from aroma.model.splits import Fold

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Leakage:
    """Counts over a fold's test rows.

    Attributes:
        fold: Its name.
        test_rows: Their number.
        duplicates: Rows whose line, perturbation and target stand in training too, by gene.
        repeated: Test rows that another test row repeats under other names.
        pair_elsewhere: Rows whose pair is trained in another line.
        same_label_elsewhere: Of these, rows whose label another line has too.
        perturbation_elsewhere: Rows whose perturbation is trained in another line.
        perturbation_elsewhere_by_name: Those that a comparison of names alone would find.
        perturbation_same_line: Rows whose perturbation is trained in the same line, with other targets.
        target_unseen: Rows whose target no training row of their line has.
        examples: The first rows of each kind, as text.
    """

    fold: str
    test_rows: int
    duplicates: int
    repeated: int
    pair_elsewhere: int
    same_label_elsewhere: int
    perturbation_elsewhere: int
    perturbation_elsewhere_by_name: int
    perturbation_same_line: int
    target_unseen: int
    examples: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return what a reader of results must know, one sentence each."""
        by_id = self.perturbation_elsewhere - self.perturbation_elsewhere_by_name
        same = f"({self.same_label_elsewhere:,} with the same label there)"
        said = [
            (self.duplicates, "are in training too"),
            (self.repeated, "repeat another test row under another name"),
            (self.pair_elsewhere, f"have their pair trained in another line {same}"),
            (
                self.perturbation_elsewhere,
                f"have their perturbation trained in another line ({by_id:,} of them under another name)",
            ),
            (self.perturbation_same_line, "have their perturbation trained in the same line"),
            (self.target_unseen, "have a target that no training row of their line has"),
        ]
        of = f"of {self.test_rows:,} test rows"
        return [f"{count:,} {of} ({count / self.test_rows:.1%}) {what}" for count, what in said if count]


def leakage(fold: Fold) -> Leakage:
    """Return what a fold's training rows give away of its test rows."""
    test, train = (_keyed(rows) for rows in (fold.test, fold.training))
    cells = train.select("cell_line", "p", "t", "perturbation", "label")
    pairs = test.join(cells, on=["p", "t"], how="inner", suffix="_train")
    elsewhere = pairs.filter(pl.col("cell_line") != pl.col("cell_line_train"))
    duplicates = pairs.filter(pl.col("cell_line") == pl.col("cell_line_train"))
    marks = {
        "duplicates": duplicates["row"],
        "pair_elsewhere": elsewhere["row"],
        "same_label_elsewhere": elsewhere.filter(pl.col("label") == pl.col("label_train"))["row"],
        "perturbation_elsewhere": _elsewhere(test, cells, "p"),
        "perturbation_elsewhere_by_name": _elsewhere(test, cells, "perturbation"),
        "perturbation_same_line": test.join(cells, on=["cell_line", "p"], how="semi")["row"],
        "target_unseen": test.join(cells, on=["cell_line", "t"], how="anti")["row"],
        "repeated": test.filter(pl.struct("cell_line", "p", "t").is_duplicated())["row"],
    }
    counts = {name: rows.n_unique() for name, rows in marks.items()}
    return Leakage(
        fold=fold.name,
        test_rows=test.height,
        examples={name: _examples(test, rows) for name, rows in marks.items() if len(rows)},
        **counts,
    )


def _keyed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_row_index("row").select(
        "row", "cell_line", "perturbation", "target", "label", p=key_of("perturbation"), t=key_of("target")
    )


def _elsewhere(test: pl.DataFrame, cells: pl.DataFrame, column: str) -> pl.Series:
    """Return the test rows whose ``column`` stands in training in another line."""
    lines = cells.select("cell_line", column).unique()
    joined = test.select("row", "cell_line", column).join(lines, on=column, how="inner", suffix="_train")
    return joined.filter(pl.col("cell_line") != pl.col("cell_line_train"))["row"]


def _examples(test: pl.DataFrame, rows: pl.Series) -> list[str]:
    first = test.filter(pl.col("row").is_in(rows.unique().implode())).sort("cell_line", "perturbation", "target")
    return [" ".join(row) for row in first.select("cell_line", "perturbation", "target").head(_SHOWN).iter_rows()]
