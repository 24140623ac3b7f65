"""Gene Ontology: terms and their relations from OBO, annotations of human genes from GAF."""

from __future__ import annotations

import re
from typing import ClassVar, Final

import polars as pl

from aroma.importers.addresses import published
from aroma.importers.base import FileKind, ImportBatch, ImportContext, Importer, ProviderCard, ProviderFile
from aroma.importers.gaf import ASPECTS, generated, read_gaf
from aroma.importers.lines import TextFile, open_text, rejects_table
from aroma.importers.obo import OboFile, header_of, read_obo
from aroma.importers.runs import count_reasons, run_id, run_row
from aroma.importers.tables import unresolved_table
from aroma.kgstore import schema
from aroma.kgstore.assemble import edges_from_statements
from aroma.kgstore.schema import Label, Relation

_ID: Final = r"^GO:\d{7}$"
_RELATIONS: Final = {
    "is_a": Relation.IS_A,
    "part_of": Relation.PART_OF,
    "regulates": Relation.REGULATES,
    "positively_regulates": Relation.POSITIVELY_REGULATES,
    "negatively_regulates": Relation.NEGATIVELY_REGULATES,
}
_DATE: Final = r"(?P<version>\d{4}-\d{2}-\d{2})"
OTHER_ONTOLOGY: Final = "term of another ontology"


class GeneOntologyImporter(Importer):
    """Gene Ontology, human annotations."""

    card: ClassVar[ProviderCard] = ProviderCard(
        name="gene_ontology",
        title="Gene Ontology",
        homepage="https://geneontology.org",
        licence="CC BY 4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        commercial_use=True,
    )
    files: ClassVar[tuple[FileKind, ...]] = (
        FileKind(
            "obo",
            re.compile(rf"go(?:-basic)?(?:[._-]{_DATE})?\.obo"),
            url=published("gene_ontology", "go-basic.obo"),
        ),
        FileKind(
            "gaf",
            re.compile(rf"goa_human(?:[._-]{_DATE})?\.gaf"),
            url=published("gene_ontology", "goa_human.gaf.gz"),
        ),
    )
    parser_version: ClassVar[str] = "1"
    after: ClassVar[tuple[str, ...]] = ("hgnc", "uniprot")

    def header_version(self, kind: str, text: TextFile) -> str | None:
        """Return the date of ``data-version`` (OBO) or ``!date-generated`` (GAF)."""
        if kind == "gaf":
            return generated(text.head())
        said = header_of(text.head()).get("data-version", "")
        found = re.search(r"\d{4}-\d{2}-\d{2}", said)
        return found[0] if found else said or None

    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        """Read one OBO and one GAF file.

        Raises:
            InputFileError: A file is damaged, of another format, or has no human annotation.
        """
        obo, gaf = (next(file for file in files if file.kind == kind) for kind in ("obo", "gaf"))
        ontology = self._ontology(obo)
        annotations = self._annotations(gaf, ontology, context)
        parts = [part for part in (ontology, annotations) if part.statements is not None and part.edges is not None]
        return ImportBatch(
            provider=self.card.name,
            runs=pl.concat([ontology.runs, annotations.runs]),
            rejects=pl.concat([ontology.rejects, annotations.rejects]),
            nodes=ontology.nodes,
            edges=pl.concat([part.edges for part in parts if part.edges is not None]),
            statements=pl.concat([part.statements for part in parts if part.statements is not None]),
            unresolved=annotations.unresolved,
            reports={**ontology.reports, **annotations.reports},
        )

    def _ontology(self, file: ProviderFile) -> ImportBatch:
        text = open_text(file.path)
        run = run_id(self.card.name, file.kind, text.sha256)
        read = read_obo(text)
        clauses, bad = _judged(read)
        set_aside = dict(read.set_aside)
        foreign = clauses.filter(~pl.col("term").str.contains(_ID))
        clauses = clauses.filter(pl.col("term").str.contains(_ID))
        others = (pl.col("tag") == "relationship") & ~pl.col("detail").is_in(list(_RELATIONS))
        away = pl.col("tag").is_in(["is_a", "relationship"]) & ~pl.col("value").str.contains(_ID)
        other_types = clauses.filter(others).group_by("detail").len().sort("detail")
        set_aside |= {f"relationship {kind} is not used": rows for kind, rows in other_types.iter_rows()}
        set_aside[OTHER_ONTOLOGY] = foreign.height + clauses.filter(away & ~others).height
        clauses = clauses.filter(~others & ~away)
        rejects = rejects_table([read.rejects, bad], provider=self.card.name, import_run=run, file=text.name)
        nodes = self._nodes(clauses, read.header, run, file.version)
        statements = _relations(clauses, run, self.card.name)
        return ImportBatch(
            provider=self.card.name,
            runs=run_row(
                self, file, text,
                accepted=clauses.height,
                rejected=count_reasons(rejects),
                set_aside={reason: rows for reason, rows in set_aside.items() if rows},
            ),
            rejects=rejects,
            nodes=nodes,
            statements=statements,
            edges=edges_from_statements(statements, provider_release=file.version, licence=self.card.licence),
            reports={
                "terms": {
                    "live": int((~nodes["obsolete"]).sum()),
                    "obsolete": int(nodes["obsolete"].sum()),
                    "alternative ids": int(nodes["previous"].list.len().sum()),
                    "without a name": nodes["name"].null_count(),
                }
            },
        )  # fmt: skip

    def _nodes(self, clauses: pl.DataFrame, header: dict[str, str], run: str, version: str) -> pl.DataFrame:
        """Return one node a term; a line that lacks its name, definition or namespace leaves that null."""

        def of(tag: str) -> pl.Expr:
            return pl.col("value").filter(pl.col("tag") == tag)

        default = header.get("default-namespace")
        cited = pl.col("detail").filter(pl.col("tag") == "def").first().str.extract_all(r"PMID:\d{1,9}")
        nodes = clauses.group_by("term", maintain_order=True).agg(
            of("name").first().alias("name"),
            of("def").first().alias("description"),
            of("synonym").alias("synonyms"),
            of("alt_id").alias("previous"),
            of("namespace")
            .first()
            .fill_null(pl.lit(default if default in ASPECTS.values() else None, dtype=pl.String))
            .alias("namespace"),
            (of("is_obsolete").first() == "true").fill_null(value=False).alias("obsolete"),
            of("replaced_by").alias("replaced_by"),
            of("consider").alias("consider"),
            cited.alias("references"),
            pl.col("line").filter(pl.col("tag") == "id").first().alias("line"),
        )
        made = nodes.with_columns(
            pl.lit(str(Label.GO_TERM)).alias("label"),
            pl.lit(self.card.name).alias("provider"),
            pl.lit(version).alias("provider_release"),
            pl.lit(self.card.licence).alias("licence"),
            pl.lit(run).alias("import_run"),
            pl.format("{}:{}", pl.lit(run), "line").alias("statement"),
        )
        return schema.conform("nodes", made.rename({"term": "id"}).drop("line"))

    def _annotations(self, file: ProviderFile, ontology: ImportBatch, context: ImportContext) -> ImportBatch:
        assert ontology.nodes is not None
        text = open_text(file.path)
        run = run_id(self.card.name, file.kind, text.sha256)
        read = read_gaf(text, ontology.nodes, context.resolver, run, self.card.name)
        rejects = rejects_table([read.rejects], provider=self.card.name, import_run=run, file=text.name)
        return ImportBatch(
            provider=self.card.name,
            runs=run_row(
                self, file, text,
                accepted=read.statements.height,
                rejected=count_reasons(rejects),
                set_aside=read.set_aside,
                unresolved=count_reasons(read.lost),
            ),
            rejects=rejects,
            statements=read.statements,
            edges=edges_from_statements(read.statements, provider_release=file.version, licence=self.card.licence),
            unresolved=unresolved_table(read.lost, provider=self.card.name, import_run=run),
            reports={"annotations": read.counts},
        )  # fmt: skip


