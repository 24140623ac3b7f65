"""STRING's protein files as tables: genes of proteins, gene names, gene nodes, descriptions, import runs."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from aroma.importers.base import ImportContext, Importer, ProviderFile
from aroma.importers.lines import TextFile, open_text, rejects_table
from aroma.importers.runs import count_reasons, run_id, run_row
from aroma.importers.string_proteins import (
    GENES,
    ProteinFile,
    annotated,
    genes_by_aliases,
    genes_by_name,
    read_aliases,
    read_info,
)
from aroma.kgstore import schema
from aroma.kgstore.identifiers import Prefix
from aroma.kgstore.resolver import Tier
from aroma.kgstore.schema import Label


@dataclass(frozen=True, slots=True)
class ProteinGenes:
    """What the info and aliases files gave.

    Attributes:
        proteins: ``protein``, ``gene`` (null where none), ``reason``, ``candidates``, ``code`` (UInt32, from 1).
        nodes: Genes that only STRING's Ensembl ids name.
        gene_names: STRING ids of genes.
        descriptions: One annotation text a gene.
        runs: Rows of ``import_runs``, one frame a file; ``rejects`` and ``unresolved`` likewise.
        summary: Counts for the report.
    """

    proteins: pl.DataFrame
    nodes: pl.DataFrame
    gene_names: pl.DataFrame
    descriptions: pl.DataFrame
    runs: list[pl.DataFrame]
    rejects: list[pl.DataFrame]
    unresolved: list[pl.DataFrame]
    summary: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Opened:
    file: ProviderFile
    text: TextFile
    run: str
    content: ProteinFile


def read_protein_files(importer: Importer, files: list[ProviderFile], context: ImportContext) -> ProteinGenes:
    """Read info and aliases and decide the gene of each protein.

    Raises:
        InputFileError: A file has another header, no rows, or only another species.
    """
    opened = {file.kind: _open(importer, file) for file in files}
    found = pl.DataFrame(schema=GENES)
    if "aliases" in opened:
        found = genes_by_aliases(opened["aliases"].content.rows, context.resolver)
    by_alias = found.filter(pl.col("gene").is_not_null()).height
    if "info" in opened:
        rows = opened["info"].content.rows.join(found, on="protein", how="anti")
        found = pl.concat([found, genes_by_name(rows, context.resolver)])
    if "aliases" in opened:
        silent = opened["aliases"].content.rows.select("protein").unique().join(found, on="protein", how="anti")
        unknown = silent.select("protein", gene=pl.lit(None, pl.String), reason=pl.lit("unknown"))
        found = pl.concat([found, unknown.with_columns(candidates=pl.lit([], dtype=schema.TEXTS))])
    proteins = found.sort("protein").with_row_index("code", offset=1).with_columns(pl.col("code").cast(pl.UInt32))
    accounts = [_account(importer, each, proteins) for each in opened.values()]
    info = opened.get("info")
    resolved = proteins.filter(pl.col("gene").is_not_null())
    return ProteinGenes(
        proteins,
        _nodes(importer, info, resolved, context),
        _gene_names(importer, next(iter(opened.values())).run, resolved),
        _descriptions(importer, info, resolved),
        [account[0] for account in accounts],
        [account[1] for account in accounts],
        [account[2] for account in accounts],
        {
            "proteins": proteins.height,
            "with a gene": resolved.height,
            "by alias": by_alias,
            "by preferred name": resolved.height - by_alias,
            "ambiguous": proteins.filter(pl.col("reason") == "ambiguous").height,
            "genes that HGNC has not": resolved.filter(pl.col("gene").str.starts_with(Prefix.ENSEMBL))[
                "gene"
            ].n_unique(),
        },
    )


def own_url(run: pl.DataFrame, version: str) -> pl.DataFrame:
    """Empty ``url`` of a file whose version STRING never published (``12.0.union``): the address would be untrue."""
    return run if re.fullmatch(r"[0-9]+(\.[0-9]+)*", version) else run.with_columns(url=pl.lit(""))


def _open(importer: Importer, file: ProviderFile) -> _Opened:
    text = open_text(file.path)
    content = read_info(text) if file.kind == "info" else read_aliases(text)
    return _Opened(file, text, run_id(importer.card.name, file.kind, text.sha256), content)


def _account(
    importer: Importer, opened: _Opened, proteins: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the import run, the rejects and the unresolved identifiers of one file."""
    content, provider = opened.content, importer.card.name
    joined = content.rows.join(proteins, on="protein", how="left", maintain_order="left")
    lost = joined.filter(pl.col("gene").is_null()).with_columns(pl.col("reason").fill_null("unknown"))
    run = run_row(
        importer,
        opened.file,
        opened.text,
        accepted=joined.height - lost.height,
        rejected=count_reasons(content.rejects),
        set_aside=count_reasons(content.set_aside),
        unresolved=count_reasons(lost),
    )
    name = "name" if opened.file.kind == "info" else "protein"
    unresolved = lost.group_by(pl.col(name).alias("identifier"), "reason").agg(
        pl.col("candidates").first(), pl.len().alias("rows"), pl.col("line").min().alias("first_line")
    )
    constants = {"provider": pl.lit(provider), "import_run": pl.lit(opened.run)}
    return (
        own_url(run, opened.file.version),
        rejects_table([content.rejects], provider=provider, import_run=opened.run, file=opened.text.name),
        schema.conform("unresolved", unresolved.sort("identifier").with_columns(**constants)),
    )


