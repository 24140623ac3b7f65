"""UniProt: protein sequences from FASTA, one protein a gene or all of Swiss-Prot, and which gene encodes them.

Format: https://www.uniprot.org/help/fasta-headers
``>db|accession|entry_name protein name OS=organism OX=taxon GN=gene PE=evidence SV=version``.
A row of the import run is one entry; its line is that of the header.
"""

from __future__ import annotations

import hashlib
import re
from typing import ClassVar, Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.addresses import published
from aroma.importers.base import FileKind, ImportBatch, ImportContext, Importer, ProviderCard, ProviderFile
from aroma.importers.lines import TextFile, open_text, reject_where, rejects_table
from aroma.importers.runs import count_reasons, run_id, run_row
from aroma.kgstore import schema
from aroma.kgstore.assemble import edges_from_statements
from aroma.kgstore.identifiers import Prefix, pattern
from aroma.kgstore.resolver import AMBIGUOUS, GeneResolver, Namespace, Tier

HUMAN: Final = "9606"
_OTHER_SPECIES: Final = "other species"
_NO_GENE_NAME: Final = "no gene name"
_BY_HGNC: Final = "gene by HGNC's UniProt cross-reference"
_HEADER: Final = r"^>(?:sp|tr)\|([^| ]+)\|(\S+) (.*)$"


class UniProtImporter(Importer):
    """Human proteins with their sequences, and ENCODES edges from genes."""

    card: ClassVar[ProviderCard] = ProviderCard(
        name="uniprot",
        title="UniProt",
        homepage="https://www.uniprot.org",
        licence="CC BY 4.0",
        licence_url="https://www.uniprot.org/help/license",
        commercial_use=True,
    )
    files: ClassVar[tuple[FileKind, ...]] = (
        FileKind(
            "proteome",
            re.compile(r"UP000005640_9606(?:[._-](?P<version>\d{4}_\d{2}|\d{4}-\d{2}-\d{2}))?\.fasta(\.gz)?"),
            url=published("uniprot", "UP000005640_9606.fasta.gz"),
            group="fasta",
        ),
        FileKind(
            "swissprot",
            re.compile(r"uniprot_sprot(_human)?(?:[._-](?P<version>\d{4}_\d{2}|\d{4}-\d{2}-\d{2}))?\.fasta(\.gz)?"),
            url=published("uniprot", "uniprot_sprot.fasta.gz"),
            group="fasta",
        ),
    )
    parser_version: ClassVar[str] = "1"
    after: ClassVar[tuple[str, ...]] = ("hgnc",)

    def select(self, files: tuple[ProviderFile, ...]) -> tuple[ProviderFile, ...]:
        """Prefer the reference proteome (one protein a gene) to Swiss-Prot: they hold the same entries."""
        return tuple(file for file in files if file.kind == "proteome") or files

    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        """Read the FASTA file into proteins, sequences, names and ENCODES edges.

        Raises:
            InputFileError: The file is damaged, empty, no UniProt FASTA, or has no human entry.
        """
        (file,) = files
        text = open_text(file.path)
        run = run_id(self.card.name, file.kind, text.sha256)
        entries, rejects, others = _entries(text)
        genes = _genes(entries, context.resolver)
        encoded = genes.filter(pl.col("gene").is_not_null())
        statements = _statements(encoded, run, self.card.name)
        missing = genes.filter(pl.col("gene").is_null())
        rejected = rejects_table(rejects, provider=self.card.name, import_run=run, file=text.name)
        return ImportBatch(
            provider=self.card.name,
            runs=run_row(
                self,
                file,
                text,
                accepted=entries.height - missing.height,
                rejected=count_reasons(rejected),
                set_aside={_OTHER_SPECIES: others} if others else {},
                unresolved=count_reasons(missing),
            ),
            rejects=rejected,
            nodes=self._nodes(entries, file, run),
            edges=edges_from_statements(statements, provider_release=file.version, licence=self.card.licence),
            statements=statements,
            gene_names=_new_names(encoded, run, self.card.name),
            sequences=_sequences(entries),
            unresolved=_unresolved(missing, run, self.card.name),
            reports=_reports(genes),
        )

    def _nodes(self, entries: pl.DataFrame, file: ProviderFile, run: str) -> pl.DataFrame:
        nodes = entries.select(
            _protein().alias("id"),
            pl.lit(str(schema.Label.PROTEIN)).alias("label"),
            pl.col("entry_name").alias("symbol"),
            pl.col("protein_name").alias("name"),
            pl.lit(value=False).alias("obsolete"),
            pl.col("checksum").alias("sequence_checksum"),
            pl.col("residues").str.len_bytes().cast(pl.Int32).alias("length"),
            pl.lit(self.card.name).alias("provider"),
            pl.lit(file.version).alias("provider_release"),
            pl.lit(self.card.licence).alias("licence"),
            pl.lit(run).alias("import_run"),
            pl.format("{}:{}", pl.lit(run), pl.col("line")).alias("statement"),
        )
        return schema.conform("nodes", nodes)


