"""What of a release, or of a FASTA file, is to be embedded: proteins with their sequences, nodes with their texts.

Sequences. UniProt's one-letter codes: the twenty standard letters, ``U`` (selenocysteine), ``O`` (pyrrolysine), and
the ambiguity codes ``B J X Z``; encoders read the rare ones as their own alphabet has them. ``*`` (a stop) and ``-``
(a gap) at the end are taken off; anywhere else the sequence is a problem and is not guessed at: what stands before and
after a stop or a gap is not one protein. Lower case is raised. Each change is said.

Texts of a release, composed from its tables, the same every time:

- gene: ``SYMBOL: name. description``, descriptions in the order of their providers' names, without a sentence that the
  provider cut off;
- GO term, complex: ``name. description``;
- pathway: ``name. Part of: top-level pathway``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from aroma.errors import InputFileError, UsageError
from aroma.importers.lines import open_text
from aroma.kgstore.home import Home
from aroma.kgstore.releases import load_tables
from aroma.kgstore.schema import Label
from aroma.model.embeddings.batches import window_starts
from aroma.model.embeddings.encoder import Item

PROTEIN: Final = "protein"
WINDOW_MARK: Final = "#"
"""Stands between a protein's id and the number of a residue window, counted from one."""
OVERLAPPING: Final = 4
"""Neighbouring windows share a quarter of their residues, at least."""
LEAST_WINDOW: Final = 16
TEXT: Final = "text"
TEXT_LABELS: Final = (Label.GENE, Label.GO_TERM, Label.PATHWAY, Label.COMPLEX)
STANDARD_LETTERS: Final = "ACDEFGHIKLMNPQRSTVWY"
SEQUENCE_LETTERS: Final = STANDARD_LETTERS + "BJOUXZ"
_STRANGE: Final = re.compile(f"[^{SEQUENCE_LETTERS}]")
_MARKS: Final = {"*": "a stop (*)", "-": "a gap (-)", ".": "a gap (.)"}
_CUT_OFF: Final = "[...]"
"""How STRING ends a text that it cut."""
_NOTHING: Final = frozenset({"none", "none."})
"""What providers write for no text at all."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """The sequences of a FASTA file.

    Attributes:
        items: One an entry that can be embedded, in the order of the file.
        missing: By entry id: why it cannot.
        notes: By entry id: what was changed on the way in.
        rejects: By one-based line: why the line, or the entry that begins there, has no id of its own.
    """

    items: list[Item]
    missing: Mapping[str, str]
    notes: Mapping[str, str] = field(default_factory=dict)
    rejects: Mapping[int, str] = field(default_factory=dict)


def sequence_problem(sequence: str) -> str | None:
    """Return why a cleaned sequence cannot be embedded, with the residue's place from one, or None."""
    if not sequence:
        return "no sequence"
    strange = _STRANGE.search(sequence)
    if strange is None:
        return None
    letter = strange.group()
    unknown = f"{letter!r}, which is no amino acid's letter," if not letter.islower() else f"lower case ({letter!r})"
    what = _MARKS.get(letter, unknown)
    return f"{what} at residue {strange.start() + 1} of {len(sequence)}"


def clean_sequence(raw: str) -> tuple[str, str]:
    """Return a sequence in upper case without spaces and without stops and gaps at its end, and what was changed."""
    joined = "".join(raw.split())
    whole = joined.upper()
    kept = whole.rstrip("*-")
    notes = ["lower case raised"] if whole != joined else []
    if len(kept) < len(whole):
        notes.append(f"{whole[len(kept) :]!r} at the end taken off")
    return kept, "; ".join(notes)


def items_of(home: Home, release: str, kind: str) -> tuple[list[Item], dict[str, str]]:
    """Return what of a release can be embedded, and the nodes that cannot with the reason.

    Args:
        home: Where.
        release: Release id.
        kind: ``protein``: every protein, its sequence. ``text``: every gene, GO term, pathway and complex, its text.

    Raises:
        UsageError: Another kind.
        ReleaseError: The release is unknown or damaged.
    """
    if kind == PROTEIN:
        return _protein_items(home, release)
    if kind == TEXT:
        return _text_items(home, release)
    raise UsageError(f"items are of kind {PROTEIN} or {TEXT}, not {kind!r}")


