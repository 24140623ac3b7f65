"""Read-only guard: refuses every Cypher text that is not known to only read.

The engines cannot be asked: ArcadeDB does not reject a write in a read transaction, and Neo4j community has no roles.
So a text passes only if each of its clauses, procedures and functions is on a list. Where the two engines could read
the same characters differently (escapes that Neo4j decodes before parsing, a lone carriage return in a comment),
the text is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from aroma.errors import QueryError
from aroma.kgstore.cypher_words import (
    AFTER_A_VALUE,
    FUNCTIONS,
    KEYWORDS,
    PROCEDURES,
    REFUSED,
    SHOWN,
    STARTERS,
    VALUES,
)

_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+|\ufeff+)
  | (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
  | (?P<name>`(?:[^`]|``)*`)
  | (?P<parameter>\$\s*(?:\w+|`(?:[^`]|``)*`))
  | (?P<number>0[xob][0-9a-fA-F_]+|(?:\d[\d_]*)(?:\.\d+)?(?:[eE][+-]?\d+)?[fFdD]?(?!\w))
  | (?P<word>\w+)
  | (?P<sign>\.\.|::|/(?!\*)|[(){}\[\].,:;|&!%=<>+\-*^~?])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\u+([0-9a-fA-F]{4})")
_ODD_LINE_ENDS: Final = re.compile("\r(?!\n)|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CLOSERS: Final = frozenset(")]}")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def upper(self) -> str:
        return self.text.upper() if self.kind == "word" else self.text


def check_read_only(text: str) -> None:
    """Let a Cypher text pass only if it can do nothing but read.

    Args:
        text: One Cypher statement as a user wrote it; a ``;`` may end it.

    Raises:
        QueryError: The text would write, calls a procedure or function that is not listed, holds several statements,
            or cannot be read with certainty; the message names the word and its line and column.
    """
    _Reader(text).check()


def parameter_names(text: str) -> list[str]:
    """Return the names of the parameters that a text uses, each once, in order.

    Raises:
        QueryError: The text cannot be split into words.
    """
    names = [token.text[1:].strip().strip("`") for token in _Reader(text).tokens if token.kind == "parameter"]
    return list(dict.fromkeys(names))


class _Reader:
    """One text and its tokens, without space and comments."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokenize()

    def check(self) -> None:
        if self.tokens and self.tokens[-1].text == ";":
            self.tokens.pop()
        if not self.tokens:
            raise QueryError("the query is empty; write one Cypher statement, such as MATCH (g:Gene) RETURN count(g)")
        self._check_start(0)
        for index, token in enumerate(self.tokens):
            if token.text == ";":
                self._refuse(token, "one statement at a time; everything after ; would run as another one")
            if token.kind == "word":
                self._check_word(index, token)
            elif token.kind == "name" and self._next(index, "(") and not self._is_label(index):
                self._check_function(index)

    def _check_start(self, index: int) -> None:
        """Check the first word of the statement; EXPLAIN and PROFILE stand before one that reads."""
        token = self.tokens[index] if index < len(self.tokens) else self.tokens[-1]
        if token.kind != "word" or token.upper not in STARTERS:
            self._refuse(token, f"a query begins with {', '.join(sorted(STARTERS))}")
        if token.upper in {"EXPLAIN", "PROFILE"}:
            self._check_start(index + 1)
        elif token.upper == "SHOW":
            shown = self._text(index + 1)
            if shown not in SHOWN:
                self._refuse(token, f"SHOW may be followed by {', '.join(sorted(SHOWN))}")

    def _check_word(self, index: int, token: _Token) -> None:
        if self._is_identifier(index):
            if self._text(index - 1) == "." and self._next(index, "("):
                self._check_function(index)
            return
        word = token.upper
        if word in REFUSED:
            self._refuse(
                token,
                "aroma query only reads (changes go through aroma build and aroma curate); "
                f"if {token.text} is a name of yours, write it as `{token.text}`",
            )
        if word == "CALL":
            self._check_call(index)
        elif self._ends_value(index - 1) and word not in AFTER_A_VALUE:
            self._refuse(token, "it is no clause or operator that a reading query can have here")
        elif self._next(index, "(") and word not in KEYWORDS and self._text(index - 1) != "CALL":
            self._check_function(index)

    def _check_call(self, index: int) -> None:
        """Check the procedure after CALL; ``CALL {`` and ``CALL (x) {`` are subqueries, checked word by word."""
        following = self.tokens[index + 1] if index + 1 < len(self.tokens) else None
        if following is None or following.kind not in {"word", "name"}:
            return
        name = self._dotted_from(index + 1)
        if name.lower() not in PROCEDURES:
            self._refuse(following, f"procedure {name} is not one of those that only read: {', '.join(PROCEDURES)}")

    def _check_function(self, index: int) -> None:
        name = self._dotted_to(index)
        if name.lower() not in FUNCTIONS and name.lower() not in PROCEDURES:
            self._refuse(self.tokens[index], f"function {name} is not one of the reading functions that aroma knows")

    def _is_identifier(self, index: int) -> bool:
        """Tell whether the word stands where no clause can: property, label, type, map key, alias."""
        before = self.tokens[index - 1] if index else None
        if before is None:
            return False
        if before.text == ".":
            return self._kind(index - 2) != "number"
        if before.text in {":", "|", "&", "!"}:
            return before.text == ":" or self.tokens[index].upper in REFUSED
        if self._text(index - 1) in {"{", ",", "(", "["} and self._next(index, ":"):
            return True
        return before.upper == "AS" and before.kind == "word" and self._is_alias_sign(index - 1)

    def _is_alias_sign(self, index: int) -> bool:
        """Tell whether AS follows a whole expression: ``WITH as SET as.x = 1`` has a variable called ``as``."""
        return self._ends_value(index - 1) and not self._is_identifier(index)

    def _is_label(self, index: int) -> bool:
        return self._text(index - 1) in {":", "|", "&", "!"}

    def _ends_value(self, index: int) -> bool:
        if index < 0:
            return False
        token = self.tokens[index]
        if token.kind == "word":
            return token.upper not in KEYWORDS or token.upper in VALUES or self._is_identifier(index)
        return token.kind in {"string", "name", "parameter", "number"} or token.text in _CLOSERS

    def _text(self, index: int) -> str:
        return self.tokens[index].upper if 0 <= index < len(self.tokens) else ""

    def _kind(self, index: int) -> str:
        return self.tokens[index].kind if 0 <= index < len(self.tokens) else ""

    def _next(self, index: int, sign: str) -> bool:
        return self._text(index + 1) == sign

    def _dotted_from(self, index: int) -> str:
        parts = [_plain(self.tokens[index])]
        while self._text(index + 1) == "." and index + 2 < len(self.tokens):
            index += 2
            parts.append(_plain(self.tokens[index]))
        return ".".join(parts)

    def _dotted_to(self, index: int) -> str:
        parts = [_plain(self.tokens[index])]
        while self._text(index - 1) == "." and self._kind(index - 2) in {"word", "name"}:
            index -= 2
            parts.insert(0, _plain(self.tokens[index]))
        return ".".join(parts)

    def _tokenize(self) -> list[_Token]:
        text, at = self.text, 0
        tokens: list[_Token] = []
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._refusal(_Token("sign", text[at], at), _unreadable(text[at]))
            kind = str(found.lastgroup)
            token = _Token(kind, found.group(), at)
            self._check_escapes(token)
            if kind == "comment" and _ODD_LINE_ENDS.search(token.text):
                self._refuse(token, "an odd line end in a comment, which may or may not end it")
            if kind not in {"space", "comment"}:
                tokens.append(token)
            at = found.end()
        return tokens

    def _check_escapes(self, token: _Token) -> None:
        r"""Refuse ``\uXXXX`` that could end a string, name or comment: Neo4j decodes them before it parses."""
        for found in _ESCAPE.finditer(token.text):
            if not chr(int(found.group(1), 16)).isalnum() or token.kind not in {"string", "comment"}:
                self._refuse(_Token("sign", found.group(), token.at + found.start()), "write the character itself")
        if token.kind == "name" and "\\" in token.text:
            self._refuse(token, "a name in backticks may not hold a backslash")

    def _refuse(self, token: _Token, why: str) -> None:
        raise self._refusal(token, why)

    def _refusal(self, token: _Token, why: str) -> QueryError:
        line = self.text.count("\n", 0, token.at) + 1
        column = token.at - (self.text.rfind("\n", 0, token.at) + 1) + 1
        shown = token.text if len(token.text) <= 40 else token.text[:37] + "…"  # noqa: PLR2004
        return QueryError(f"query refused at line {line}, column {column}: {shown!r}: {why}")


def _plain(token: _Token) -> str:
    return token.text[1:-1].replace("``", "`") if token.kind == "name" else token.text


def _unreadable(character: str) -> str:
    if character in "'\"`/":
        return "this quote or comment is not closed"
    return f"character U+{ord(character):04X} is no part of a query outside strings"
