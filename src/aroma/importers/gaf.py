"""GO annotation files (GAF 2.1 and 2.2) as statements.

Format: https://geneontology.org/docs/go-annotation-file-gaf-format-2.2/. A qualifier with ``NOT`` says that the
gene product does not have the property; an ``ND`` row says that nothing is known and is no annotation. Annotations to
an alternative id move to the main id, those to an obsolete term with one replacement move to that; ``note`` says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.lines import TextFile, reject_where, split_columns
from aroma.kgstore import schema
from aroma.kgstore.resolver import AMBIGUOUS, UNKNOWN, GeneResolver, Namespace
from aroma.kgstore.schema import Relation

COLUMNS: Final = (
    "db", "object_id", "symbol", "qualifier", "term", "reference", "evidence", "with_from", "aspect", "object_name",
    "synonyms", "object_type", "taxon", "date", "assigned_by", "extension", "form",
)  # fmt: skip
EVIDENCE_CODES: Final = (
    "EXP", "IDA", "IPI", "IMP", "IGI", "IEP", "HTP", "HDA", "HMP", "HGI", "HEP", "IBA", "IBD", "IKR", "IRD", "ISS",
    "ISO", "ISA", "ISM", "IGC", "RCA", "TAS", "NAS", "IC", "ND", "IEA",
)  # fmt: skip
ASPECTS: Final = {"P": "biological_process", "F": "molecular_function", "C": "cellular_component"}
GENE_DATABASES: Final = {
    "UniProtKB": Namespace.UNIPROT,
    "HGNC": Namespace.HGNC,
    "NCBIGene": Namespace.ENTREZ,
    "NCBI_Gene": Namespace.ENTREZ,
    "ENSEMBL": Namespace.ENSEMBL,
    "Ensembl": Namespace.ENSEMBL,
}
OTHER_DATABASES: Final = ("ComplexPortal", "RNAcentral", "IntAct", "PR", "PRO", "Reactome", "ENSEMBL_TRANSCRIPT")
HUMAN: Final = "taxon:9606"
OTHER_SPECIES: Final = "another species"
NO_DATA: Final = "ND: no biological data"
REPEATED: Final = "repeats an earlier line's statement"
OBSOLETE: Final = "annotation to an obsolete term without a single replacement"
_SAID: Final = (
    "subject", "object", "relation", "qualifier", "evidence", "reference", "with_from", "date", "assigned_by", "form",
)  # fmt: skip
_GENERATED: Final = re.compile(r"^!\s*(?:date-generated|generated)\s*:\s*(\d{4}-\d{2}-\d{2})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a GAF says.

    Attributes:
        statements: Columns of ``schema.STATEMENTS``.
        rejects: ``line``, ``reason``, ``text``.
        set_aside: Rows that are no evidence here, by reason.
        lost: ``line``, ``identifier``, ``reason``, ``candidates`` of rows whose gene does not resolve.
        counts: For the report.
    """

    statements: pl.DataFrame
    rejects: pl.DataFrame
    set_aside: dict[str, int]
    lost: pl.DataFrame
    counts: dict[str, int]


def generated(lines: list[str]) -> str | None:
    """Return the date of the header's ``!date-generated`` or ``!generated`` line."""
    found = (_GENERATED.match(line) for line in lines if line.startswith("!"))
    return next((match[1] for match in found if match), None)