def _protein() -> pl.Expr:
    return pl.format("{}:{}", pl.lit(str(Prefix.UNIPROT)), pl.col("accession"))


def _entries(text: TextFile) -> tuple[pl.DataFrame, list[pl.DataFrame], int]:
    """Return good human entries, rejects, and the number of entries of other species.

    Entries: ``line``, ``accession``, ``entry_name``, ``protein_name``, ``gene_name``, ``residues``, ``checksum``.
    """
    raw, stray = _fold(text)
    body = pl.col("header").str.extract(_HEADER, 3)
    parsed = raw.with_columns(
        pl.col("header").str.extract(_HEADER, 1).alias("accession"),
        pl.col("header").str.extract(_HEADER, 2).alias("entry_name"),
        body.str.extract(r"^(.*?) OS=").alias("protein_name"),
        body.str.extract(r" OX=([0-9]+)(?: |$)").alias("taxon"),
        body.str.extract(r" GN=(.*?)(?: [A-Z]{2}=|$)").str.strip_chars().alias("gene_name"),
    )
    good, bad_headers = reject_where(
        parsed,
        [
            (pl.col("header").str.contains("\ufffd", literal=True), "bytes that are not UTF-8 text"),
            (~pl.col("accession").str.contains(pattern(Prefix.UNIPROT)), "header is not that of a UniProt entry"),
            (pl.col("taxon").is_null(), "header has no OX (species)"),
        ],
    )
    human = good.filter(pl.col("taxon") == HUMAN)
    if good.height and not human.height:
        raise InputFileError(
            "no entry is human", file=text.path, line=int(good["line"][0]), expected=f"entries with OX={HUMAN}"
        )
    entries, bad = reject_where(
        human,
        [
            (pl.col("residues") == "", "no sequence"),
            (~pl.col("residues").str.contains(r"^[A-Z*-]+$"), "sequence has other characters than letters, * and -"),
            (~pl.col("accession").is_first_distinct(), "accession stands on an earlier line"),
        ],
    )
    checksums = [hashlib.sha256(residues.encode()).hexdigest() for residues in entries["residues"].to_list()]
    entries = entries.with_columns(pl.Series("checksum", checksums, dtype=pl.String))
    return entries, [stray, bad_headers, bad], good.height - human.height


