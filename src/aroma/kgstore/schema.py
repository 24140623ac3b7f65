"""The one contract of the graph: labels, relationship types, table columns.

Everything that writes or reads the graph takes its names from here. A change of meaning or of a hashed column
raises ``SCHEMA_VERSION``, which is part of every release id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import polars as pl
from polars.datatypes import DataType, DataTypeClass

SCHEMA_VERSION: Final = 1

Column = DataType | DataTypeClass
TEXTS: Final = pl.List(pl.String)


class Label(StrEnum):
    """Node labels of a release."""

    GENE = "Gene"
    PROTEIN = "Protein"
    COMPLEX = "Complex"
    GO_TERM = "GOTerm"
    PATHWAY = "Pathway"
    REACTION = "Reaction"
    CELL_LINE = "CellLine"


class Relation(StrEnum):
    """Relationship types of a release."""

    INTERACTS_WITH = "INTERACTS_WITH"
    MEMBER_OF = "MEMBER_OF"
    ANNOTATED_TO = "ANNOTATED_TO"
    NOT_ANNOTATED_TO = "NOT_ANNOTATED_TO"
    IS_A = "IS_A"
    PART_OF = "PART_OF"
    REGULATES = "REGULATES"
    POSITIVELY_REGULATES = "POSITIVELY_REGULATES"
    NEGATIVELY_REGULATES = "NEGATIVELY_REGULATES"
    PARTICIPATES_IN = "PARTICIPATES_IN"
    CHILD_OF = "CHILD_OF"
    ENCODES = "ENCODES"


@dataclass(frozen=True, slots=True)
class Ends:
    """Which labels a relationship type joins; ``symmetric`` edges are stored once, smaller id first."""

    subjects: frozenset[Label]
    objects: frozenset[Label]
    symmetric: bool = False


def _ends(subject: Label, *objects: Label, symmetric: bool = False) -> Ends:
    return Ends(frozenset({subject}), frozenset(objects), symmetric)


RELATION_ENDS: Final[dict[Relation, Ends]] = {
    Relation.INTERACTS_WITH: _ends(Label.GENE, Label.GENE, symmetric=True),
    Relation.MEMBER_OF: _ends(Label.GENE, Label.COMPLEX),
    Relation.ANNOTATED_TO: _ends(Label.GENE, Label.GO_TERM),
    Relation.NOT_ANNOTATED_TO: _ends(Label.GENE, Label.GO_TERM),
    Relation.IS_A: _ends(Label.GO_TERM, Label.GO_TERM),
    Relation.PART_OF: _ends(Label.GO_TERM, Label.GO_TERM),
    Relation.REGULATES: _ends(Label.GO_TERM, Label.GO_TERM),
    Relation.POSITIVELY_REGULATES: _ends(Label.GO_TERM, Label.GO_TERM),
    Relation.NEGATIVELY_REGULATES: _ends(Label.GO_TERM, Label.GO_TERM),
    Relation.PARTICIPATES_IN: _ends(Label.GENE, Label.PATHWAY, Label.REACTION),
    Relation.CHILD_OF: _ends(Label.PATHWAY, Label.PATHWAY),
    Relation.ENCODES: _ends(Label.GENE, Label.PROTEIN),
}

STRING_CHANNELS: Final = (
    "neighborhood",
    "neighborhood_transferred",
    "fusion",
    "cooccurence",
    "homology",
    "coexpression",
    "coexpression_transferred",
    "experiments",
    "experiments_transferred",
    "database",
    "database_transferred",
    "textmining",
    "textmining_transferred",
)
"""STRING's channel columns, in the order and spelling of ``protein.links.full``."""

CHANNEL_COLUMNS: Final[dict[str, Column]] = {f"score_{name}": pl.Int16() for name in STRING_CHANNELS}

NODES: Final[dict[str, Column]] = {
    "id": pl.String(),  # CURIE, the key
    "label": pl.String(),  # a Label
    "symbol": pl.String(),  # genes: approved symbol; cell lines: short name
    "name": pl.String(),
    "description": pl.String(),  # GO definition, CORUM comment; a gene's comes from the descriptions table
    "synonyms": TEXTS,
    "previous": TEXTS,  # genes: previous symbols; GO terms: alternative ids
    "xrefs": TEXTS,  # CURIEs elsewhere (ENSEMBL:, NCBIGene:, UniProtKB:, GO: of a complex)
    "namespace": pl.String(),  # GO aspect, gene locus group, pathway top level
    "obsolete": pl.Boolean(),
    "replaced_by": TEXTS,
    "consider": TEXTS,
    "sequence_checksum": pl.String(),  # proteins: sha256 of the residues, upper case
    "length": pl.Int32(),  # proteins: residues
    "evidence": TEXTS,  # complexes: purification methods
    "references": TEXTS,  # CURIEs such as PMID:123
    "provider": pl.String(),
    "provider_release": pl.String(),
    "licence": pl.String(),  # SPDX-like short name
    "import_run": pl.String(),
    "statement": pl.String(),  # id of the line that defines the node, "<import run>:<line>"
}