def read_gaf(text: TextFile, nodes: pl.DataFrame, resolver: GeneResolver, run: str, provider: str) -> Annotations:
    """Read a GAF against the terms of ``nodes``.

    Raises:
        InputFileError: No ``!gaf-version: 2.x`` header, no rows, or rows of other species only.
    """
    rows, rejects = _rows(text)
    terms = _terms(nodes)
    rows = rows.join(terms, left_on="term", right_on="written", how="left", maintain_order="left")
    wanted = pl.col("aspect").replace_strict(ASPECTS, default="")
    rows, bad = reject_where(
        rows.select("line", *COLUMNS, "object", "namespace", "moved", "iso_date"),
        [
            (pl.col("moved").is_null(), "term is not in the ontology file"),
            (
                pl.col("namespace").fill_null(wanted) != wanted,
                "aspect is not that of the term",
            ),
        ],
    )
    set_aside: dict[str, int] = {}
    rows = _aside(rows, pl.col("taxon").str.split("|").list.first() != HUMAN, OTHER_SPECIES, set_aside)
    rows = _aside(rows, pl.col("evidence") == "ND", NO_DATA, set_aside)
    for database in OTHER_DATABASES:
        rows = _aside(rows, pl.col("db") == database, f"{database} entry, not a gene", set_aside)
    rows = _aside(rows, pl.col("object").is_null(), OBSOLETE, set_aside)
    rows = _genes(rows, resolver)
    lost = rows.filter(pl.col("gene").is_null())
    rows = _statements(rows.filter(pl.col("gene").is_not_null()), run, provider)
    counts = {
        "annotations moved from an alternative id": int(rows["moved"].str.contains("alternative").sum()),
        "annotations moved from an obsolete term": int(rows["moved"].str.contains("obsolete").sum()),
        "annotations whose gene was found by symbol": int(rows["by_symbol"].sum()),
        "NOT annotations": int((rows["relation"] == str(Relation.NOT_ANNOTATED_TO)).sum()),
    }
    rows = _aside(rows, ~pl.struct(_SAID).is_first_distinct(), REPEATED, set_aside)
    return Annotations(
        schema.conform("statements", rows.select(column for column in rows.columns if column in schema.STATEMENTS)),
        pl.concat([rejects, bad]).sort("line"),
        set_aside,
        lost.select("line", pl.format("{}:{}", "db", "object_id").alias("identifier"), "reason", "candidates"),
        counts,
    )


