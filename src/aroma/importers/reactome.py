"""Reactome: pathways, their hierarchy, and the genes that take part.

Formats: the tab-separated identifier files of https://reactome.org/download-data, which have no header line. Files of
one Reactome release are read together; they do not say which release it is. Of the two membership files the one with
the lowest level is preferred: what ``…_All_Levels`` adds follows from the hierarchy.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.addresses import published
from aroma.importers.base import FileKind, ImportBatch, ImportContext, Importer, ProviderCard, ProviderFile
from aroma.importers.lines import TextFile, open_text, reject_where, rejects_table, split_columns
from aroma.importers.runs import count_reasons, run_id, run_row
from aroma.importers.tables import unresolved_table
from aroma.kgstore import schema
from aroma.kgstore.assemble import edges_from_statements
from aroma.kgstore.identifiers import Prefix, pattern
from aroma.kgstore.ontology import ancestors
from aroma.kgstore.resolver import GeneResolver, Namespace
from aroma.kgstore.schema import Label, Relation

SPECIES: Final = "Homo sapiens"
HUMAN: Final = "R-HSA-"
OTHER_SPECIES: Final = "another species"
REPEATED: Final = "repeats an earlier line's statement"
_ID: Final = r"^R-[A-Z]{3}-\d{1,9}(\.\d+)?$"
_COLUMNS: Final = {
    "pathways": ("event", "name", "species"),
    "relations": ("parent", "child"),
    "lowest": ("accession", "event", "url", "name", "evidence", "species"),
    "all_levels": ("accession", "event", "url", "name", "evidence", "species"),
    "reactions": ("accession", "event", "url", "name", "evidence", "species"),
}
_VERSION: Final = r"(?:[._-]v?(?P<version>\d[\d.-]*\d|\d))?"
_MEMBER_KINDS: Final = ("lowest", "all_levels", "reactions")


def _kind(kind: str, table: str, *, required: bool = True, group: str = "") -> FileKind:
    return FileKind(
        kind, re.compile(rf"{table}{_VERSION}\.txt"), required, published("reactome", f"{table}.txt"), group
    )


class ReactomeImporter(Importer):
    """Reactome, human pathways (``R-HSA-``)."""

    card: ClassVar[ProviderCard] = ProviderCard(
        name="reactome",
        title="Reactome",
        homepage="https://reactome.org",
        licence="CC0 1.0",
        licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
        commercial_use=True,
    )
    files: ClassVar[tuple[FileKind, ...]] = (
        _kind("pathways", "ReactomePathways"),
        _kind("relations", "ReactomePathwaysRelation"),
        _kind("lowest", "UniProt2Reactome", group="membership"),
        _kind("all_levels", "UniProt2Reactome_All_Levels", group="membership"),
        _kind("reactions", "UniProt2ReactomeReactions", required=False),
    )
    parser_version: ClassVar[str] = "1"
    after: ClassVar[tuple[str, ...]] = ("hgnc", "uniprot")

    def select(self, files: tuple[ProviderFile, ...]) -> tuple[ProviderFile, ...]:
        """Leave the file of all levels out where the one of the lowest level is there."""
        kinds = {file.kind for file in files}
        return tuple(file for file in files if not (file.kind == "all_levels" and "lowest" in kinds))

    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        """Read the pathways, then what refers to them.

        Raises:
            InputFileError: A file is damaged, of another format, or of other species only.
        """
        by_kind = {file.kind: file for file in self.select(files)}
        pathways = self._pathways(by_kind["pathways"])
        hierarchy = self._hierarchy(by_kind["relations"], pathways)
        members = [
            self._members(by_kind[kind], pathways, context.resolver) for kind in _MEMBER_KINDS if kind in by_kind
        ]
        parts = [pathways, hierarchy, *members]
        nodes = [_with_top_level(pathways, hierarchy), *(part.nodes for part in members if part.nodes is not None)]
        reports: dict[str, object] = {"membership": "lowest level" if "lowest" in by_kind else "all levels"}
        for part in parts:
            reports |= part.reports
        return ImportBatch(
            provider=self.card.name,
            runs=pl.concat([part.runs for part in parts]),
            rejects=pl.concat([part.rejects for part in parts]),
            nodes=pl.concat(nodes),
            edges=pl.concat([part.edges for part in parts if part.edges is not None]),
            statements=pl.concat([part.statements for part in parts if part.statements is not None]),
            unresolved=pl.concat([part.unresolved for part in parts if part.unresolved is not None]),
            reports=reports,
        )

    def _pathways(self, file: ProviderFile) -> ImportBatch:
        text = open_text(file.path)
        run = run_id(self.card.name, file.kind, text.sha256)
        rows, bad = _rows(text, file.kind)
        rows, refused = reject_where(
            rows,
            [
                (~pl.col("event").str.contains(_ID), "pathway id is not R-, three letters and a number"),
                (pl.col("name").str.strip_chars() == "", "pathway has no name"),
                (_disagree(), "species and identifier disagree"),
                (~pl.col("event").is_first_distinct(), "pathway id stands in an earlier line"),
            ],
        )
        human = _human(rows, pl.col("event").str.starts_with(HUMAN), text)
        rejects = rejects_table([bad, refused], provider=self.card.name, import_run=run, file=text.name)
        return ImportBatch(
            provider=self.card.name,
            runs=run_row(
                self, file, text,
                accepted=human.height,
                rejected=count_reasons(rejects),
                set_aside=_counts({OTHER_SPECIES: rows.height - human.height}),
            ),
            rejects=rejects,
            nodes=self._nodes(human, Label.PATHWAY, run, file.version),
        )  # fmt: skip

    def _hierarchy(self, file: ProviderFile, pathways: ImportBatch) -> ImportBatch:
        text = open_text(file.path)
        run = run_id(self.card.name, file.kind, text.sha256)
        rows, bad = _rows(text, file.kind)
        human_ends = [pl.col(name).str.starts_with(HUMAN) for name in ("parent", "child")]
        rows, malformed = reject_where(
            rows,
            [
                (~pl.col("parent").str.contains(_ID), "parent id is not R-, three letters and a number"),
                (~pl.col("child").str.contains(_ID), "child id is not R-, three letters and a number"),
                (pl.col("parent") == pl.col("child"), "a pathway is its own parent"),
                (human_ends[0] != human_ends[1], "parent and child are of different species"),
            ],
        )
        human = _human(rows, human_ends[0], text)
        known = _known(pathways)
        kept, dangling = reject_where(
            human, [(~pl.col(name).is_in(known), f"{name} is not in the pathways file") for name in ("parent", "child")]
        )
        once = kept.filter(pl.struct("parent", "child").is_first_distinct())
        rejects = rejects_table([bad, malformed, dangling], provider=self.card.name, import_run=run, file=text.name)
        statements = schema.conform(
            "statements",
            once.select(
                *self._of_run(run),
                pl.format("REACTOME:{}", "child").alias("subject"),
                pl.lit(str(Relation.CHILD_OF)).alias("relation"),
                pl.format("REACTOME:{}", "parent").alias("object"),
                pl.col("child").alias("original_subject"),
                pl.col("parent").alias("original_object"),
            ),
        )
        aside = {OTHER_SPECIES: rows.height - human.height, REPEATED: kept.height - once.height}
        return ImportBatch(
            provider=self.card.name,
            runs=run_row(
                self, file, text,
                accepted=once.height, rejected=count_reasons(rejects), set_aside=_counts(aside),
            ),
            rejects=rejects,
            statements=statements,
            edges=edges_from_statements(statements, provider_release=file.version, licence=self.card.licence),
        )  # fmt: skip

    def _members(self, file: ProviderFile, pathways: ImportBatch, resolver: GeneResolver) -> ImportBatch:
        text = open_text(file.path)
        run = run_id(self.card.name, file.kind, text.sha256)
        rows, bad = _rows(text, file.kind)
        rows, malformed = reject_where(
            rows,
            [
                (~pl.col("event").str.contains(_ID), "event id is not R-, three letters and a number"),
                (pl.col("evidence").str.strip_chars() == "", "no evidence code"),
                (pl.col("name").str.strip_chars() == "", "event has no name"),
                (_disagree(), "species and identifier disagree"),
            ],
        )
        human = _human(rows, pl.col("species") == SPECIES, text)
        reasons = [(~pl.col("accession").str.contains(pattern(Prefix.UNIPROT)), "not a UniProt accession")]
        if file.kind != "reactions":
            reasons.append((~pl.col("event").is_in(_known(pathways)), "pathway is not in the pathways file"))
        kept, refused = reject_where(human, reasons)
        once = kept.filter(pl.struct("accession", "event", "evidence").is_first_distinct())
        found = resolver.resolve_column(once["accession"], Namespace.UNIPROT).drop("symbol", "tier")
        resolved = once.join(found, left_on="accession", right_on="query", how="left", maintain_order="left")
        lost = resolved.filter(pl.col("gene").is_null())
        statements = self._participation(resolved.filter(pl.col("gene").is_not_null()), run)
        rejects = rejects_table([bad, malformed, refused], provider=self.card.name, import_run=run, file=text.name)
        aside = {OTHER_SPECIES: rows.height - human.height, REPEATED: kept.height - once.height}
        nodes = None
        if file.kind == "reactions":
            events = resolved.filter(pl.col("gene").is_not_null()).unique("event", keep="first", maintain_order=True)
            nodes = self._nodes(events, Label.REACTION, run, file.version)
        return ImportBatch(
            provider=self.card.name,
            runs=run_row(
                self, file, text,
                accepted=statements.height,
                rejected=count_reasons(rejects),
                set_aside=_counts(aside),
                unresolved=count_reasons(lost),
            ),
            rejects=rejects,
            nodes=nodes,
            statements=statements,
            edges=edges_from_statements(statements, provider_release=file.version, licence=self.card.licence),
            unresolved=unresolved_table(
                lost.rename({"accession": "identifier"}), provider=self.card.name, import_run=run
            ),
            reports={f"isoforms taken as their protein ({file.kind})": int(statements["note"].is_not_null().sum())},
        )  # fmt: skip

    def _participation(self, rows: pl.DataFrame, run: str) -> pl.DataFrame:
        base = pl.col("accession").str.extract(r"^([A-Z0-9]+)", 1)
        isoform = base != pl.col("accession")
        return schema.conform(
            "statements",
            rows.select(
                *self._of_run(run),
                pl.col("gene").alias("subject"),
                pl.lit(str(Relation.PARTICIPATES_IN)).alias("relation"),
                pl.format("REACTOME:{}", "event").alias("object"),
                pl.col("accession").alias("original_subject"),
                pl.col("event").alias("original_object"),
                "evidence",
                pl.when(isoform).then(pl.format("{} taken as {}", "accession", base)).alias("note"),
            ),
        )

    def _of_run(self, run: str) -> list[pl.Expr]:
        return [
            pl.format("{}:{}", pl.lit(run), "line").alias("id"),
            pl.lit(run).alias("import_run"),
            pl.col("line"),
            pl.lit(self.card.name).alias("provider"),
        ]

    def _nodes(self, rows: pl.DataFrame, label: Label, run: str, version: str) -> pl.DataFrame:
        return schema.conform(
            "nodes",
            rows.select(
                pl.format("REACTOME:{}", "event").alias("id"),
                pl.lit(str(label)).alias("label"),
                pl.col("name").str.strip_chars(),
                pl.lit(value=False).alias("obsolete"),
                pl.lit(self.card.name).alias("provider"),
                pl.lit(version).alias("provider_release"),
                pl.lit(self.card.licence).alias("licence"),
                pl.lit(run).alias("import_run"),
                pl.format("{}:{}", pl.lit(run), "line").alias("statement"),
            ),
        )


def _rows(text: TextFile, kind: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split a file; its first line tells whether it is of this kind, since there is no header."""
    columns = _COLUMNS[kind]
    first = text.head(1)[0].rstrip("\r").split("\t")
    ids = [
        first[place]
        for place, name in enumerate(columns)
        if name in {"event", "parent", "child"} and place < len(first)
    ]
    if len(first) != len(columns) or not all(re.match(_ID, each) for each in ids):
        raise InputFileError(
            f"the first line is not one of Reactome's {kind} file",
            file=text.path,
            line=1,
            expected=f"{len(columns)} tab-separated columns ({', '.join(columns)}) with ids such as R-HSA-109581",
        )
    split = split_columns(text.lines.filter(pl.col("text") != ""), columns)
    return split.rows, split.rejects


