"""Vectors of genes as exports hand them out, whatever made them: the graph itself, or an encoder of ``aroma embed``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.node_names import resolver_of
from aroma.kgstore.schema import Label, Relation
from aroma.kgstore.tables import scan_table
from aroma.retrieval.exports.base import ExportOptions, ExportSource
from aroma.retrieval.gene_kernels import KERNELS, GeneKernels
from aroma.retrieval.snapshot import open_snapshot
from aroma.retrieval.structural import NAME, structural_vectors
from aroma.retrieval.vector_store import VectorSet, find_vector_set, vector_sets_of
from aroma.retrieval.withhold import NOTHING

_KERNEL_RELATIONS: Final = {
    "go": Relation.ANNOTATED_TO,
    "complex": Relation.MEMBER_OF,
    "pathway": Relation.PARTICIPATES_IN,
    "string": Relation.INTERACTS_WITH,
}

_SHOWN: Final = 20
"""Names of genes that a note spells out."""


@dataclass(frozen=True)
class Embeddings:
    """Gene vectors with what a reader must know of them.

    Attributes:
        ids: Gene ids, ascending, one a row.
        symbols: Approved symbols, each once.
        matrix: float32, (genes, dim); every row is a vector that was made, none stands for "unknown".
        encoder: What made them: ``graph-svd`` or the name of an encoder.
        licences: Provider to licence of what went in.
    """

    ids: pl.Series
    symbols: pl.Series
    matrix: npt.NDArray[np.float32]
    encoder: str
    licences: dict[str, str]


def gene_embeddings(source: ExportSource, options: ExportOptions) -> Embeddings:
    """Return the vectors that ``options`` ask for, and say in the card what they are and which genes have none.

    Args:
        source: The release and what its licences leave.
        options: ``encoder`` (None for vectors of the graph itself, made here; ``graph-svd`` for its vector set where
            there is one that may be used), ``dim``, ``seed``, ``outcomes``.

    Raises:
        UsageError: No such encoder, ``dim`` does not fit, or a vector set was made of data that is left out.
    """
    genes = gene_symbols(source)
    if options.encoder is None or (options.encoder == NAME and not _is_usable(source, NAME)):
        found = _of_graph(source, options, genes)
    else:
        found = _of_encoder(source, options.encoder, genes)
    _tell(source, options, found, genes)
    return found


def gene_symbols(source: ExportSource) -> pl.DataFrame:
    """Return ``id`` and ``symbol`` of the genes that one symbol names, by id; others are noted in the card."""
    nodes = source.table("nodes", pl.col("label") == str(Label.GENE)).select("id", "symbol")
    named = nodes.filter(pl.col("symbol").is_not_null() & (pl.col("symbol") != "") & pl.col("symbol").is_unique())
    if gone := nodes.height - named.height:
        source.note(f"{gone} genes have no symbol of their own and are left out")
    return named.sort("id")


def usable_kernels(source: ExportSource) -> tuple[str, ...]:
    """Return the kernels that are made of nothing that is left out, and name their providers for the card.

    A kernel is laid out over all providers of its relation, so one of them that is left out takes the kernel with it.
    """
    edges = scan_table(source.home.release(source.release), "edges").select("relation", "provider").unique().collect()
    providers = {name: set(_providers(edges, relation)) for name, relation in _KERNEL_RELATIONS.items()}
    found = tuple(name for name in KERNELS if not providers[name] & set(source.left_out))
    if gone := [name for name in KERNELS if name not in found]:
        source.note(f"kernels left out, as the licence of what they are made of forbids the use: {', '.join(gone)}")
    for name in found:
        source.ledger.providers.update(providers[name])
    return found


def usable_outcomes(source: ExportSource, options: ExportOptions) -> pl.DataFrame | None:
    """Return the outcomes without those that are withheld or whose licence forbids the use; None where none are asked.

    How many are withheld, and whose data the others are, stands in the card.

    Raises:
        UsageError: A split, cell line or perturbation is withheld that no outcome has.
    """
    if options.outcomes is None:
        return None
    hidden = options.withhold.mask(options.outcomes, resolver_of(source.home, source.release))
    if options.withhold != NOTHING:
        source.note(f"{hidden.sum()} outcomes are withheld and nowhere in this export")
    kept = options.outcomes.filter(~hidden)
    allowed = kept["data_set"].is_in(source.licences["title"].implode()).fill_null(value=False)
    if source.left_out and not allowed.all():
        source.note(f"{(~allowed).sum()} outcomes are left out, as no licence of their data set allows the use")
        kept = kept.filter(allowed)
    sets = kept["data_set"].drop_nulls().unique().sort()
    titles = source.licences.filter(pl.col("title").is_in(sets.implode()))
    source.ledger.providers.update(titles["provider"])
    if unknown := sets.filter(~sets.is_in(titles["title"].implode())).to_list():
        source.note(f"outcomes are of {', '.join(unknown)}, whose licence is not in this release: look it up")
    return kept


def perturbed_genes(outcomes: pl.DataFrame) -> pl.Series:
    """Return the ids of the genes that were perturbed, ascending."""
    return outcomes["perturbation_gene"].drop_nulls().unique().sort()


def _providers(edges: pl.DataFrame, relation: Relation) -> list[str]:
    found: list[str] = edges.filter(pl.col("relation") == str(relation))["provider"].to_list()
    return found


def _of_graph(source: ExportSource, options: ExportOptions, genes: pl.DataFrame) -> Embeddings:
    snapshot = open_snapshot(source.home, source.release)
    names = usable_kernels(source)
    made = structural_vectors(GeneKernels(snapshot), options.dim, seed=options.seed, names=names)
    ids = snapshot.nodes.ids.series().gather(made.genes)
    source.note(f"vectors are {NAME}: a decomposition of the kernels {', '.join(made.kernels)}, seed {options.seed}")
    if len(made.faint):
        source.note(
            f"{len(made.faint)} genes have partners or terms that {options.dim} numbers do not reach: no vector"
        )
    licences = dict(source.licences.select("provider", "licence").iter_rows())
    kept = {provider: licences[provider] for provider in sorted(source.ledger.providers) if provider in licences}
    return _joined(ids, made.vectors, genes, NAME, kept)


def _is_usable(source: ExportSource, encoder: str) -> bool:
    """Tell whether the release has one vector set of that name, made of nothing that is left out."""
    fitting = [one for one in vector_sets_of(source.home, source.release) if one.card.name == encoder]
    return len(fitting) == 1 and not set(fitting[0].card.licences) & set(source.left_out)


def _of_encoder(source: ExportSource, encoder: str | None, genes: pl.DataFrame) -> Embeddings:
    vectors = find_vector_set(source.home, source.release, encoder or "")
    if bound := sorted(set(vectors.card.licences) & set(source.left_out)):
        raise UsageError(f"embeddings {encoder} were made of {', '.join(bound)}, whose licence forbids the asked use")
    source.ledger.providers.update(set(vectors.card.licences) & set(source.licences["provider"]))
    source.note(f"vectors are {vectors.card.name} ({vectors.card.id}), licence of the encoder {vectors.card.licence}")
    ids, matrix = pl.Series("id", list(vectors.ids)), np.asarray(vectors.vectors, dtype=np.float32)
    if vectors.card.kind == "protein":
        ids, matrix = _of_proteins(source, vectors)
    return _joined(ids, matrix, genes, vectors.card.name, dict(vectors.card.licences))


def _of_proteins(source: ExportSource, vectors: VectorSet) -> tuple[pl.Series, npt.NDArray[np.float32]]:
    """Return gene ids and the vector of one protein each: the longest that has one, of equally long the first by id.

    A mean of several proteins' vectors would be the vector of no protein.
    """
    encodes = source.table("edges", pl.col("relation") == str(Relation.ENCODES)).select("subject", "object").unique()
    lengths = source.table("sequences").select(pl.col("protein").alias("object"), pl.col("residues").str.len_chars())
    joined = encodes.join(lengths, on="object", how="left").with_columns(pl.col("residues").fill_null(0))
    known = joined.with_columns(pl.Series("row", vectors.rows_of(joined["object"]))).filter(pl.col("row") >= 0)
    several = int((known.group_by("subject").len()["len"] > 1).sum())
    chosen = known.sort("subject", "residues", "object", descending=[False, True, False]).unique(
        "subject", keep="first", maintain_order=True
    )
    source.note(
        f"a gene's vector is that of its protein; of several ({several} genes) that of the longest, of equally long "
        "ones the first by id"
    )
    return chosen["subject"], np.asarray(vectors.vectors[chosen["row"].to_numpy()], dtype=np.float32)


def _joined(
    ids: pl.Series, matrix: npt.NDArray[np.float32], genes: pl.DataFrame, encoder: str, licences: dict[str, str]
) -> Embeddings:
    table = pl.DataFrame({"id": ids}).with_row_index("row").join(genes, on="id").sort("id")
    rows = table["row"].to_numpy()
    return Embeddings(table["id"], table["symbol"], matrix[rows], encoder, licences)


def _tell(source: ExportSource, options: ExportOptions, found: Embeddings, genes: pl.DataFrame) -> None:
    source.count("genes", len(found.ids))
    if without := genes.height - len(found.ids):
        source.note(f"{without} genes of the release have no vector and are left out; none is written as zeros")
    outcomes = usable_outcomes(source, options)
    if outcomes is None:
        return
    perturbed = perturbed_genes(outcomes)
    missing = perturbed.filter(~perturbed.is_in(found.ids.implode()))
    shown = genes.filter(pl.col("id").is_in(missing.implode()))["symbol"].sort().to_list()
    named = f": {', '.join(shown[:_SHOWN])}{', …' if len(shown) > _SHOWN else ''}" if shown else ""
    source.note(f"{len(missing)} of {len(perturbed)} perturbed genes of the outcomes have no vector{named}")
