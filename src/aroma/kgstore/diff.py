"""What changed between two releases: a join of tables, and the history of one edge over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from aroma.errors import ReleaseError
from aroma.kgstore import schema
from aroma.kgstore.counting import kind_changes
from aroma.kgstore.home import Home
from aroma.kgstore.publications import Publication, read_publications
from aroma.kgstore.tables import ReleaseTables, scan_table, write_parquet

EDGE_KEY: Final = list(schema.TABLES["edges"].key)
_NODE_SAYS: Final = (
    "symbol",
    "name",
    "description",
    "synonyms",
    "previous",
    "xrefs",
    "namespace",
    "obsolete",
    "replaced_by",
    "consider",
    "sequence_checksum",
    "length",
    "evidence",
    "references",
)


@dataclass(frozen=True, slots=True)
class Diff:
    """Two releases compared; each frame has a column ``change``: ``added``, ``retired`` or ``changed``.

    Attributes:
        old: Release id.
        new: Release id.
        edges: The key of each edge that differs, with ``content_before`` and ``content_now``.
        nodes: ``id``, ``label``, ``name``, ``provider`` of each node that differs, and which columns changed.
        kinds: By provider, what is a change of file kind rather than of knowledge.
        versions: Provider to (version before, version now), where they differ.
    """

    old: str
    new: str
    edges: pl.DataFrame
    nodes: pl.DataFrame
    kinds: dict[str, list[str]]
    versions: dict[str, tuple[str, str]]

    def summary(self) -> list[dict[str, object]]:
        """Count by kind of thing, provider and change, largest first."""
        edges = self.edges.group_by("provider", pl.col("relation").alias("thing"), "change").len("rows")
        nodes = self.nodes.group_by("provider", pl.col("label").alias("thing"), "change").len("rows")
        whole = pl.concat([edges, nodes]).sort(
            "rows", "provider", "thing", "change", descending=[True, False, False, False]
        )
        return whole.to_dicts()


def diff(old_id: str, old: ReleaseTables, new_id: str, new: ReleaseTables) -> Diff:
    """Compare two releases by key and by what each row says; versions, lines and import runs do not count."""
    return Diff(
        old_id,
        new_id,
        _edge_changes(old["edges"], new["edges"]),
        _node_changes(old["nodes"], new["nodes"]),
        kind_changes(new, old),
        _version_changes(old, new),
    )


def _edge_changes(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    before = old.select(*EDGE_KEY, pl.col("content").alias("content_before"))
    now = new.select(*EDGE_KEY, pl.col("content").alias("content_now"))
    both = before.join(now, on=EDGE_KEY, how="full", coalesce=True)
    differ = both.filter(pl.col("content_before").ne_missing(pl.col("content_now")))
    return differ.with_columns(_change("content_before", "content_now")).sort(EDGE_KEY)


def _node_changes(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    what = ["label", "name", "provider"]
    before = old.select("id", *what, *(pl.col(name).alias(f"{name}|before") for name in _NODE_SAYS), here=pl.lit(1))
    now = new.select("id", *what, *(pl.col(name).alias(f"{name}|now") for name in _NODE_SAYS), here=pl.lit(1))
    both = before.join(now, on="id", how="full", coalesce=True, suffix="|new")
    differs = [
        pl.when(pl.col(f"{name}|before").ne_missing(pl.col(f"{name}|now"))).then(pl.lit(name)) for name in _NODE_SAYS
    ]
    listed = both.with_columns(
        pl.concat_list(differs).list.drop_nulls().alias("columns"),
        _change("here", "here|new"),
        *(pl.coalesce(f"{name}|new", name).alias(name) for name in what),
    )
    changed = listed.filter((pl.col("change") != "changed") | (pl.col("columns").list.len() > 0))
    return changed.select("id", *what, "change", "columns").sort("id")


def _change(before: str, now: str) -> pl.Expr:
    return (
        pl.when(pl.col(before).is_null())
        .then(pl.lit("added"))
        .when(pl.col(now).is_null())
        .then(pl.lit("retired"))
        .otherwise(pl.lit("changed"))
        .alias("change")
    )


def _version_changes(old: ReleaseTables, new: ReleaseTables) -> dict[str, tuple[str, str]]:
    before = dict(old["sources"].select("provider", "version").iter_rows())
    now = dict(new["sources"].select("provider", "version").iter_rows())
    return {
        provider: (before.get(provider, "not used"), now.get(provider, "not used"))
        for provider in sorted(set(before) | set(now))
        if before.get(provider) != now.get(provider)
    }


def carry_since(new: pl.DataFrame, old: pl.DataFrame | None, sequence: int) -> pl.DataFrame:
    """Fill ``since``: kept from ``old`` where an edge says the same, else ``sequence``."""
    if old is None:
        return new.with_columns(pl.lit(sequence, dtype=pl.Int32).alias("since"))
    before = old.select(*EDGE_KEY, "content", pl.col("since").alias("before"))
    joined = new.join(before, on=[*EDGE_KEY, "content"], how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce("before", pl.lit(sequence)).cast(pl.Int32).alias("since")).drop("before")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What one publication did to an edge.

    ``event`` is ``first seen``, ``unchanged``, ``changed``, ``retired`` or ``retracted`` (hidden by a curator; its
    provider still says it). ``reason`` is the curator's, with the entry's id, where one asserted the edge, or retracted
    it or statements of it.
    """

    sequence: int
    release: str
    published_at: str
    relation: str
    provider: str
    event: str
    provider_release: str | None
    statements: int
    reason: str | None = None


