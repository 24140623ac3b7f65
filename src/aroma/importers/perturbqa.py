"""PerturbQA: measured outcomes of perturbations, kept as versioned tables apart from the release.

Format: one CSV a cell line, ``pert,gene,label,split``; label 0 is not significant, 1 down, 2 up (Wu et al. 2025,
PerturbQA). A file is known by its name: one of PerturbQA's cell lines (``K562.csv``), or any cell line's as
``<cell line>.outcomes.csv``; a column ``cell_line`` overrides the name. Files of the gene-set tasks
(``k562_set-de.csv``) have other names and are not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.base import FileKind, ImportBatch, ImportContext, Importer, ProviderCard, ProviderFile
from aroma.importers.lines import TextFile, open_text, reject_where, rejects_table, split_columns
from aroma.importers.runs import count_reasons, run_id, run_row
from aroma.importers.tables import unresolved_table
from aroma.kgstore.outcomes import LABELS, OUTCOMES
from aroma.kgstore.resolver import GeneResolver, Namespace

CELL_LINES: Final = ("K562", "HepG2", "Jurkat", "RPE1")
NEEDED: Final = ("pert", "gene", "label", "split")
SPLITS: Final = ("train", "val", "validation", "valid", "test")
REPEATED: Final = "repeats an earlier line"
_GENE_SET: Final = r"^\d+-"
_NAME: Final = re.compile(r"(?P<cell>[A-Za-z0-9][A-Za-z0-9-]*)(?:\.outcomes)?\.csv(?:\.gz)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Read:
    """One file's outcomes (columns of ``OUTCOMES``), its run, rejects and unresolved names."""

    outcomes: pl.DataFrame
    runs: pl.DataFrame
    rejects: pl.DataFrame
    unresolved: pl.DataFrame


class PerturbQAImporter(Importer):
    """PerturbQA's outcomes of single pairs of genes."""

    card: ClassVar[ProviderCard] = ProviderCard(
        name="perturbqa",
        title="PerturbQA",
        homepage="https://github.com/genentech/PerturbQA",
        licence="CC BY 4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        commercial_use=True,
    )
    files: ClassVar[tuple[FileKind, ...]] = (
        FileKind(
            "outcomes",
            re.compile(rf"(?:(?:{'|'.join(CELL_LINES)})|[A-Za-z0-9][A-Za-z0-9-]*\.outcomes)\.csv"),
            many=True,
        ),
    )
    parser_version: ClassVar[str] = "1"
    after: ClassVar[tuple[str, ...]] = ("hgnc", "uniprot")
    measures: ClassVar[bool] = True

    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        """Read the files of all cell lines into one frame of outcomes.

        A row whose gene does not resolve stays in the outcomes with a null gene and counts as unresolved.

        Raises:
            InputFileError: A file is damaged, has another header, or holds gene-set tasks.
        """
        ordered = sorted(files, key=lambda each: each.path.name)
        parts = [self._file(file, context.resolver) for file in ordered]
        _check_lines_once(ordered, parts)
        outcomes = pl.concat([part.outcomes for part in parts])
        return ImportBatch(
            provider=self.card.name,
            runs=pl.concat([part.runs for part in parts]),
            rejects=pl.concat([part.rejects for part in parts]),
            unresolved=pl.concat([part.unresolved for part in parts]),
            outcomes=outcomes,
            reports=_reports(outcomes),
        )

    def _file(self, file: ProviderFile, resolver: GeneResolver) -> _Read:
        text = open_text(file.path)
        run = run_id(self.card.name, file.kind, text.sha256)
        rows, bad = _rows(text)
        rows, refused = reject_where(
            rows,
            [
                (pl.col("pert") == "", "no perturbation"),
                (pl.col("gene") == "", "no target gene"),
                (~pl.col("label").is_in([str(label) for label in LABELS]), "label is not 0, 1 or 2"),
                (~pl.col("split").is_in(SPLITS), f"split is not one of {', '.join(SPLITS)}"),
                (pl.col("cell_line") == "", "no cell line"),
                (pl.col("gene").str.contains(_GENE_SET), "target is a gene set, not a gene"),
            ],
        )
        key = pl.struct("cell_line", "pert", "gene")
        first = pl.col("label").first().over("cell_line", "pert", "gene")
        rows, contradicted = reject_where(
            rows, [(pl.col("label") != first, "another label for the same pair in an earlier line")]
        )
        once = rows.filter(key.is_first_distinct())
        outcomes = self._outcomes(once, resolver)
        lost = _lost(once, resolver)
        rejects = rejects_table([bad, refused, contradicted], provider=self.card.name, import_run=run, file=text.name)
        with_both = outcomes["perturbation_gene"].is_not_null() & outcomes["target_gene"].is_not_null()
        unknown = outcomes.height - int(with_both.sum())
        repeated = rows.height - once.height
        return _Read(
            outcomes,
            run_row(
                self, file, text,
                accepted=int(with_both.sum()),
                rejected=count_reasons(rejects),
                set_aside={REPEATED: repeated} if repeated else {},
                unresolved={"perturbation or target has no gene": unknown} if unknown else {},
            ),
            rejects,
            unresolved_table(lost, provider=self.card.name, import_run=run),
        )  # fmt: skip

    def _outcomes(self, rows: pl.DataFrame, resolver: GeneResolver) -> pl.DataFrame:
        names = pl.concat([rows["pert"], rows["gene"]]).alias("name")
        genes = resolver.resolve_column(names, Namespace.SYMBOL).select("query", pl.col("gene").alias("id"))
        for column in ("pert", "gene"):
            rows = rows.join(
                genes.rename({"query": column, "id": f"{column}_id"}), on=column, how="left", maintain_order="left"
            )
        made = rows.select(
            "cell_line",
            pl.col("pert").alias("perturbation"),
            pl.col("gene").alias("target"),
            pl.col("pert_id").alias("perturbation_gene"),
            pl.col("gene_id").alias("target_gene"),
            "label",
            "split",
            pl.lit(self.card.title).alias("data_set"),
            "line",
        )
        return made.select(pl.col(name).cast(dtype) for name, dtype in OUTCOMES.items())


