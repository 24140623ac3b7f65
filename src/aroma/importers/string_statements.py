"""From one file of STRING pairs to statements between genes, with every line accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.base import Importer, ProviderFile
from aroma.importers.lines import TextFile, rejects_table
from aroma.importers.runs import count_reasons, run_id, run_row
from aroma.importers.string_genes import ProteinGenes, own_url
from aroma.importers.string_pairs import PairRows, read_pairs
from aroma.importers.string_proteins import MALFORMED_REASON, OTHER_REASON, TAXON, protein_state
from aroma.importers.string_reports import fold_pairs, pair_key
from aroma.importers.string_scores import CUTOFF, combined_score, fit_formula, reproduced
from aroma.kgstore import schema
from aroma.kgstore.schema import Relation

SELF_REASON: Final = "a protein paired with itself"
ONE_GENE_REASON: Final = "both proteins are of one gene"
NO_CHANNELS_REASON: Final = "no channel scores to take the excluded channels out of"
NOT_REPRODUCED_REASON: Final = "its channel scores do not give its combined score, so none can be taken out"
BELOW_CUTOFF_REASON: Final = f"combined score below STRING's cut-off {CUTOFF} without the excluded channels"


@dataclass(frozen=True, slots=True)
class PairFile:
    """What one file of pairs gave.

    Attributes:
        kind: File kind.
        version: The file's version.
        run: One row of ``import_runs``.
        statements: Accepted lines, columns of ``schema.STATEMENTS``.
        rejects: Rows of the rejects table.
        unresolved: Rows of the unresolved table.
        pairs: One row a protein pair, see ``string_reports.fold_pairs``.
        formula: How the excluded channels were taken out, for the report; empty where none were.
    """

    kind: str
    version: str
    run: pl.DataFrame
    statements: pl.DataFrame
    rejects: pl.DataFrame
    unresolved: pl.DataFrame
    pairs: pl.DataFrame
    formula: dict[str, object]


def read_pair_file(
    importer: Importer, file: ProviderFile, text: TextFile, genes: ProteinGenes, excluded: frozenset[str]
) -> PairFile:
    """Read one file of pairs into statements.

    Raises:
        InputFileError: Another header, no rows, or only another species.
    """
    pairs = read_pairs(text, file.kind)
    run = run_id(importer.card.name, file.kind, text.sha256)
    rows = _with_genes(pairs.rows, genes.proteins)
    rows, formula = _without_channels(rows, pairs, excluded)
    rows = rows.with_columns(_verdict(excluded=bool(excluded), has_channels=bool(pairs.channels)).alias("verdict"))
    accepted = rows.filter(pl.col("verdict").is_null())
    left = rows.filter(pl.col("verdict").is_not_null()).with_columns(pl.col("verdict").alias("reason"))
    malformed = left.filter(pl.col("reason") == MALFORMED_REASON)
    unresolved = left.filter(pl.col("reason") == "unresolved")
    aside = left.filter(~pl.col("reason").is_in([MALFORMED_REASON, "unresolved"]))
    if aside.height and aside.filter(pl.col("reason") != OTHER_REASON).is_empty():
        _check_species(text, accepted, unresolved)
    shown = pl.format("{} {} {}", "protein1", "protein2", "score").alias("text")
    all_rejects = pl.concat([pairs.rejects, malformed.select("line", "reason", shown)]).sort("line")
    cost, causes = _unresolved(unresolved, genes.proteins)
    row = run_row(
        importer,
        file,
        text,
        accepted=accepted.height,
        rejected=count_reasons(all_rejects),
        set_aside=count_reasons(aside),
        unresolved=causes,
    )
    return PairFile(
        file.kind,
        file.version,
        own_url(row, file.version),
        _statements(accepted, run, pairs, importer.card.name, physical=file.kind.startswith("physical")),
        rejects_table([all_rejects], provider=importer.card.name, import_run=run, file=text.name),
        schema.conform("unresolved", cost.with_columns(provider=pl.lit(importer.card.name), import_run=pl.lit(run))),
        fold_pairs(accepted.select("pair", "score", "line")),
        formula,
    )


def _check_species(text: TextFile, accepted: pl.DataFrame, unresolved: pl.DataFrame) -> None:
    if accepted.is_empty() and unresolved.is_empty():
        raise InputFileError(
            "the file has no human pair",
            file=text.path,
            line=2,
            expected=f"rows whose protein ids are {TAXON}.ENSP and 11 digits",
        )


def _with_genes(rows: pl.DataFrame, proteins: pl.DataFrame) -> pl.DataFrame:
    """Add ``state``, ``gene`` and ``code`` of both proteins and the unordered ``pair``."""
    every = pl.concat([rows["protein1"].unique(), rows["protein2"].unique()]).unique()
    known = proteins.select("protein", "gene", "code")
    known_proteins = pl.DataFrame({"protein": every}).join(known, on="protein", how="left")
    first_free = int(proteins["code"].max() or 0) + 1  # type: ignore[arg-type]
    numbered = known_proteins.sort("protein").with_columns(
        protein_state("protein").alias("state"),
        pl.coalesce("code", (pl.int_range(pl.len()) + first_free).cast(pl.UInt32)).alias("code"),
    )
    for side in ("1", "2"):
        renamed = numbered.rename({name: f"{name}{side}" for name in numbered.columns})
        rows = rows.join(renamed, on=f"protein{side}", how="left", maintain_order="left")
    return rows.with_columns(pair_key("code1", "code2").alias("pair"))


def _without_channels(
    rows: pl.DataFrame, pairs: PairRows, excluded: frozenset[str]
) -> tuple[pl.DataFrame, dict[str, object]]:
    """Replace ``score`` by the one without the excluded channels; ``own_score`` keeps the file's."""
    if not excluded or not pairs.channels:
        return rows, {}
    missing = [name for name in schema.CHANNEL_COLUMNS if name not in pairs.channels]
    rows = rows.with_columns(pl.lit(None, dtype=pl.Int16).alias(name) for name in missing)
    formula = fit_formula(rows)
    corrected = formula.homology_corrected
    rows = rows.with_columns(
        reproduced(homology_corrected=corrected).alias("reproduced"),
        pl.col("score").alias("own_score"),
        combined_score(excluded=excluded, homology_corrected=corrected).alias("score"),
    )
    return rows, {
        "homology correction": corrected,
        "share of rows whose combined score the formula gives back": round(formula.reproduced, 4),
    }