def windowed(items: Iterable[Item], residues: int) -> list[Item]:
    """Return the residue windows of proteins as items of their own: ``UniProtKB:P04637#1``, ``#2``, ….

    They are cut as ESM-2 cuts long proteins (``batches.window_starts``); a protein no longer than a window is one.

    Args:
        items: Proteins.
        residues: Residues a window at most; neighbours share a quarter of them, at least.
    """
    return [
        Item.of(f"{item.id}{WINDOW_MARK}{number}", item.text[start : start + residues])
        for item in items
        for number, start in enumerate(window_starts(len(item.text), residues, residues // OVERLAPPING), 1)
    ]


def licences_of(home: Home, release: str, kind: str) -> dict[str, str]:
    """Return provider and licence of the tables' rows that ``items_of`` takes, for an encoder's card.

    Raises:
        UsageError: Another kind.
        ReleaseError: The release is unknown or damaged.
    """
    labels = {PROTEIN: (Label.PROTEIN,), TEXT: TEXT_LABELS}.get(kind)
    if labels is None:
        raise UsageError(f"items are of kind {PROTEIN} or {TEXT}, not {kind!r}")
    tables = load_tables(home, release, ("nodes", "descriptions", "sources"))
    nodes = tables["nodes"].filter(pl.col("label").is_in([str(label) for label in labels]))
    stated = nodes.select("provider", "licence").drop_nulls().unique().sort("provider", "licence")
    found = dict(stated.group_by("provider").agg(pl.col("licence").sort().str.join("; ")).iter_rows())
    if kind == TEXT:
        described = tables["descriptions"].filter(pl.col("node").is_in(nodes["id"].implode()))["provider"].unique()
        sources = tables["sources"].filter(pl.col("provider").is_in(described.implode()))
        found |= dict(sources.select("provider", "licence").drop_nulls().iter_rows())
    return dict(sorted(found.items()))


def read_fasta(path: Path) -> Sequences:
    """Read a FASTA file, plain or gzip; the id of an entry is the first word of its header.

    A UniProt header (``>sp|P04637|P53_HUMAN …``) gives the node id ``UniProtKB:P04637``.

    Raises:
        InputFileError: The file cannot be read, is empty, or has no entry.
    """
    text = open_text(path)
    entries, rejects = _entries(text.lines.iter_rows())
    if not entries:
        raise InputFileError(
            "no line starts with '>'", file=path, line=1, expected="FASTA: '>' and an id, then residues"
        )
    items: dict[str, Item] = {}
    missing: dict[str, str] = {}
    notes: dict[str, str] = {}
    for line, name, raw in entries:
        if not name or name in items or name in missing:
            rejects[line] = "id stands on an earlier line" if name else "no id after '>'"
            continue
        sequence, note = clean_sequence(raw)
        if problem := sequence_problem(sequence):
            missing[name] = problem
            continue
        items[name] = Item.of(name, sequence)
        if note:
            notes[name] = note
    return Sequences(list(items.values()), missing, notes, rejects)


def _entries(lines: Iterable[tuple[int, str]]) -> tuple[list[tuple[int, str, str]], dict[int, str]]:
    """Return (line, id, residues) of each entry, and the lines before the first one."""
    heads: list[tuple[int, str]] = []
    parts: list[list[str]] = []
    rejects: dict[int, str] = {}
    for line, text in lines:
        if text.startswith(">"):
            heads.append((line, _entry_id(text[1:])))
            parts.append([])
        elif heads:
            parts[-1].append(text)
        elif text.strip():
            rejects[line] = "text before the first header"
    return [(line, name, "".join(part)) for (line, name), part in zip(heads, parts, strict=True)], rejects


def _entry_id(header: str) -> str:
    word = (header.split() or [""])[0]
    uniprot = re.match(r"(?:sp|tr)\|([^|]+)\|", word)
    return f"UniProtKB:{uniprot.group(1)}" if uniprot else word


def _protein_items(home: Home, release: str) -> tuple[list[Item], dict[str, str]]:
    tables = load_tables(home, release, ("nodes", "sequences"))
    proteins = tables["nodes"].filter(pl.col("label") == str(Label.PROTEIN)).select("id")
    rows = proteins.join(tables["sequences"], left_on="id", right_on="protein", how="left").sort("id")
    items: list[Item] = []
    missing: dict[str, str] = {}
    for node, residues in rows.select("id", "residues").iter_rows():
        sequence, _ = clean_sequence(residues or "")
        if problem := sequence_problem(sequence):
            missing[node] = problem
        else:
            items.append(Item.of(node, sequence))
    return items, missing


def _text_items(home: Home, release: str) -> tuple[list[Item], dict[str, str]]:
    tables = load_tables(home, release, ("nodes", "descriptions"))
    nodes = tables["nodes"].filter(pl.col("label").is_in([str(label) for label in TEXT_LABELS]))
    given = tables["descriptions"].sort("node", "provider").group_by("node", maintain_order=True).agg("text")
    rows = nodes.join(given, left_on="id", right_on="node", how="left").sort("id")
    items: list[Item] = []
    missing: dict[str, str] = {}
    columns = ("id", "label", "symbol", "name", "description", "namespace", "obsolete", "text")
    for node, label, symbol, name, description, namespace, obsolete, texts in rows.select(columns).iter_rows():
        said = [description or "", *(texts or [])]
        if label == Label.PATHWAY and namespace and namespace != name:
            said.append(f"Part of: {namespace}")
        head = f"{symbol}: {name}" if label == Label.GENE and symbol and name and symbol != name else name or symbol
        if obsolete:
            missing[node] = "obsolete"
        elif not head:
            missing[node] = "no name"
        else:
            items.append(Item.of(node, _joined([head, *said])))
    return items, missing


def _joined(parts: Iterable[str]) -> str:
    """Join parts as sentences; each ends with a full stop, and none was cut off in the middle."""
    ended = []
    for part in parts:
        text = " ".join(part.split())
        if text.endswith(_CUT_OFF) and ". " in text:
            text = text[: text.rfind(". ") + 1]
        if text and text.lower() not in _NOTHING:
            ended.append(text if text.endswith((".", "!", "?")) else f"{text}.")
    return " ".join(ended)
