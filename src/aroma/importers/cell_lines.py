"""Cell lines: names, Cellosaurus accessions and a sentence on each line of PerturbQA.

The package brings a small table of its own (``data/cell_lines.*.tsv``), since four lines are all that PerturbQA has. A
file of the same columns in the build's directory takes its place: tab-separated ``accession``, ``name`` and optionally
``synonyms`` (joined by ``|``) and ``description``. Accessions: https://www.cellosaurus.org.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import polars as pl

from aroma.importers.base import FileKind, ImportBatch, ImportContext, Importer, ProviderCard, ProviderFile
from aroma.importers.lines import open_text, reject_where, rejects_table
from aroma.importers.quoted import read_quoted
from aroma.importers.runs import count_reasons, run_id, run_row
from aroma.kgstore import schema
from aroma.kgstore.identifiers import Prefix, pattern


class CellLineImporter(Importer):
    """Cell lines by Cellosaurus accession."""

    card: ClassVar[ProviderCard] = ProviderCard(
        name="cellosaurus",
        title="Cellosaurus",
        homepage="https://www.cellosaurus.org",
        licence="CC BY 4.0",
        licence_url="https://www.cellosaurus.org/description.html",
        commercial_use=True,
    )
    files: ClassVar[tuple[FileKind, ...]] = (
        FileKind(
            "cell_lines", re.compile(r"cell_lines(?:[._-](?P<version>\d{4}-\d{2}(?:-\d{2})?))?[\w.-]*\.tsv(\.gz)?")
        ),
    )
    parser_version: ClassVar[str] = "1"
    bundled: ClassVar[Path | None] = Path(__file__).parent / "data" / "cell_lines.2026-11.tsv"

    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        """Read the table into cell-line nodes and their descriptions.

        Raises:
            InputFileError: The file is damaged, empty, or lacks a needed column.
        """
        del context
        (file,) = files
        text = open_text(file.path)
        run = run_id(self.card.name, file.kind, text.sha256)
        rows, bad = read_quoted(text, ("accession", "name"), ("synonyms", "description"))
        rows, refused = reject_where(
            rows,
            [
                (~pl.col("accession").str.contains(pattern(Prefix.CELLOSAURUS)), "accession is not CVCL_ and 4 signs"),
                (pl.col("name").is_null(), "no name"),
                (~pl.col("accession").is_first_distinct(), "accession stands on an earlier line"),
            ],
        )
        rejected = rejects_table([bad, refused], provider=self.card.name, import_run=run, file=text.name)
        nodes = self._nodes(rows, file, run)
        return ImportBatch(
            provider=self.card.name,
            runs=run_row(self, file, text, accepted=rows.height, rejected=count_reasons(rejected)),
            rejects=rejected,
            nodes=nodes,
            descriptions=schema.conform(
                "descriptions",
                nodes.select(
                    pl.col("id").alias("node"), pl.col("description").alias("text"), "provider", "statement"
                ).drop_nulls("text"),
            ),
        )

    def _nodes(self, rows: pl.DataFrame, file: ProviderFile, run: str) -> pl.DataFrame:
        nodes = rows.select(
            pl.format("{}:{}", pl.lit(str(Prefix.CELLOSAURUS)), "accession").alias("id"),
            pl.lit(str(schema.Label.CELL_LINE)).alias("label"),
            pl.col("name").alias("symbol"),
            "name",
            "description",
            pl.col("synonyms").str.split("|").alias("synonyms"),
            pl.lit(value=False).alias("obsolete"),
            pl.lit(self.card.name).alias("provider"),
            pl.lit(file.version).alias("provider_release"),
            pl.lit(self.card.licence).alias("licence"),
            pl.lit(run).alias("import_run"),
            pl.format("{}:{}", pl.lit(run), pl.col("line")).alias("statement"),
        )
        return schema.conform("nodes", nodes)
