"""``aroma paths``, ``aroma evidence``, ``aroma neighbours``: what the graph says of genes and pairs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aroma.cli.options import HomeOption, JsonOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import IdentifierError, UsageError

if TYPE_CHECKING:
    from aroma.retrieval.bulk_evidence import BulkRequest, Progress
    from aroma.retrieval.evidence import EvidenceStore
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
    app.command("evidence")(evidence_command)


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
    _require_genes(store, perturbation, target)
    evidence = store.evidence(perturbation, target, "")
    if as_json:
        from aroma.retrieval.evidence_model import to_builtins

        print_json({"release": evidence.release, "view": options.definition.id, "paths": to_builtins(evidence.paths)})
        return
    _show_paths(evidence)


def _require_genes(store: EvidenceStore, *names: str) -> None:
    for name in names:
        found = store.resolve(name)
        if found.gene is None:
            near = ", ".join(found.candidates or tuple(store.resolver.nearest(name)))
            hint = f"; did you mean {near}?" if near else ""
            raise IdentifierError(f"{name!r} names no gene here ({found.reason}){hint}")


def _show_paths(evidence: Evidence) -> None:
    from aroma.cli.evidence_text import curators_said

    for flag in evidence.coverage:
        if flag.code not in {"unknown-cell-line", "no-outcomes"}:
            console().print(f"[yellow]{flag.message}[/yellow]")
    if not evidence.paths:
        return
    for path in evidence.paths:
        chain = " → ".join(node.name for node in path.nodes)
        print_table(f"Path {path.rank}: {path.hops} hops: {chain}", _STEP_COLUMNS, _step_rows(path))
    for said in curators_said(evidence):
        console().print(said, markup=False)


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


CellLineOption = Annotated[str, typer.Option("--cell-line", help="K562, HepG2, Jurkat, RPE1, or any other name.")]
WithholdOption = Annotated[
    list[str] | None,
    typer.Option(
        "--withhold",
        help="Outcomes not to look at: split:NAME, perturbation:GENE, cell-line:NAME, or a file of pairs; repeatable.",
    ),
]
OutcomesOption = Annotated[
    str | None,
    typer.Option("--outcomes", help="Version of the measured outcomes, or 'none'; by default the latest stored."),
]
PromptOption = Annotated[
    str | None,
    typer.Option("--prompt", help="Prompt template: aroma, aroma-contrast, core, summer, question-answer, or a file."),
]
BudgetOption = Annotated[
    int | None, typer.Option("--budget", min=1, help="Most tokens of the prompt; the least important evidence goes.")
]
TokenizerOption = Annotated[
    Path | None,
    typer.Option("--tokenizer", help="tokenizer.json, or its directory, that counts tokens; default: an estimate."),
]
MultimodalOption = Annotated[
    bool, typer.Option("--multimodal/--no-multimodal", help="With or without the placeholders of embeddings.")
]


def evidence_command(
    perturbation: PerturbationArgument = None,
    target: TargetArgument = None,
    cell_line: CellLineOption = "",
    pairs: PairsOption = None,
    out: OutOption = None,
    withhold: WithholdOption = None,
    outcomes: OutcomesOption = None,
    texts: Annotated[
        Path | None, typer.Option("--texts", help="Own descriptions: CSV or Parquet with gene,role,text.")
    ] = None,
    prompt: PromptOption = None,
    budget: BudgetOption = None,
    tokenizer: TokenizerOption = None,
    multimodal: MultimodalOption = True,
    view: ViewOption = "path-kg",
    k: KOption = 3,
    slack: SlackOption = 1,
    max_hops: HopsOption = 6,
    cases: Annotated[int, typer.Option("--cases", min=0, help="Most cases of the contrast, of each side.")] = 5,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes for --pairs.")] = None,
    as_of: ReleaseOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is known of a knock-down and a gene that is read out, or write it for a file of pairs."""
    from aroma.kgstore.home import Home
    from aroma.retrieval.bulk_evidence import BulkRequest
    from aroma.retrieval.evidence import EvidenceOptions
    from aroma.retrieval.paths import PathOptions
    from aroma.retrieval.prompts import read_template
    from aroma.retrieval.token_counting import open_counter

    if prompt is not None:
        read_template(prompt)
    if tokenizer is not None:
        open_counter(tokenizer)
        tokenizer = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    place = Home.locate(home)
    request = BulkRequest(
        release=as_of,
        outcomes=_outcomes(place.path, outcomes),
        withhold=tuple(withhold or ()),
        texts=texts,
        options=EvidenceOptions(PathOptions(view, k, slack, max_hops), cases),
        template=prompt,
        budget=budget,
        multimodal=multimodal,
        tokenizer=tokenizer,
    )
    if pairs is not None:
        _bulk_evidence(place.path, pairs, out, request, workers, as_json=as_json)
    elif perturbation and target:
        _one_evidence(place.path, (perturbation, target, cell_line), request, as_json=as_json)
    else:
        raise UsageError("give two genes (aroma evidence TULP1 ITCH --cell-line RPE1), or --pairs FILE --out FILE")