def _verdict(*, excluded: bool, has_channels: bool) -> pl.Expr:
    """Say why a line is no statement; null where it is one."""

    def either(column: str, value: str) -> pl.Expr:
        return (pl.col(f"{column}1") == value) | (pl.col(f"{column}2") == value)

    verdict = (
        pl.when(either("state", "malformed"))
        .then(pl.lit(MALFORMED_REASON))
        .when(either("state", "other"))
        .then(pl.lit(OTHER_REASON))
        .when(pl.col("protein1") == pl.col("protein2"))
        .then(pl.lit(SELF_REASON))
        .when(pl.col("gene1").is_null() | pl.col("gene2").is_null())
        .then(pl.lit("unresolved"))
        .when(pl.col("gene1") == pl.col("gene2"))
        .then(pl.lit(ONE_GENE_REASON))
    )
    if not excluded:
        return verdict.otherwise(None)
    if not has_channels:
        return verdict.otherwise(pl.lit(NO_CHANNELS_REASON))
    return (
        verdict.when(~pl.col("reproduced"))
        .then(pl.lit(NOT_REPRODUCED_REASON))
        .when(pl.col("score") < CUTOFF)
        .then(pl.lit(BELOW_CUTOFF_REASON))
        .otherwise(None)
    )


def _unresolved(rows: pl.DataFrame, proteins: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Count what each protein without a gene cost, and the rows by reason; a row of two counts under the first's."""
    sides = [
        rows.filter(pl.col(f"gene{side}").is_null()).select(pl.col(f"protein{side}").alias("protein"), "line")
        for side in ("1", "2")
    ]
    named = pl.concat(sides).join(proteins.drop("gene", "code"), on="protein", how="left")
    named = named.with_columns(pl.col("reason").fill_null("not in STRING's protein names"))
    cost = named.group_by(pl.col("protein").alias("identifier"), "reason").agg(
        pl.col("candidates").first(), pl.len().alias("rows"), pl.col("line").min().alias("first_line")
    )
    causes = count_reasons(named.unique("line", keep="first", maintain_order=True).select("reason"))
    return cost.sort("identifier"), causes


def _statements(rows: pl.DataFrame, run: str, pairs: PairRows, provider: str, *, physical: bool) -> pl.DataFrame:
    note = pl.lit(None, dtype=pl.String)
    if "own_score" in rows.columns:
        note = pl.when(pl.col("own_score") != pl.col("score")).then(
            pl.format("combined score {} in the file, channels left out", "own_score")
        )
    return schema.conform(
        "statements",
        rows.select(
            pl.format("{}:{}", pl.lit(run), "line").alias("id"),
            pl.lit(run).alias("import_run"),
            "line",
            pl.lit(provider).alias("provider"),
            pl.col("gene1").alias("subject"),
            pl.lit(str(Relation.INTERACTS_WITH)).alias("relation"),
            pl.col("gene2").alias("object"),
            pl.col("protein1").alias("original_subject"),
            pl.col("protein2").alias("original_object"),
            pl.lit("physical" if physical else None, dtype=pl.String).alias("qualifier"),
            "score",
            note.alias("note"),
            *pairs.channels,
        ),
    )
