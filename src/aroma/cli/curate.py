"""``aroma curate …``: what curators assert and retract, and a release of it."""

from __future__ import annotations

import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aroma.cli.options import HomeOption, JsonOption, UriOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import EXIT_FAILED, UsageError

if TYPE_CHECKING:
    from aroma.kgstore.curation_desk import Asked, Outcome

curate = typer.Typer(help="Add an edge, hide one, with a reason; kept through every refresh.", no_args_is_help=True)

CuratorOption = Annotated[
    str | None, typer.Option(help="Your ORCID (else AROMA_CURATOR).", metavar="ORCID", show_default=False)
]
ReasonOption = Annotated[str, typer.Option(help="Why, in a sentence.")]
ReferenceOption = Annotated[
    list[str] | None, typer.Option("--reference", help="PMID:… or DOI:…; may be repeated.", show_default=False)
]
DateOption = Annotated[str | None, typer.Option(help="Day, as 2026-11-21 (else today).", show_default=False)]
EntryArgument = Annotated[str, typer.Argument(metavar="ENTRY", help="Id of an entry; see aroma curate list.")]


class Verdict(StrEnum):
    """What a reviewer decides."""

    APPROVE = "approve"
    REJECT = "reject"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(curate, name="curate")


@curate.command("assert")
def assert_command(
    subject: Annotated[str, typer.Argument(help="Gene symbol, or any node id.")],
    relation: Annotated[str, typer.Argument(help="Relationship type: MEMBER_OF, ANNOTATED_TO, …")],
    object_: Annotated[str, typer.Argument(metavar="OBJECT", help="Gene symbol, or any node id.")],
    reason: ReasonOption,
    reference: ReferenceOption = None,
    curator: CuratorOption = None,
    date: DateOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Assert an edge. It stands beside what providers say, from the next `apply` or build on."""
    said = _asked("assert", curator, reason, reference, date, subject=subject, relation=relation, object=object_)
    _enter(home, said, as_json=as_json)


@curate.command("retract")
def retract_command(
    subject: Annotated[str, typer.Argument(help="Gene symbol, or any node id.")] = "",
    relation: Annotated[str, typer.Argument(help="Relationship type.")] = "",
    object_: Annotated[str, typer.Argument(metavar="OBJECT", help="Gene symbol, or any node id.")] = "",
    statement: Annotated[str, typer.Option(help="Retract this one statement, not the whole edge.")] = "",
    provider: Annotated[str, typer.Option(help="Whose edge, where several providers say it.")] = "",
    reason: ReasonOption = "",
    reference: ReferenceOption = None,
    curator: CuratorOption = None,
    date: DateOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hide a provider's edge, or one statement of it, with a reason; the tables keep what was hidden."""
    if not statement and not (subject and relation and object_):
        raise UsageError("give SUBJECT RELATION OBJECT of the edge, or --statement ID of one statement of it")
    ends = {"subject": subject, "relation": relation, "object": object_}
    said = _asked("retract", curator, reason, reference, date, statement=statement, provider=provider, **ends)
    _enter(home, said, as_json=as_json)


@curate.command("revoke")
def revoke_command(
    entry: EntryArgument,
    reason: ReasonOption,
    curator: CuratorOption = None,
    date: DateOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an assertion or a retraction back; both stay in the log."""
    _enter(home, _asked("revoke", curator, reason, None, date, of=entry), as_json=as_json)


@curate.command("review")
def review_command(
    entry: EntryArgument,
    verdict: Annotated[Verdict, typer.Argument(help="approve or reject.")],
    reason: ReasonOption,
    curator: CuratorOption = None,
    date: DateOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve or reject another person's entry."""
    _enter(home, _asked("review", curator, reason, None, date, of=entry, decision=verdict.value), as_json=as_json)


@curate.command("list")
def list_command(
    state: Annotated[
        list[str] | None, typer.Option(help="in force, waiting for review, rejected, revoked.", show_default=False)
    ] = None,
    about: Annotated[str, typer.Option(help="Only of this node id, entry or curator.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List assertions and retractions and what became of them."""
    from aroma.kgstore.curation_desk import listed
    from aroma.kgstore.home import Home

    found = listed(Home.locate(home), state or (), about)
    if as_json:
        for one in found:
            print_json(one.as_dict())
        return
    columns = ("entry", "kind", "what", "state", "curator", "date", "reason", "references", "reviewed by")
    rows = [
        (
            one.entry.id,
            one.entry.kind,
            one.entry.shown,
            f"{one.state}: {one.revocation.reason}" if one.revocation else str(one.state),
            one.entry.curator,
            one.entry.date,
            one.entry.reason,
            one.entry.references,
            one.reviewed_by,
        )
        for one in found
    ]
    print_table("", columns, rows)


@curate.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="CSV, TSV or Parquet: kind, subject, relation, object, reason, …")],
    curator: CuratorOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row; enter nothing.")] = False,
    rejects: Annotated[
        Path | None, typer.Option(help="Where rows that do not fit go (else beside FILE).", show_default=False)
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enter many assertions and retractions; rows that do not fit are kept with the reason and shown."""
    from aroma.kgstore.curation_csv import import_file
    from aroma.kgstore.home import Home

    report = import_file(
        Home.locate(home), file, curator=_curator(curator, needed=False), dry_run=dry_run, rejects=rejects
    )
    if as_json:
        print_json(report.as_dict())
    else:
        said = ", ".join(f"{count:,} {status}" for status, count in report.counts.items()) or "no rows"
        console().print(f"{file.name}: {said}")
        for line, note in report.notes:
            progress(f"line {line}: {note}")
        print_table("", ("line", "rejected because"), report.rejected)
        if report.rejects_file is not None:
            console().print(f"Rejected rows are in {report.rejects_file}", markup=False)
    if report.rejected:
        raise typer.Exit(EXIT_FAILED)


@curate.command("apply")
def apply_command(
    accept: Annotated[list[str] | None, typer.Option("--accept", help="Name of a gate to let pass.")] = None,
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a release of the served one with all that stands now, and publish it; no provider file is read."""
    from aroma.kgstore.curation_release import apply
    from aroma.kgstore.engines import open_engine
    from aroma.kgstore.home import GraphTarget, Home

    place = Home.locate(home)
    done = apply(place, open_engine(place, GraphTarget.locate(uri)), tuple(accept or ()), progress)
    if as_json:
        print_json(asdict(done))
        return
    served = "is served already" if done.unchanged else f"published as number {done.sequence}"
    console().print(f"Release [bold]{done.release}[/bold] {served}, {done.seconds} s; {len(done.applied):,} entries")
    findings = [(one["entry"], one["code"], "yes" if one["applied"] else "no", one["message"]) for one in done.findings]
    if findings:
        print_table("To look at", ("entry", "what", "in the release", "message"), findings)
    changes = [(row["provider"], row["thing"], row["change"], f"{row['rows']:,}") for row in done.changes]
    if changes:
        print_table("Changes against the release before", ("provider", "thing", "change", "rows"), changes)
    if done.waiting:
        console().print(f"Waiting for review: {', '.join(done.waiting)}")


def _asked(
    kind: str, curator: str | None, reason: str, references: list[str] | None, date: str | None, **said: str
) -> Asked:
    from aroma.kgstore.curation_desk import Asked

    who = _curator(curator)
    return Asked(kind, who, reason, references=tuple(references or ()), date=date, **said)


def _curator(given: str | None, *, needed: bool = True) -> str:
    from aroma.kgstore.curation_desk import CURATOR_VARIABLE

    who = given or os.environ.get(CURATOR_VARIABLE, "")
    if needed and not who:
        raise UsageError(f"say who you are by your ORCID: --curator 0000-0002-1825-0097, or {CURATOR_VARIABLE}")
    return who


def _enter(home: Path | None, asked: Asked, *, as_json: bool) -> None:
    from aroma.kgstore.curation_desk import enter_one
    from aroma.kgstore.home import Home

    outcome = enter_one(Home.locate(home), asked)
    if as_json:
        print_json(outcome.as_dict())
    else:
        _show(outcome)


def _show(outcome: Outcome) -> None:
    for note in outcome.notes:
        progress(note)
    if outcome.entry is None or outcome.standing is None:
        return
    about = outcome.standing
    said = f"{outcome.entry.kind} [bold]{outcome.entry.id}[/bold] {outcome.status}: "
    console().print(f"{said}{about.entry.kind} {about.entry.id}, {about.entry.shown}, {about.state}")
    if outcome.status == "entered":
        progress("in the graph from the next release on: aroma curate apply")
