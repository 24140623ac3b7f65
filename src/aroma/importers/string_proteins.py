"""STRING's proteins: which gene each one belongs to, from ``protein.info`` and ``protein.aliases``.

``protein.aliases`` names HGNC ids, Ensembl genes and UniProt accessions of a protein and is asked first, in that
order; ``protein.info`` has one preferred name, resolved as a symbol. A preferred name that is an Ensembl gene
which HGNC has not becomes a gene of its own. A protein that stands for two genes is ambiguous and left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from aroma.errors import InputFileError
from aroma.importers.lines import TextFile, reject_where, split_columns
from aroma.kgstore.identifiers import Prefix, pattern
from aroma.kgstore.resolver import GeneResolver, Namespace

TAXON: Final = "9606"
HUMAN: Final = rf"^{TAXON}\.ENSP[0-9]{{11}}$"
OTHER_SPECIES: Final = r"^[0-9]+\.\S+$"
MALFORMED_REASON: Final = f"protein id is not {TAXON}.ENSP and 11 digits"
OTHER_REASON: Final = "another species"
UNUSED_SOURCE: Final = "an alias source that is not used"
_NO_ANNOTATION: Final = "annotation not available"
_INFO: Final = ("protein", "name", "size", "annotation")
_ALIASES: Final = ("protein", "alias", "source")
_SOURCES: Final = (  # in the order they are asked; STRING 11 and 12 spell some differently
    (Namespace.HGNC, ("ensembl_hgnc_hgnc_id", "ensembl_hgnc_id")),
    (Namespace.ENSEMBL, ("ensembl_gene",)),
    (Namespace.UNIPROT, ("uniprot_ac", "ensembl_uniprot", "ensembl_uniprot_ac", "blast_uniprot_ac")),
)
GENES: Final = {
    "protein": pl.String(),
    "gene": pl.String(),
    "reason": pl.String(),
    "candidates": pl.List(pl.String()),
}


@dataclass(frozen=True, slots=True)
class ProteinFile:
    """The human lines of an info or aliases file.

    Attributes:
        rows: ``line`` and the file's columns, human proteins only.
        rejects: ``line``, ``reason``, ``text``.
        set_aside: The same, for well-formed lines that are not used.
    """

    rows: pl.DataFrame
    rejects: pl.DataFrame
    set_aside: pl.DataFrame


def protein_state(column: str) -> pl.Expr:
    """Classify protein ids: ``human``, ``other`` (another species), ``malformed``."""
    return (
        pl.when(pl.col(column).str.contains(HUMAN))
        .then(pl.lit("human"))
        .when(pl.col(column).str.contains(OTHER_SPECIES) & ~pl.col(column).str.starts_with(f"{TAXON}."))
        .then(pl.lit("other"))
        .otherwise(pl.lit("malformed"))
    )


def read_info(text: TextFile) -> ProteinFile:
    """Read ``protein.info``: ``protein``, ``name``, ``size``, ``annotation``.

    Raises:
        InputFileError: Another header, no rows, or only another species.
    """
    header = text.head(1)[0].rstrip("\r").lstrip("#").strip().split("\t")
    if header[1:] != ["preferred_name", "protein_size", "annotation"]:
        expected = "'#string_protein_id', 'preferred_name', 'protein_size', 'annotation', separated by tabs"
        raise InputFileError("the header does not fit STRING's protein.info", file=text.path, line=1, expected=expected)
    split = split_columns(text.lines.slice(1), _INFO)
    reasons = [
        (protein_state("protein") == "malformed", MALFORMED_REASON),
        (~pl.col("protein").is_first_distinct(), "protein stands in an earlier line"),
        (pl.col("name").str.strip_chars().str.len_bytes() == 0, "preferred name is empty"),
    ]
    return _human(text, split.rows, [split.rejects], reasons)


def read_aliases(text: TextFile) -> ProteinFile:
    """Read ``protein.aliases``: ``protein``, ``alias``, ``source`` of the sources that lead to a gene.

    Raises:
        InputFileError: Another header, no rows, or only another species.
    """
    header = text.head(1)[0].lower()
    if not all(word in header for word in ("string_protein_id", "alias", "source")):
        expected = "'#string_protein_id', 'alias', 'source', separated by tabs"
        raise InputFileError(
            "the header does not fit STRING's protein.aliases", file=text.path, line=1, expected=expected
        )
    split = split_columns(text.lines.slice(1), _ALIASES)
    file = _human(text, split.rows, [split.rejects], [(protein_state("protein") == "malformed", MALFORMED_REASON)])
    known = [name for _, names in _SOURCES for name in names]
    tokens = pl.col("source").str.to_lowercase().str.split(" ")
    used = tokens.list.eval(pl.element().is_in(known)).list.any()
    unused = file.rows.filter(~used).select("line", pl.lit(UNUSED_SOURCE).alias("reason"), text=pl.col("alias"))
    return ProteinFile(file.rows.filter(used), file.rejects, pl.concat([file.set_aside, unused]))


def _human(
    text: TextFile, rows: pl.DataFrame, rejects: list[pl.DataFrame], reasons: list[tuple[pl.Expr, str]]
) -> ProteinFile:
    good, rejected = reject_where(rows, reasons)
    other = protein_state("protein") == "other"
    human = good.filter(~other)
    if human.is_empty():
        raise InputFileError(
            "the file has no human protein",
            file=text.path,
            line=2,
            expected=f"rows whose protein id is {TAXON}.ENSP and 11 digits",
        )
    shown = pl.col("protein").alias("text")
    aside = good.filter(other).select("line", pl.lit(OTHER_REASON).alias("reason"), shown)
    return ProteinFile(human, pl.concat([*rejects, rejected]).sort("line"), aside)


def genes_by_aliases(rows: pl.DataFrame, resolver: GeneResolver) -> pl.DataFrame:
    """Return ``GENES`` for the proteins that the aliases lead to one gene, or to several (ambiguous)."""
    found = pl.DataFrame(schema=GENES)
    for namespace, names in _SOURCES:
        tokens = pl.col("source").str.to_lowercase().str.split(" ")
        asked = rows.filter(tokens.list.eval(pl.element().is_in(names)).list.any())
        asked = asked.join(found, on="protein", how="anti")
        if asked.is_empty():
            continue
        resolved = resolver.resolve_column(asked["alias"], namespace)
        hits = asked.join(resolved, left_on="alias", right_on="query").filter(pl.col("gene").is_not_null())
        genes = hits.group_by("protein", maintain_order=True).agg(pl.col("gene").unique().sort().alias("genes"))
        single = pl.col("genes").list.len() == 1
        found = pl.concat(
            [
                found,
                genes.select(
                    "protein",
                    pl.when(single).then(pl.col("genes").list.first()).alias("gene"),
                    pl.when(~single).then(pl.lit("ambiguous")).alias("reason"),
                    pl.when(single).then(pl.lit([], dtype=pl.List(pl.String))).otherwise("genes").alias("candidates"),
                ),
            ]
        )
    return found


def genes_by_name(rows: pl.DataFrame, resolver: GeneResolver) -> pl.DataFrame:
    """Return ``GENES`` for all proteins of ``rows`` (``protein``, ``name``) by their preferred names.

    An Ensembl gene id that nothing resolves becomes the gene ``ENSEMBL:…``.
    """
    ensembl = pl.col("name").str.contains(pattern(Prefix.ENSEMBL)) & pl.col("name").str.starts_with("ENSG")
    parts = []
    for subset, namespace in ((rows.filter(ensembl), Namespace.ENSEMBL), (rows.filter(~ensembl), Namespace.SYMBOL)):
        if subset.is_empty():
            continue
        resolved = resolver.resolve_column(subset["name"], namespace)
        joined = subset.join(resolved, left_on="name", right_on="query", how="left", maintain_order="left")
        own = pl.lit(namespace == Namespace.ENSEMBL) & pl.col("gene").is_null() & (pl.col("reason") == "unknown")
        parts.append(
            joined.select(
                "protein",
                pl.when(own).then(f"{Prefix.ENSEMBL}:" + pl.col("name")).otherwise("gene").alias("gene"),
                pl.when(own).then(None).otherwise("reason").alias("reason"),
                pl.col("candidates").fill_null(pl.lit([], dtype=pl.List(pl.String))),
            )
        )
    return pl.concat([pl.DataFrame(schema=GENES), *parts])


def annotated() -> pl.Expr:
    """Tell which info rows have an annotation text."""
    return (pl.col("annotation") != _NO_ANNOTATION) & (pl.col("annotation").str.strip_chars().str.len_bytes() > 0)
