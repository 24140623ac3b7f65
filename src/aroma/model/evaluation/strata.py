"""Strata: does a model hold where little is known? Popularity, degree, hops, and what the graph covers.

As in the AROMA paper (section 4.5, appendix C.4) rows are ranked by their gene and parted into high (top 20 %), mid
(next 40 %) and low (bottom 40 %); the parts are shares of rows, and a gene is never in two of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.kgstore.user_tables import read_user_table
from aroma.model.evaluation.metrics import Ints
from aroma.model.ground import Ground
from aroma.retrieval.csr import Int32, Int64, compiled

HIGH, MID, LOW = "high", "mid", "low"
SHARES: Final = ((HIGH, 0.2), (MID, 0.6), (LOW, 1.0))
SIDES: Final = ("perturbation", "target")
VIEW: Final = "path-kg"
MAX_HOPS: Final = 6
_ANNOTATIONS: Final = (Relation.ANNOTATED_TO, Relation.PARTICIPATES_IN, Relation.MEMBER_OF)


@dataclass(frozen=True, slots=True)
class Strata:
    """One way of parting rows.

    Attributes:
        name: ``perturbation popularity``, ``target degree``, ``hops``, ``coverage``, ….
        source: What was counted.
        names: The strata, in order.
        of_row: int64 (rows), the stratum of each row.
    """

    name: str
    source: str
    names: tuple[str, ...]
    of_row: Ints


def all_strata(ground: Ground, rows: pl.DataFrame, mentions: Path | None = None) -> list[Strata]:
    """Return every way of parting rows.

    Args:
        ground: The release.
        rows: With ``perturbation``, ``target`` and their resolved genes.
        mentions: File of mention counts (``gene,count``); without one, annotation references are counted.
    """
    popularity, counted = (
        (read_mentions(ground, mentions), f"mentions in {mentions.name}")
        if mentions is not None
        else (annotation_references(ground), "distinct references of annotations")
    )
    degree = degrees(ground)
    found = []
    for side in SIDES:
        genes = rows[f"{side}_gene"]
        found.append(by_rank(f"{side} popularity", counted, genes, popularity))
        found.append(by_rank(f"{side} degree", f"neighbours in {VIEW}", genes, degree))
    found.append(by_hops(ground, rows))
    found.append(by_coverage(ground, rows))
    return found


def by_rank(name: str, source: str, genes: pl.Series, values: Mapping[str, float]) -> Strata:
    """Part rows by their gene's value: top 20 %, middle 40 %, bottom 40 % of rows.

    Genes with one value share a stratum, that of the middle of their rows; a gene without a value counts as 0.

    Args:
        name: Of the strata.
        source: What was counted.
        genes: Gene ids, one a row; null where unresolved.
        values: Value by gene id.
    """
    value = genes.replace_strict(dict(values), default=0.0, return_dtype=pl.Float64).fill_null(0.0)
    middle = (value.rank("average", descending=True).to_numpy() - 0.5) / max(len(value), 1)
    places = np.searchsorted([share for _, share in SHARES[:-1]], middle, side="left")
    return Strata(name, source, tuple(label for label, _ in SHARES), places.astype(np.int64))


def read_mentions(ground: Ground, path: Path) -> dict[str, float]:
    """Return mention counts by gene id; names that stand for no gene are left out, several names of one add up.

    Raises:
        InputFileError: The file cannot be read or lacks ``gene`` and ``count``.
        UsageError: Not one of its genes is known.
    """
    table = read_user_table(
        path,
        required={"gene": ("symbol", "target", "name"), "count": ("mentions", "n")},
        dtypes={"count": pl.Float64()},
    )
    resolved = ground.resolver.resolve_column(table["gene"].unique().drop_nulls()).select(
        pl.col("query").alias("gene"), pl.col("gene").alias("id")
    )
    joined = table.join(resolved, on="gene").drop_nulls(["id", "count"])
    if joined.is_empty():
        raise UsageError(f"{path}: none of its genes is known to release {ground.release}; give symbols or HGNC ids")
    return dict(joined.group_by("id").agg(pl.col("count").sum()).sort("id").iter_rows())


def annotation_references(ground: Ground) -> dict[str, float]:
    """Return how many distinct references (papers, mostly) stand behind each gene's annotations."""
    edges = read_table(ground.home.release(ground.release), "edges", ["subject", "relation", "references"])
    mine = edges.filter(pl.col("relation").is_in([str(relation) for relation in _ANNOTATIONS]))
    told = mine.explode("references").drop_nulls("references").filter(pl.col("references") != "")
    counted = told.group_by("subject").agg(pl.col("references").n_unique().cast(pl.Float64)).sort("subject")
    return dict(counted.iter_rows())