def _disagree() -> pl.Expr:
    return pl.col("event").str.starts_with(HUMAN) != (pl.col("species") == SPECIES)


def _human(rows: pl.DataFrame, condition: pl.Expr, text: TextFile) -> pl.DataFrame:
    human = rows.filter(condition)
    if rows.height and human.is_empty():
        raise InputFileError(
            "the file has no human row", file=text.path, line=int(rows["line"][0]), expected=f"rows with {HUMAN} ids"
        )
    return human


def _known(pathways: ImportBatch) -> pl.Series:
    assert pathways.nodes is not None
    return pathways.nodes["id"].str.strip_prefix("REACTOME:").implode()


def _counts(counts: dict[str, int]) -> dict[str, int]:
    return {reason: rows for reason, rows in counts.items() if rows}


def _with_top_level(pathways: ImportBatch, hierarchy: ImportBatch) -> pl.DataFrame:
    """Fill ``namespace`` with the names of the top-level pathways above each pathway, joined by "; "."""
    assert pathways.nodes is not None
    assert hierarchy.edges is not None
    above = ancestors(hierarchy.edges, (Relation.CHILD_OF,))
    children = hierarchy.edges["subject"].implode()
    names = pathways.nodes.select(pl.col("id").alias("ancestor"), pl.col("name").alias("top"))
    tops = (
        above.filter(~pl.col("ancestor").is_in(children))
        .join(names, on="ancestor", how="left")
        .group_by("term")
        .agg(pl.col("top").unique().sort().str.join("; "))
    )
    joined = pathways.nodes.join(tops, left_on="id", right_on="term", how="left", maintain_order="left")
    return schema.conform("nodes", joined.with_columns(pl.coalesce("top", "name").alias("namespace")).drop("top"))
