"""Search for nodes by their words, through the full-text indexes of either engine, and genes by mistyped symbols.

Indexed are names, synonyms and definitions (migrations V003 and V004). Scores of different indexes cannot be compared,
so a hit weighs half by its score against the best of its field and half by how many of the words it has; names count
more than synonyms, these more than definitions. Longer words also find words that begin with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from aroma.errors import QueryError, StoreUnavailableError, UsageError
from aroma.kgstore.engines import open_engine
from aroma.kgstore.graph import Graph
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.node_names import resolver_of
from aroma.kgstore.publications import require_published
from aroma.kgstore.resolver import GeneResolver
from aroma.kgstore.schema import Label

LABELS: Final = (Label.GENE, Label.COMPLEX, Label.GO_TERM, Label.PATHWAY)
FIELDS: Final = {"name": 1.0, "synonym_text": 0.8, "description": 0.6}
"""Indexed properties and what a find in each weighs."""
MOST_FOUND: Final = 100
_MOST_WORDS: Final = 12
_SECONDS: Final = 10.0
_SYMBOL_WEIGHT: Final = 1.1
_NEAREST_WEIGHT: Final = 0.5
_PREFIX_FROM: Final = 4
_QUERY: Final = """CALL db.index.fulltext.queryNodes($index, $text) YIELD node, score
RETURN node.id AS id, node.name AS name, node.symbol AS symbol, node.description AS description,
       node.synonym_text AS synonym_text, score
ORDER BY score DESC LIMIT $limit"""
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class TextHit:
    """One node found.

    Attributes:
        id: Node id.
        label: Its label.
        name: A gene's symbol, else the name.
        text: Its definition or annotation text, or what it is called in full.
        found_in: ``symbol``, ``name``, ``synonyms``, ``definition`` or ``spelled alike``.
        score: 0 to 1.1; for ordering within one answer.
    """

    id: str
    label: str
    name: str
    text: str
    found_in: str
    score: float


_FOUND_IN: Final = {"name": "name", "synonym_text": "synonyms", "description": "definition"}


def search(
    home: Home, target: GraphTarget, text: str, limit: int = 20, *, resolver: GeneResolver | None = None
) -> tuple[str, list[TextHit]]:
    """Find nodes of the published release by words.

    Args:
        home: Where the release is.
        target: The database.
        text: Words; all that is no letter or digit parts them, so no query syntax has a meaning.
        limit: Most hits, 1 to 100.
        resolver: Of the published release, where the caller has it open.

    Returns:
        The engine that answered, and hits, best first, then by id.

    Raises:
        UsageError: No word in the text, or a limit out of range.
        StoreUnavailableError: The database cannot be reached, or has not the indexes.
        ReleaseError: Nothing is published.
    """
    words = _WORD.findall(text.lower())[:_MOST_WORDS]
    if not words or not 1 <= limit <= MOST_FOUND:
        raise UsageError(f"search {text!r}: give at least one word, and a limit of 1 to {MOST_FOUND}")
    names = resolver or resolver_of(home, require_published(home).release)
    found: dict[str, TextHit] = {}
    with open_engine(home, target).connect() as graph:
        for field, weight in FIELDS.items():
            for hit in _ask(graph, field, weight, words, limit):
                _keep(found, hit)
        for hit in _by_symbol(graph, names, text, limit):
            _keep(found, hit)
        engine = graph.engine
    return engine, sorted(found.values(), key=lambda hit: (-hit.score, hit.id))[:limit]


def _keep(found: dict[str, TextHit], hit: TextHit) -> None:
    if hit.id not in found or found[hit.id].score < hit.score:
        found[hit.id] = hit


def _ask(graph: Graph, field: str, weight: float, words: list[str], limit: int) -> list[TextHit]:
    text = " ".join(f"{word} {word}*" if len(word) >= _PREFIX_FROM else word for word in words)
    rows = [(label, row) for label in LABELS for row in _rows(graph, f"{label}[{field}]", text, limit)]
    best = max((_number(row["score"]) for _, row in rows), default=1.0) or 1.0
    return [
        TextHit(
            id=str(row["id"]),
            label=str(label),
            name=str(row["symbol"] or row["name"] or row["id"]),
            text=str(row["description"] or row["name"] or ""),
            found_in=_FOUND_IN[field],
            score=round(weight * (_number(row["score"]) / best + _had(words, f"{row[field]} {row['symbol']}")) / 2, 4),
        )
        for label, row in rows
    ]


def _rows(graph: Graph, index: str, text: str, limit: int) -> list[dict[str, object]]:
    try:
        return graph.read(_QUERY, {"index": index, "text": text, "limit": limit}, timeout=_SECONDS).records()
    except QueryError as error:
        if "index" not in str(error).lower():
            raise
        raise StoreUnavailableError(f"the database has no full-text index {index}; run: aroma migrate") from error


def _had(words: list[str], text: str) -> float:
    """Return the part of the words that a text has, at the beginning of its own words."""
    own = _WORD.findall(text.lower())
    return sum(any(one.startswith(word) for one in own) for word in words) / len(words)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _by_symbol(graph: Graph, resolver: GeneResolver, text: str, limit: int) -> list[TextHit]:
    """Return the gene that the text names, and those spelled like it."""
    exact = resolver.resolve(text)
    weights: dict[str, tuple[float, str]] = {}
    for gene in (exact.gene, *exact.candidates):
        if gene is not None:
            weights[gene] = (_SYMBOL_WEIGHT, "symbol")
    if not weights:
        genes = {symbol: gene for gene, symbol in resolver.symbols.items()}
        for place, symbol in enumerate(resolver.nearest(text, limit=min(limit, 5))):
            weights[genes[symbol]] = (_NEAREST_WEIGHT - 0.01 * place, "spelled alike")
    if not weights:
        return []
    asked = (
        "MATCH (g:Gene) WHERE g.id IN $ids RETURN g.id AS id, g.symbol AS symbol, g.name AS name, g.description AS d"
    )
    rows = graph.read(asked, {"ids": sorted(weights)}, timeout=_SECONDS).records()
    return [
        TextHit(
            id=str(row["id"]),
            label=str(Label.GENE),
            name=str(row["symbol"] or row["id"]),
            text=str(row["d"] or row["name"] or ""),
            found_in=weights[str(row["id"])][1],
            score=round(weights[str(row["id"])][0], 4),
        )
        for row in rows
    ]
