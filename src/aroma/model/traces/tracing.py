"""Sentence-level source tracing: on which items of the evidence each sentence of a trace rests, and which rest on none.

As in the paper's case study (its appendices E.1 and G), but computed: a sentence is supported when most of what it says
(its names and its words of content) is said by at most four items, and every gene that it names is in the evidence.
Words alone prove no truth: a supported sentence says what the evidence says, it may still conclude wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final

from rapidfuzz import fuzz

from aroma.model.traces.answers import ANSWERS
from aroma.model.traces.items import Item, asked_names, items_of
from aroma.model.traces.sentences import split_sentences
from aroma.retrieval.evidence_model import Evidence

Resolve = Callable[[str], str | None]
"""Returns the gene id that a name stands for, or None."""

_MOST_ITEMS: Final = 4
_ENOUGH: Final = 0.6
_NAME_WEIGHT: Final = 2
_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_GENE: Final = re.compile(r"(?<![\w-])(?:[A-Z][A-Z0-9]{1,}(?:-[A-Z0-9]+)*|C\d+orf\d+)(?![\w-])")
_FILE: Final = files("aroma.model.traces") / "words.txt"
_HEDGES: Final = re.compile(
    r"^(?:therefore|thus|hence|in conclusion|overall|taken together|so|consequently)\b", re.IGNORECASE
)
_ANSWER: Final = re.compile("|".join(map(re.escape, ANSWERS.values())), re.IGNORECASE)
_SUFFIXES: Final = ("ations", "ation", "ities", "ings", "ing", "ions", "ion", "ies", "ed", "es", "ity", "s", "e")


@dataclass(frozen=True, slots=True)
class Source:
    """One item that a sentence rests on.

    Attributes:
        item: Its place in ``Traced.items``.
        share: Of the sentence's content that the item says, 0 to 1.
        names: Names of the item that the sentence has.
        likeness: Of the two texts, 0 to 1 (rapidfuzz, token set ratio).
    """

    item: int
    share: float
    names: tuple[str, ...]
    likeness: float


@dataclass(frozen=True, slots=True)
class TracedSentence:
    """A sentence and what it rests on.

    Attributes:
        text: The sentence.
        kind: ``claim``; ``conclusion`` for a closing sentence that states the answer; ``link`` for one that says
            nothing of content.
        sources: Best first; for conclusions and links what there is.
        coverage: Share of its content that the sources say together, 0 to 1.
        unknown: Genes that it names and the evidence does not.
        supported: Whether it is a claim that the evidence supports.
    """

    text: str
    kind: str
    sources: tuple[Source, ...]
    coverage: float
    unknown: tuple[str, ...]
    supported: bool


@dataclass(frozen=True, slots=True)
class Traced:
    """A trace with its sources.

    Attributes:
        sentences: In order.
        items: What the evidence says.
    """

    sentences: tuple[TracedSentence, ...]
    items: tuple[Item, ...]

    @property
    def claims(self) -> int:
        """Number of sentences that claim something."""
        return sum(one.kind == "claim" for one in self.sentences)

    @property
    def supported(self) -> int:
        """Number of claims that the evidence supports."""
        return sum(one.supported for one in self.sentences)

    @property
    def share(self) -> float | None:
        """Share of claims that are supported; None without a claim."""
        return self.supported / self.claims if self.claims else None

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON: sentences with item ids and the statements behind them."""
        return {
            "claims": self.claims,
            "supported": self.supported,
            "share": self.share,
            "sentences": [
                {
                    "text": one.text,
                    "kind": one.kind,
                    "supported": one.supported,
                    "coverage": round(one.coverage, 3),
                    "unknown": list(one.unknown),
                    "sources": [self._source(source) for source in one.sources],
                }
                for one in self.sentences
            ],
        }

    def _source(self, source: Source) -> dict[str, Any]:
        item = self.items[source.item]
        said = {"share": round(source.share, 3), "likeness": round(source.likeness, 3), "names": list(source.names)}
        return {"item": item.id, "kind": item.kind, "text": item.text, "statements": list(item.statements), **said}


