"""What a database holds of a release: its tables as nodes and relationships, ready to be written or compared.

A row's properties are one JSON object with its keys sorted and without nulls and empty lists. This text is what the
loaders send, and two rows are the same where their texts are. An edge's lists are parallel, so that empty strings in
them stay; a list of nothing but empty strings (two thirds of all edges have three) is left out, which saves a fifth of
the time of a load.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from aroma.kgstore import schema
from aroma.kgstore.publications import Publication
from aroma.kgstore.tables import ReleaseTables
from aroma.kgstore.views import PRESETS, degrees, view_edges

SOURCE: Final = "Source"
IMPORT_RUN: Final = "ImportRun"
RELEASE: Final = "Release"
UNRESOLVED: Final = "UnresolvedIdentifier"
NAME_CONFLICT: Final = "NameConflict"
ASSERTION: Final = "Assertion"
LABELS: Final = (*(str(label) for label in schema.Label), SOURCE, IMPORT_RUN, UNRESOLVED, NAME_CONFLICT, ASSERTION)
"""Labels with a key ``id``, the ``Release`` node left out: it is written last."""
INCLUDES: Final = "INCLUDES"
READ_FROM: Final = "READ_FROM"
RELATIONS: Final = (*(str(relation) for relation in schema.Relation), INCLUDES, READ_FROM)
PROJECTED: Final = (
    "nodes", "edges", "descriptions", "import_runs", "sources", "unresolved", "name_conflicts", "assertions",
)  # fmt: skip
"""Tables that a database holds; the others need not be read to fill one."""
EDGE_KEY: Final = ("subject", "object", "provider")
_NOT_WRITTEN: Final = frozenset({"subject", "relation", "object", "content"})
_SEPARATOR: Final = "|"
_SLICE: Final = 100_000
"""Edges whose texts are made at once: making them takes several times their memory."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """All nodes of one label: ``id`` and ``text``, the properties (``id`` among them) as a JSON object."""

    label: str
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Edges:
    """All edges of one type between two labels: ``subject``, ``object``, ``provider`` (never null) and ``text``."""

    relation: str
    subject_label: str
    object_label: str
    frame: pl.DataFrame

    @property
    def thing(self) -> tuple[str, str, str]:
        """Type and labels of the ends."""
        return self.relation, self.subject_label, self.object_label


def release_properties(publication: Publication, counts: dict[str, int], state: str) -> dict[str, object]:
    """Return the properties of the ``Release`` node."""
    said: dict[str, object] = {
        "id": publication.release,
        "sequence": publication.sequence,
        "parent": publication.parent,
        "published_at": publication.published_at,
        "action": publication.action,
        "schema_version": schema.SCHEMA_VERSION,
        "state": state,
        **{f"{table}_rows": rows for table, rows in counts.items()},
    }
    return {name: value for name, value in said.items() if value is not None}


def project_nodes(tables: ReleaseTables) -> Iterator[Nodes]:
    """Yield the nodes of a release by label, without the ``Release`` node."""
    described = _described(tables)
    for label in schema.Label:
        rows = described.filter(pl.col("label") == str(label)).drop("label")
        yield Nodes(str(label), _with_text(rows, ("id",)))
    yield Nodes(SOURCE, _with_text(tables["sources"].with_columns(pl.col("provider").alias("id")), ("id",)))
    yield Nodes(IMPORT_RUN, _with_text(tables["import_runs"], ("id",)))
    for named, table in ((UNRESOLVED, "unresolved"), (NAME_CONFLICT, "name_conflicts")):
        key = pl.concat_str(
            [pl.col(name) for name in schema.TABLES[table].key], separator=_SEPARATOR, ignore_nulls=True
        )
        yield Nodes(named, _with_text(tables[table].with_columns(key.alias("id")), ("id",)))
    yield Nodes(ASSERTION, _with_text(tables["assertions"], ("id",)))


def project_edges(tables: ReleaseTables, release: str, *, at_most: int | None = None) -> Iterator[Edges]:
    """Yield the edges of a release by type and labels of their ends.

    Args:
        tables: The release.
        release: Its id, which the edges of the ``Release`` node start from.
        at_most: Rows of the release's edges to take on at a time, to save memory; a type then comes in several parts.
    """
    labels = tables["nodes"].select("id", "label")
    for relation in schema.Relation:
        of_type = tables["edges"].filter(pl.col("relation") == str(relation)).drop("content")
        whole: dict[tuple[str, str], list[pl.DataFrame]] = {}
        for rows in of_type.iter_slices(at_most or _SLICE):
            for ends, frame in _between_labels(rows, labels):
                if at_most:
                    yield Edges(str(relation), *ends, frame)
                else:
                    whole.setdefault(ends, []).append(frame)
        for ends in list(whole):
            yield Edges(str(relation), *ends, pl.concat(whole.pop(ends)))
    runs = tables["import_runs"]
    included = runs.select(pl.lit(release).alias("subject"), pl.col("id").alias("object"))
    yield Edges(INCLUDES, RELEASE, IMPORT_RUN, _bare(included))
    read = runs.select(pl.col("id").alias("subject"), pl.col("provider").alias("object"))
    yield Edges(READ_FROM, IMPORT_RUN, SOURCE, _bare(read))


def _between_labels(rows: pl.DataFrame, labels: pl.DataFrame) -> Iterator[tuple[tuple[str, str], pl.DataFrame]]:
    """Yield edges with their text by the labels of their ends."""
    subjects, objects = labels.rename({"id": "subject", "label": "s"}), labels.rename({"id": "object", "label": "o"})
    joined = rows.join(subjects, on="subject", how="left").join(objects, on="object", how="left")
    for (subject, object_), part in joined.group_by("s", "o", maintain_order=True):
        yield (str(subject), str(object_)), _with_text(part.drop("s", "o"), EDGE_KEY)


def _described(tables: ReleaseTables) -> pl.DataFrame:
    """Return the nodes, genes with the description from the table of descriptions (the first provider's, by name)."""
    said = tables["descriptions"].sort("node", "provider").unique("node", keep="first", maintain_order=True)
    joined = tables["nodes"].join(
        said.select(
            pl.col("node").alias("id"), pl.col("text").alias("said"), pl.col("provider").alias("description_source")
        ),
        on="id",
        how="left",
        maintain_order="left",
    )
    # Which nodes are in the view path-kg, and their degree there: the query shortest-paths walks and ranks by it.
    degree = degrees(view_edges(tables, PRESETS["path-kg"])).select(pl.col("node").alias("id"), path_degree="degree")
    joined = joined.join(degree, on="id", how="left", maintain_order="left")
    own = pl.col("description").is_not_null()
    # One text of the synonyms: no engine's full-text index takes lists on both engines.
    said_also = pl.concat_list("synonyms", "previous")
    return joined.with_columns(
        pl.coalesce("description", "said").alias("description"),
        pl.when(own).then(None).otherwise(pl.col("description_source")).alias("description_source"),
        pl.when(said_also.list.len() > 0).then(said_also.list.join("; ")).alias("synonym_text"),
    ).drop("said")


def _bare(ends: pl.DataFrame) -> pl.DataFrame:
    return ends.select("subject", "object", pl.lit("").alias("provider"), pl.lit("{}").alias("text"))


def _with_text(rows: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    """Return key and ``text`` of each row; its properties are all columns, of an edge all but its ends and content."""
    filled = rows.with_columns(
        pl.when(pl.col(name).list.join("", ignore_nulls=True) != "").then(pl.col(name)).alias(name)
        for name, dtype in rows.schema.items()
        if dtype == schema.TEXTS
    )
    written = sorted(
        name
        for name in filled.columns
        if filled[name].null_count() < filled.height and (key != EDGE_KEY or name not in _NOT_WRITTEN)
    )
    if not written:
        text = pl.lit("{}", dtype=pl.String)
    else:
        text = pl.struct(written).struct.json_encode()
        # A quote inside a value is escaped, so this can only match a property.
        if any(filled[name].null_count() for name in written):
            text = text.str.replace_all(r'"\w+":null,?', "").str.replace(r",}$", "}")
    return filled.select(
        *(pl.col(name).fill_null("") if name == "provider" else pl.col(name) for name in key), text.alias("text")
    )


def canonical(properties: dict[str, object]) -> str:
    """Return properties read from a database as a text that can be compared with a projected one."""
    said = {name: value for name, value in properties.items() if value is not None and value != []}
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
