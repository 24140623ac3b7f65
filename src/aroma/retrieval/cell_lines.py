"""Cell lines by any common spelling; unknown ones are allowed and flagged."""

from __future__ import annotations

from bisect import bisect_left

from aroma.kgstore.identifiers import Prefix
from aroma.retrieval.evidence_model import CellLine
from aroma.retrieval.snapshot import Snapshot
from aroma.retrieval.withhold import line_key


class CellLines:
    """The cell lines that a release describes."""

    def __init__(self, snapshot: Snapshot) -> None:
        nodes = snapshot.nodes
        self._known: dict[str, CellLine] = {}
        row = bisect_left(nodes.ids, f"{Prefix.CELLOSAURUS}:")
        while row < len(nodes.ids) and nodes.ids[row].startswith(f"{Prefix.CELLOSAURUS}:"):
            line = CellLine(
                name=nodes.symbols[row] or nodes.names[row],
                known=True,
                id=nodes.ids[row],
                description=nodes.texts[row],
                statements=[nodes.statements[row]],
            )
            for name in (nodes.ids[row], nodes.symbols[row], nodes.names[row]):
                self._known.setdefault(line_key(name), line)
            row += 1

    def find(self, name: str) -> CellLine:
        """Return the line, or one with ``known`` false under the name as given."""
        return self._known.get(line_key(name)) or CellLine(name=name, known=False)

    def names(self) -> list[str]:
        """Return the names of all known lines, sorted."""
        return sorted({line.name for line in self._known.values()})
