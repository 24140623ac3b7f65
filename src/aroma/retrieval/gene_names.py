"""The gene resolver of an opened snapshot: names as mapped, sorted columns, searched by halves.

As dictionaries the names of a release take a quarter of a second and 100 MB of every process that opens it; mapped,
opening costs nothing and all processes share the pages. Whole columns are still resolved by joins over the release's
tables, which are read when that is asked for the first time.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aroma.errors import SnapshotError
from aroma.kgstore.home import Home
from aroma.kgstore.node_names import resolver_of
from aroma.kgstore.resolver import GeneResolver, Hits, NameTables
from aroma.retrieval.columns import TextColumn, open_array, open_texts, write_texts
from aroma.retrieval.parts import make_part, open_part
from aroma.retrieval.snapshot import NodeTable, Snapshot

_PART: Final = "gene-names"
_NO_GENE: Final = -1


class MappedNames(Mapping[str, Hits]):
    """One index of names: distinct keys in ascending order, and what each stands for.

    Args:
        keys: Ascending.
        starts: int64, keys + 1: the hits of key ``k`` are ``starts[k]`` to ``starts[k + 1]``.
        ranks: int8 by hit, rank of the tier.
        genes: int32 by hit, row of ``ids``, or -1 for a withdrawn entry.
        ids: Gene ids.
    """

    def __init__(
        self,
        keys: TextColumn,
        starts: npt.NDArray[np.int64],
        ranks: npt.NDArray[np.int8],
        genes: npt.NDArray[np.int32],
        ids: TextColumn,
    ) -> None:
        self._keys, self._starts, self._ranks, self._genes, self._ids = keys, starts, ranks, genes, ids

    def __getitem__(self, key: str) -> Hits:
        row = self._keys.find(key)
        if row is None:
            raise KeyError(key)
        span = slice(int(self._starts[row]), int(self._starts[row + 1]))
        found = zip(self._ranks[span].tolist(), self._genes[span].tolist(), strict=True)
        return [(rank, None if gene == _NO_GENE else self._ids[gene]) for rank, gene in found]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class MappedSymbols(Mapping[str, str]):
    """Approved symbol by gene id.

    Args:
        genes: int32, node numbers of the genes that have one, ascending (and so are their ids).
        nodes: All nodes.
    """

    def __init__(self, genes: npt.NDArray[np.int32], nodes: NodeTable) -> None:
        self._genes, self._nodes = genes, nodes

    def __getitem__(self, gene: str) -> str:
        node = self._nodes.ids.find(gene)
        if node is None:
            raise KeyError(gene)
        place = int(self._genes.searchsorted(np.int32(node)))
        if place == len(self._genes) or self._genes[place] != node:
            raise KeyError(gene)
        return self._nodes.symbols[node]

    def __iter__(self) -> Iterator[str]:
        return (self._nodes.ids[node] for node in self._genes.tolist())

    def __len__(self) -> int:
        return len(self._genes)

    def items(self) -> ItemsView[str, str]:
        """Return all of them; asked for once, they are kept."""
        return self._whole.items()

    def values(self) -> ValuesView[str]:
        """Return all symbols."""
        return self._whole.values()

    @cached_property
    def _whole(self) -> dict[str, str]:
        return {self._nodes.ids[node]: self._nodes.symbols[node] for node in self._genes.tolist()}


class SnapshotResolver(GeneResolver):
    """A ``GeneResolver`` that answers single names from the snapshot; answers are those of ``resolver_of``."""

    def __init__(self, home: Home, release: str, nodes: NodeTable, place: Path) -> None:
        self._home, self._release, self._nodes, self._place = home, release, nodes, place
        self._symbols = MappedSymbols(open_array(place / "symbols.npy"), nodes)

    @cached_property
    def tables(self) -> NameTables:
        """The indexes as tables, for whole columns."""
        return resolver_of(self._home, self._release).tables

    @cached_property
    def _identifier_hits(self) -> Mapping[str, Hits]:
        return self._index("identifiers")

    @cached_property
    def _exact_hits(self) -> Mapping[str, Hits]:
        return self._index("exact")

    @cached_property
    def _folded_hits(self) -> Mapping[str, Hits]:
        return self._index("folded")

    def _index(self, name: str) -> MappedNames:
        starts, ranks, genes = (open_array(self._place / f"{name}.{part}.npy") for part in ("starts", "ranks", "genes"))
        return MappedNames(open_texts(self._place, name), starts, ranks, genes, open_texts(self._place, "ids"))


def open_resolver(snapshot: Snapshot) -> GeneResolver:
    """Return the gene resolver of a snapshot's release; its part is laid out first where it is missing.

    Raises:
        ReleaseError: A table of the release cannot be read.
        SnapshotError: The part cannot be put in place.
    """
    place = snapshot.home.snapshot(snapshot.release) / _PART
    try:
        open_part(place, snapshot.release)
    except SnapshotError:
        _make(snapshot, place)
    return SnapshotResolver(snapshot.home, snapshot.release, snapshot.nodes, place)


def _make(snapshot: Snapshot, place: Path) -> None:
    whole = resolver_of(snapshot.home, snapshot.release)
    numbers = snapshot.nodes.by_id.rename({"id": "gene"})
    known = pl.DataFrame({"gene": list(whole.symbols)}, schema={"gene": pl.String}).join(numbers, on="gene")
    genes = pl.concat([table["gene"] for table in whole.tables]).drop_nulls().unique().sort()
    by_id = genes.to_frame().with_row_index("number")

    def fill(target: Path) -> None:
        np.save(target / "symbols.npy", known["node"].sort().to_numpy())
        write_texts(target, "ids", genes)
        for name, table in zip(NameTables._fields, whole.tables, strict=True):
            _write_index(target, name, table, by_id)

    make_part(place, snapshot.release, {"names": whole.tables.exact.height}, fill)


def _write_index(target: Path, name: str, table: pl.DataFrame, by_id: pl.DataFrame) -> None:
    rows = table.select("key", "rank", "gene").unique().join(by_id, on="gene", how="left").sort("key", "rank", "gene")
    keys = rows["key"].to_frame().with_row_index("row").group_by("key", maintain_order=True).agg(pl.col("row").first())
    write_texts(target, name, keys["key"])
    np.save(target / f"{name}.starts.npy", np.append(keys["row"].to_numpy(), rows.height).astype(np.int64))
    np.save(target / f"{name}.ranks.npy", rows["rank"].to_numpy().astype(np.int8))
    numbers = rows["number"].cast(pl.Int32).fill_null(_NO_GENE)
    np.save(target / f"{name}.genes.npy", numbers.to_numpy())
