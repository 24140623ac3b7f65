"""``aroma paths``, ``aroma evidence``, ``aroma neighbours``: what the graph says of genes and pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import IdentifierError, UsageError

if TYPE_CHECKING:
    from aroma.retrieval.evidence_model import Evidence
    from aroma.retrieval.evidence_model import Path as FoundPath
    from aroma.retrieval.paths import PathOptions

PerturbationArgument = Annotated[str | None, typer.Argument(help="The gene that is knocked down.")]
TargetArgument = Annotated[str | None, typer.Argument(help="The gene that is read out.")]
PairsOption = Annotated[
    Path | None, typer.Option("--pairs", help="CSV or Parquet: perturbation,target[,cell_line], or pert,gene.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Parquet (or by suffix CSV, JSON lines).")]
ViewOption = Annotated[str, typer.Option("--view", help="Name of a preset view.")]
KOption = Annotated[int, typer.Option("-k", help="Paths a pair.")]
SlackOption = Annotated[int, typer.Option("--slack", help="Hops that a path may have more than the shortest.")]
HopsOption = Annotated[int, typer.Option("--max-hops", help="Most hops of a path.")]
ReleaseOption = Annotated[str | None, typer.Option("--as-of", help="A release other than the published one.")]
ScoreOption = Annotated[int, typer.Option("--minimum-score", help="Leave out STRING edges below this score (0-1000).")]
ExcludeOption = Annotated[list[str] | None, typer.Option("--exclude-node", help="Node id to leave out.")]
EvidenceCodeOption = Annotated[
    list[str] | None, typer.Option("--exclude-evidence", help="Evidence code that does not count (IEA, …).")
]
UntilOption = Annotated[
    str | None, typer.Option("--annotated-until", help="ISO date; statements dated later do not count.")
]
SeedOption = Annotated[
    int | None,
    typer.Option("--permutation-seed", help="Control: a degree-preserving permutation of the view."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("paths")(paths_command)
    app.command("neighbours")(neighbours_command)


def paths_command(
    perturbation: PerturbationArgument = None,
    target: TargetArgument = None,
    pairs: PairsOption = None,
    out: OutOption = None,
    view: ViewOption = "path-kg",
    k: KOption = 3,
    slack: SlackOption = 1,
    max_hops: HopsOption = 6,
    minimum_score: ScoreOption = 0,
    exclude_node: ExcludeOption = None,
    exclude_evidence: EvidenceCodeOption = None,
    annotated_until: UntilOption = None,
    permutation_seed: SeedOption = None,
    as_of: ReleaseOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the ranked shortest paths of one pair, each hop with its provenance, or write those of a file."""
    from aroma.kgstore.home import Home
    from aroma.kgstore.views import adjusted, preset
    from aroma.retrieval.paths import PathOptions

    definition = adjusted(
        preset(view),
        minimum_score=minimum_score,
        dropped_nodes=tuple(exclude_node or ()),
        excluded_evidence=tuple(exclude_evidence or ()),
        annotated_until=annotated_until,
        permutation_seed=permutation_seed,
    )
    options = PathOptions(definition, k, slack, max_hops)
    place = Home.locate(home)
    if pairs is not None:
        _bulk_paths(place.path, pairs, out, options, as_of, as_json=as_json)
    elif perturbation and target:
        _one_pair(place.path, perturbation, target, options, as_of, as_json=as_json)
    else:
        raise UsageError("give two genes (aroma paths TULP1 ITCH), or --pairs FILE --out FILE")


def _one_pair(
    home: Path, perturbation: str, target: str, options: PathOptions, as_of: str | None, *, as_json: bool
) -> None:
    from aroma.kgstore.home import Home
    from aroma.retrieval.evidence import EvidenceOptions, EvidenceStore

    store = EvidenceStore(Home(home), as_of, options=replace(EvidenceOptions(), paths=options))
    for name in (perturbation, target):
        found = store.resolve(name)
        if found.gene is None:
            near = ", ".join(found.candidates or tuple(store.resolver.nearest(name)))
            raise IdentifierError(f"{name!r} names no gene here ({found.reason}); did you mean {near}?")
    evidence = store.evidence(perturbation, target, "")
    if as_json:
        from aroma.retrieval.evidence_model import to_builtins

        print_json({"release": evidence.release, "view": options.definition.id, "paths": to_builtins(evidence.paths)})
        return
    _show_paths(evidence)


def _show_paths(evidence: Evidence) -> None:
    for flag in evidence.coverage:
        if flag.code not in {"unknown-cell-line", "no-outcomes"}:
            console().print(f"[yellow]{flag.message}[/yellow]")
    if not evidence.paths:
        return
    for path in evidence.paths:
        chain = " → ".join(node.name for node in path.nodes)
        print_table(f"Path {path.rank}: {path.hops} hops: {chain}", _STEP_COLUMNS, _step_rows(path))


_STEP_COLUMNS = ("from", "relation", "to", "provider", "evidence", "references", "line of the file")


def _step_rows(path: FoundPath) -> list[tuple[object, ...]]:
    names = {node.id: node.name for node in path.nodes}
    return [
        (
            names.get(edge.subject, edge.subject),
            edge.relation,
            names.get(edge.object, edge.object),
            f"{edge.provider} {edge.provider_release}",
            sorted(set(edge.evidence) - {""}) if edge.score is None else edge.score,
            sorted(set(edge.references) - {""})[:3],
            edge.statements[:1],
        )
        for step in path.steps
        for edge in step.edges
    ]


def _bulk_paths(
    home: Path, pairs: Path, out: Path | None, options: PathOptions, as_of: str | None, *, as_json: bool
) -> None:
    from aroma.kgstore.home import Home
    from aroma.retrieval.bulk_paths import write_paths

    if out is None:
        raise UsageError("--pairs needs --out FILE")
    counts = write_paths(
        Home(home),
        pairs,
        out,
        options,
        release=as_of,
        progress=lambda done, total: progress(f"{done:,} of {total:,} pairs"),
    )
    if as_json:
        print_json({**counts, "out": str(out)})
    else:
        console().print(
            f"{counts['pairs']:,} pairs: {counts['with_paths']:,} with paths ({counts['paths']:,} in all), "
            f"{counts['unresolved']:,} with a gene that is not in the view; written to {out}"
        )


def neighbours_command(
    gene: Annotated[str, typer.Argument(help="A gene by any name, or any node id.")],
    view: ViewOption = "gene-kg",
    hops: Annotated[int, typer.Option("--hops", help="How far.")] = 1,
    limit: Annotated[int, typer.Option("--limit", help="Most nodes; the nearest stay.")] = 100,
    as_of: ReleaseOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the nodes within some hops of a node, with what joins them to it."""
    from aroma.kgstore.home import Home
    from aroma.retrieval.neighbourhoods import neighbourhood

    found = neighbourhood(Home.locate(home), gene, view=view, hops=hops, limit=limit, release=as_of)
    if as_json:
        from aroma.retrieval.evidence_model import to_builtins

        print_json(to_builtins(found))
        return
    if found.cut:
        progress(f"{found.total:,} nodes are within {hops} hops; {len(found.nodes):,} are shown")
    rows = [(item.hops, item.node.name, item.node.label, item.node.id, item.degree) for item in found.nodes]
    print_table(f"{found.centre.name} in {view}", ("hops", "name", "label", "id", "neighbours in the view"), rows)
