"""Complexes and their subunits as tables: what CORUM and Complex Portal have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from aroma.importers.base import Importer
from aroma.kgstore import schema
from aroma.kgstore.assemble import edges_from_statements
from aroma.kgstore.identifiers import Prefix, pattern
from aroma.kgstore.resolver import GeneResolver, Namespace
from aroma.kgstore.schema import Label, Relation

_SUFFIX: Final = re.compile(r"(-PRO_[0-9]+|-[0-9]*)$")
_ACCESSION: Final = re.compile(pattern(Prefix.UNIPROT))
MALFORMED: Final = "not a UniProt accession"


@dataclass(frozen=True, slots=True)
class Subunit:
    """One member as the provider writes it.

    Attributes:
        written: The provider's text: ``P78381-2``.
        entrez: NCBI gene id at the same place in the provider's list, where there is one.
        qualifier: What the provider says of the member (stoichiometry), or "".
    """

    written: str
    entrez: str | None = None
    qualifier: str = ""

    @property
    def accession(self) -> str | None:
        """UniProt accession without isoform or chain; None where the text is no accession."""
        base = _SUFFIX.sub("", _SUFFIX.sub("", self.written))
        return base if _ACCESSION.match(base) else None


@dataclass(frozen=True, slots=True)
class ComplexRow:
    """One complex of a provider's file.

    Attributes:
        line: One-based line of the row.
        id: Node id (CURIE).
        original: The provider's own identifier.
        name: Recommended name.
        subunits: Members in the provider's order.
        synonyms: Other names.
        description: Free text, or None.
        methods: How it was found, as shown on the node.
        evidence: The same as codes, as statements carry it: joined by "|".
        references: CURIEs of publications.
        xrefs: CURIEs elsewhere.
        with_from: What else the provider gives as support, or "".
    """

    line: int
    id: str
    original: str
    name: str
    subunits: Sequence[Subunit]
    synonyms: Sequence[str] = ()
    description: str | None = None
    methods: Sequence[str] = ()
    evidence: str = ""
    references: Sequence[str] = ()
    xrefs: Sequence[str] = ()
    with_from: str = ""


@dataclass(frozen=True, slots=True)
class Membership:
    """Tables of one file of complexes.

    Attributes:
        nodes: The complexes that have at least one member.
        statements: One a complex and gene.
        edges: ``MEMBER_OF``, gene to complex.
        unresolved: Subunits without a gene.
        accepted: Lines with at least one member.
        without_member: Lines by the reason why none of their subunits is a member.
        counts: For the report.
    """

    nodes: pl.DataFrame
    statements: pl.DataFrame
    edges: pl.DataFrame
    unresolved: pl.DataFrame
    accepted: int
    without_member: dict[str, int]
    counts: dict[str, int]


@dataclass(slots=True)
class _Found:
    statements: list[dict[str, object]] = field(default_factory=list)
    lost: list[dict[str, object]] = field(default_factory=list)
    members: dict[int, int] = field(default_factory=dict)
    by_entrez: int = 0
    isoforms: int = 0
    repeated: int = 0


def membership(
    importer: Importer, rows: Sequence[ComplexRow], *, run: str, version: str, resolver: GeneResolver
) -> Membership:
    """Resolve the subunits of ``rows`` and fold them into nodes, statements and edges.

    A subunit is found by its UniProt accession; where that is unknown or stands for several genes, by the NCBI
    gene id at its place. Several subunits of one gene in a complex are one statement.
    """
    found = _Found()
    genes = _Genes.of(rows, resolver)
    for row in rows:
        _read_members(row, genes, run, importer.card.name, found)
    statements = schema.conform("statements", pl.DataFrame(found.statements, schema=_STATEMENT_TYPES))
    kept = [row for row in rows if found.members[row.line]]
    lost_lines = len(rows) - len(kept)
    return Membership(
        _nodes(importer, kept, run, version),
        statements,
        edges_from_statements(statements, provider_release=version, licence=importer.card.licence),
        _unresolved(importer.card.name, run, found.lost),
        len(kept),
        {"no subunit has a gene": lost_lines} if lost_lines else {},
        {
            "complexes": len(kept),
            "subunits": sum(len(row.subunits) for row in rows),
            "members": len(found.statements),
            "subunits without a gene": len(found.lost),
            "found by NCBI gene id only": found.by_entrez,
            "isoforms or chains taken as their protein": found.isoforms,
            "further subunits of a gene already a member": found.repeated,
        },
    )


@dataclass(frozen=True, slots=True)
class _Genes:
    """Resolutions of all accessions and NCBI gene ids of a file: name to (gene, reason, candidates)."""

    uniprot: dict[str, tuple[str | None, str | None, list[str]]]
    entrez: dict[str, tuple[str | None, str | None, list[str]]]

    @classmethod
    def of(cls, rows: Iterable[ComplexRow], resolver: GeneResolver) -> _Genes:
        subunits = [subunit for row in rows for subunit in row.subunits]
        accessions = {subunit.accession for subunit in subunits} - {None}
        entrez = {subunit.entrez for subunit in subunits} - {None}
        return cls(_resolved(accessions, Namespace.UNIPROT, resolver), _resolved(entrez, Namespace.ENTREZ, resolver))

    def of_subunit(self, subunit: Subunit) -> tuple[str | None, str, list[str], bool]:
        """Return gene, why there is none, candidates, and whether the NCBI gene id decided."""
        gene, reason, candidates = self.uniprot.get(subunit.accession or "", (None, MALFORMED, []))
        if gene is None and subunit.entrez is not None:
            other = self.entrez.get(subunit.entrez, (None, None, []))[0]
            if other is not None:
                return other, "", [], True
        return gene, reason or "unknown", candidates, False


def _resolved(
    names: set[str | None], namespace: Namespace, resolver: GeneResolver
) -> dict[str, tuple[str | None, str | None, list[str]]]:
    asked = pl.Series("name", sorted(name for name in names if name), dtype=pl.String)
    frame = resolver.resolve_column(asked, namespace)
    return {
        query: (gene, reason, candidates)
        for query, gene, reason, candidates in frame.select("query", "gene", "reason", "candidates").iter_rows()
    }


def _read_members(row: ComplexRow, genes: _Genes, run: str, provider: str, found: _Found) -> None:
    written: dict[str, list[Subunit]] = {}
    by_entrez: set[str] = set()
    for subunit in row.subunits:
        gene, reason, candidates, decided = genes.of_subunit(subunit)
        if gene is None:
            found.lost.append(
                {"identifier": subunit.written, "reason": reason, "candidates": candidates, "line": row.line}
            )
            continue
        if decided:
            by_entrez.add(gene)
            found.by_entrez += 1
        found.isoforms += subunit.accession is not None and subunit.accession != subunit.written
        found.repeated += gene in written
        written.setdefault(gene, []).append(subunit)
    found.members[row.line] = len(written)
    for number, (gene, subunits) in enumerate(written.items(), start=1):
        found.statements.append(
            {
                "id": f"{run}:{row.line}.{number}",
                "import_run": run,
                "line": row.line,
                "provider": provider,
                "subject": gene,
                "relation": str(Relation.MEMBER_OF),
                "object": row.id,
                "original_subject": subunits[0].written,
                "original_object": row.original,
                "evidence": row.evidence,
                "reference": "|".join(row.references),
                "qualifier": "|".join(dict.fromkeys(each.qualifier for each in subunits if each.qualifier)),
                "with_from": row.with_from,
                "note": _note(subunits, by_entrez=gene in by_entrez),
            }
        )


def _note(subunits: Sequence[Subunit], *, by_entrez: bool) -> str | None:
    notes = [
        f"{each.written} taken as {each.accession}"
        for each in subunits
        if each.accession is not None and each.accession != each.written
    ]
    if by_entrez:
        notes.append("gene by the NCBI gene id beside the accession")
    if len(subunits) > 1:
        notes.append(f"{len(subunits)} subunits of one gene: {', '.join(each.written for each in subunits)}")
    return "; ".join(notes) or None


_STATEMENT_TYPES: Final = {
    name: schema.STATEMENTS[name]
    for name in (
        "id", "import_run", "line", "provider", "subject", "relation", "object", "original_subject",
        "original_object", "evidence", "reference", "qualifier", "with_from", "note",
    )
}  # fmt: skip


def _nodes(importer: Importer, rows: Sequence[ComplexRow], run: str, version: str) -> pl.DataFrame:
    made = [
        {
            "id": row.id,
            "label": str(Label.COMPLEX),
            "name": row.name,
            "description": row.description,
            "synonyms": list(row.synonyms),
            "xrefs": list(row.xrefs),
            "evidence": list(row.methods),
            "references": list(row.references),
            "provider": importer.card.name,
            "provider_release": version,
            "licence": importer.card.licence,
            "import_run": run,
            "statement": f"{run}:{row.line}",
        }
        for row in rows
    ]
    columns = ("id", "label", "name", "description", "synonyms", "xrefs", "evidence", "references", "provider",
               "provider_release", "licence", "import_run", "statement")  # fmt: skip
    return schema.conform("nodes", pl.DataFrame(made, schema={name: schema.NODES[name] for name in columns}))


def _unresolved(provider: str, run: str, lost: list[dict[str, object]]) -> pl.DataFrame:
    types: dict[str, schema.Column] = {
        "identifier": pl.String(),
        "reason": pl.String(),
        "candidates": schema.TEXTS,
        "line": pl.Int64(),
    }
    grouped = (
        pl.DataFrame(lost, schema=types)
        .group_by("identifier", "reason")
        .agg(
            pl.col("candidates").first(),
            pl.col("line").n_unique().alias("rows"),
            pl.col("line").min().alias("first_line"),
        )
        .sort("identifier", "reason")
    )
    return schema.conform("unresolved", grouped.with_columns(provider=pl.lit(provider), import_run=pl.lit(run)))
