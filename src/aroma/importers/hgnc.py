"""HGNC: approved human gene symbols, previous and alias symbols, cross-references, and retired entries.

Formats: https://www.genenames.org/help/download/ (complete set and withdrawn, tab-separated, several values in one
field joined by ``|``, such fields in double quotes). Columns are found by their names, so that the full file and a
subset of its columns both do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Final

import polars as pl

from aroma.importers.addresses import published
from aroma.importers.base import FileKind, ImportBatch, ImportContext, Importer, ProviderCard, ProviderFile
from aroma.importers.lines import open_text, reject_where, rejects_table
from aroma.importers.quoted import read_quoted
from aroma.importers.runs import count_reasons, run_id, run_row
from aroma.kgstore import schema
from aroma.kgstore.identifiers import Prefix, pattern
from aroma.kgstore.resolver import Tier

_NEEDED: Final = ("hgnc_id", "symbol", "name")
_OPTIONAL: Final = (
    "locus_group", "status", "alias_symbol", "prev_symbol", "entrez_id", "ensembl_gene_id", "uniprot_ids",
)  # fmt: skip
_WITHDRAWN_NEEDED: Final = ("HGNC_ID", "STATUS", "WITHDRAWN_SYMBOL")
_MERGED_COLUMN: Final = "MERGED_INTO_REPORT"
_HGNC_ID: Final = r"^HGNC:[0-9]{1,6}$"
_NOT_APPROVED: Final = "status is not Approved"
_STILL_APPROVED: Final = "the complete set has this entry as approved"
_CROSS_REFERENCES: Final = {
    "ensembl_gene_id": (Prefix.ENSEMBL, Tier.ENSEMBL_ID),
    "entrez_id": (Prefix.ENTREZ, Tier.ENTREZ_ID),
    "uniprot_ids": (Prefix.UNIPROT, Tier.UNIPROT_ID),
}


class HgncImporter(Importer):
    """HGNC's complete set, with its withdrawn entries where that file is there."""

    card: ClassVar[ProviderCard] = ProviderCard(
        name="hgnc",
        title="HGNC",
        homepage="https://www.genenames.org",
        licence="CC0",
        licence_url="https://www.genenames.org/about/license/",
        commercial_use=True,
    )
    files: ClassVar[tuple[FileKind, ...]] = (
        FileKind(
            "complete_set",
            re.compile(r"hgnc_complete_set(?:[._-](?P<version>\d{4}-\d{2}-\d{2}))?\.(txt|tsv)(\.gz)?"),
            url=published("hgnc", "hgnc_complete_set.txt"),
        ),
        FileKind(
            "withdrawn",
            re.compile(r"withdrawn(?:[._-](?P<version>\d{4}-\d{2}-\d{2}))?\.(txt|tsv)(\.gz)?"),
            required=False,
            url=published("hgnc", "withdrawn.txt"),
        ),
    )
    parser_version: ClassVar[str] = "1"

    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        """Read the complete set into gene nodes and names, then the withdrawn entries into names.

        Raises:
            InputFileError: A file is damaged, empty, or lacks a needed column.
        """
        del context
        by_kind = {file.kind: file for file in files}
        genes = _Part(self, by_kind["complete_set"], _NEEDED, _OPTIONAL)
        rows = _approved(genes)
        nodes, dropped = _nodes(rows, genes)
        names = [_names(rows)]
        genes.accepted = rows.height
        parts = [genes]
        if "withdrawn" in by_kind:
            retired = _Part(self, by_kind["withdrawn"], _WITHDRAWN_NEEDED, (_MERGED_COLUMN,))
            names.append(_withdrawn(retired, set(nodes["id"])))
            parts.append(retired)
        return ImportBatch(
            provider=self.card.name,
            runs=pl.concat([part.run() for part in parts]),
            rejects=pl.concat([part.rejects_table() for part in parts]),
            nodes=nodes,
            gene_names=_unique_names(names, self.card.name, [part.run_id for part in parts]),
            reports={"cross-references left out because they are malformed": dropped} if dropped else {},
        )


class _Part:
    """One file being read: its good rows, its rejects, and the counts of the import run."""

    def __init__(self, importer: Importer, file: ProviderFile, needed: Sequence[str], optional: Sequence[str]) -> None:
        self.importer, self.file = importer, file
        self.text = open_text(file.path)
        self.run_id = run_id(importer.card.name, file.kind, self.text.sha256)
        self.rows, bad = read_quoted(self.text, needed, optional)
        self.rejects = [bad]
        self.set_aside: Counter[str] = Counter()
        self.accepted = 0

    def reject(self, reasons: Sequence[tuple[pl.Expr, str]]) -> None:
        self.rows, bad = reject_where(self.rows, reasons)
        self.rejects.append(bad)

    def put_aside(self, condition: pl.Expr, reason: str) -> None:
        kept = self.rows.filter(~condition)
        if kept.height < self.rows.height:
            self.set_aside[reason] += self.rows.height - kept.height
        self.rows = kept

    def rejects_table(self) -> pl.DataFrame:
        return rejects_table(
            self.rejects, provider=self.importer.card.name, import_run=self.run_id, file=self.text.name
        )

    def run(self) -> pl.DataFrame:
        return run_row(
            self.importer,
            self.file,
            self.text,
            accepted=self.accepted,
            rejected=count_reasons(self.rejects_table()),
            set_aside=self.set_aside,
        )


