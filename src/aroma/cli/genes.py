"""``aroma genes``: what a gene name stands for, and how much of a file a release knows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table, progress

if TYPE_CHECKING:
    from aroma.kgstore.coverage import Coverage
    from aroma.kgstore.resolver import GeneResolver

_SHOWN: Final = 20

genes = typer.Typer(name="genes", help="What gene names stand for in the published release.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add ``genes`` to the command."""
    app.add_typer(genes)


@genes.command()
def resolve(
    names: Annotated[list[str], typer.Argument(help="Symbols or identifiers: AARS, HGNC:20, ENSG00000090861, P49588.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    sssom: Annotated[Path | None, typer.Option(help="Write the decisions as SSSOM here.", show_default=False)] = None,
) -> None:
    """Show which gene each name stands for and how that was decided; never a guess between two."""
    from aroma.kgstore.sssom import to_sssom

    release, resolver = _resolver(home)
    found = [resolver.resolve(name) for name in names]
    if sssom is not None:
        sssom.write_text(to_sssom(found, release=release), encoding="utf-8")
        progress(f"wrote {sssom}")
    rows = [{**asdict(one), "nearest": resolver.nearest(one.query) if one.reason == "unknown" else []} for one in found]
    if as_json:
        for row in rows:
            print_json({**row, "release": release})
        return
    columns = ["query", "gene", "symbol", "tier", "reason", "candidates", "flags", "nearest"]
    print_table(f"Release {release}", columns, [[row[column] for column in columns] for row in rows])


@genes.command()
def coverage(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet with perturbation,target or pert,gene; or a directory.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the names and rows of a file of pairs that resolve, by how, and list the others."""
    from aroma.kgstore.coverage import coverage as covered

    release, resolver = _resolver(home)
    answer = covered(file, resolver)
    if as_json:
        print_json({"release": release, **asdict(answer)})
    else:
        _show(release, answer)


def _resolver(home: Path | None) -> tuple[str, GeneResolver]:
    from aroma.kgstore.home import Home
    from aroma.kgstore.publications import require_published
    from aroma.kgstore.resolver import GeneResolver
    from aroma.kgstore.tables import read_table

    place = Home.locate(home)
    release = require_published(place).release
    directory = place.release(release)
    nodes = read_table(directory, "nodes", ["id", "label", "symbol"])
    names = read_table(directory, "gene_names", ["name", "tier", "gene"])
    return release, GeneResolver.from_tables(nodes, names)


def _show(release: str, answer: Coverage) -> None:
    files = [(one.file, one.rows, one.rows_resolved, one.names, one.names_resolved) for one in answer.files]
    total = ("all", answer.rows, answer.rows_resolved, answer.names, answer.names_resolved)
    print_table(f"Release {release}", ["file", "rows", "rows resolved", "names", "names resolved"], [*files, total])
    counts = [
        (kind, name, count.names, count.mentions)
        for kind, counted in (("by", answer.by_tier), ("not", answer.by_reason), ("flag", answer.by_flag))
        for name, count in counted.items()
    ]
    print_table("How", ["", "what", "names", "mentions"], counts)
    for title, rows in (("Flagged names", answer.flagged), ("Names without a gene", answer.unresolved)):
        if rows:
            shown = rows[:_SHOWN]
            more = f", the first {_SHOWN} of {len(rows)} (--json has all)" if len(rows) > _SHOWN else ""
            print_table(title + more, list(rows[0]), [list(row.values()) for row in shown])
    lines = [f"{len(answer.once_anothers)} approved symbols were once another gene's"]
    if answer.rows_without_name:
        lines.append(f"{answer.rows_without_name} rows lack a name")
    lines += [f"skipped {name}: {reason}" for name, reason in answer.skipped.items()]
    for line in lines:
        console().print(line, markup=False)
