"""Counts of a release by provider: what gates compare, diffs explain and audits show."""

from __future__ import annotations

from collections import Counter
from typing import Final

import polars as pl

from aroma.kgstore.tables import ReleaseTables

Counts = dict[str, int]
"""``"<provider>.<thing>"`` to rows: ``corum.MEMBER_OF``, ``gene_ontology.GOTerm``, ``string.statements``."""

_FEATURES: Final = {
    "synonyms": pl.col("synonyms").list.len() > 0,
    "earlier identifiers": pl.col("previous").list.len() > 0,
    "obsolete entries": pl.col("obsolete").fill_null(value=False),
    "replacements of obsolete entries": pl.col("replaced_by").list.len() > 0,
    "descriptions": pl.col("description").is_not_null(),
    "references": pl.col("references").list.len() > 0,
}


def provider_counts(tables: ReleaseTables) -> Counts:
    """Count live nodes by label, edges by relation, statements and gene names, each by provider.

    Obsolete nodes are not counted: a provider that stops listing them has not shrunk.
    """
    counts: Counts = {}
    live = tables["nodes"].filter(~pl.col("obsolete").fill_null(value=False))
    for frame, column in ((live, "label"), (tables["edges"], "relation")):
        for provider, thing, rows in frame.group_by("provider", column).len().iter_rows():
            counts[f"{provider}.{thing}"] = rows
    for table in ("statements", "gene_names", "sequences"):
        frame = tables[table]
        if table == "sequences":
            counts["uniprot.sequences"] = frame.height
            continue
        for provider, rows in frame.group_by("provider").len().iter_rows():
            counts[f"{provider}.{table}"] = rows
    return dict(sorted(counts.items()))


def said_counts(tables: ReleaseTables) -> Counts:
    """Return ``provider_counts`` with what curators hid: what a provider says, whether or not it is shown."""
    counts = Counter(provider_counts(tables))
    hidden = tables["retracted_edges"].filter(pl.col("whole"))
    for provider, relation, rows in hidden.group_by("provider", "relation").len().iter_rows():
        counts[f"{provider}.{relation}"] += rows
    for provider, rows in tables["retracted_statements"].group_by("provider").len().iter_rows():
        counts[f"{provider}.statements"] += rows
    return dict(counts)


def features(tables: ReleaseTables) -> Counts:
    """Count, by provider, the nodes that have synonyms, obsolete marks, … : what kind of file it was."""
    frame = tables["nodes"].group_by("provider").agg(flag.sum().alias(name) for name, flag in _FEATURES.items())
    found = {}
    for row in frame.iter_rows(named=True):
        for name in _FEATURES:
            found[f"{row['provider']}.{name}"] = int(row[name] or 0)
    return dict(sorted(found.items()))


def file_kinds(tables: ReleaseTables) -> dict[str, tuple[str, ...]]:
    """Return the kinds of file that each provider was read from."""
    frame = tables["import_runs"].group_by("provider").agg(pl.col("kind").unique().sort())
    return {provider: tuple(kinds) for provider, kinds in frame.iter_rows()}


def kind_changes(new: ReleaseTables, old: ReleaseTables) -> dict[str, list[str]]:
    """Say, by provider, where a release was read from another kind of file than the one before.

    A core set after all complexes, or a stripped ontology after the full one, is a change of file kind and not a
    shrinking provider; a curator must be told which it is.
    """
    said: dict[str, list[str]] = {}
    kinds_before, kinds_now = file_kinds(old), file_kinds(new)
    for provider in sorted(set(kinds_before) & set(kinds_now)):
        if kinds_before[provider] != kinds_now[provider]:
            before, now = ", ".join(kinds_before[provider]), ", ".join(kinds_now[provider])
            said.setdefault(provider, []).append(f"read from {now}; the release before from {before}")
    now_has = features(new)
    for key, before_count in features(old).items():
        provider, _, name = key.partition(".")
        if before_count and provider in kinds_now and not now_has.get(key):
            said.setdefault(provider, []).append(f"the file has no {name} at all; the one before had {before_count:,}")
    return said
