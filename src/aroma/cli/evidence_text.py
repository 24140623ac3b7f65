"""Evidence as a person reads it: what each gene is, how they are connected, what was measured, what is missing."""

from __future__ import annotations

from rich.markup import escape

from aroma.cli.output import console, print_table
from aroma.retrieval.evidence_model import Contrast, ContrastiveCase, CuratorNote, Description, Evidence, Path


def show_evidence(evidence: Evidence) -> None:
    """Print all parts of an evidence object."""
    query = evidence.query
    genes = [
        part.gene.name if part else name
        for part, name in ((evidence.perturbation, query.perturbation), (evidence.target, query.target))
    ]
    line = evidence.cell_line
    console().print(
        f"[bold]{escape(genes[0])} knocked down → {escape(genes[1])} read out, in {escape(line.name)}[/bold]"
    )
    if line.description:
        console().print(f"{line.description} [dim]({line.id})[/dim]")
    _describe("What the perturbed gene is", evidence.perturbation)
    _describe("What the target gene is", evidence.target)
    _connect(evidence)
    if said := curators_said(evidence):
        _heading("What curators said")
        for told in said:
            console().print(escape(told))
    if evidence.contrast is not None:
        _contrast(evidence.contrast, genes[1])
    _missing(evidence)


def curators_said(evidence: Evidence) -> list[str]:
    """Return a line for each asserted edge of the paths, and for each retraction at one of the two genes."""
    edges = [edge for path in evidence.paths for step in path.steps for edge in step.edges]
    lines = [
        f"Asserted: {edge.subject} {edge.relation} {edge.object}. {_signed(note)}"
        for edge in edges
        for note in edge.curation or ()
    ]
    for hidden in evidence.retractions or ():
        what = "" if hidden.whole else f", {len(hidden.statements)} of its statements"
        for note in hidden.notes:
            edge_text = f"{hidden.subject} {hidden.relation} {hidden.object} of {hidden.provider}{what}"
            lines.append(f"Retracted: {edge_text}. {_signed(note)}")
    return list(dict.fromkeys(lines))


def _signed(note: CuratorNote) -> str:
    references = f" ({', '.join(note.references)})" if note.references else ""
    return f"{note.reason}{references} [{note.curator}, {note.date}, {note.entry}]"


def _heading(text: str) -> None:
    console().print(f"\n[bold]{escape(text)}[/bold]")


def _describe(title: str, description: Description | None) -> None:
    _heading(title)
    for sentence in description.sentences if description else ():
        console().print(f"{escape(sentence.text)} [dim]({escape(sentence.provider)})[/dim]")


def _connect(evidence: Evidence) -> None:
    _heading("How they are connected")
    if evidence.interaction is not None:
        channels = ", ".join(f"{name} {score}" for name, score in evidence.interaction.channels.items())
        console().print(f"Direct STRING interaction, score {evidence.interaction.score} of 1000. {channels}")
    for path in evidence.paths:
        console().print(f"{path.rank}. {_chain(path)} [dim]({path.hops} hops)[/dim]")
        for step in path.steps:
            names = {node.id: node.name for node in path.nodes}
            for edge in step.edges[:2]:
                codes = ", ".join(sorted({code for code in edge.evidence if code}))
                said = f"{edge.provider} {edge.provider_release}{f', {codes}' if codes else ''}, {edge.statements[0]}"
                ends = f"{names.get(edge.subject, edge.subject)} {edge.relation} {names.get(edge.object, edge.object)}"
                console().print(f"   {escape(ends)} [dim]({escape(said)})[/dim]")
    for name, shared in (
        ("complexes", evidence.shared.complexes),
        ("pathways", evidence.shared.pathways),
        ("terms", evidence.shared.terms),
    ):
        if shared:
            console().print(f"Shared {name}: {escape('; '.join(item.node.name for item in shared))}")
    for degree in evidence.degrees:
        console().print(f"[dim]Neighbours in {degree.view}: {degree.perturbation:,} and {degree.target:,}[/dim]")


def _chain(path: Path) -> str:
    return escape(" → ".join(node.name for node in path.nodes))


def _contrast(contrast: Contrast, target: str) -> None:
    _heading(f"What related knock-downs did to {target}")
    total = contrast.positives_total + contrast.negatives_total
    hidden = f"; {contrast.withheld:,} more are withheld" if contrast.withheld else ""
    console().print(f"{total:,} measurements are known, {contrast.positives_total:,} of them changed it{hidden}.")
    rows = [_row(case) for case in (*contrast.positives, *contrast.negatives)]
    if rows:
        print_table("", ("knocked down", "cell line", "outcome", "similarity", "in common"), rows)


def _row(case: ContrastiveCase) -> tuple[object, ...]:
    why = "the same gene" if case.same_perturbation else [escape(node.name) for node in case.shared]
    return escape(case.perturbation.name), escape(case.cell_line), case.label, f"{case.similarity:.3f}", why


def _missing(evidence: Evidence) -> None:
    _heading("What is missing, and where this comes from")
    for flag in evidence.coverage:
        console().print(f"[yellow]{escape(flag.about)}: {escape(flag.message)}[/yellow]")
    if not evidence.coverage:
        console().print("Nothing is missing.")
    licences = "; ".join(f"{item.provider} {item.licence}" for item in evidence.licences)
    console().print(f"[dim]Release {evidence.release}. Licences: {escape(licences)}[/dim]")
