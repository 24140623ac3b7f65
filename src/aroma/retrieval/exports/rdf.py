"""Turtle with provenance in PROV-O.

Sources: RDF 1.1 Turtle (https://www.w3.org/TR/turtle/) and PROV-O (https://www.w3.org/TR/prov-o/). Each edge is a plain
triple, unless it is negated, and a statement of its own (``rdf:subject``, ``rdf:predicate``, ``rdf:object``) that says
which file it was derived from, by which import run, whose it is, on which lines it stands and under which licence.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import polars as pl

from aroma.kgstore import schema
from aroma.kgstore.publications import read_publications
from aroma.retrieval.exports.base import ExportOptions, ExportSource
from aroma.retrieval.exports.biolink import association_id, biolink_associations, category_of

if TYPE_CHECKING:
    from rdflib import Literal, URIRef

PREFIXES: Final[dict[str, str]] = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "dcterms": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "biolink": "https://w3id.org/biolink/vocab/",
    "aroma": "urn:aroma:term:",
    "provider": "urn:aroma:provider:",
    "release": "urn:aroma:release:",
    "run": "urn:aroma:run:",
    "file": "urn:aroma:file:",
    "HGNC": "http://identifiers.org/hgnc/",
    "ENSEMBL": "http://identifiers.org/ensembl/",
    "NCBIGene": "http://identifiers.org/ncbigene/",
    "UniProtKB": "http://purl.uniprot.org/uniprot/",
    "CORUM": "https://identifiers.org/corum:",
    "ComplexPortal": "https://www.ebi.ac.uk/complexportal/complex/",
    "GO": "http://purl.obolibrary.org/obo/GO_",
    "REACTOME": "https://identifiers.org/reactome:",
    "Cellosaurus": "https://identifiers.org/cellosaurus:",
    "PMID": "http://www.ncbi.nlm.nih.gov/pubmed/",
}
_SLICE: Final = 50_000
_NODE_PREFIXES: Final = ("HGNC", "ENSEMBL", "NCBIGene", "UniProtKB", "CORUM", "ComplexPortal", "GO", "REACTOME",
                         "Cellosaurus", "PMID")  # fmt: skip
_PLAIN_CURIE: Final = rf"^(?:{'|'.join(_NODE_PREFIXES)}):[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?$"
_NOT_IN_IRI: Final = r"[\x00-\x20<>\"{}|^`\\]"


class Stream(Protocol):
    """Where bytes go: a file, compressed or not."""

    def write(self, data: bytes, /) -> int:
        """Write ``data`` and return how much of it."""
        ...


class Rdf:
    """One Turtle file; a name that ends in ``.gz`` is compressed."""

    name = "rdf"
    summary = "Turtle (RDF) with provenance in PROV-O; compressed where --out ends in .gz"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write one Turtle file, a slice of edges at a time."""
        nodes, edges = source.nodes(), source.edges()
        licences = _licences(source)
        ends = nodes.select("id", "label", "namespace")
        count = 0
        with _opened(out) as stream:
            stream.write(_history(source).encode())
            for rows in nodes.iter_slices(_SLICE):
                _write_lines(stream, _node_texts(rows))
            for rows in edges.iter_slices(_SLICE):
                associations = biolink_associations(rows, ends)
                count += associations.height
                _write_lines(stream, _edge_texts(associations, licences))
        source.count("nodes", nodes.height)
        source.count("edges", count)
        return [out]


@contextmanager
def _opened(out: Path) -> Iterator[Stream]:
    with out.open("wb") as raw:
        if out.suffix != ".gz":
            yield raw
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
            yield packed


def _history(source: ExportSource) -> str:
    """Return the prefixes, and what is known of the release, its providers, files and import runs."""
    from rdflib import RDF, RDFS, XSD, Graph, Literal, Namespace, URIRef
    from rdflib.namespace import DCTERMS, OWL, PROV

    graph = Graph(bind_namespaces="none")
    for prefix, iri in PREFIXES.items():
        graph.bind(prefix, iri)
    spaces = {name: Namespace(PREFIXES[name]) for name in ("aroma", "provider", "release", "run", "file")}
    aroma, release = spaces["aroma"], spaces["release"][source.release]
    graph.add((release, RDF.type, PROV.Entity))
    graph.add((release, RDFS.label, Literal(f"release {source.release}, view {source.definition.name}")))
    for entry in read_publications(source.home):
        if entry.release == source.release:
            graph.add((release, PROV.generatedAtTime, Literal(entry.published_at, datatype=XSD.dateTime)))
    for row in source.licences.iter_rows(named=True):
        provider = spaces["provider"][row["provider"]]
        graph.add((provider, RDF.type, PROV.Agent))
        graph.add((provider, RDFS.label, Literal(row["title"])))
        graph.add((provider, OWL.versionInfo, Literal(row["version"])))
        graph.add((provider, DCTERMS.license, _licence_term(row)))
        graph.add((provider, aroma.commercialUse, Literal(bool(row["commercial_use"]))))
    for row in source.table("import_runs").iter_rows(named=True):
        run, file = spaces["run"][row["id"]], spaces["file"][row["id"]]
        graph.add((release, PROV.wasDerivedFrom, file))
        graph.add((run, RDF.type, PROV.Activity))
        graph.add((run, PROV.used, file))
        graph.add((file, RDF.type, PROV.Entity))
        graph.add((file, PROV.wasAttributedTo, spaces["provider"][row["provider"]]))
        graph.add((file, DCTERMS.title, Literal(row["file"])))
        graph.add((file, OWL.versionInfo, Literal(row["version"])))
        graph.add((file, aroma.sha256, Literal(row["sha256"])))
        if row["url"]:
            graph.add((file, DCTERMS.source, URIRef(row["url"])))
        if row["retrieved_at"]:
            graph.add((file, aroma.retrievedAt, Literal(row["retrieved_at"], datatype=XSD.dateTime)))
    head = "".join(f"@prefix {prefix}: <{iri}> .\n" for prefix, iri in PREFIXES.items())
    triples = sorted(graph.serialize(format="nt").splitlines(keepends=True))
    return head + "".join(triples)


