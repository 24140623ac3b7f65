"""PerturbQA's gene-set naming: what enrichment alone would call a set, scored against the curated name.

The provider's score is ROUGE-1 recall (Lin 2004): the share of the curated name's words that the answer has. Recall
rewards length, so precision stands beside it, and a score that words cannot cheat: how alike the answer's GO term and
the curated name's are by Lin's measure (1998). Sets without a curated name are named and not scored.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from aroma.errors import InputFileError
from aroma.kgstore.ontology import ancestors
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import read_table
from aroma.model.ground import Ground
from aroma.retrieval.enrichment import EnrichedSet, Enrichment, EnrichmentOptions
from aroma.retrieval.gene_kernels import TERM_SETS

KINDS: Final = ("go", "complex", "pathway")
_LEAST_WORDS_SHARED: Final = 0.5
_WORD: Final = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class GeneSet:
    """A set of genes, names as written, and its curated name where it has one."""

    genes: tuple[str, ...]
    label: str | None


@dataclass(frozen=True, slots=True)
class NamedSet:
    """What a set was called, and how well.

    Attributes:
        label: The curated name, or None.
        genes: Number of genes.
        unresolved: Genes that the release does not know.
        answer: The best set's name, by kind (``best`` over all kinds), or nothing where none is enriched.
        recall: ROUGE-1 recall of each answer; empty without a curated name.
        precision: ROUGE-1 precision.
        similarity: Lin's similarity of the best GO term to the curated name's, or None where either has no term.
    """

    label: str | None
    genes: int
    unresolved: int
    answer: Mapping[str, str]
    recall: Mapping[str, float]
    precision: Mapping[str, float]
    similarity: float | None


def read_gene_sets(path: Path) -> list[GeneSet]:
    """Read PerturbQA's ``*_gene-gse.json``: a list of ``{"genes": [...], "label": ... or null}``.

    Raises:
        InputFileError: The file cannot be read, or an entry is no such set; its place is named.
    """
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputFileError(f"cannot be read as JSON ({error})", file=path, expected="a list of gene sets") from error
    if not isinstance(said, list) or not said:
        raise InputFileError("is no list of gene sets", file=path, expected='[{"genes": […], "label": …}, …]')
    return [_gene_set(entry, place, path) for place, entry in enumerate(said)]


def _gene_set(entry: object, place: int, path: Path) -> GeneSet:
    genes = entry.get("genes") if isinstance(entry, dict) else None
    label = entry.get("label") if isinstance(entry, dict) else None
    good = isinstance(genes, list) and genes and all(isinstance(gene, str) for gene in genes)
    if not good or not isinstance(genes, list) or not (label is None or isinstance(label, str)):
        raise InputFileError(f"entry {place} is no gene set", file=path, expected='{"genes": ["…"], "label": "…"}')
    return GeneSet(tuple(genes), label)


def rouge1(label: str, answer: str) -> tuple[float, float]:
    """Return ROUGE-1 recall and precision: shared words over those of ``label``, and over those of ``answer``."""
    wanted, said = Counter(_WORD.findall(label.lower())), Counter(_WORD.findall(answer.lower()))
    shared = (wanted & said).total()
    return shared / max(wanted.total(), 1), shared / max(said.total(), 1)


class SetNamer:
    """Names sets of genes by what they share beyond chance.

    Args:
        ground: The release.
        background: Genes that could have been in the sets, names as written; all that are in any set where not given.
    """

    def __init__(self, ground: Ground, background: Iterable[str] | None = None) -> None:
        self._ground = ground
        self._enrichment = Enrichment(ground.snapshot, EnrichmentOptions(kinds=KINDS))
        self._background = None if background is None else self._numbers(background)

    def name(self, asked: GeneSet) -> NamedSet:
        """Return what enrichment calls a set."""
        numbers = self._numbers(asked.genes)
        among = None if self._background is None else [*self._background, *numbers]
        found = self._enrichment.of(numbers, among)
        answer = {kind: sets[0].name for kind in KINDS if (sets := [one for one in found if one.kind == kind])}
        if found:
            answer["best"] = found[0].name
        scores = {kind: rouge1(asked.label, name) for kind, name in answer.items()} if asked.label else {}
        return NamedSet(
            asked.label,
            len(asked.genes),
            len(asked.genes) - len(numbers),
            answer,
            {kind: round(recall, 4) for kind, (recall, _) in scores.items()},
            {kind: round(precision, 4) for kind, (_, precision) in scores.items()},
            self._similarity(asked.label, found),
        )

    def _numbers(self, names: Iterable[str]) -> list[int]:
        genes = {self._ground.resolver.resolve(name).gene for name in names} - {None}
        nodes = self._ground.nodes_of(pl.Series(sorted(gene for gene in genes if gene), dtype=pl.String))
        return [int(number) for number in nodes if number >= 0]

    def _similarity(self, label: str | None, found: Sequence[EnrichedSet]) -> float | None:
        terms = [one.id for one in found if one.kind == "go"]
        wanted = None if label is None else self._term_of(label)
        if wanted is None or not terms:
            return None
        one, other = self._above(wanted), self._above(terms[0])
        content = self._content
        shared = max((content.get(term, 0.0) for term in one & other), default=0.0)
        total = content.get(wanted, 0.0) + content.get(terms[0], 0.0)
        return round(2 * shared / total, 4) if total > 0 else None

    def _term_of(self, label: str) -> str | None:
        """Return the GO term whose name or synonym shares most words with a label, if at least half of either's."""
        words = set(_WORD.findall(label.lower()))
        scored = [
            (2 * len(words & said) / (len(words) + len(said)), -len(said), term)
            for term, names in self._names.items()
            for said in names
            if words & said
        ]
        best = max(scored, default=(0.0, 0, ""))
        return best[2] if best[0] >= _LEAST_WORDS_SHARED else None

    @cached_property
    def _names(self) -> dict[str, list[set[str]]]:
        """Words of the names and synonyms of the GO terms that genes have."""
        nodes = read_table(self._ground.home.release(self._ground.release), "nodes", ["id", "name", "synonyms"])
        held = nodes.filter(pl.col("id").is_in(list(self._content)))
        return {
            term: [set(_WORD.findall(text.lower())) for text in (name or "", *(synonyms or []))]
            for term, name, synonyms in held.iter_rows()
        }

    @cached_property
    def _content(self) -> dict[str, float]:
        """Information content of GO terms: log of all genes over those that have the term (or one below it)."""
        kernel = self._ground.kernels[TERM_SETS]
        ids = self._ground.snapshot.nodes.ids
        return {ids[int(node)]: float(weight) for node, weight in zip(kernel.features, kernel.weights, strict=True)}

    def _above(self, term: str) -> set[str]:
        return self._closure.get(term, set()) | {term}

    @cached_property
    def _closure(self) -> dict[str, set[str]]:
        edges = read_table(self._ground.home.release(self._ground.release), "edges", ["subject", "relation", "object"])
        pairs = ancestors(edges, (Relation.IS_A, Relation.PART_OF)).group_by("term").agg("ancestor")
        return {term: set(found) for term, found in pairs.iter_rows()}


def summary(named: Sequence[NamedSet]) -> dict[str, dict[str, float]]:
    """Return mean recall and precision by kind over the sets with a curated name (no answer counts zero), and Lin's."""
    scored = [one for one in named if one.label is not None]
    means = {
        kind: {
            "recall": float(np.mean([one.recall.get(kind, 0.0) for one in scored])) if scored else float("nan"),
            "precision": float(np.mean([one.precision.get(kind, 0.0) for one in scored])) if scored else float("nan"),
        }
        for kind in ("best", *KINDS)
    }
    known = [one.similarity for one in scored if one.similarity is not None]
    means["go_similarity"] = {"mean": float(np.mean(known)) if known else float("nan"), "sets": float(len(known))}
    return means
