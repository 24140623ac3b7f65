"""``aroma gene-sets``: PerturbQA's tasks on sets of genes, with their baselines."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import print_json, print_table, progress

app = typer.Typer(no_args_is_help=True, help="Name sets of genes, and tell whether perturbations change them.")


def register(parent: typer.Typer) -> None:
    """Add the commands to ``parent``."""
    parent.add_typer(app, name="gene-sets")


@app.command("name")
def name_command(
    file: Annotated[Path, typer.Argument(help="PerturbQA's *_gene-gse.json.")],
    background: Annotated[
        Path | None, typer.Option("--background", help="A table with a column gene: all genes that were measured.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name each set by its most enriched term, complex or pathway; score the names against the curated ones."""
    from aroma.kgstore.home import Home
    from aroma.model.gene_set_names import SetNamer, read_gene_sets, summary
    from aroma.model.ground import Ground
    from aroma.retrieval.enrichment_answers import read_gene_names

    sets = read_gene_sets(file)
    namer = SetNamer(Ground(Home.locate(home)), read_gene_names(background) if background else None)
    named = [namer.name(one) for one in sets]
    means = summary(named)
    if as_json:
        print_json({"sets": [asdict(one) for one in named], "means": means})
        return
    rows = [
        (
            one.label or "(not named)",
            one.genes,
            one.answer.get("best", "nothing enriched"),
            "" if one.label is None else f"{one.recall.get('best', 0.0):.2f}",
            "" if one.similarity is None else f"{one.similarity:.2f}",
        )
        for one in named
    ]
    print_table("Sets by their most enriched set", ("curated", "genes", "answer", "recall", "GO similarity"), rows)
    scores = [
        (kind, f"{score['recall']:.3f}", f"{score['precision']:.3f}")
        for kind, score in means.items()
        if "recall" in score
    ]
    print_table("ROUGE-1 over the sets with a curated name", ("answers from", "recall", "precision"), scores)


@app.command("score")
def score_command(
    rows: Annotated[Path, typer.Argument(help="PerturbQA's *_set-de.csv or *_set-dir.csv.")],
    mapping: Annotated[Path, typer.Option("--mapping", help="PerturbQA's *_set-mapping.json.")],
    task: Annotated[str, typer.Option("--task", help="changed or direction.")] = "changed",
    cell_line: Annotated[str, typer.Option("--cell-line", help="Where the rows were measured.")] = "K562",
    outcomes: Annotated[str, typer.Option("--outcomes", help="Rows of single genes to learn from.")] = "stored",
    plugin: Annotated[
        list[str] | None, typer.Option("--plugin", help="Beside gene-frequency; may be repeated.")
    ] = None,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Of perturbations held out in turn.")] = 5,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score plug-ins on set-level rows: AUROC within a set over perturbations that were held out."""
    from aroma.kgstore.home import Home
    from aroma.model.data_sets import read_data_set
    from aroma.model.gene_set_rows import read_set_mapping, read_set_rows, score_sets
    from aroma.model.ground import Ground

    sets = read_set_mapping(mapping)
    asked = read_set_rows(rows, task, cell_line, sets)
    ground = Ground(Home.locate(home))
    learned = read_data_set(ground, outcomes).outcomes
    found = score_sets(ground, learned, asked, sets, plugin or [], folds=folds, seed=seed, say=progress)
    if as_json:
        print_json(asdict(found))
        return
    table = [(name, f"{mean:.3f}", len(found.by_set[name])) for name, mean in found.mean.items()]
    print_table(f"{found.rows:,} rows, {task}: AUROC within sets", ("plug-in", "mean", "sets scored"), table)
