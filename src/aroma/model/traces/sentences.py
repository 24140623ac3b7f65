"""Cutting English prose about genes into sentences.

A full stop ends a sentence only before a blank and the beginning of a next one, and not after an abbreviation (e.g.),
an initial (E. coli), within a number (0.97) or within brackets that are still open.
"""

from __future__ import annotations

import re
from typing import Final

_END: Final = re.compile(r"""[.!?]+["'\u201d\u2019)\]]*(?=\s)""")
_NEXT: Final = re.compile(r"""\s+["'\u201c\u2018(\[]*(?:[A-Z0-9]|[a-z]+[A-Z0-9]|[^\x00-\x7F])""")
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(\[/,])(?:e\.g|i\.e|cf|vs|etc|et al|al|ca|approx|resp|incl|spp|sp|var|subsp|fig|figs|eq|ref|refs|no|nos|"
    r"dr|prof|st|inc|ltd|dept|viz|a\.k\.a|aka|[A-Za-z])\.$",
    re.IGNORECASE,
)
_OPEN: Final = "(["
_CLOSE: Final = ")]"


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text in order, blanks at their ends removed; joined by blanks they are the text again.

    A line end that is followed by another, or by a list mark, ends a sentence too.
    """
    found: list[str] = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)])\s)", text):
        found.extend(_of_block(" ".join(block.split())))
    return found


def first_sentence(text: str) -> str:
    """Return the first sentence, or an empty text."""
    return next(iter(split_sentences(text)), "")


def _of_block(text: str) -> list[str]:
    found, start = [], 0
    for match in _END.finditer(text):
        end = match.end()
        if not _NEXT.match(text, end) or not _ends_here(text, start, match):
            continue
        found.append(text[start:end].strip())
        start = end
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def _ends_here(text: str, start: int, match: re.Match[str]) -> bool:
    before = text[start : match.start() + 1]
    if match.group().startswith(".") and _ABBREVIATION.search(before[-16:]):
        return _is_after_a_gene(before)
    whole = text[start : match.end()]
    return sum(map(whole.count, _OPEN)) <= sum(map(whole.count, _CLOSE))


def _is_after_a_gene(before: str) -> bool:
    """Tell whether a single letter before the stop ends a name (``vitamin D.``, ``hepatitis B.``), not an initial."""
    words = before[:-1].split()
    return len(words) > 1 and len(words[-1]) == 1 and words[-1].isupper() and words[-2].lower() in _BEFORE_A_LETTER


_BEFORE_A_LETTER: Final = frozenset(
    {"vitamin", "hepatitis", "cyclin", "type", "class", "complex", "protein", "subunit", "factor", "lamin", "group",
     "kinase", "cathepsin", "polymerase", "spectrin", "granzyme", "influenza", "immunoglobulin", "caspase", "chain",
     "isoform", "domain", "family", "interleukin", "clade", "variant"}
)  # fmt: skip