def edge_history(home: Home, subject: str, object_: str) -> list[HistoryEntry]:
    """Tell what became of the edges between two nodes, over all publications, in either direction.

    Raises:
        ReleaseError: Nothing was published yet.
    """
    publications = read_publications(home)
    if not publications:
        raise ReleaseError(f"no release is published in {home.path}; run: aroma build --from DIR")
    entries: list[HistoryEntry] = []
    before: dict[tuple[str, ...], dict[str, object]] = {}
    for publication in publications:
        now = _edges_between(home, publication.release, subject, object_)
        reasons = _reasons(home, publication.release, {subject, object_})
        for key in sorted(set(before) | set(now)):
            entries += _entry(publication, key, before.get(key), now.get(key), reasons.get(key))
        before = now
    return entries


def _edges_between(home: Home, release: str, one: str, other: str) -> dict[tuple[str, ...], dict[str, object]]:
    if not home.release(release).is_dir():
        raise ReleaseError(f"release {release} was pruned; its part of the history is gone")
    ends = (pl.col("subject") == one) & (pl.col("object") == other)
    back = (pl.col("subject") == other) & (pl.col("object") == one)
    columns = [*EDGE_KEY, "provider_release", "statements", "content"]
    rows = scan_table(home.release(release), "edges").filter(ends | back).select(columns).collect().to_dicts()
    return {tuple(str(row[name]) for name in EDGE_KEY): row for row in rows}


def _reasons(home: Home, release: str, ends: set[str]) -> dict[tuple[str, ...], tuple[bool, str]]:
    """Return, by edge, whether a curator hid all of it, and what curators said of it."""
    of_ends = pl.col("subject").is_in(ends) & pl.col("object").is_in(ends)
    directory = home.release(release)
    hidden = scan_table(directory, "retracted_edges").filter(of_ends & pl.col("whole")).select(EDGE_KEY).collect()
    whole = set(hidden.iter_rows())
    said: dict[tuple[str, ...], list[str]] = {}
    for row in scan_table(directory, "assertions").filter(of_ends).collect().iter_rows(named=True):
        text = f"{row['id']}, {row['curator']}: {row['reason']}"
        said.setdefault(tuple(str(row[name]) for name in EDGE_KEY), []).append(text)
    return {key: (key in whole, "; ".join(texts)) for key, texts in said.items()}


def _entry(
    publication: Publication,
    key: tuple[str, ...],
    before: dict[str, object] | None,
    now: dict[str, object] | None,
    curated: tuple[bool, str] | None,
) -> list[HistoryEntry]:
    if now is None:
        event = "retracted" if curated and curated[0] else "retired"
    elif before is None:
        event = "first seen"
    else:
        event = "unchanged" if before["content"] == now["content"] else "changed"
    row = now or before or {}
    statements = row.get("statements")
    return [
        HistoryEntry(
            publication.sequence,
            publication.release,
            publication.published_at,
            key[1],
            key[3],
            event,
            None if now is None else str(row.get("provider_release")),
            len(statements) if isinstance(statements, list) and now is not None else 0,
            curated[1] if curated else None,
        )
    ]


def write_edges(changes: Diff, path: Path) -> None:
    """Write every edge that differs, with its change, to a Parquet file, or CSV by suffix.

    Raises:
        ReleaseError: The disk is full or the place cannot be written.
    """
    if path.suffix == ".csv":
        changes.edges.write_csv(path)
    else:
        write_parquet(changes.edges, path)