def cell_line_of(name: str) -> str:
    """Return the cell line that a file's name says, in PerturbQA's spelling where it is one of its lines."""
    match = _NAME.fullmatch(name)
    said = match["cell"] if match else name
    return _spelled(said)


def _spelled(name: str) -> str:
    return next((known for known in CELL_LINES if known.lower() == name.lower()), name)


def _check_lines_once(files: list[ProviderFile], parts: list[_Read]) -> None:
    seen: dict[str, ProviderFile] = {}
    for file, part in zip(files, parts, strict=True):
        for cell_line in part.outcomes["cell_line"].unique().sort():
            if cell_line in seen:
                raise InputFileError(
                    f"it has outcomes of {cell_line}, and {seen[cell_line].path.name} has too",
                    file=file.path,
                    expected="one file a cell line; move one of the two out of the directory",
                )
            seen[cell_line] = file


def _rows(text: TextFile) -> tuple[pl.DataFrame, pl.DataFrame]:
    header = [name.strip().strip('"') for name in text.lines["text"][0].removeprefix("\ufeff").split(",")]
    missing = [name for name in NEEDED if name not in header]
    if missing or len(set(header)) < len(header):
        problem = f"the header has no column {', '.join(missing)}" if missing else "a column of the header is doubled"
        raise InputFileError(problem, file=text.path, line=1, expected="pert,gene,label,split")
    lines = text.lines.slice(1).filter(pl.col("text") != "")
    if lines.is_empty():
        raise InputFileError("the file has a header and no rows", file=text.path, line=2, expected="outcomes")
    split = split_columns(lines, header, separator=",")
    wanted = [*NEEDED, *(["cell_line"] if "cell_line" in header else [])]
    rows = split.rows.select("line", *(pl.col(name).str.strip_chars().str.strip_chars('"') for name in wanted))
    if rows.height and rows["gene"].str.contains(_GENE_SET).all():
        raise InputFileError(
            "the targets are gene sets, which are another task of PerturbQA",
            file=text.path,
            line=int(rows["line"][0]),
            expected="targets that are genes",
        )
    if "cell_line" not in header:
        return rows.with_columns(pl.lit(cell_line_of(text.name)).alias("cell_line")), split.rejects
    spelling = {name: _spelled(name) for name in rows["cell_line"].unique().to_list()}
    return rows.with_columns(pl.col("cell_line").replace(spelling)), split.rejects


def _lost(rows: pl.DataFrame, resolver: GeneResolver) -> pl.DataFrame:
    """Return each row and name that does not resolve."""
    named = pl.concat([rows.select("line", pl.col(column).alias("identifier")) for column in ("pert", "gene")])
    found = resolver.resolve_column(named["identifier"], Namespace.SYMBOL).filter(pl.col("gene").is_null())
    return named.join(found, left_on="identifier", right_on="query", how="inner").select(
        "line", "identifier", "reason", "candidates"
    )


def _reports(outcomes: pl.DataFrame) -> dict[str, object]:
    """Counts by cell line and label, and the perturbations that leak from training into test."""
    counted = outcomes.group_by("cell_line", "label").len().sort("cell_line", "label")
    labels: dict[str, dict[str, int]] = {}
    for cell_line, label, rows in counted.iter_rows():
        labels.setdefault(cell_line, {})[LABELS[label]] = rows
    in_both = (
        outcomes.with_columns((pl.col("split") == "train").alias("trained"))
        .group_by("cell_line", "perturbation")
        .agg(pl.col("trained").any().alias("trained"), (~pl.col("trained")).any().alias("held"))
        .filter(pl.col("trained") & pl.col("held"))
        .sort("cell_line", "perturbation")
    )
    leaks = [
        f"{line}: {perturbation}" for line, perturbation in in_both.select("cell_line", "perturbation").iter_rows()
    ]
    return {"outcomes by cell line": labels, "perturbations both in training and held out": leaks}