def _rows(text: TextFile) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return rows that are well formed in themselves (``COLUMNS``, ``iso_date``), and rejects."""
    version = re.match(r"!\s*gaf-version:\s*([\d.]+)", text.head(1)[0])
    if version is None or not version[1].startswith("2"):
        raise InputFileError(
            "the file does not begin with a GAF 2 header",
            file=text.path,
            line=1,
            expected="!gaf-version: 2.1 or 2.2",
        )
    lines = text.lines.filter(~pl.col("text").str.starts_with("!") & (pl.col("text") != ""))
    if lines.is_empty():
        raise InputFileError("the file has a header and no rows", file=text.path, expected="annotations")
    split = split_columns(lines, COLUMNS, optional_tail=2)
    rows = split.rows.with_columns(
        pl.col("date").str.to_date("%Y%m%d", strict=False).cast(pl.String).alias("iso_date"),
        pl.col("extension", "form").fill_null(""),
    )
    if rows.height and not rows["taxon"].str.starts_with(HUMAN).any():
        raise InputFileError(
            "the file has no human annotation", file=text.path, line=int(rows["line"][0]), expected=f"rows of {HUMAN}"
        )
    good, bad = reject_where(
        rows,
        [
            (~pl.col("db").is_in([*GENE_DATABASES, *OTHER_DATABASES]), "database of column 1 is not known"),
            (pl.col("object_id").str.strip_chars() == "", "no identifier in column 2"),
            (~pl.col("term").str.contains(r"^GO:\d{7}$"), "GO id is not GO: and seven digits"),
            (~pl.col("qualifier").str.contains(r"^[A-Za-z_]*(\|[A-Za-z_]+)*$"), "qualifier is not understood"),
            (pl.col("reference").str.strip_chars() == "", "no reference"),
            (~pl.col("evidence").is_in(EVIDENCE_CODES), "evidence code is not one of GO's"),
            (~pl.col("aspect").is_in(list(ASPECTS)), "aspect is not P, F or C"),
            (~pl.col("taxon").str.contains(r"^taxon:\d+(\|taxon:\d+)?$"), "taxon is not taxon: and a number"),
            (pl.col("iso_date").is_null() | ~pl.col("date").str.contains(r"^\d{8}$"), "date is not YYYYMMDD"),
        ],
    )
    return good, pl.concat([split.rejects, bad])


def _terms(nodes: pl.DataFrame) -> pl.DataFrame:
    """Return ``written``, ``object`` (the live term meant, null where there is none), ``namespace``, ``moved``."""
    live = nodes.filter(~pl.col("obsolete"))
    live_ids = live["id"].implode()
    own = live.select(pl.col("id").alias("written"), pl.col("id").alias("object"), "namespace", moved=pl.lit(""))
    one = (pl.col("replaced_by").list.len() == 1) & pl.col("replaced_by").list.first().is_in(live_ids)
    gone = nodes.filter(pl.col("obsolete")).with_columns(
        pl.when(one).then(pl.col("replaced_by").list.first()).alias("object")
    )
    gone = gone.select(
        pl.col("id").alias("written"),
        "object",
        "namespace",
        moved=pl.format("{} is obsolete and replaced by {}", "id", "object").fill_null(""),
    )
    known = pl.concat([own, gone])
    alternatives = (
        nodes.select(pl.col("previous").alias("alternative"), pl.col("id").alias("written"))
        .explode("alternative", empty_as_null=False, keep_nulls=False)
        .join(known, on="written", how="inner", maintain_order="left")
        .select(
            pl.col("alternative").alias("written"),
            "object",
            "namespace",
            moved=pl.concat_str(
                pl.format("{} is an alternative id of {}", "alternative", "written"),
                pl.when(pl.col("moved") != "").then(pl.format("; {}", "moved")).otherwise(pl.lit("")),
            ),
        )
        .join(known.select("written"), on="written", how="anti")
        .unique("written", keep="first", maintain_order=True)
    )
    return pl.concat([known, alternatives])


def _aside(rows: pl.DataFrame, condition: pl.Expr, reason: str, counts: dict[str, int]) -> pl.DataFrame:
    kept = rows.filter(~condition)
    if kept.height < rows.height:
        counts[reason] = rows.height - kept.height
    return kept


def _genes(rows: pl.DataFrame, resolver: GeneResolver) -> pl.DataFrame:
    """Add ``gene``, ``reason``, ``candidates``, ``by_symbol``: by identifier, else by the symbol of column 3.

    An identifier that stands for several genes is decided by the symbol only where the symbol names one of them.
    """
    parts = []
    for namespace in dict.fromkeys(GENE_DATABASES.values()):
        databases = [name for name, each in GENE_DATABASES.items() if each is namespace]
        asked = rows.filter(pl.col("db").is_in(databases))
        if asked.height:
            found = resolver.resolve_column(asked["object_id"], namespace)
            found = found.select(pl.col("query").alias("object_id"), "gene", "reason", "candidates")
            parts.append(asked.join(found, on="object_id", how="left", maintain_order="left"))
    if not parts:
        empty: dict[str, schema.Column] = {
            "gene": pl.String(),
            "reason": pl.String(),
            "candidates": schema.TEXTS,
            "by_symbol": pl.Boolean(),
        }
        return rows.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in empty.items())
    resolved = pl.concat(parts)
    missing = resolved.filter(pl.col("gene").is_null())
    symbols = resolver.resolve_column(missing["symbol"], Namespace.SYMBOL).select(
        pl.col("query").alias("symbol"), pl.col("gene").alias("symbol_gene")
    )
    fits = (pl.col("reason") == UNKNOWN) | (
        (pl.col("reason") == AMBIGUOUS) & pl.col("candidates").list.contains(pl.col("symbol_gene"))
    )
    return (
        resolved.join(symbols, on="symbol", how="left", maintain_order="left")
        .with_columns(pl.when(pl.col("gene").is_null() & fits).then("symbol_gene").alias("symbol_gene"))
        .with_columns(pl.coalesce("gene", "symbol_gene").alias("gene"), by_symbol=pl.col("symbol_gene").is_not_null())
        .drop("symbol_gene")
    )


def _statements(rows: pl.DataFrame, run: str, provider: str) -> pl.DataFrame:
    negated = pl.col("qualifier").str.split("|").list.contains("NOT")
    notes: Mapping[str, pl.Expr] = {
        "moved": pl.when(pl.col("moved") != "").then("moved"),
        "symbol": pl.when("by_symbol").then(pl.format("gene by its symbol {}", "symbol")),
        "form": pl.when(pl.col("form") != "").then(pl.format("gene product form {}", "form")),
    }
    return rows.sort("line").select(
        pl.format("{}:{}", pl.lit(run), "line").alias("id"),
        pl.lit(run).alias("import_run"),
        "line",
        pl.lit(provider).alias("provider"),
        pl.col("gene").alias("subject"),
        pl.when(negated)
        .then(pl.lit(str(Relation.NOT_ANNOTATED_TO)))
        .otherwise(pl.lit(str(Relation.ANNOTATED_TO)))
        .alias("relation"),
        "object",
        pl.col("object_id").alias("original_subject"),
        pl.col("term").alias("original_object"),
        "evidence",
        "reference",
        "qualifier",
        "with_from",
        pl.col("iso_date").alias("date"),
        "assigned_by",
        pl.concat_str(list(notes.values()), separator="; ", ignore_nulls=True).replace("", None).alias("note"),
        "moved",
        "by_symbol",
        "form",
    )