def _nodes(importer: Importer, info: _Opened | None, resolved: pl.DataFrame, context: ImportContext) -> pl.DataFrame:
    """Return gene nodes for Ensembl genes that no earlier provider has."""
    if info is None:
        return schema.empty("nodes")
    known = [nodes.select(pl.col("id").alias("gene")) for nodes in context.nodes.values()]
    own = resolved.filter(pl.col("gene").str.starts_with(f"{Prefix.ENSEMBL}:"))
    own = own.join(pl.concat([pl.DataFrame(schema={"gene": pl.String}), *known]), on="gene", how="anti")
    rows = info.content.rows.join(own, on="protein").filter(pl.col("gene") == f"{Prefix.ENSEMBL}:" + pl.col("name"))
    return schema.conform(
        "nodes",
        rows.unique("gene", keep="first", maintain_order=True).select(
            pl.col("gene").alias("id"),
            pl.lit(str(Label.GENE)).alias("label"),
            pl.col("name").alias("symbol"),
            pl.lit(importer.card.name).alias("provider"),
            pl.lit(info.file.version).alias("provider_release"),
            pl.lit(importer.card.licence).alias("licence"),
            pl.lit(info.run).alias("import_run"),
            pl.format("{}:{}", pl.lit(info.run), "line").alias("statement"),
        ),
    )


def _gene_names(importer: Importer, run: str, resolved: pl.DataFrame) -> pl.DataFrame:
    ids = resolved.select(pl.col("protein").alias("name"), pl.lit(str(Tier.STRING_ID)).alias("tier"), "gene")
    ensembl = resolved.filter(pl.col("gene").str.starts_with(f"{Prefix.ENSEMBL}:")).select(
        pl.col("gene").str.strip_prefix(f"{Prefix.ENSEMBL}:").alias("name"),
        pl.lit(str(Tier.ENSEMBL_ID)).alias("tier"),
        "gene",
    )
    names = pl.concat([ids, ensembl.unique("name", keep="first", maintain_order=True)])
    constants = {"provider": pl.lit(importer.card.name), "import_run": pl.lit(run)}
    return schema.conform("gene_names", names.with_columns(**constants))


def _descriptions(importer: Importer, info: _Opened | None, resolved: pl.DataFrame) -> pl.DataFrame:
    """Return the annotation of each gene's first annotated protein, in file order."""
    if info is None:
        return schema.empty("descriptions")
    rows = info.content.rows.filter(annotated()).join(resolved, on="protein", maintain_order="left")
    return schema.conform(
        "descriptions",
        rows.unique("gene", keep="first", maintain_order=True).select(
            pl.col("gene").alias("node"),
            pl.col("annotation").alias("text"),
            pl.lit(importer.card.name).alias("provider"),
            pl.format("{}:{}", pl.lit(info.run), "line").alias("statement"),
        ),
    )