def _licence_term(row: dict[str, object]) -> URIRef | Literal:
    from rdflib import Literal, URIRef

    return URIRef(str(row["licence_url"])) if row["licence_url"] else Literal(str(row["licence"]))


def _licences(source: ExportSource) -> dict[str, str]:
    return {row["provider"]: _licence_term(row).n3() for row in source.licences.iter_rows(named=True)}


def _node_texts(nodes: pl.DataFrame) -> pl.Series:
    parts = [
        pl.concat_str(_term(pl.col("id")), pl.lit(" a "), category_of()),
        _said("rdfs:label", _literal(pl.coalesce("name", "symbol", "id"))),
        _said("skos:prefLabel", _literal(pl.col("symbol"))),
        _said("dcterms:description", _literal(pl.col("description"))),
        _said("skos:altLabel", _listed("synonyms", _literal(pl.element()))),
        _said("owl:deprecated", pl.when(pl.col("obsolete")).then(pl.lit("true"))),
        _said("prov:wasAttributedTo", pl.concat_str(pl.lit("provider:"), "provider")),
        _said("prov:wasGeneratedBy", pl.concat_str(pl.lit("run:"), "import_run")),
        _said("prov:wasDerivedFrom", pl.concat_str(pl.lit("file:"), "import_run")),
        _said("aroma:line", _literal(pl.col("statement"))),
    ]
    return nodes.select(pl.concat_str(*parts, pl.lit(" ."), ignore_nulls=True).alias("text"))["text"]


def _edge_texts(edges: pl.DataFrame, licences: dict[str, str]) -> pl.Series:
    ends = edges.with_columns(_term(pl.col("subject")).alias("s"), _term(pl.col("object")).alias("o"))
    negated = pl.col("relation") == str(schema.Relation.NOT_ANNOTATED_TO)
    fact = pl.when(~negated).then(pl.concat_str(pl.col("s", "predicate", "o"), separator=" ") + " .\n")
    name = pl.concat_str(pl.lit("<"), association_id().str.replace_all(_NOT_IN_IRI, "_"), pl.lit(">"))
    licence = pl.col("provider").replace_strict(licences, default=None, return_dtype=pl.String)
    parts = [
        fact,
        pl.concat_str(name, pl.lit(" a rdf:Statement, "), "association"),
        _said("rdf:subject", pl.col("s")),
        _said("rdf:predicate", pl.col("predicate")),
        _said("rdf:object", pl.col("o")),
        _said("biolink:negated", pl.when(negated).then(pl.lit("true"))),
        _said("biolink:knowledge_level", _literal(pl.col("knowledge_level"))),
        _said("biolink:agent_type", _literal(pl.col("agent_type"))),
        _said("aroma:relation", _literal(pl.col("relation"))),
        _said("aroma:score", pl.col("score").cast(pl.String)),
        _said("aroma:evidence", _listed("evidence", _literal(pl.element()))),
        _said("dcterms:references", _listed("references", _reference(pl.element()))),
        _said("aroma:line", _listed("statements", _literal(pl.element()))),
        _said("prov:wasAttributedTo", pl.concat_str(pl.lit("provider:"), "provider")),
        _said("prov:wasGeneratedBy", _listed("import_runs", pl.concat_str(pl.lit("run:"), pl.element()))),
        _said("prov:wasDerivedFrom", _listed("import_runs", pl.concat_str(pl.lit("file:"), pl.element()))),
        _said("dcterms:license", pl.coalesce(licence, _literal(pl.col("licence")))),
    ]
    return ends.select(pl.concat_str(*parts, pl.lit(" ."), ignore_nulls=True).alias("text"))["text"]


def _said(predicate: str, value: pl.Expr) -> pl.Expr:
    """Return `` ; predicate value``, or null where there is no value."""
    return pl.concat_str(pl.lit(f" ; {predicate} "), value)


def _listed(column: str, shown: pl.Expr) -> pl.Expr:
    """Return the values of a list, each once and shown, with commas between; null where there is none."""
    values = pl.col(column).list.filter(pl.element() != "").list.unique(maintain_order=True)
    return pl.when(values.list.len() > 0).then(values.list.eval(shown).list.join(", "))


def _term(identifier: pl.Expr) -> pl.Expr:
    """Return an identifier as a prefixed name, or as an IRI of ours where Turtle or the prefixes do not allow it."""
    own = pl.concat_str(pl.lit("<urn:aroma:node:"), identifier.str.replace_all(_NOT_IN_IRI, "_"), pl.lit(">"))
    return pl.when(identifier.str.contains(_PLAIN_CURIE)).then(identifier).otherwise(own)


def _reference(reference: pl.Expr) -> pl.Expr:
    return pl.when(reference.str.contains(_PLAIN_CURIE)).then(reference).otherwise(_literal(reference))


def _literal(text: pl.Expr) -> pl.Expr:
    escaped = text
    for plain, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        escaped = escaped.str.replace_all(plain, written, literal=True)
    return pl.concat_str(pl.lit('"'), escaped.str.replace_all(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", " "), pl.lit('"'))


def _write_lines(stream: Stream, lines: pl.Series) -> None:
    stream.write("\n".join(lines.to_list()).encode())
    stream.write(b"\n")
