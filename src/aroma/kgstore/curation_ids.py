"""Where an identifier that a curator gave stands in a release: itself, what it was merged into, or gone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import polars as pl

from aroma.kgstore.identifiers import Prefix
from aroma.kgstore.resolver import AMBIGUOUS, GeneResolver

GONE: Final = "gone"
SPLIT: Final = "split"
_OF_GENES: Final = frozenset({Prefix.HGNC, Prefix.ENSEMBL, Prefix.ENTREZ})


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of an identifier.

    Attributes:
        given: As the curator's entry has it.
        id: Node id in the release; None where there is none.
        label: That node's label.
        problem: ``gone`` or ``split`` where there is no id.
        candidates: The nodes between which a split one stands.
        replaced_by: What an obsolete term names as its replacements, empty where it is not obsolete.
    """

    given: str
    id: str | None
    label: str | None = None
    problem: str = ""
    candidates: tuple[str, ...] = ()
    replaced_by: tuple[str, ...] | None = None

    @property
    def moved(self) -> bool:
        """True where it was merged into another node."""
        return self.id is not None and self.id != self.given


class Identifiers:
    """The nodes of a release by what they are and were called.

    Args:
        nodes: Columns ``id``, ``label``, ``symbol``, ``previous``, ``obsolete`` and ``replaced_by`` of a release.
        gene_names: Its gene names.
        wanted: The identifiers that will be asked for.
    """

    def __init__(self, nodes: pl.DataFrame, gene_names: pl.DataFrame, wanted: set[str]) -> None:
        self._nodes, self._gene_names = nodes, gene_names
        here = nodes.filter(pl.col("id").is_in(sorted(wanted)))
        self._here = {row["id"]: row for row in here.iter_rows(named=True)}

    def follow(self, given: str) -> Followed:
        """Return where an identifier stands now."""
        if given in self._here:
            return self._at(given, given)
        if given.partition(":")[0] in _OF_GENES:
            found = self._resolver.resolve(given)
            if found.gene is not None:
                return self._at(given, found.gene)
            if found.reason == AMBIGUOUS:
                return Followed(given, None, problem=SPLIT, candidates=found.candidates)
            return Followed(given, None, problem=GONE)
        heirs = self._earlier.get(given, [])
        if len(heirs) == 1:
            return self._at(given, heirs[0])
        return Followed(given, None, problem=SPLIT if heirs else GONE, candidates=tuple(heirs))

    def _at(self, given: str, node: str) -> Followed:
        row = self._here.get(node)
        if row is None:
            found = self._nodes.filter(pl.col("id") == node)
            if not found.height:
                return Followed(given, None, problem=GONE)
            row = self._here[node] = found.row(0, named=True)
        replaced_by = tuple(row["replaced_by"] or ()) if row["obsolete"] else None
        return Followed(given, node, row["label"], replaced_by=replaced_by)

    @cached_property
    def _resolver(self) -> GeneResolver:
        return GeneResolver.from_tables(self._nodes.select("id", "label", "symbol"), self._gene_names)

    @cached_property
    def _earlier(self) -> dict[str, list[str]]:
        """Earlier and alternative ids of terms (genes keep symbols there) to the nodes that have them."""
        rows = self._nodes.filter(pl.col("label") != "Gene").select("id", "previous").explode("previous").drop_nulls()
        heirs: dict[str, list[str]] = {}
        for node, earlier in rows.iter_rows():
            heirs.setdefault(earlier, []).append(node)
        return heirs