def _fold(text: TextFile) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Join sequence lines to their header; lines before the first header are rejects."""
    lines = text.lines.with_columns(pl.col("text").str.starts_with(">").cum_sum().alias("entry"))
    if lines["entry"][-1] == 0:
        raise InputFileError("no line starts with '>'", file=text.path, line=1, expected="FASTA as UniProt writes it")
    stray = lines.filter((pl.col("entry") == 0) & (pl.col("text").str.strip_chars() != "")).select(
        "line", pl.lit("text before the first header").alias("reason"), pl.col("text").str.slice(0, 300)
    )
    folded = (
        lines.filter(pl.col("entry") > 0)
        .group_by("entry", maintain_order=True)
        .agg(
            pl.col("line").first(),
            pl.col("text").first().alias("header"),
            pl.col("text").slice(1).str.strip_chars().str.join("").str.to_uppercase().alias("residues"),
        )
    )
    return folded.select("line", "header", "residues"), stray


def _genes(entries: pl.DataFrame, resolver: GeneResolver) -> pl.DataFrame:
    """Find the genes of each entry: one row an entry and gene, ``gene`` null with a ``reason`` where there is none.

    An accession that HGNC lists with several genes (histones) is encoded by each of them, as HGNC says. Otherwise
    the gene name must stand for one gene.
    """
    listed = resolver.resolve_column(entries["accession"], Namespace.UNIPROT)
    named = resolver.resolve_column(entries["gene_name"], Namespace.SYMBOL)
    by_hgnc = listed.select(
        pl.col("query").alias("accession"),
        pl.when(pl.col("reason") == AMBIGUOUS)
        .then(pl.col("candidates"))
        .when(pl.col("gene").is_not_null())
        .then(pl.concat_list("gene"))
        .alias("listed"),
    )
    by_name = named.select(
        pl.col("query").alias("gene_name"), pl.col("gene").alias("named"), "tier", "reason", "candidates", "flags"
    )
    joined = entries.join(by_hgnc, on="accession", how="left").join(by_name, on="gene_name", how="left")
    found = pl.col("listed").is_not_null()
    flags = pl.col("flags").list.join(", ")
    how = pl.format("gene by GN, {}", pl.col("tier")) + pl.when(flags == "").then(pl.lit("")).otherwise(
        pl.format(" ({})", flags)
    )
    differs = found & pl.col("named").is_not_null() & ~pl.col("listed").list.contains(pl.col("named"))
    also = pl.when(differs).then(pl.format("; GN {} stands for {}", "gene_name", "named")).otherwise(pl.lit(""))
    judged = joined.with_columns(
        pl.when(found).then(pl.lit(_BY_HGNC) + also).otherwise(how).alias("note"),
        pl.when(found).then(pl.col("listed")).otherwise(pl.concat_list("named")).alias("gene"),
        pl.when(pl.col("gene_name").is_null()).then(pl.lit(_NO_GENE_NAME)).otherwise(pl.col("reason")).alias("reason"),
        found.alias("by_hgnc"),
        differs.alias("differs"),
    )
    return judged.explode("gene").sort("line", "gene")


def _statements(encoded: pl.DataFrame, run: str, provider: str) -> pl.DataFrame:
    several = pl.len().over("line") > 1
    number = pl.int_range(1, pl.len() + 1).over("line")
    base = pl.format("{}:{}", pl.lit(run), pl.col("line"))
    rows = encoded.select(
        pl.when(several).then(pl.format("{}.{}", base, number)).otherwise(base).alias("id"),
        pl.lit(run).alias("import_run"),
        "line",
        pl.lit(provider).alias("provider"),
        pl.col("gene").alias("subject"),
        pl.lit(str(schema.Relation.ENCODES)).alias("relation"),
        _protein().alias("object"),
        pl.col("gene_name").fill_null(pl.col("accession")).alias("original_subject"),
        pl.col("accession").alias("original_object"),
        "note",
    )
    return schema.conform("statements", rows)


def _new_names(encoded: pl.DataFrame, run: str, provider: str) -> pl.DataFrame:
    """Return accessions that HGNC does not list, as names of the gene that their GN stands for."""
    rows = encoded.filter(~pl.col("by_hgnc")).select(
        pl.col("accession").alias("name"),
        pl.lit(str(Tier.UNIPROT_ID)).alias("tier"),
        "gene",
        pl.lit(provider).alias("provider"),
        pl.lit(run).alias("import_run"),
    )
    return schema.conform("gene_names", rows)


def _sequences(entries: pl.DataFrame) -> pl.DataFrame:
    return schema.conform("sequences", entries.select(_protein().alias("protein"), "checksum", "residues"))


def _unresolved(missing: pl.DataFrame, run: str, provider: str) -> pl.DataFrame:
    identifier = pl.col("gene_name").fill_null(pl.col("accession"))
    rows = (
        missing.with_columns(identifier.alias("identifier"))
        .group_by("identifier", "reason", maintain_order=True)
        .agg(pl.col("candidates").first(), pl.len().alias("rows"), pl.col("line").min().alias("first_line"))
        .with_columns(pl.lit(provider).alias("provider"), pl.lit(run).alias("import_run"))
    )
    return schema.conform("unresolved", rows)


def _reports(genes: pl.DataFrame) -> dict[str, object]:
    counted = {
        "entries whose GN stands for another gene than HGNC's cross-reference": genes.filter(pl.col("differs"))[
            "line"
        ].n_unique(),
        "entries that HGNC lists with several genes": genes.filter(pl.col("by_hgnc") & pl.col("line").is_duplicated())[
            "line"
        ].n_unique(),
    }
    return {title: count for title, count in counted.items() if count}
