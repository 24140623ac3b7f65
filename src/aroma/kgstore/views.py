"""Graph views: declared subgraphs of a release, each with an id that is a hash of its definition.

A view is undirected and simple: parallel edges between two nodes are one step, whatever relations and providers
they come from. Nodes without an edge in the view are not part of it.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from typing import Final

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aroma.errors import UsageError
from aroma.kgstore.curation import PROVIDER as CURATION
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import ReleaseTables

CO_MEMBERSHIP: Final = "SHARES_COMPLEX"
"""Relation name of derived gene to gene edges: both are members of one complex."""

_GO_STRUCTURE: Final = (
    Relation.IS_A,
    Relation.PART_OF,
    Relation.REGULATES,
    Relation.POSITIVELY_REGULATES,
    Relation.NEGATIVELY_REGULATES,
)
_UNINFORMATIVE: Final = ("GO:0003674", "GO:0005515")  # molecular_function, protein binding: AROMA drops both


class ViewDefinition(BaseModel):
    """What a view takes from a release.

    Attributes:
        name: Readable name; not part of the id.
        relations: Relationship types taken.
        co_membership: Add an edge for each pair of genes of one complex (AROMA, appendix F.1).
        minimum_score: STRING combined score, 0-1000, below which an interaction is left out; a curator's assertion,
            which has no score, stays.
        dropped_nodes: Node ids left out with their edges.
        degree_cap: Nodes of this degree or more are left out; counted once, after ``dropped_nodes``.
        providers: Only these providers; None takes all.
        excluded_evidence: An edge stays only with a statement of another evidence code.
        annotated_until: ISO date; statements dated later do not count. Undated ones do.
        permutation_seed: Degree-preserving permutation with this seed, as a control; None for the graph itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    relations: tuple[Relation, ...]
    co_membership: bool = False
    minimum_score: int = Field(default=0, ge=0, le=1000)
    dropped_nodes: tuple[str, ...] = ()
    degree_cap: int | None = Field(default=None, ge=1)
    providers: tuple[str, ...] | None = None
    excluded_evidence: tuple[str, ...] = ()
    annotated_until: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}$")
    permutation_seed: int | None = None

    @property
    def id(self) -> str:
        """Hash of all that changes the answer, 12 hex digits behind ``v``."""
        definition = self.model_dump_json(exclude={"name"})
        return "v" + hashlib.sha256(definition.encode()).hexdigest()[:12]


PRESETS: Final[dict[str, ViewDefinition]] = {
    view.name: view
    for view in (
        ViewDefinition(name="gene-kg", relations=(Relation.INTERACTS_WITH,), co_membership=True),
        ViewDefinition(name="gene-kg-string", relations=(Relation.INTERACTS_WITH,)),
        ViewDefinition(
            name="path-kg",
            relations=(
                Relation.ANNOTATED_TO,
                Relation.PARTICIPATES_IN,
                Relation.MEMBER_OF,
                *_GO_STRUCTURE,
                Relation.CHILD_OF,
            ),
            dropped_nodes=_UNINFORMATIVE,
            degree_cap=1000,
        ),
        ViewDefinition(
            name="path-kg-paper",
            relations=(Relation.ANNOTATED_TO, Relation.PARTICIPATES_IN, *_GO_STRUCTURE, Relation.CHILD_OF),
            dropped_nodes=_UNINFORMATIVE,
            degree_cap=1000,
        ),
    )
}


def preset(name: str) -> ViewDefinition:
    """Return a preset view by name.

    Raises:
        UsageError: There is no such preset; the message names the nearest one.
    """
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PRESETS)}"
    raise UsageError(f"no view is called {name!r}; {hint}")


@dataclass(frozen=True, slots=True)
class ViewSize:
    """Nodes and undirected edges of a view."""

    view: str
    id: str
    nodes: int
    edges: int


def view_edges(tables: ReleaseTables, view: ViewDefinition) -> pl.DataFrame:
    """Return the edges of a view before permutation.

    Returns:
        Columns ``subject``, ``object``, ``relation``, ``provider`` (String) and ``edge`` (UInt32, row of the edges
        table; null for derived co-membership edges). Several rows may join the same two nodes; no self-loops.
    """
    indexed = tables["edges"].with_row_index("edge")
    kept = _filtered(indexed, tables, view)
    parts = [kept.filter(pl.col("relation").is_in([str(relation) for relation in view.relations]))]
    if view.co_membership:
        parts.append(_co_membership(kept))
    columns = ["subject", "object", "relation", "provider", "edge"]
    edges = pl.concat([part.select(columns) for part in parts]).filter(pl.col("subject") != pl.col("object"))
    if view.dropped_nodes:
        edges = _without(edges, pl.Series(list(view.dropped_nodes), dtype=pl.String))
    if view.degree_cap is not None:
        degree = degrees(edges)
        edges = _without(edges, degree.filter(pl.col("degree") >= view.degree_cap)["node"])
    return edges


