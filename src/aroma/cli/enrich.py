"""``aroma enrich``: what a list of genes shares beyond chance."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import print_json, print_table, progress

_SHOWN_GENES: Final = 6


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("enrich")(enrich_command)


def enrich_command(
    genes: Annotated[list[str] | None, typer.Argument(help="Gene symbols, aliases or ids.")] = None,
    file: Annotated[Path | None, typer.Option("--genes", help="A table with a column gene, instead.")] = None,
    background: Annotated[
        Path | None, typer.Option("--background", help="A table with a column gene: all genes that were measured.")
    ] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help="go, complex or pathway; all where not given.")
    ] = None,
    most: Annotated[float, typer.Option("--most", help="Adjusted p-value to report up to.")] = 0.05,
    limit: Annotated[int, typer.Option("--limit", help="Most sets shown.")] = 20,
    prune: Annotated[bool, typer.Option(help="Leave out terms that only repeat a better relative.")] = True,
    release: Annotated[str | None, typer.Option("--release", help="Another than the published one.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Test which terms, complexes and pathways the genes share beyond chance (hypergeometric, Benjamini-Hochberg)."""
    from aroma.kgstore.home import Home
    from aroma.retrieval.enrichment import KINDS, EnrichmentOptions
    from aroma.retrieval.enrichment_answers import enrich_names, read_gene_names

    names = [*(genes or []), *(read_gene_names(file) if file else [])]
    among = read_gene_names(background) if background else None
    options = EnrichmentOptions(kinds=tuple(kinds or KINDS), most=most, prune=prune)
    found = enrich_names(Home.locate(home), names, among, options, release=release)
    if as_json:
        print_json({**asdict(found), "sets": [asdict(one) for one in found.sets[:limit]]})
        return
    for name, reason in found.unresolved.items():
        progress(f"{name}: {reason}")
    rows = [
        (
            one.name,
            one.kind,
            one.id,
            f"{len(one.overlap)} of {one.size}",
            f"{one.fold:g}",
            f"{one.adjusted:.2g}",
            ", ".join(found.symbols[gene] for gene in one.overlap[:_SHOWN_GENES]),
        )
        for one in found.sets[:limit]
    ]
    title = f"{found.asked} genes against {found.background:,}: {len(found.sets)} sets up to {most:g}"
    print_table(title, ("set", "kind", "id", "genes", "fold", "adjusted p", "among them"), rows)
