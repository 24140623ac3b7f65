"""The mapped gene resolver answers as the one built from the release's tables, and is made anew when cut off."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from aroma.kgstore.home import Home
from aroma.kgstore.node_names import resolver_of
from aroma.kgstore.tables import read_table
from aroma.retrieval.gene_names import SnapshotResolver, open_resolver
from aroma.retrieval.snapshot import Snapshot, open_snapshot


@pytest.fixture(scope="module")
def snapshot(sample_home: Home) -> Snapshot:
    return open_snapshot(sample_home)


@pytest.fixture(scope="module")
def names(sample_home: Home, snapshot: Snapshot) -> list[str]:
    written = read_table(sample_home.release(snapshot.release), "gene_names")["name"].to_list()
    odd = ["", " ", "no gene", "X\0", "HGNC:0", "9606.ENSP00000000000"]
    return [
        *written,
        *(name.lower() for name in written),
        *(f" {name}\t" for name in written),
        *snapshot.nodes.ids,
        *odd,
    ]


def test_single_names_resolve_as_from_the_tables(sample_home: Home, snapshot: Snapshot, names: list[str]) -> None:
    mapped, whole = open_resolver(snapshot), resolver_of(sample_home, snapshot.release)
    assert isinstance(mapped, SnapshotResolver)
    found = [mapped.resolve(name) for name in names]
    assert found == [whole.resolve(name) for name in names]
    assert {one.reason for one in found} > {None, "unknown"}


def test_columns_symbols_and_likest_names_are_those_of_the_tables(
    sample_home: Home, snapshot: Snapshot, names: list[str]
) -> None:
    mapped, whole = open_resolver(snapshot), resolver_of(sample_home, snapshot.release)
    assert mapped.resolve_column(pl.Series(names)).equals(whole.resolve_column(pl.Series(names)))
    assert dict(mapped.symbols) == dict(whole.symbols)
    assert len(mapped.symbols) == len(list(mapped.symbols))
    assert mapped.symbols.get("GO:0008150") is None
    assert mapped.symbols.get("not an id") is None
    assert mapped.nearest("TULPP1") == whole.nearest("TULPP1")


def test_a_part_that_is_cut_off_is_made_anew(sample_home: Home, snapshot: Snapshot, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.release("x").parent.mkdir()
    home.release(snapshot.release).symlink_to(sample_home.release(snapshot.release))
    home.published.write_text(sample_home.published.read_text())
    fresh = open_snapshot(home)
    symbol = next(iter(open_resolver(fresh).symbols.values()))
    file = home.snapshot(fresh.release) / "gene-names" / "exact.data.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert open_resolver(fresh).resolve(symbol).symbol == symbol
    assert file.read_bytes() == whole