def _judged(read: OboFile) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part the clauses into those that make sense among the file's terms, and rejects."""
    terms = read.clauses.filter(pl.col("tag") == "id")["value"].implode()
    link = pl.col("tag").is_in(["is_a", "relationship"])
    used = link & ((pl.col("tag") == "is_a") | pl.col("detail").is_in(list(_RELATIONS)))
    go_term = pl.col("value").str.contains(_ID)
    reason = (
        pl.when(pl.col("tag").is_in(["alt_id"]) & ~go_term)
        .then(pl.lit("alt_id is not a GO id"))
        .when((pl.col("tag") == "namespace") & ~pl.col("value").is_in(list(ASPECTS.values())))
        .then(pl.lit("namespace is not one of GO's three"))
        .when(used & (pl.col("value") == pl.col("term")))
        .then(pl.lit("a term stands in relation to itself"))
        .when(used & go_term & ~pl.col("value").is_in(terms))
        .then(pl.lit("related term is not in the file"))
    )
    # A foreign frame's lines are set aside whole, so they are not judged here.
    judged = read.clauses.with_columns(pl.when(pl.col("term").str.contains(_ID)).then(reason).alias("reason"))
    bad = judged.filter(pl.col("reason").is_not_null())
    shown = pl.format("{}: {}", "tag", pl.concat_str("detail", "value", separator=" ", ignore_nulls=True))
    return judged.filter(pl.col("reason").is_null()).drop("reason"), bad.select("line", "reason", shown.alias("text"))


def _relations(clauses: pl.DataFrame, run: str, provider: str) -> pl.DataFrame:
    kind = pl.coalesce("detail", "tag").replace_strict(
        {name: str(relation) for name, relation in _RELATIONS.items()}, default=None, return_dtype=pl.String
    )
    links = clauses.filter(pl.col("tag").is_in(["is_a", "relationship"]))
    return schema.conform(
        "statements",
        links.select(
            pl.format("{}:{}", pl.lit(run), "line").alias("id"),
            pl.lit(run).alias("import_run"),
            "line",
            pl.lit(provider).alias("provider"),
            pl.col("term").alias("subject"),
            kind.alias("relation"),
            pl.col("value").alias("object"),
            pl.col("term").alias("original_subject"),
            pl.col("value").alias("original_object"),
        ),
    )
