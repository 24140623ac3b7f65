"""OBO 1.2/1.4 files line by line, so that one bad line costs one line.

Format: https://owlcollab.github.io/oboformat/doc/GO.format.obo-1_4.html. Lines in the plain spelling that nearly all
lines have are read by one regular expression a tag over the whole column; every other line (escapes, trailing
modifiers, tags that are rare) goes to fastobo, which decides whether it is OBO at all and what it says. The two
agree on plain lines: a test compares them. Parsing the whole Gene Ontology by fastobo alone takes 5 to 10 s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import fastobo
import polars as pl

from aroma.errors import InputFileError
from aroma.importers.lines import TextFile

_TERM: Final = r"GO:\d{7}"
_XREF: Final = r'[^\s,:"\\\[\]{}!]+:[^\s,"\\\[\]{}!]+'
_XREFS: Final = rf"\[((?:{_XREF}(?:, {_XREF})*)?)\]"
_COMMENT: Final = r"(?: ! [^\\{]*)?"
_WORDS: Final = r"([^\s\\!{}\x22][^\\!{}]*)"
_PLAIN: Final[dict[str, tuple[str, bool]]] = {
    "id": (rf"^id: ({_TERM})$", False),
    "alt_id": (rf"^alt_id: ({_TERM})$", False),
    "replaced_by": (rf"^replaced_by: ({_TERM})$", False),
    "consider": (rf"^consider: ({_TERM})$", False),
    "is_a": (rf"^is_a: ({_TERM}){_COMMENT}$", False),
    "relationship": (rf"^relationship: ([a-z][a-z_]*) ({_TERM}){_COMMENT}$", True),
    "namespace": (r"^namespace: ([A-Za-z_]+)$", False),
    "name": (rf"^name: {_WORDS}$", False),
    "def": (rf'^def: "([^"\\]*)" {_XREFS}$', True),
    "synonym": (rf'^synonym: "([^"\\]*)" (?:EXACT|BROAD|NARROW|RELATED)(?: [A-Za-z_]+)? {_XREFS}$', False),
    "is_obsolete": (r"^is_obsolete: (true|false)$", False),
    "xref": (rf'^xref: ({_XREF})(?: "[^"\\]*")?$', False),
    "subset": (r"^subset: ([A-Za-z0-9_-]+)$", False),
    "comment": (rf"^comment: {_WORDS}$", False),
}
"""The plain spelling of each tag: what is captured, and whether a second group is captured as well."""

USED: Final = (
    "id", "name", "namespace", "def", "synonym", "alt_id", "is_a", "relationship", "is_obsolete", "replaced_by",
    "consider",
)  # fmt: skip
_ONCE: Final = ("name", "namespace", "def", "is_obsolete")
_CHUNK: Final = 200
_CLAUSES: Final = {"line": pl.Int64(), "tag": pl.String(), "value": pl.String(), "detail": pl.String()}
_REJECTS: Final = {"line": pl.Int64(), "reason": pl.String(), "text": pl.String()}


@dataclass(frozen=True, slots=True)
class OboFile:
    """What an OBO file says of its terms.

    Attributes:
        header: First value of each header tag.
        clauses: ``line``, ``term`` (the frame's id), ``tag`` (one of ``USED``), ``value``, ``detail``. A
            relationship's ``value`` is the term and its ``detail`` the type; a definition's ``detail`` is its
            references, joined by ", ".
        rejects: ``line``, ``reason``, ``text``.
        set_aside: Well-formed lines that are not read, by reason.
    """

    header: dict[str, str]
    clauses: pl.DataFrame
    rejects: pl.DataFrame
    set_aside: dict[str, int]


def header_of(lines: list[str]) -> dict[str, str]:
    """Return the first value of each tag before the first frame."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith("["):
            break
        tag, separator, value = line.partition(":")
        if separator:
            found.setdefault(tag.strip(), value.strip())
    return found


def read_obo(text: TextFile) -> OboFile:
    """Read the term frames of an OBO file; a row is a line of a frame, blank lines and frame headers left out.

    Raises:
        InputFileError: No ``format-version`` in the header, or no term frame.
    """
    header = header_of(text.head(200))
    if "format-version" not in header:
        raise InputFileError(
            "the file does not begin with an OBO header", file=text.path, line=1, expected="format-version: 1.2 or 1.4"
        )
    framed = _framed(text.lines)
    if not framed["is_term"].any():
        raise InputFileError("the file has no [Term] frame", file=text.path, expected="an ontology in OBO format")
    rejects = [_refused(framed)]
    aside = {"line of a Typedef or Instance frame": int((framed["frame_kind"] == "other").sum())}
    rows = framed.filter(pl.col("is_term") & pl.col("reason").is_null())
    clauses, bad = _read_lines(rows)
    rejects.append(bad)
    clauses = clauses.join(rows.select("line", "frame", "text"), on="line", how="left", maintain_order="left")
    clauses, bad = _with_terms(clauses)
    rejects.append(bad)
    unused = clauses.filter(~pl.col("tag").is_in(USED))
    aside |= {f"tag {tag} is not used": rows for tag, rows in unused.group_by("tag").len().sort("tag").iter_rows()}
    return OboFile(
        header,
        clauses.filter(pl.col("tag").is_in(USED)).select("line", "term", "tag", "value", "detail").sort("line"),
        pl.concat(rejects).sort("line"),
        {reason: count for reason, count in aside.items() if count},
    )


def _framed(lines: pl.DataFrame) -> pl.DataFrame:
    """Return the lines inside frames with their frame's number and kind, and a reason for those that are lost."""
    begins = pl.col("text").str.starts_with("[")
    title = pl.when(begins).then(pl.col("text").str.strip_chars())
    numbered = lines.with_columns(begins.cum_sum().alias("frame"), title.forward_fill().alias("title")).filter(
        (pl.col("frame") > 0) & (pl.col("text").str.strip_chars() != "")
    )
    known = pl.col("title").is_in(["[Term]", "[Typedef]", "[Instance]"])
    ids = pl.col("text").str.starts_with("id:").cum_sum().over("frame")
    undecodable = pl.col("text").str.contains("[\ufffd\x00]")
    reason = (
        pl.when(begins & known)
        .then(None)
        .when(begins)
        .then(pl.lit("frame header is not [Term], [Typedef] or [Instance]"))
        .when(~known)
        .then(pl.lit("line of a frame whose header is not readable"))
        .when(undecodable)
        .then(pl.lit("bytes that are not UTF-8 text"))
        .when(pl.col("text").str.starts_with("!"))
        .then(pl.lit("comment line"))
        .when((ids > 1) & (pl.col("title") == "[Term]"))
        .then(pl.lit("line after a second id in one frame; its [Term] line is missing"))
    )
    kind = pl.when(~known).then(pl.lit("lost")).when(pl.col("title") == "[Term]").then(pl.lit("term"))
    return (
        numbered.with_columns(reason.alias("reason"), kind.otherwise(pl.lit("other")).alias("frame_kind"))
        .filter(~(begins & known) & (pl.col("reason").fill_null("") != "comment line"))
        .with_columns((pl.col("frame_kind") == "term").alias("is_term"))
    )


def _refused(framed: pl.DataFrame) -> pl.DataFrame:
    lost = framed.filter(pl.col("reason").is_not_null() & (pl.col("frame_kind") != "other"))
    return lost.select("line", "reason", pl.col("text").str.slice(0, 300))


def _read_lines(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the clause of every line that has one, and the lines that are not OBO."""
    tagged = rows.select("line", "text", pl.col("text").str.extract(r"^([a-z_]+): ", 1).alias("tag"))
    parts, left = [], [tagged.filter(pl.col("tag").is_null() | ~pl.col("tag").is_in(list(_PLAIN)))]
    for (tag,), group in tagged.partition_by("tag", as_dict=True).items():
        if tag not in _PLAIN:
            continue
        pattern, second = _PLAIN[tag]
        first, other = (2, 1) if tag == "relationship" else (1, 2)
        detail = pl.col("text").str.extract(pattern, other) if second else pl.lit(None, dtype=pl.String)
        read = group.with_columns(pl.col("text").str.extract(pattern, first).alias("value"), detail.alias("detail"))
        parts.append(read.filter(pl.col("value").is_not_null()).select(*_CLAUSES))
        left.append(group.filter(read["value"].is_null()))
    rest = pl.concat(left).select("line", "text")
    slow: list[tuple[int, str, str, str | None]] = []
    bad: list[tuple[int, str, str]] = []
    for line, text, clause in _by_fastobo(list(rest.iter_rows())):
        if isinstance(clause, str):
            bad.append((line, clause, text[:300]))
        else:
            slow.append((line, *_said(clause, text)))
    parts.append(pl.DataFrame(slow, schema=_CLAUSES, orient="row"))
    return pl.concat(parts), pl.DataFrame(bad, schema=_REJECTS, orient="row")


def _by_fastobo(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str, Any]]:
    """Yield each line with its clause (None for an id line), or with the reason why it is none."""
    for start in range(0, len(lines), _CHUNK):
        chunk = lines[start : start + _CHUNK]
        frames = _parse([text for _, text in chunk])
        for place, (line, text) in enumerate(chunk):
            frame = frames[place] if frames is not None else (_parse([text]) or [None])[0]
            if frame is None:
                yield line, text, _reason(text)
            else:
                yield line, text, frame[0] if len(frame) else None


def _reason(text: str) -> str:
    tag = re.match(r"[a-z_]+(?=:)", text)
    return f"not a well-formed {tag[0]} line of OBO" if tag and tag[0] in _PLAIN else "not a line of OBO"


def _parse(lines: list[str]) -> list[Any] | None:
    """Parse each line in a term frame of its own; None where one of them is not OBO."""
    document = "".join(
        f"[Term]\n{text}\n\n" if text.startswith("id:") else f"[Term]\nid: line:{place}\n{text}\n\n"
        for place, text in enumerate(lines)
    )
    try:
        frames = list(fastobo.loads(document))
    except (SyntaxError, ValueError):
        return None
    return frames if len(frames) == len(lines) else None


def _said(clause: Any, text: str) -> tuple[str, str, str | None]:
    """Return tag, value and detail of a clause that fastobo read."""
    if clause is None:
        return "id", text.partition(":")[2].split("!")[0].strip(), None
    tag = str(clause.raw_tag())
    if tag == "def":
        return tag, str(clause.definition), ", ".join(str(xref.id) for xref in clause.xrefs)
    if tag == "synonym":
        return tag, str(clause.synonym.desc), None
    if tag == "relationship":
        return tag, str(clause.term), str(clause.typedef)
    if tag == "name":
        return tag, str(clause.name).strip(), None
    return tag, str(clause.raw_value()), None


def _with_terms(clauses: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give each clause its frame's id; reject frames without one or with one seen before, and repeated tags."""
    ids = (
        clauses.filter(pl.col("tag") == "id")
        .sort("line")
        .select("frame", pl.col("value").alias("term"), (~pl.col("value").is_first_distinct()).alias("again"))
    )
    frame = clauses.join(ids, on="frame", how="left", maintain_order="left").sort("line")
    repeated = pl.col("tag").is_in(_ONCE) & ~pl.struct("frame", "tag").is_first_distinct()
    reason = (
        pl.when(pl.col("term").is_null())
        .then(pl.lit("line of a term without a readable id"))
        .when(pl.col("again"))
        .then(pl.lit("line of a term whose id stands in an earlier frame"))
        .when(repeated)
        .then(pl.format("second {} of a term", "tag"))
    )
    judged = frame.with_columns(reason.alias("reason"))
    bad = judged.filter(pl.col("reason").is_not_null()).select("line", "reason", pl.col("text").str.slice(0, 300))
    return judged.filter(pl.col("reason").is_null()), bad
