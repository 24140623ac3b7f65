"""``aroma outcomes``: what a source of outcomes holds, and outcomes or predictions from AnnData."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import UsageError

if TYPE_CHECKING:
    from aroma.model.anndata_outcomes import Labelled

outcomes = typer.Typer(
    name="outcomes", help="Measured outcomes: check them, make them from AnnData.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add ``outcomes`` to the command."""
    app.add_typer(outcomes)


@outcomes.command("check")
def check(
    source: Annotated[str, typer.Argument(help="File or directory of outcomes, 'stored', or a stored version.")],
    split: Annotated[
        str | None, typer.Option("--split", help="Show what training gives away of each fold's test rows.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the split's random choices.")] = 0,
    as_of: Annotated[str | None, typer.Option("--as-of", help="A release other than the published one.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count outcomes by line and label, show every kind of bad row, and what a split gives away."""
    from aroma.kgstore.home import Home
    from aroma.kgstore.outcomes import LABELS
    from aroma.model.data_sets import read_data_set
    from aroma.model.ground import Ground
    from aroma.model.leakage import leakage
    from aroma.model.splits import make_folds

    ground = Ground(Home.locate(home), as_of)
    data = read_data_set(ground, source)
    counted = data.outcomes.group_by("cell_line", "label").len().sort("cell_line", "label")
    lines: dict[str, dict[str, int]] = {}
    for line, label, rows in counted.iter_rows():
        lines.setdefault(line, dict.fromkeys(LABELS.values(), 0))[LABELS[label]] = rows
    folds = make_folds(data.outcomes, split, seed=seed, home=ground.home) if split else []
    leaks = [(fold, leakage(fold)) for fold in folds]
    if as_json:
        folded = [
            {"training_rows": fold.training.height, "left_out": fold.left_out, **leak.to_dict()} for fold, leak in leaks
        ]
        found = {"rejected": data.reasons, "repeated": data.repeated, "unresolved": data.unresolved}
        print_json({"outcomes": data.name, "rows": data.outcomes.height, "lines": lines, **found, "folds": folded})
        return
    rows_shown = [(line, *(f"{count:,}" for count in counts.values())) for line, counts in lines.items()]
    print_table(data.name, ("cell line", *LABELS.values()), rows_shown)
    for said in data.problems():
        console().print(said, markup=False)
    for fold, leak in leaks:
        counts = (fold.training.height, fold.test.height, fold.left_out)
        console().print("{}: {:,} training rows, {:,} test rows, {:,} left out".format(fold.name, *counts))
        for sentence in leak.sentences():
            console().print(f"  {sentence}", markup=False)


@outcomes.command("from-anndata")
def from_anndata(
    file: Annotated[Path, typer.Argument(help="An .h5ad file: cells by genes, with a perturbation column.")],
    out: Annotated[Path, typer.Option("--out", help="Parquet or CSV by suffix.")],
    perturbation_column: Annotated[
        str, typer.Option("--perturbation-column", help="Column of obs; GEARS's A+ctrl is read as A.")
    ] = "perturbation",
    control: Annotated[str | None, typer.Option("--control", help="Its value for control cells.")] = None,
    cell_line: Annotated[str | None, typer.Option("--cell-line", help="Where no column says it.")] = None,
    cell_line_column: Annotated[str | None, typer.Option("--cell-line-column", help="Column of obs.")] = None,
    gene_column: Annotated[str | None, typer.Option("--gene-column", help="Column of var; else its index.")] = None,
    layer: Annotated[str | None, typer.Option("--layer", help="Layer in place of X.")] = None,
    normalised: Annotated[
        bool, typer.Option("--normalised", help="Values are log counts per ten thousand already.")
    ] = False,
    level: Annotated[
        float, typer.Option("--level", min=0.0, max=1.0, help="Adjusted p-values below are significant.")
    ] = 0.05,
    minimum_cells: Annotated[int, typer.Option("--minimum-cells", min=1, help="1 allows mean profiles.")] = 10,
    minimum_difference: Annotated[
        float, typer.Option("--minimum-difference", min=0.0, help="Least difference of a changed gene's means.")
    ] = 0.0,
    as_predictions: Annotated[
        bool, typer.Option("--as-predictions", help="The expression is predicted: write a predictions table.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Label single cells as the paper does: Wilcoxon against controls, Benjamini-Hochberg, difference of means."""
    from aroma.model import anndata_outcomes as made

    if out.suffix not in {".csv", ".parquet"}:
        raise UsageError(f"--out must end in .parquet or .csv, not {out.suffix or 'nothing'}")
    how = made.Labelling(
        perturbation_column, control, cell_line, cell_line_column, gene_column, layer, normalised, level, minimum_cells,
        minimum_difference,
    )  # fmt: skip
    found = made.label_file(file, how, progress=lambda done, total: progress(f"{done} of {total} cell lines"))
    table = made.as_predictions(found) if as_predictions else found.rows.drop("z")
    partial = out.with_name(f".{out.name}.partial")
    table.write_csv(partial) if out.suffix == ".csv" else table.write_parquet(partial)
    partial.replace(out)
    _told(found, out, as_json=as_json)


def _told(found: Labelled, out: Path, *, as_json: bool) -> None:
    counts = {label: int((found.rows["label"] == label).sum()) for label in (0, 1, 2)}
    perturbations = found.rows["perturbation"].n_unique()
    if as_json:
        print_json(
            {
                "out": str(out), "rows": found.rows.height, "perturbations": perturbations, "controls": found.controls,
                "not_significant": counts[0], "down": counts[1], "up": counts[2], "skipped": found.skipped,
            }
        )  # fmt: skip
        return
    for name, reason in found.skipped.items():
        progress(f"{name} is left out: {reason}")
    console().print(
        f"{found.rows.height:,} rows of {perturbations:,} perturbations: {counts[1]:,} down, {counts[2]:,} up, "
        f"{counts[0]:,} not significant; written to {out}"
    )