STATEMENTS: Final[dict[str, Column]] = {
    "id": pl.String(),  # "<import run>:<line>"; a line that yields several edges appends ".1", ".2", …
    "import_run": pl.String(),
    "line": pl.Int64(),  # one-based, in the decompressed file
    "provider": pl.String(),
    "subject": pl.String(),
    "relation": pl.String(),
    "object": pl.String(),
    "original_subject": pl.String(),  # the provider's own identifier
    "original_object": pl.String(),
    "evidence": pl.String(),  # evidence code or method ("" where the provider gives none)
    "reference": pl.String(),
    "qualifier": pl.String(),
    "with_from": pl.String(),
    "date": pl.String(),  # ISO 8601 date
    "assigned_by": pl.String(),
    "score": pl.Int16(),  # STRING combined score of this line, 0-1000
    "note": pl.String(),  # what was changed on the way in ("GO:1 is an alternative id of GO:2")
    **CHANNEL_COLUMNS,
}

EDGES: Final[dict[str, Column]] = {
    "subject": pl.String(),
    "relation": pl.String(),
    "object": pl.String(),
    "provider": pl.String(),  # these four are the key
    "provider_release": pl.String(),
    "licence": pl.String(),
    "import_runs": TEXTS,
    "original_subject": pl.String(),  # of the first statement
    "original_object": pl.String(),
    "statements": TEXTS,  # these four lists are parallel, in statement order
    "evidence": TEXTS,
    "references": TEXTS,
    "qualifiers": TEXTS,
    "score": pl.Int16(),  # STRING combined score (links file where there is one), 0-1000
    "score_full": pl.Int16(),  # STRING combined score as the full file gives it, 0-1000
    **CHANNEL_COLUMNS,
    "content": pl.String(),  # hash of what the edge says, without release, run and line
    "since": pl.Int32(),  # sequence number of the first release that said exactly this; history, not hashed
}

GENE_NAMES: Final[dict[str, Column]] = {
    "name": pl.String(),  # as written; CURIE-less
    "tier": pl.String(),  # a resolver Tier
    "gene": pl.String(),  # node id
    "provider": pl.String(),
    "import_run": pl.String(),
}

DESCRIPTIONS: Final[dict[str, Column]] = {
    "node": pl.String(),
    "text": pl.String(),
    "provider": pl.String(),
    "statement": pl.String(),
}

SEQUENCES: Final[dict[str, Column]] = {
    "protein": pl.String(),
    "checksum": pl.String(),
    "residues": pl.String(),
}

REJECTS: Final[dict[str, Column]] = {
    "provider": pl.String(),
    "import_run": pl.String(),
    "file": pl.String(),  # name without directory
    "line": pl.Int64(),
    "reason": pl.String(),  # short, countable: "score is not a number from 0 to 1000"
    "text": pl.String(),  # the line, cut at 300 characters
}

UNRESOLVED: Final[dict[str, Column]] = {
    "provider": pl.String(),
    "import_run": pl.String(),
    "identifier": pl.String(),
    "reason": pl.String(),  # "unknown" or "ambiguous" and other short reasons
    "candidates": TEXTS,
    "rows": pl.Int64(),  # rows of the file that this identifier cost
    "first_line": pl.Int64(),
}

NAME_CONFLICTS: Final[dict[str, Column]] = {
    "name": pl.String(),
    "tier": pl.String(),  # the tier that decides
    "gene": pl.String(),  # the gene it resolves to, null where the deciding tier itself is ambiguous
    "other_tier": pl.String(),
    "other_genes": TEXTS,  # the genes that the looser tier gives the name to
}

IMPORT_RUNS: Final[dict[str, Column]] = {
    "id": pl.String(),  # "<provider>.<kind>.<first 12 hex digits of sha256>"
    "provider": pl.String(),
    "kind": pl.String(),  # file kind: "links", "obo", …
    "file": pl.String(),  # name without directory
    "url": pl.String(),
    "sha256": pl.String(),
    "bytes": pl.Int64(),
    "version": pl.String(),
    "version_found": pl.String(),  # "file header", "file name", "given by --pin"
    "licence": pl.String(),
    "parser_version": pl.String(),
    "rows_read": pl.Int64(),  # = accepted + rejected + unresolved + set_aside
    "accepted": pl.Int64(),
    "rejected": pl.Int64(),
    "unresolved": pl.Int64(),
    "set_aside": pl.Int64(),  # well-formed rows that are no evidence here: other species, ND, header frames
    "reasons": pl.String(),  # JSON object, {"rejected": {reason: rows}, "set_aside": {…}, "unresolved": {…}}
    "retrieved_at": pl.String(),  # ISO 8601; history, not hashed
}

