"""The graph and the outcomes as questions and answers, in the form that CellHermes is trained on.

Source: CellHermes trains with LLaMA-Factory (0.9.1), whose data sets are JSON lines of ``instruction``, ``input`` and
``output`` (its ``data/README.md``, "alpaca"), named in ``dataset_info.json``. The wording is ours: CellHermes' own
training texts are not in its repository. Other properties of a line say where its answer comes from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import polars as pl

from aroma.kgstore.outcomes import LABELS
from aroma.kgstore.schema import Relation
from aroma.kgstore.views import CO_MEMBERSHIP
from aroma.retrieval.exports.base import ExportOptions, ExportSource
from aroma.retrieval.exports.gene_vectors import gene_symbols, usable_outcomes
from aroma.retrieval.exports.go_graph import direct_annotations
from aroma.retrieval.exports.json_lines import json_lines

_QUESTIONS: Final = {
    str(Relation.INTERACTS_WITH): "Which genes does gene {gene} interact with most strongly?",
    CO_MEMBERSHIP: "Which genes are members of a protein complex together with gene {gene}?",
    str(Relation.MEMBER_OF): "Which protein complexes is gene {gene} a member of?",
    str(Relation.PARTICIPATES_IN): "Which pathways does gene {gene} participate in?",
    str(Relation.ANNOTATED_TO): "Which Gene Ontology terms is gene {gene} annotated with?",
}
"""Relations that are asked for. ``NOT`` annotations and the ontology's own edges are no answers about a gene."""
_BOTH_WAYS: Final = (str(Relation.INTERACTS_WITH), CO_MEMBERSHIP)
_OUTCOME: Final = "Gene {} is perturbed in {} cells. How does the expression of gene {} change?"
_NO_SPLIT: Final = "unsplit"


class CellHermes:
    """Questions and answers as LLaMA-Factory data sets."""

    name = "cellhermes"
    summary = "CellHermes: questions and answers of the graph and of outcomes, as LLaMA-Factory data sets"
    extra: str | None = None
    default_view: str | None = None

    def write(self, source: ExportSource, out: Path, options: ExportOptions) -> list[Path]:
        """Write ``graph.jsonl``, one ``outcomes.<split>.jsonl`` for each split, and ``dataset_info.json``."""
        out.mkdir()
        files = [out / "graph.jsonl"]
        graph = graph_questions(source, options.k)
        _write_lines(graph, files[0])
        source.count("graph questions", graph.height)
        source.note(f"an answer names {options.k} at most: strongest interactions, or the terms that fewest genes have")
        outcomes = usable_outcomes(source, options)
        if outcomes is not None:
            files += _outcome_files(source, outcomes, out)
        sets = {f"aroma_{path.stem.replace('.', '_')}": {"file_name": path.name} for path in files}
        info = out / "dataset_info.json"
        info.write_text(json.dumps(sets, indent=1) + "\n", encoding="utf-8")
        return [*files, info]


def graph_questions(source: ExportSource, k: int) -> pl.DataFrame:
    """Return ``instruction``, ``input``, ``output``, ``gene``, ``relation``, ``providers`` and ``statements``.

    One row for each gene and relation that the view has; genes without an edge are asked nothing.
    """
    edges = source.edges().filter(pl.col("relation").is_in(list(_QUESTIONS)))
    said = pl.col("relation") == str(Relation.ANNOTATED_TO)
    held = edges.filter(said).join(direct_annotations(source), on=["subject", "object"], how="semi")
    told = pl.concat([edges.filter(~said), held]).select(
        "subject", "relation", "object", "provider", "score", "statements"
    )
    turned = told.filter(pl.col("relation").is_in(_BOTH_WAYS)).select(
        pl.col("object").alias("subject"),
        "relation",
        pl.col("subject").alias("object"),
        "provider",
        "score",
        "statements",
    )
    rows = pl.concat([told, turned]).with_columns(pl.len().over("relation", "object").alias("size"))
    shown = source.nodes().select(pl.col("id").alias("object"), pl.coalesce("symbol", "name").alias("shown"))
    symbols = gene_symbols(source).rename({"id": "subject", "symbol": "gene"})
    named = rows.join(symbols, on="subject").join(shown.drop_nulls(), on="object")
    once = named.group_by("gene", "relation", "object").agg(
        pl.first("shown"), pl.max("score"), pl.first("size"), "provider", pl.col("statements").explode()
    )
    ordered = once.sort(
        "relation", "gene", "score", "size", "shown", "object", descending=[False, False, True, False, False, False]
    )
    top = ordered.group_by("relation", "gene", maintain_order=True).head(k)
    answers = top.group_by("relation", "gene", maintain_order=True).agg(
        pl.col("shown"), pl.col("provider").explode().unique().sort(), pl.col("statements").explode()
    )
    question = pl.col("relation").replace_strict(_QUESTIONS, return_dtype=pl.String)
    return answers.select(
        question.str.replace("{gene}", pl.col("gene"), literal=True).alias("instruction"),
        pl.lit("").alias("input"),
        (pl.col("shown").list.join("; ") + ".").alias("output"),
        "gene",
        "relation",
        pl.col("provider").alias("providers"),
        "statements",
    )


def outcome_questions(outcomes: pl.DataFrame, symbols: pl.DataFrame) -> pl.DataFrame:
    """Return ``instruction``, ``input``, ``output``, ``split``, ``data_set`` and ``line``, a row for each outcome.

    Args:
        outcomes: Columns of ``kgstore.outcomes.OUTCOMES``.
        symbols: ``id`` and ``symbol``; outcomes of other genes go.
    """
    named = outcomes.join(symbols.rename({"id": "perturbation_gene", "symbol": "p"}), on="perturbation_gene").join(
        symbols.rename({"id": "target_gene", "symbol": "t"}), on="target_gene"
    )
    return named.sort("cell_line", "line").select(
        pl.format(_OUTCOME, "p", "cell_line", "t").alias("instruction"),
        pl.lit("Answer with one of: down, not significant, up.").alias("input"),
        pl.col("label").replace_strict(LABELS, return_dtype=pl.String).alias("output"),
        pl.col("split").fill_null(_NO_SPLIT),
        "data_set",
        "line",
    )


def _outcome_files(source: ExportSource, outcomes: pl.DataFrame, out: Path) -> list[Path]:
    asked = outcome_questions(outcomes, gene_symbols(source))
    if gone := outcomes.height - asked.height:
        source.note(f"{gone} outcomes have a name that is no gene of the release and are left out")
    files = []
    for (split,), rows in asked.sort("split", maintain_order=True).group_by("split", maintain_order=True):
        place = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in str(split))
        files.append(out / f"outcomes.{place}.jsonl")
        _write_lines(rows, files[-1])
        source.count(f"questions of split {split}", rows.height)
    return files


def _write_lines(rows: pl.DataFrame, path: Path) -> None:
    json_lines(rows).to_frame().write_csv(path, include_header=False, quote_style="never")
