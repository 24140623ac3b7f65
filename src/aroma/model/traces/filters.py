"""Which traces are good enough to learn from; each that is not is kept with the reason.

Shape, agreement with the measured outcome, no statement of the outcome before the reasoning, length and language are
judged row by row; near-duplicates by MinHash and locality-sensitive hashing (Broder 1997; the library ``datasketch``),
so that the work grows with the number of rows and not with its square.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

import polars as pl

from aroma.errors import UsageError
from aroma.kgstore.outcomes import LABELS
from aroma.model.traces.answers import ANSWERS, label_of
from aroma.model.traces.sentences import split_sentences
from aroma.retrieval.prompts import estimate_tokens

_PERMUTATIONS: Final = 64
_SHINGLE: Final = 5
_WORD: Final = re.compile(r"\w+")
_TAG: Final = re.compile(r"<\s*/?\s*(?:think|answer)\s*>", re.IGNORECASE)
_ENGLISH: Final = ("en", "zxx")
"""``zxx`` is no language: a text of gene names alone."""
_FEW_WORDS: Final = 4

_UP: Final = r"(?:up-?\s?regulat\w+|increas\w+|induc\w+|rais\w+|rises?|elevat\w+|activated|goes up)"
_DOWN: Final = r"(?:down-?\s?regulat\w+|decreas\w+|reduc\w+|lower\w*|falls?|repress\w+|goes down)"
_SAME: Final = (
    r"(?:not (?:be )?(?:significantly )?(?:changed?|affected|altered)|unchanged|no significant change|stable)"
)
_OUTCOME: Final = re.compile(rf"\b(?:{_UP}|{_DOWN}|{_SAME})\b", re.IGNORECASE)
_TOLD: Final = re.compile(
    r"\b(?:(?:given|provided|known|stated|observed|measured|correct|true|expected|ground[- ]truth|target) "
    r"(?:label|answer|outcome|result|class)|the (?:label|ground truth) (?:is|says|states)|"
    r"(?:as|since|because|given that) (?:we are|we were|i am|i was) told|"
    r"must (?:conclude|end|justify|explain) .{0,30}(?:label|answer)|"
    r"(?:to|that) (?:match|support|justif\w+|agree with) the (?:given |provided )?(?:label|answer))",
    re.IGNORECASE,
)
_ASKING: Final = re.compile(r"\b(?:whether|question)\b|\?$", re.IGNORECASE)
_BECAUSE: Final = re.compile(
    r"^(?:since|because|as|given that|the fact that|knowing that|considering that)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """What is demanded.

    Attributes:
        shortest: Fewest tokens of the reasoning, by the estimate.
        longest: Most tokens of it.
        similar: Traces whose five-word shingles agree by this Jaccard index or more, and which have one label, are
            near-duplicates; the first is kept. 0 looks for none.
        english: Whether other languages are dropped.
        samples_a_row: Kept traces of one row (label-blind sampling gives several); None for all.
    """

    shortest: int = 30
    longest: int = 1500
    similar: float = 0.9
    english: bool = True
    samples_a_row: int | None = 1

    def __post_init__(self) -> None:
        if not 0 <= self.shortest <= self.longest:
            raise UsageError(f"lengths {self.shortest} to {self.longest}: the shortest may not be above the longest")
        if not 0 <= self.similar <= 1:
            raise UsageError(f"similarity {self.similar}: expected 0 to 1")
        if self.samples_a_row is not None and self.samples_a_row < 1:
            raise UsageError(f"{self.samples_a_row} traces a row: expected 1 or more")


def filter_traces(frame: pl.DataFrame, options: FilterOptions | None = None) -> pl.DataFrame:
    """Return the table with ``kept`` and ``reason`` set; no row is taken away, and order does not change.

    A row that was dropped before stays dropped, with its reason.

    Args:
        frame: Columns of ``TRACES``.
        options: What is demanded.
    """
    demanded = options or FilterOptions()
    columns = ("reasoning", "answer", "label", "target", "reason")
    reasons: list[str | None] = [
        reason if reason is not None else reason_against(reasoning, answer, label, target, demanded)
        for reasoning, answer, label, target, reason in frame.select(columns).iter_rows()
    ]
    if demanded.similar:
        _mark_similar(frame, reasons, demanded.similar)
    if demanded.samples_a_row is not None:
        _mark_surplus(frame, reasons, demanded.samples_a_row)
    column = pl.Series("reason", reasons, dtype=pl.String)
    return frame.with_columns(column.is_null().alias("kept"), column)


def reason_against(reasoning: str, answer: str, label: int, target: str, options: FilterOptions) -> str | None:
    """Return the first thing that is wrong with a trace, or None; whatever the texts, there is an answer."""
    checks: tuple[Callable[[], str | None], ...] = (
        lambda: _shape(reasoning, answer),
        lambda: agreement(answer, label),
        lambda: "outcome stated before the reasoning" if states_outcome(reasoning, target) else None,
        lambda: _length(reasoning, options),
        lambda: _language(reasoning) if options.english else None,
    )
    return next((reason for check in checks if (reason := check()) is not None), None)


def _shape(reasoning: str, answer: str) -> str | None:
    if not reasoning.strip():
        return "empty reasoning"
    if not answer.strip():
        return "empty answer"
    if _TAG.search(reasoning) or _TAG.search(answer):
        return "more than one think or answer block"
    return None


def agreement(answer: str, label: int) -> str | None:
    """Return why an answer does not agree with the measured outcome, or None where it does."""
    said = label_of(answer)
    if said is None:
        return "answer is not exactly one of the three"
    if said != label:
        return f"answer is {LABELS[said]}, measured {LABELS[label]}"
    return None


def states_outcome(reasoning: str, target: str) -> bool:
    """Tell whether a trace states the outcome before it reasons, or speaks of having been told it.

    The first sentence may not say in words of direction what happens to the target ("since ITCH is upregulated…",
    "it goes up because…"); no sentence may speak of a given label. Directions in terms, paths or measured cases
    ("positive regulation of…") are no statement.
    """
    if _TOLD.search(reasoning):
        return True
    sentences = split_sentences(reasoning)
    if len(sentences) < 2:  # noqa: PLR2004 - a conclusion alone is no reasoning
        return any(answer in reasoning.lower() for answer in ANSWERS.values())
    first = sentences[0]
    if any(answer in first.lower() for answer in ANSWERS.values()):
        return True
    outcome = _OUTCOME.search(first)
    if outcome is None or not target or _ASKING.search(first):
        return False
    named = re.search(rf"(?<![\w-]){re.escape(target)}(?![\w-])", first, re.IGNORECASE) is not None
    return named and (_BECAUSE.match(first) is not None or _close(first, target, outcome))


def _close(sentence: str, target: str, outcome: re.Match[str]) -> bool:
    """Tell whether the target and the outcome stand within a few words: "TP53 expression increases"."""
    place = sentence.lower().find(target.lower())
    between = sentence[min(place, outcome.start()) : max(place, outcome.start())]
    return len(between.split()) <= _FEW_WORDS


def _length(reasoning: str, options: FilterOptions) -> str | None:
    tokens = estimate_tokens(reasoning)
    if tokens < options.shortest:
        return "shorter than allowed"
    return "longer than allowed" if tokens > options.longest else None


def _language(reasoning: str) -> str | None:
    found = _identifier()(reasoning)
    return None if found in _ENGLISH else f"not English ({found})"


@lru_cache(maxsize=1)
def _identifier() -> Callable[[str], str]:
    import py3langid

    def identify(text: str) -> str:
        return str(py3langid.classify(text)[0])

    return identify


def shingles(text: str) -> set[bytes]:
    """Return the runs of five words of a text, without case; a shorter text is one run."""
    words = [word.encode() for word in _WORD.findall(text.lower())]
    if len(words) <= _SHINGLE:
        return {b" ".join(words)}
    return {b" ".join(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1)}


def _mark_similar(frame: pl.DataFrame, reasons: list[str | None], threshold: float) -> None:
    """Give a reason to each row that repeats an earlier kept one of the same label, nearly word by word."""
    from datasketch import MinHash, MinHashLSH

    texts, labels = frame["reasoning"].to_list(), frame["label"].to_list()
    index = {label: MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS) for label in LABELS}
    empty = MinHash(num_perm=_PERMUTATIONS, seed=1, hashfunc=_hash)
    for row, text in enumerate(texts):
        if reasons[row] is not None:
            continue
        mine = shingles(text)
        sketch = empty.copy()
        sketch.update_batch(mine)
        near = index[labels[row]]
        twin = next(
            (other for other in sorted(near.query(sketch)) if _alike(mine, shingles(texts[other])) >= threshold), None
        )
        if twin is None:
            near.insert(row, sketch)
        else:
            reasons[row] = f"nearly the same as row {twin + 1}"


def _hash(piece: bytes) -> int:
    import zlib

    return zlib.crc32(piece)


def _alike(one: set[bytes], other: set[bytes]) -> float:
    return len(one & other) / len(one | other)


def _mark_surplus(frame: pl.DataFrame, reasons: list[str | None], most: int) -> None:
    counted: dict[tuple[Any, ...], int] = {}
    for row, key in enumerate(frame.select("cell_line", "perturbation", "target").iter_rows()):
        if reasons[row] is None:
            counted[key] = counted.get(key, 0) + 1
            if counted[key] > most:
                reasons[row] = f"more than {most} good traces of the row"


def reason_kinds(reasons: Iterable[str]) -> dict[str, int]:
    """Count reasons by kind: what names a row, a gene or a language counts as one."""
    counts: dict[str, int] = {}
    for reason in reasons:
        kind = re.sub(r"^nearly the same as row \d+$", "nearly the same as another row", reason)
        kind = re.sub(r"^(perturbation|target) gene .* is not known", r"\1 gene is not known", kind)
        kind = re.sub(r"^.* → .* in .*: instruction", "instruction", kind)
        counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def facts_of(options: FilterOptions) -> dict[str, Any]:
    """Return the options for the data set's card."""
    return asdict(options)
