"""From statements to edges: one edge for one (subject, relation, object, provider)."""

from __future__ import annotations

import hashlib

import polars as pl

from aroma.kgstore import schema

_KEY = ("subject", "relation", "object", "provider")
_SYMMETRIC = [str(relation) for relation, ends in schema.RELATION_ENDS.items() if ends.symmetric]


def order_symmetric(statements: pl.DataFrame) -> pl.DataFrame:
    """Put the smaller id first in statements of symmetric relations; the original identifiers go along."""
    swap = pl.col("relation").is_in(_SYMMETRIC) & (pl.col("subject") > pl.col("object"))

    def either(there: str, here: str) -> pl.Expr:
        return pl.when(swap).then(pl.col(there)).otherwise(pl.col(here)).alias(here)

    return statements.with_columns(
        either("object", "subject"),
        either("subject", "object"),
        either("original_object", "original_subject"),
        either("original_subject", "original_object"),
    )


def edges_from_statements(statements: pl.DataFrame, *, provider_release: str, licence: str) -> pl.DataFrame:
    """Fold statements into edges (columns of ``schema.EDGES``; ``content`` and ``since`` still null).

    The lists ``statements``, ``evidence``, ``references`` and ``qualifiers`` are parallel and in the order of
    import run, then line. Channel scores are the highest of the statements. Statements with channel scores are lines
    of STRING's full files: the highest combined score of those is ``score_full``. ``score`` is the highest of the
    other statements (links), and ``score_full`` where there are none.

    Args:
        statements: Columns of ``schema.STATEMENTS``, genes resolved, symmetric relations in any order.
        provider_release: The provider's version, as the edges will carry it.
        licence: Licence short name.
    """
    has_channels = pl.any_horizontal(pl.col(name).is_not_null() for name in schema.CHANNEL_COLUMNS)
    ordered = (
        order_symmetric(schema.conform("statements", statements))
        .sort("import_run", "line", "id")
        .with_columns(
            pl.when(~has_channels).then("score").alias("score_links"),
            pl.when(has_channels).then("score").alias("score_full"),
        )
    )
    folded = (
        ordered.group_by(_KEY, maintain_order=True)
        .agg(
            pl.col("import_run").unique(maintain_order=True).alias("import_runs"),
            pl.col("original_subject").first(),
            pl.col("original_object").first(),
            pl.col("id").alias("statements"),
            pl.col("evidence").fill_null(""),
            pl.col("reference").fill_null("").alias("references"),
            pl.col("qualifier").fill_null("").alias("qualifiers"),
            pl.col("score_links").max(),
            pl.col("score_full").max(),
            *(pl.col(name).max() for name in schema.CHANNEL_COLUMNS),
        )
        .with_columns(pl.coalesce("score_links", "score_full").alias("score"))
    )
    return schema.conform(
        "edges",
        folded.drop("score_links").with_columns(
            pl.lit(provider_release).alias("provider_release"),
            pl.lit(licence).alias("licence"),
        ),
    )


_SAID = ("evidence", "reference", "qualifier", "with_from", "date", "assigned_by", "score", *schema.CHANNEL_COLUMNS)
"""What a statement says, beside its ends; the release, run and line it stands in are not part of it."""


def with_content(edges: pl.DataFrame, statements: pl.DataFrame) -> pl.DataFrame:
    """Fill ``content``: a hash of what all statements of an edge say, in any order, and of the edge's scores.

    Two releases whose provider only moved lines or raised its version number give equal contents, so a diff shows
    real changes only. Statement hashes are summed modulo 2^64, so that no order matters.
    """
    said = statements.select(*_KEY, _hashed(_SAID, statements).alias("said"))
    summed = said.group_by(_KEY).agg(pl.col("said").sum())
    scores = ("score", "score_full", *schema.CHANNEL_COLUMNS)
    joined = edges.join(summed, on=_KEY, how="left", maintain_order="left")
    whole = joined.select((pl.col("said").fill_null(0) + _hashed(scores, edges)).alias("content"))["content"]
    return edges.with_columns(whole.cast(pl.String).alias("content"))


def _hashed(columns: tuple[str, ...], frame: pl.DataFrame) -> pl.Series:
    """Hash each row's values to 64 bits; equal rows are hashed once, since providers repeat themselves a lot."""
    text = pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in columns], separator="\x1f")
    texts = frame.select(text.alias("text"))
    distinct = texts.unique()
    digests = pl.Series(
        "digest",
        [
            int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest())
            for value in distinct["text"].to_list()
        ],
        dtype=pl.UInt64,
    )
    found = texts.join(distinct.with_columns(digests), on="text", how="left", maintain_order="left")
    return found["digest"]
