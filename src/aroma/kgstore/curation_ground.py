"""The published release as curation sees it: which nodes, edges and statements an entry can be about."""

from __future__ import annotations

import difflib
from functools import cached_property
from typing import Any, Final

import polars as pl

from aroma.errors import CurationError, IdentifierError
from aroma.kgstore import schema
from aroma.kgstore.curation import PROVIDER
from aroma.kgstore.curation_apply import MAY_CHANGE, SAYS, ordered
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.resolver import GeneResolver
from aroma.kgstore.tables import read_table

_ENDS: Final = ["subject", "relation", "object", "provider"]
_LINE: Final = ["id", "import_run", *_ENDS, *SAYS, *MAY_CHANGE]
_LONG_LIST: Final = 5
Row = dict[str, Any]


class Ground:
    """Lookups in the published release; tables are read when first needed.

    Raises:
        ReleaseError: Nothing is published.
    """

    def __init__(self, home: Home) -> None:
        self.release = require_published(home).release
        self._directory = home.release(self.release)

    def node(self, given: str, notes: list[str]) -> str:
        """Return the id of the node that is meant; a gene may be given by any of its names, which is then noted.

        Raises:
            IdentifierError: There is no such node, or the name may stand for several.
        """
        name = given.strip()
        if name in self._labels:
            return name
        found = self._resolver.resolve(name)
        if found.gene is None:
            near = found.candidates or tuple(self._resolver.nearest(name))
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            said = "is no node" if ":" in name else f"is {found.reason} as a gene"
            raise IdentifierError(f"{given!r} {said} of release {self.release}{hint}")
        if name != found.symbol:
            notes.append(f"{given} is {found.symbol or found.gene} ({found.gene}), by {found.tier}")
        if found.flags:
            others = f", also a looser name of {', '.join(found.candidates)}" if found.candidates else ""
            notes.append(f"{given}: {', '.join(found.flags)}{others}")
        return found.gene

    def triple(self, subject: str, relation: str, object_: str, notes: list[str]) -> tuple[str, str, str]:
        """Return the ids of an edge, in the order in which edges have them.

        Raises:
            IdentifierError: An end that is no node of the release.
            CurationError: No such relation, or one that does not join such nodes.
        """
        names = [str(one) for one in schema.Relation]
        wanted = relation.strip().upper()
        if wanted not in names:
            near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            raise CurationError(f"relation {relation!r} is none of the graph's; {hint}")
        start, end = self.node(subject, notes), self.node(object_, notes)
        allowed = schema.RELATION_ENDS[schema.Relation(wanted)]
        labels = self._labels[start], self._labels[end]
        if labels[0] not in allowed.subjects or labels[1] not in allowed.objects:
            joins = f"{' or '.join(sorted(allowed.subjects))} to {' or '.join(sorted(allowed.objects))}"
            raise CurationError(f"{wanted} joins {joins}; {start} is a {labels[0]} and {end} a {labels[1]}")
        return ordered(start, wanted, end)

    def providers(self, triple: tuple[str, str, str]) -> list[str]:
        """Return who says an edge, retracted ones too, curators left out."""
        subject, relation, object_ = triple
        is_it = (pl.col("subject") == subject) & (pl.col("object") == object_) & (pl.col("relation") == relation)
        said = self._edges.filter(is_it & (pl.col("provider") != PROVIDER))["provider"]
        return sorted(set(said))

    def statement(self, given: str) -> Row:
        """Return a statement that is in the release or was retracted from it.

        Raises:
            IdentifierError: There is none of that id.
            CurationError: It is a curator's own.
        """
        found = self._statements.filter(pl.col("id") == given.strip())
        if not found.height:
            raise IdentifierError(
                f"statement {given!r} is not in release {self.release}; its ids are shown by: "
                "aroma query edge-provenance --param subject=… --param object=…"
            )
        row = found.row(0, named=True)
        if row["provider"] == PROVIDER:
            raise CurationError(f"statement {given} is a curator's; revoke the assertion instead (aroma curate list)")
        return row

    def likely_edges(self, triple: tuple[str, str, str]) -> str:
        """Return a hint: what joins the two ends otherwise."""
        ends = {triple[0], triple[2]}
        joined = self._edges.filter(pl.col("subject").is_in(ends) & pl.col("object").is_in(ends))
        listed = [f"{row[0]} {row[1]} {row[2]} ({row[3]})" for row in joined.head(_LONG_LIST).iter_rows()]
        return f"; these two are joined by {', '.join(listed)}" if listed else ""

    @cached_property
    def _nodes(self) -> pl.DataFrame:
        return read_table(self._directory, "nodes", ["id", "label", "symbol"])

    @cached_property
    def _labels(self) -> dict[str, str]:
        return dict(self._nodes.select("id", "label").iter_rows())

    @cached_property
    def _resolver(self) -> GeneResolver:
        return GeneResolver.from_tables(self._nodes, read_table(self._directory, "gene_names"))

    @cached_property
    def _edges(self) -> pl.DataFrame:
        tables = [read_table(self._directory, name, _ENDS) for name in ("edges", "retracted_edges")]
        return pl.concat(tables)

    @cached_property
    def _statements(self) -> pl.DataFrame:
        tables = [read_table(self._directory, name, _LINE) for name in ("statements", "retracted_statements")]
        return pl.concat(tables)