def _outcomes(home: Path, asked: str | None) -> str | None:
    """Return the version of the outcomes that is meant, None for none."""
    from aroma.kgstore.home import Home
    from aroma.kgstore.outcomes import list_outcomes

    if asked == "none":
        return None
    stored = list_outcomes(Home(home))
    if asked is None:
        return stored[-1].sha256 if stored else None
    fitting = [version.sha256 for version in stored if version.sha256.startswith(asked)]
    if len(fitting) != 1:
        known = ", ".join(version.sha256[:12] for version in stored) or "none"
        raise UsageError(f"--outcomes {asked}: {len(fitting) or 'no'} stored versions begin so; there are: {known}")
    return fitting[0]


def _one_evidence(home: Path, query: tuple[str, str, str], request: BulkRequest, *, as_json: bool) -> None:
    from aroma.cli.evidence_text import show_evidence
    from aroma.kgstore.home import Home
    from aroma.retrieval.bulk_evidence import open_store
    from aroma.retrieval.evidence_model import to_builtins
    from aroma.retrieval.prompts import render
    from aroma.retrieval.token_counting import open_counter

    store = open_store(Home(home), request)
    _require_genes(store, *query[:2])
    evidence = store.evidence(*query)
    if request.template is None:
        if as_json:
            print_json(to_builtins(evidence))
        else:
            show_evidence(evidence)
        return
    made = render(
        evidence,
        request.template,
        budget=request.budget,
        count=open_counter(request.tokenizer),
        multimodal=request.multimodal,
    )
    if as_json:
        fields = {"prompt": made.text, "tokens": made.tokens, "dropped": list(made.dropped)}
        print_json({"release": evidence.release, "template": request.template, **fields})
        return
    console().print(made.text, markup=False, end="")
    dropped = f"; left out: {', '.join(made.dropped)}" if made.dropped else ""
    about = "about " if request.tokenizer is None else ""
    progress(f"{about}{made.tokens:,} tokens{dropped}")


def _bulk_evidence(
    home: Path, pairs: Path, out: Path | None, request: BulkRequest, workers: int | None, *, as_json: bool
) -> None:
    from aroma.kgstore.home import Home
    from aroma.retrieval.bulk_evidence import write_evidence

    if out is None:
        raise UsageError("--pairs needs --out FILE")
    counts = write_evidence(Home(home), pairs, out, request, workers=workers, progress=_now_and_then())
    if as_json:
        print_json({**counts, "out": str(out)})
        return
    console().print(
        f"{counts['pairs']:,} pairs, {counts['unresolved']:,} with a gene that is not known; "
        f"{counts['seconds']:,.0f} s; written to {out}"
    )


def _now_and_then(seconds: float = 2.0) -> Callable[[Progress], None]:
    """Return what shows progress, but not oftener than every few seconds."""
    last = 0.0

    def show(state: Progress) -> None:
        nonlocal last
        if time.monotonic() - last < seconds and state.done < state.total:
            return
        last = time.monotonic()
        left = f", about {state.left:,.0f} s left" if state.left is not None else ""
        progress(f"{state.done:,} of {state.total:,} pairs, {state.rate:,.0f} a second{left}")

    return show