class Tracer:
    """Traces texts to one evidence object.

    Args:
        evidence: What was known.
        resolve: Finds the gene behind a synonym; without it only the names in the evidence are known.
    """

    def __init__(self, evidence: Evidence, resolve: Resolve | None = None) -> None:
        self.items = items_of(evidence)
        self._resolve = resolve
        self._asked = {name.lower() for name in asked_names(evidence)} | {evidence.cell_line.name.lower()}
        self._asked_genes = {evidence.query.perturbation_id, evidence.query.target_id} - {None}
        self._words = [_content(item.text) for item in self.items]
        self._names = [[(name, _fold(name)) for name in item.names] for item in self.items]
        whole = " ".join(item.text for item in self.items)
        self._known = {token.upper() for token in _GENE.findall(whole)} | {name.upper() for name in self._asked}
        self._genes = {gene for item in self.items for gene in item.genes}

    def trace(self, reasoning: str) -> Traced:
        """Return each sentence of a text with its sources."""
        texts = split_sentences(reasoning)
        found = [self._sentence(text, last=place == len(texts) - 1) for place, text in enumerate(texts)]
        return Traced(tuple(found), self.items)

    def _sentence(self, text: str, *, last: bool) -> TracedSentence:
        unknown = self._unknown(text)
        folded = _fold(text)
        hits = [tuple(name for name, needle in names if needle in folded) for names in self._names]
        words = _content(text) - {word for name in self._asked for word in _content(name)}
        named = {name for names in hits for name in names}
        words -= {word for name in named for word in _content(name)}
        total = len(words) + _NAME_WEIGHT * len(named)
        sources, covered = self._cover(text, words, named, hits, total)
        share = covered / total if total else 0.0
        kind = "claim" if total or unknown else "link"
        if _ANSWER.search(text) and (last or _HEDGES.match(text)):
            kind = "conclusion"
        supported = kind == "claim" and bool(sources) and share >= _ENOUGH and not unknown
        return TracedSentence(text, kind, tuple(sources), share, unknown, supported)

    def _cover(
        self, text: str, words: set[str], named: set[str], hits: list[tuple[str, ...]], total: int
    ) -> tuple[list[Source], int]:
        """Take items that say most of what is not said yet, until nothing more is gained."""
        left_words, left_names = set(words), set(named)
        sources: list[Source] = []
        while (left_words or left_names) and len(sources) < _MOST_ITEMS:
            gains = [
                len(left_words & own) + _NAME_WEIGHT * len(left_names.intersection(names))
                for own, names in zip(self._words, hits, strict=True)
            ]
            best = max(range(len(gains)), key=lambda at: (gains[at], -at))
            if gains[best] < (1 if not sources else max(1, total // 8)):
                break
            whole = len(words & self._words[best]) + _NAME_WEIGHT * len(named.intersection(hits[best]))
            likeness = fuzz.token_set_ratio(text, self.items[best].text) / 100
            sources.append(Source(best, whole / total, hits[best], likeness))
            left_words -= self._words[best]
            left_names.difference_update(hits[best])
        covered = total - len(left_words) - _NAME_WEIGHT * len(left_names)
        return sources, covered

    def _unknown(self, text: str) -> tuple[str, ...]:
        """Return the genes that a sentence names and the evidence does not, in order."""
        found = []
        for token in _GENE.findall(text):
            if token.upper() in self._known or token.upper() in _words("capitals") or token in found:
                continue
            gene = self._resolve(token) if self._resolve is not None else None
            if gene is not None and (gene in self._genes or gene in self._asked_genes):
                continue
            if gene is not None or (self._resolve is None and any(sign.isdigit() for sign in token)):
                found.append(token)
        return tuple(found)


def trace_sources(reasoning: str, evidence: Evidence, resolve: Resolve | None = None) -> Traced:
    """Return each sentence of a trace with the items of the evidence that it rests on; see ``Tracer``."""
    return Tracer(evidence, resolve).trace(reasoning)


def share_supported(traced: Iterable[Traced]) -> float | None:
    """Return the share of all claims that are supported; None without a claim."""
    claims = supported = 0
    for one in traced:
        claims, supported = claims + one.claims, supported + one.supported
    return supported / claims if claims else None


def _fold(text: str) -> str:
    """Return the words of a text, small, between blanks, so that a name is found only as whole words."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


@cache
def _words(kind: str) -> frozenset[str]:
    lines = (line.split() for line in _FILE.read_text(encoding="utf-8").splitlines())
    return frozenset(word for first, *rest in filter(None, lines) if first == kind for word in rest)


def _content(text: str) -> set[str]:
    empty = _words("empty")
    found = _WORD.findall(text.lower())
    return {_stem(word) for word in found if word not in empty and (len(word) > 1 or word.isdigit())}


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    word = re.split("['\u2019]", word, maxsplit=1)[0]
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:  # noqa: PLR2004 - what is left tells words apart
            return word[: -len(suffix)]
    return word