def degrees(ground: Ground, view: str = VIEW) -> dict[str, float]:
    """Return the degree of each gene of a view."""
    opened = ground.snapshot.view(view)
    ids = ground.snapshot.nodes.by_id["id"].gather(opened.to_release)
    return dict(zip(ids.to_list(), opened.csr.degrees.astype(np.float64).tolist(), strict=True))


def by_hops(ground: Ground, rows: pl.DataFrame, view: str = VIEW) -> Strata:
    """Part rows by the hops of a shortest path from perturbation to target."""
    opened = ground.snapshot.view(view)
    ends = [_places(opened.to_release, ground.nodes_of(rows[f"{side}_gene"])) for side in SIDES]
    order = np.argsort(ends[0], kind="stable")
    hops = np.full(len(order), -1, dtype=np.int64)
    known = order[ends[0][order] >= 0]
    found = np.full(len(known), -1, dtype=np.int64)
    _hops(opened.csr.indptr, opened.csr.indices, ends[0][known], ends[1][known], MAX_HOPS, found)
    hops[known] = found
    names = ("same gene", *(str(number) for number in range(1, MAX_HOPS + 1)), "no path")
    return Strata("hops", f"shortest path in {view}", names, np.where(hops < 0, len(names) - 1, hops))


def by_coverage(ground: Ground, rows: pl.DataFrame, view: str = VIEW) -> Strata:
    """Part rows by which of their genes the graph has."""
    opened = ground.snapshot.view(view)
    here = [_places(opened.to_release, ground.nodes_of(rows[f"{side}_gene"])) >= 0 for side in SIDES]
    names = ("both genes in the graph", "perturbation missing", "target missing", "both missing")
    return Strata("coverage", f"nodes of {view}", names, (~here[0]).astype(np.int64) + 2 * (~here[1]).astype(np.int64))


def _places(to_release: npt.NDArray[np.int32], nodes: npt.NDArray[np.int32]) -> Int64:
    """Return the view's number of release nodes; -1 where the view does not have them."""
    if not len(to_release):
        return np.full(len(nodes), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(to_release, nodes), len(to_release) - 1)
    return np.where(to_release[at] == nodes, at, -1).astype(np.int64)


@compiled
def _hops(indptr: Int64, indices: Int32, sources: Int64, targets: Int64, most: int, found: Int64) -> None:
    """Fill the hops of pairs ordered by source, one breadth-first search a source; -1 stays beyond ``most``."""
    nodes = len(indptr) - 1
    distance = np.full(nodes, -1, dtype=np.int64)
    queue = np.empty(nodes, dtype=np.int64)
    begin = 0
    while begin < len(sources):
        end = begin
        while end < len(sources) and sources[end] == sources[begin]:
            end += 1
        distance[:] = -1
        queue[0], distance[sources[begin]] = sources[begin], 0
        read, written = 0, 1
        while read < written and distance[queue[read]] < most:
            node = queue[read]
            read += 1
            for place in range(indptr[node], indptr[node + 1]):
                other = indices[place]
                if distance[other] < 0:
                    distance[other] = distance[node] + 1
                    queue[written] = other
                    written += 1
        for row in range(begin, end):
            if targets[row] >= 0:
                found[row] = distance[targets[row]]
        begin = end
