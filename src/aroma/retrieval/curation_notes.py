"""What curators said, as evidence shows it: the reason behind an asserted edge, and what was hidden at a gene."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aroma.kgstore.tables import read_table
from aroma.retrieval.evidence_model import CuratorNote, Retraction


def asserted_notes(directory: Path) -> dict[str, CuratorNote]:
    """Return the notes of a release's assertions by the statement of each.

    Raises:
        ReleaseError: The table cannot be read.
    """
    return {statement: note for _, statement, kind, note in _notes(directory) if kind == "assert"}


def retractions_by_node(directory: Path) -> Mapping[str, list[Retraction]]:
    """Return what was retracted from a release, by the nodes at its ends.

    Raises:
        ReleaseError: A table cannot be read.
    """
    edges = read_table(directory, "retracted_edges")
    if not edges.height:
        return {}
    notes = {entry: note for entry, _, _, note in _notes(directory)}
    hidden: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in read_table(directory, "retracted_statements").iter_rows(named=True):
        hidden.setdefault(_key(row), []).append(row)
    found: dict[str, list[Retraction]] = {}
    for edge in edges.iter_rows(named=True):
        lines = hidden.get(_key(edge), [])
        entries = dict.fromkeys([edge["retraction"], *(line["retraction"] for line in lines)])
        told = Retraction(
            subject=edge["subject"],
            relation=edge["relation"],
            object=edge["object"],
            provider=edge["provider"],
            whole=edge["whole"],
            statements=[line["id"] for line in lines],
            notes=[notes[entry] for entry in entries if entry in notes],
        )
        for node in {edge["subject"], edge["object"]}:
            found.setdefault(node, []).append(told)
    return found


def retractions_at(by_node: Mapping[str, list[Retraction]], nodes: Iterable[str | None]) -> list[Retraction]:
    """Return what was retracted at any of some nodes, each once."""
    found: list[Retraction] = []
    for node in nodes:
        found += [one for one in by_node.get(node or "", ()) if one not in found]
    return found


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("subject", "relation", "object", "provider"))


def _notes(directory: Path) -> list[tuple[str, str, str, CuratorNote]]:
    """Return entry, statement, kind and note of each assertion and retraction in a release."""
    return [
        (
            row["id"],
            row["statement"] or "",
            row["kind"],
            CuratorNote(
                entry=row["id"],
                curator=row["curator"],
                reason=row["reason"],
                references=row["references"],
                date=row["date"],
                reviewed_by=row["reviewed_by"],
            ),
        )
        for row in read_table(directory, "assertions").iter_rows(named=True)
    ]
