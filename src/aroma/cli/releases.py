"""``aroma releases …`` and ``aroma history``: what was published, what changed, going back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from aroma.cli.options import HomeOption, JsonOption, UriOption
from aroma.cli.output import console, print_json, print_table, progress
from aroma.errors import EXIT_FAILED

ReleaseArgument = Annotated[str, typer.Argument(help="Release id, its beginning, a sequence number, or 'published'.")]

releases = typer.Typer(help="What was published, what changed, going back.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(releases, name="releases")
    app.command("history")(history_command)


@releases.command("list")
def list_command(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the publications, oldest first; the last one is served."""
    from aroma.kgstore.home import Home
    from aroma.kgstore.publications import read_publications

    publications = read_publications(Home.locate(home))
    if as_json:
        for entry in publications:
            print_json(asdict(entry))
        return
    columns = ("number", "release", "published at", "action", "gates let pass", "note")
    rows = [
        (entry.sequence, entry.release, entry.published_at, entry.action, entry.accepted, entry.note)
        for entry in publications
    ]
    print_table("", columns, rows)


@releases.command("show")
def show_command(release: ReleaseArgument = "published", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show one release: sources, rows, views."""
    from aroma.kgstore.home import Home
    from aroma.kgstore.releases import find_release, load_manifest

    place = Home.locate(home)
    found = find_release(place, release)
    manifest = load_manifest(place, found)
    said = json.loads((place.release(found) / "audit.json").read_text())
    if as_json:
        print_json({**asdict(manifest), "sources": said["sources"]})
        return
    console().print(f"Release [bold]{found}[/bold], made {manifest.created_at}\n{said['licence_note']}")
    sources = [(row["title"], row["version"], row["licence"]) for row in said["sources"]]
    print_table("Sources", ("provider", "version", "licence"), sources)
    print_table("Tables", ("table", "rows"), [(name, f"{rows:,}") for name, rows in manifest.counts.items()])
    views = [(name, view["id"], f"{view['nodes']:,}", f"{view['edges']:,}") for name, view in manifest.views.items()]
    print_table("Views", ("view", "id", "nodes", "edges"), views)


@releases.command("diff")
def diff_command(
    old: ReleaseArgument,
    new: ReleaseArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write every changed edge to this Parquet or CSV file")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two releases: what was added, retired, changed."""
    from aroma.kgstore.diff import diff, write_edges
    from aroma.kgstore.home import Home
    from aroma.kgstore.releases import find_release, load_tables

    place = Home.locate(home)
    old_id, new_id = find_release(place, old), find_release(place, new)
    changes = diff(old_id, load_tables(place, old_id), new_id, load_tables(place, new_id))
    if out is not None:
        write_edges(changes, out)
    if as_json:
        fields = {"versions": changes.versions, "file_kind_changes": changes.kinds, "summary": changes.summary()}
        print_json({"old": old_id, "new": new_id, **fields})
        return
    versions = [(provider, *pair) for provider, pair in changes.versions.items()]
    print_table(f"{old_id} → {new_id}", ("provider", "before", "now"), versions)
    for provider, lines in changes.kinds.items():
        for line in lines:
            console().print(f"{provider}: change of file kind: {line}")
    rows = [(row["provider"], row["thing"], row["change"], f"{row['rows']:,}") for row in changes.summary()]
    print_table("Changes", ("provider", "thing", "change", "rows"), rows)


@releases.command("audit")
def audit_command(
    release: ReleaseArgument = "published",
    html: Annotated[Path | None, typer.Option("--html", help="Copy the audit page to this file.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a release's audit: files, rejects, unresolved names, changes, licences; and the files of stored outcomes."""
    from aroma.kgstore.home import Home
    from aroma.kgstore.outcome_origins import audit_of_outcomes
    from aroma.kgstore.releases import find_release

    place = Home.locate(home)
    directory = place.release(find_release(place, release))
    said = json.loads((directory / "audit.json").read_text())
    apart = audit_of_outcomes(place)
    if html is not None:
        html.write_bytes((directory / "audit.html").read_bytes())
    if as_json:
        print_json({**said, "outcomes": apart})
        return
    console().print(f"Audit of [bold]{said['release']}[/bold]: {said['licence_note']}")
    columns = ("file", "version", "read", "accepted", "rejected", "gene not resolved", "set aside")
    keys = ("rows_read", "accepted", "rejected", "unresolved", "set_aside")
    runs = [*said["import_runs"], *apart["import_runs"]]
    rows = [(run["file"], run["version"], *(f"{run[key]:,}" for key in keys)) for run in runs]
    print_table("Files read", columns, rows)
    reasons = [
        (run["file"], kind.replace("_", " "), reason, f"{count:,}")
        for run in runs
        for kind, counted in run["reasons"].items()
        for reason, count in counted.items()
    ]
    print_table("Rows that are not in the graph, and why", ("file", "fate", "reason", "rows"), reasons)
    first = [*said["rejects"]["examples"][:10], *apart["rejects"]["examples"][:10]]
    rejects = [(row["file"], row["line"], row["reason"], row["text"][:60]) for row in first]
    print_table("First rejected rows", ("file", "line", "reason", "text"), rejects)
    if said.get("curation"):
        _show_curation(said["curation"])
    console().print(f"The page with charts: {directory / 'audit.html'}")


def _show_curation(said: dict[str, Any]) -> None:
    entries = [
        (row["id"], row["kind"], f"{row['subject']} {row['relation']} {row['object']}", row["provider"], row["reason"])
        for row in said["entries"]
    ]
    print_table("Curation in this release", ("entry", "kind", "edge", "provider", "reason"), entries)
    keys = ("entry", "code", "message")
    print_table("Curation to look at", keys, [tuple(row[key] for key in keys) for row in said["findings"]])


@releases.command("publish")
def publish_command(
    release: ReleaseArgument,
    note: Annotated[str, typer.Option("--note", help="Why; kept in the list.")] = "",
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a release that is here, under the next number."""
    _publish_older(home, uri, release, note, as_json=as_json)


@releases.command("rollback")
def rollback_command(
    to: Annotated[str | None, typer.Option("--to", help="Release to go back to; default: the one before.")] = None,
    note: Annotated[str, typer.Option("--note", help="Why; kept in the list.")] = "",
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish the release before (or another one) again, under the next number."""
    _publish_older(home, uri, to, note, as_json=as_json)


def _publish_older(home: Path | None, uri: str | None, to: str | None, note: str, *, as_json: bool) -> None:
    from aroma.kgstore.engines import open_engine
    from aroma.kgstore.home import GraphTarget, Home
    from aroma.kgstore.locks import exclusive
    from aroma.kgstore.releases import roll_back

    place = Home.locate(home)
    with exclusive(place.locks / "build.lock", "a build"):
        engine = open_engine(place, GraphTarget.locate(uri))
        publication = roll_back(place, engine, to=to, note=note, progress=progress)
    if as_json:
        print_json(asdict(publication))
    else:
        console().print(f"Release [bold]{publication.release}[/bold] is served as number {publication.sequence}")


@releases.command("open")
def open_command(release: ReleaseArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Make an embedded copy of any release and print its Bolt address; it ends by itself when idle."""
    from aroma.kgstore.engines import open_copy
    from aroma.kgstore.home import Home
    from aroma.kgstore.releases import find_release, load_tables
    from aroma.kgstore.retention import note_open

    place = Home.locate(home)
    found = find_release(place, release)
    address = open_copy(place, found, load_tables(place, found), progress=progress)
    note_open(place, found)
    if as_json:
        print_json(address.as_dict())
    else:
        console().print(f"Release [bold]{found}[/bold] answers at {address.uri}")
        console().print(f"database {address.database}, user {address.user}, password {address.password}")


@releases.command("verify")
def verify_command(
    repair: Annotated[bool, typer.Option("--repair", help="Make the database say what the tables say.")] = False,
    home: HomeOption = None,
    uri: UriOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the tables and the snapshot with their checksums, and the database with the tables."""
    from aroma.kgstore.home import GraphTarget, Home
    from aroma.kgstore.publications import require_published
    from aroma.kgstore.verify import verify
    from aroma.retrieval.snapshot import check_snapshot, repair_snapshot

    place = Home.locate(home)
    report = verify(place, GraphTarget.locate(uri), repair=repair, progress=progress)
    damaged = (repair_snapshot if repair else check_snapshot)(place, require_published(place).release)
    sound, repaired = report.sound and not damaged, repair and (report.sound or report.repaired)
    if as_json:
        print_json({**asdict(report), "sound": sound, "repaired": repaired and not sound, "damaged_snapshot": damaged})
    else:
        for name in report.damaged_tables:
            console().print(f"table {name} is not what the manifest says; restore it or build again")
        for name in damaged:
            console().print(f"snapshot file {name} is not what its manifest says{'; made anew' if repair else ''}")
        columns = ("kind", "thing", "problem", "example")
        print_table("Differences", columns, [tuple(row.values()) for row in report.differences])
        console().print("sound" if sound else "repaired" if repaired else "differs: see above, or --repair")
    if not (sound or repaired):
        raise typer.Exit(EXIT_FAILED)


@releases.command("prune")
def prune_command(
    keep: Annotated[int, typer.Option("--keep", min=1, help="How many of the youngest releases stay in any case.")] = 1,
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="Delete others that are older: 12h, 30d, 8w.", show_default=False)
    ] = None,
    disk_budget: Annotated[
        str | None,
        typer.Option("--disk-budget", help="Delete the oldest until the rest fits: 20G.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go; delete nothing.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete older releases with their copies, but none that is published, open, or needed by a run or a model.

    Without --older-than and --disk-budget everything goes but the --keep youngest.
    """
    from aroma.jobs.keepers import releases_of_open_runs
    from aroma.kgstore.home import Home
    from aroma.kgstore.retention import Rules, parse_size, prune_releases
    from aroma.kgstore.tokens import parse_period
    from aroma.model.serving.history import releases_in_use

    rules = Rules(
        keep,
        parse_period(older_than) if older_than is not None else None,
        parse_size(disk_budget) if disk_budget is not None else None,
    )
    found = prune_releases(Home.locate(home), rules, (releases_of_open_runs, releases_in_use), dry_run=dry_run)
    if as_json:
        kept = {held.release: held.kept for held in found.releases if held.kept}
        said = {"pruned": list(found.gone), "freed": found.freed, "kept": kept, "over_budget": found.over_budget}
        print_json({**said, "dry_run": dry_run})
        return
    fate = "would go" if dry_run else "gone"
    rows = [(held.release, held.published_at, f"{held.bytes:,}", held.kept or fate) for held in found.releases]
    print_table("Releases, the oldest first", ("release", "published at", "bytes", "fate"), rows)
    if found.over_budget:
        console().print(f"What must stay takes {found.over_budget:,} bytes more than the budget")


def history_command(
    subject: Annotated[str, typer.Argument(help="A gene symbol or any node id.")],
    object_: Annotated[str, typer.Argument(metavar="OBJECT", help="A gene symbol or any node id.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what became of the edges between two nodes, release by release."""
    from aroma.kgstore.diff import edge_history
    from aroma.kgstore.home import Home
    from aroma.kgstore.node_names import node_id

    place = Home.locate(home)
    entries = edge_history(place, node_id(place, subject), node_id(place, object_))
    if as_json:
        for entry in entries:
            print_json(asdict(entry))
        return
    columns = (
        *("number", "release", "published at", "relation", "provider", "event"),
        *("provider release", "statements", "curators' reason"),
    )
    print_table("", columns, [tuple(asdict(entry).values()) for entry in entries])