def _approved(part: _Part) -> pl.DataFrame:
    part.reject(
        [
            (~pl.col("hgnc_id").str.contains(_HGNC_ID), "HGNC id is not HGNC: and a number"),
            (pl.col("symbol").is_null(), "no symbol"),
            (~pl.col("hgnc_id").is_first_distinct(), "HGNC id stands on an earlier line"),
        ]
    )
    part.put_aside(pl.col("status").fill_null("Approved") != "Approved", _NOT_APPROVED)
    lists = ["alias_symbol", "prev_symbol", *_CROSS_REFERENCES]
    split = [
        pl.col(name).fill_null("").str.split("|").list.eval(pl.element().str.strip_chars().filter(pl.element() != ""))
        for name in lists
    ]
    return part.rows.with_columns(split)


def _nodes(rows: pl.DataFrame, part: _Part) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return gene nodes, and how many malformed cross-references were left out, by column."""
    dropped = {}
    xrefs = []
    for column, (prefix, _) in _CROSS_REFERENCES.items():
        good = pl.col(column).list.eval(pl.element().filter(pl.element().str.contains(pattern(prefix))))
        lost = int(rows.select((pl.col(column).list.len() - good.list.len()).sum()).item() or 0)
        if lost:
            dropped[column] = lost
        xrefs.append(good.list.eval(pl.format("{}:{}", pl.lit(str(prefix)), pl.element())))
    card = part.importer.card
    nodes = rows.select(
        pl.col("hgnc_id").alias("id"),
        pl.lit(str(schema.Label.GENE)).alias("label"),
        "symbol",
        "name",
        pl.col("alias_symbol").alias("synonyms"),
        pl.col("prev_symbol").alias("previous"),
        pl.concat_list(xrefs).alias("xrefs"),
        pl.col("locus_group").alias("namespace"),
        pl.lit(value=False).alias("obsolete"),
        pl.lit(card.name).alias("provider"),
        pl.lit(part.file.version).alias("provider_release"),
        pl.lit(card.licence).alias("licence"),
        pl.lit(part.run_id).alias("import_run"),
        pl.format("{}:{}", pl.lit(part.run_id), pl.col("line")).alias("statement"),
    )
    return schema.conform("nodes", nodes), dropped


def _names(rows: pl.DataFrame) -> pl.DataFrame:
    parts = [
        _named(rows, pl.col("hgnc_id"), Tier.HGNC_ID),
        _named(rows, pl.col("symbol"), Tier.SYMBOL),
        _named(rows.explode("prev_symbol"), pl.col("prev_symbol"), Tier.PREVIOUS),
        _named(rows.explode("alias_symbol"), pl.col("alias_symbol"), Tier.ALIAS),
    ]
    for column, (prefix, tier) in _CROSS_REFERENCES.items():
        listed = rows.select("hgnc_id", column).explode(column).filter(pl.col(column).str.contains(pattern(prefix)))
        parts.append(_named(listed, pl.col(column), tier))
    return pl.concat(parts)


def _named(rows: pl.DataFrame, name: pl.Expr, tier: Tier) -> pl.DataFrame:
    return rows.select(name.alias("name"), pl.lit(str(tier)).alias("tier"), pl.col("hgnc_id").alias("gene")).drop_nulls(
        "name"
    )


def _withdrawn(part: _Part, approved: set[str]) -> pl.DataFrame:
    """Return names of retired entries: their old id and symbol, for each approved successor or for none."""
    part.reject(
        [
            (~pl.col("HGNC_ID").str.contains(_HGNC_ID), "HGNC id is not HGNC: and a number"),
            (pl.col("WITHDRAWN_SYMBOL").is_null(), "no symbol"),
            (~pl.col("HGNC_ID").is_first_distinct(), "HGNC id stands on an earlier line"),
        ]
    )
    part.put_aside(pl.col("HGNC_ID").is_in(approved), _STILL_APPROVED)
    part.accepted = part.rows.height
    merged = {
        old: re.findall(r"HGNC:[0-9]{1,6}", into or "")
        for old, into in part.rows.select("HGNC_ID", _MERGED_COLUMN).iter_rows()
    }
    names: list[tuple[str, str, str | None]] = []
    for old, symbol in part.rows.select("HGNC_ID", "WITHDRAWN_SYMBOL").iter_rows():
        for name in (old, symbol.removesuffix("~withdrawn")):
            successors = _successors(old, merged, approved)
            names += [(name, str(Tier.MERGED), gene) for gene in successors]
            if not successors:
                names.append((name, str(Tier.WITHDRAWN), None))
    return pl.DataFrame(names, schema=dict.fromkeys(("name", "tier", "gene"), pl.String), orient="row")


def _successors(old: str, merged: dict[str, list[str]], approved: set[str]) -> list[str]:
    """Follow merges, through entries that were retired later, to the approved entries."""
    found, seen, left = set(), {old}, list(merged.get(old, ()))
    while left:
        entry = left.pop()
        if entry in seen:
            continue
        seen.add(entry)
        if entry in approved:
            found.add(entry)
        else:
            left += merged.get(entry, ())
    return sorted(found)


def _unique_names(names: list[pl.DataFrame], provider: str, runs: list[str]) -> pl.DataFrame:
    marked = [frame.with_columns(pl.lit(run).alias("import_run")) for frame, run in zip(names, runs, strict=True)]
    joined = pl.concat(marked).with_columns(pl.lit(provider).alias("provider"))
    return schema.conform("gene_names", joined.unique(["name", "tier", "gene"], keep="first", maintain_order=True))
