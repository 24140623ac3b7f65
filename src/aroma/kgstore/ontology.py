"""What the Gene Ontology's graph implies: ancestors of terms, and which genes a term holds for.

Rules (GO annotation guide, https://geneontology.org/docs/go-annotations): a positive annotation holds for every
ancestor over is_a and part_of; ``NOT`` holds for every descendant and is never positive. The regulates relations do not
carry annotations.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np
import polars as pl
from scipy import sparse

from aroma.kgstore.schema import Relation

CARRYING: Final = (Relation.IS_A, Relation.PART_OF)
"""Relations over which an annotation holds for the ancestors."""

_PAIR: Final = {"term": pl.String(), "ancestor": pl.String()}
_MEMBER: Final = {"gene": pl.String(), "term": pl.String()}


def ancestors(edges: pl.DataFrame, relations: Collection[Relation] = CARRYING) -> pl.DataFrame:
    """Return the reflexive, transitive closure of ``relations``.

    Works on any hierarchy whose edges go from child to parent, such as Reactome's ``CHILD_OF``; cycles do no harm.

    Args:
        edges: ``subject``, ``relation``, ``object``; rows of other relations are left out.
        relations: Relationship types followed from subject to object.

    Returns:
        ``term``, ``ancestor``, each pair once, sorted; a node of these edges is its own ancestor.
    """
    links = _of(edges, relations)
    terms = pl.concat([links["subject"], links["object"]]).unique().sort()
    if terms.is_empty():
        return pl.DataFrame(schema=_PAIR)
    return _pairs(_closure(links, terms), terms, terms, list(_PAIR))


def positive_annotations(edges: pl.DataFrame, relations: Collection[Relation] = CARRYING) -> pl.DataFrame:
    """Return which genes each term holds for, by annotation to it or to a descendant, minus ``NOT``.

    A ``NOT`` of a gene at a term takes the gene from the term and all its descendants, so a positive annotation of the
    same gene at one of these is contradicted and counts for nothing, its ancestors included. The ancestors of the
    ``NOT`` keep the gene where another positive annotation supports them.

    Args:
        edges: ``subject``, ``relation``, ``object``: annotations (gene to term) and the ontology's edges.
        relations: Relationship types over which annotations hold for the ancestors.

    Returns:
        ``gene``, ``term``, each pair once, sorted.
    """
    links = _of(edges, relations)
    said = _of(edges, (Relation.ANNOTATED_TO,))
    denied = _of(edges, (Relation.NOT_ANNOTATED_TO,))
    if said.is_empty():
        return pl.DataFrame(schema=_MEMBER)
    terms = pl.concat([links["subject"], links["object"], said["object"], denied["object"]]).unique().sort()
    genes = pl.concat([said["subject"], denied["subject"]]).unique().sort()
    closure = _closure(links, terms)
    positive = _matrix(said, genes, terms)
    if denied.height:
        negated = _ones(_matrix(denied, genes, terms) @ closure.T)
        positive = (positive - positive.multiply(negated)).tocsr()
        positive.eliminate_zeros()
    return _pairs(positive @ closure, genes, terms, list(_MEMBER))


def _of(edges: pl.DataFrame, relations: Collection[Relation]) -> pl.DataFrame:
    wanted = [str(relation) for relation in relations]
    return edges.filter(pl.col("relation").is_in(wanted)).select("subject", "object").unique()


def _matrix(pairs: pl.DataFrame, rows: pl.Series, columns: pl.Series) -> Any:
    """Return a CSR matrix with a one for each (subject, object); ``rows`` and ``columns`` are sorted and distinct."""
    row = rows.search_sorted(pairs["subject"]).to_numpy()
    column = columns.search_sorted(pairs["object"]).to_numpy()
    ones = np.ones(pairs.height, dtype=np.int32)
    return _ones(sparse.csr_array((ones, (row, column)), shape=(len(rows), len(columns))))


def _ones(matrix: Any) -> Any:
    """Set every stored value to one: only presence counts, and sums of paths must not overflow."""
    matrix = matrix.tocsr()
    matrix.data[:] = 1
    return matrix


def _closure(links: pl.DataFrame, terms: pl.Series) -> Any:
    """Square the adjacency until nothing is added: after k rounds all paths of up to 2^k steps are in."""
    reach = _ones(_matrix(links, terms, terms) + sparse.eye_array(len(terms), dtype=np.int32, format="csr"))
    while True:
        further = _ones(reach @ reach)
        if further.nnz == reach.nnz:
            return reach
        reach = further


def _pairs(matrix: Any, rows: pl.Series, columns: pl.Series, names: list[str]) -> pl.DataFrame:
    found = matrix.tocoo()
    frame = pl.DataFrame(
        {names[0]: rows.gather(found.row.astype(np.int64)), names[1]: columns.gather(found.col.astype(np.int64))}
    )
    return frame.sort(names)