def simple_pairs(edges: pl.DataFrame) -> pl.DataFrame:
    """Return each unordered pair of joined nodes once: ``low``, ``high``, smaller id first."""
    return edges.select(
        pl.min_horizontal("subject", "object").alias("low"), pl.max_horizontal("subject", "object").alias("high")
    ).unique()


def degrees(edges: pl.DataFrame) -> pl.DataFrame:
    """Return ``node``, ``degree``: distinct neighbours of each node, parallel edges counted once."""
    pairs = simple_pairs(edges)
    ends = pl.concat([pairs["low"], pairs["high"]])
    return ends.alias("node").value_counts(name="degree")


def view_size(tables: ReleaseTables, view: ViewDefinition) -> ViewSize:
    """Count a view's nodes and undirected edges."""
    pairs = simple_pairs(view_edges(tables, view))
    nodes = pl.concat([pairs["low"], pairs["high"]]).n_unique()
    return ViewSize(view.name, view.id, nodes, pairs.height)


def _filtered(edges: pl.DataFrame, tables: ReleaseTables, view: ViewDefinition) -> pl.DataFrame:
    if view.providers is not None:
        edges = edges.filter(pl.col("provider").is_in(view.providers))
    if view.minimum_score:
        interaction = pl.col("relation") == str(Relation.INTERACTS_WITH)
        asserted = pl.col("provider") == CURATION  # has no score: it is no claim of STRING's
        edges = edges.filter(~interaction | asserted | (pl.col("score") >= view.minimum_score))
    if view.excluded_evidence:
        others = pl.element().is_in(list(view.excluded_evidence)).not_()
        edges = edges.filter(pl.col("evidence").list.eval(others).list.any())
    if view.annotated_until is not None:
        late = tables["statements"].filter(pl.col("date") > view.annotated_until)
        keys = ["subject", "relation", "object", "provider"]
        late_rows = late.group_by(keys).len("late")
        all_rows = edges.join(late_rows, on=keys, how="left", maintain_order="left")
        edges = all_rows.filter(pl.col("statements").list.len() > pl.col("late").fill_null(0)).drop("late")
    return edges


def _co_membership(edges: pl.DataFrame) -> pl.DataFrame:
    members = edges.filter(pl.col("relation") == str(Relation.MEMBER_OF)).select("subject", "object", "provider")
    pairs = members.join(members, on=["object", "provider"], suffix="_other")
    added = members.filter(pl.col("provider") == CURATION)
    if added.height:  # a member that a curator adds shares the complex with the provider's members
        others = members.filter(pl.col("provider") != CURATION).select("object", subject_other="subject")
        between = added.join(others, on="object").select(
            "object",
            "provider",
            pl.min_horizontal("subject", "subject_other").alias("subject"),
            pl.max_horizontal("subject", "subject_other").alias("subject_other"),
        )
        pairs = pl.concat([pairs.select(between.columns), between])
    pairs = pairs.filter(pl.col("subject") < pl.col("subject_other"))
    return (
        pairs.select("subject", pl.col("subject_other").alias("object"), "provider")
        .unique(maintain_order=False)
        .with_columns(pl.lit(CO_MEMBERSHIP).alias("relation"), pl.lit(None, dtype=pl.UInt32).alias("edge"))
    )


def _without(edges: pl.DataFrame, nodes: pl.Series) -> pl.DataFrame:
    gone = nodes.implode()
    return edges.filter(~pl.col("subject").is_in(gone) & ~pl.col("object").is_in(gone))


def adjusted(view: ViewDefinition, **changes: object) -> ViewDefinition:
    """Return a view with some parts of its definition changed; dropped nodes are added to its own.

    Raises:
        UsageError: A value that the definition does not allow.
    """
    dropped = changes.pop("dropped_nodes", ())
    merged = (*view.dropped_nodes, *(node for node in _texts(dropped) if node not in view.dropped_nodes))
    try:
        return ViewDefinition.model_validate({**view.model_dump(), **changes, "dropped_nodes": merged})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"view {view.name}: {where} {first['msg'].lower()}, got {first['input']!r}") from error


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, tuple | list) else ()