SOURCES: Final[dict[str, Column]] = {
    "provider": pl.String(),
    "title": pl.String(),
    "version": pl.String(),
    "licence": pl.String(),
    "licence_url": pl.String(),
    "homepage": pl.String(),
    "commercial_use": pl.Boolean(),
}

ASSERTIONS: Final[dict[str, Column]] = {
    "id": pl.String(),
    "kind": pl.String(),  # "assert" or "retract"
    "subject": pl.String(),
    "relation": pl.String(),
    "object": pl.String(),
    "provider": pl.String(),  # of the retracted edge; "curation" for an assertion
    "statement": pl.String(),  # the one retracted statement, or null for the whole edge; an assertion's own
    "curator": pl.String(),  # ORCID
    "reason": pl.String(),
    "references": TEXTS,
    "date": pl.String(),
    "original_subject": pl.String(),  # as the curator gave it, where the gene was merged since
    "original_object": pl.String(),
    "reviewed_by": TEXTS,  # ORCIDs of those who approved it
}

RETRACTED_EDGES: Final[dict[str, Column]] = {
    **EDGES,  # the edge as its provider says it
    "whole": pl.Boolean(),  # false where only some of its statements are retracted
    "retraction": pl.String(),  # id of the assertions row
    "reason": pl.String(),
}

RETRACTED_STATEMENTS: Final[dict[str, Column]] = {
    **STATEMENTS,
    "retraction": pl.String(),
    "reason": pl.String(),
}


@dataclass(frozen=True, slots=True)
class TableSpec:
    """Columns of a release table, the key that must be unique, and what stays out of the release id.

    Releases made before a table or column came keep their ids: what is ``optional`` or ``later`` counts, and is
    written, only where it says something.
    """

    columns: dict[str, Column]
    key: tuple[str, ...]
    unhashed: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()
    optional: bool = False


TABLES: Final[dict[str, TableSpec]] = {
    "nodes": TableSpec(NODES, ("id",)),
    "edges": TableSpec(EDGES, ("subject", "relation", "object", "provider"), frozenset({"since"})),
    "statements": TableSpec(STATEMENTS, ("id",)),
    "gene_names": TableSpec(GENE_NAMES, ("name", "tier", "gene", "provider")),
    "descriptions": TableSpec(DESCRIPTIONS, ("node", "provider")),
    "sequences": TableSpec(SEQUENCES, ("protein",)),
    "rejects": TableSpec(REJECTS, ("import_run", "line", "reason")),
    "unresolved": TableSpec(UNRESOLVED, ("import_run", "identifier", "reason")),
    "name_conflicts": TableSpec(NAME_CONFLICTS, ("name", "tier", "other_tier")),
    "import_runs": TableSpec(IMPORT_RUNS, ("id",), frozenset({"retrieved_at"})),
    "sources": TableSpec(SOURCES, ("provider",)),
    "assertions": TableSpec(
        ASSERTIONS, ("id",), later=frozenset({"original_subject", "original_object", "reviewed_by"})
    ),
    "retracted_edges": TableSpec(
        RETRACTED_EDGES, ("subject", "relation", "object", "provider"), frozenset({"since"}), optional=True
    ),
    "retracted_statements": TableSpec(RETRACTED_STATEMENTS, ("id",), optional=True),
}
"""Every table of a release, by name. The release id is a hash over all of them."""


def empty(table: str) -> pl.DataFrame:
    """Return a frame with the columns of ``table`` and no rows."""
    return pl.DataFrame(schema=TABLES[table].columns)


def conform(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` with exactly the columns of ``table``: missing ones null (lists empty), types cast.

    Raises:
        ValueError: a column that the table does not have; this is a defect of the caller, not of input.
    """
    spec = TABLES[table].columns
    if unknown := set(frame.columns) - set(spec):
        raise ValueError(f"table {table} has no column {', '.join(sorted(unknown))}")
    columns = []
    for name, dtype in spec.items():
        column = pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        if dtype == TEXTS:
            column = column.fill_null(pl.lit([], dtype=TEXTS))
        columns.append(column)
    return frame.select(columns)
