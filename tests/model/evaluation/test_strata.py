"""Strata: shares, ties, hops against networkx."""

from __future__ import annotations

import networkx as nx
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aroma.errors import UsageError
from aroma.model.evaluation import strata
from aroma.model.ground import Ground


@pytest.fixture(scope="module")
def ground(sample_home) -> Ground:
    return Ground(sample_home)


@pytest.fixture(scope="module")
def pairs(ground) -> pl.DataFrame:
    names = ["RPL3", "TP53", "MDM2", "PSMA1", "NO-SUCH-GENE", "ATF4", "SDHA"]
    rows = [("K562", one, other) for one in names for other in names]
    return ground.rows(pl.DataFrame(rows, schema=["cell_line", "perturbation", "target"], orient="row"))


@given(st.lists(st.integers(0, 60), min_size=20, max_size=200))
@settings(max_examples=40, deadline=None)
def test_shares_of_rows_and_no_gene_in_two_strata(genes):
    names = pl.Series([f"G{gene}" for gene in genes])
    values = {f"G{gene}": float(gene) for gene in range(61)}
    found = strata.by_rank("x", "y", names, values).of_row
    for gene in set(genes):
        assert len(set(found[np.array(genes) == gene])) == 1
    order = np.argsort([-gene for gene in genes], kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_distinct_genes_part_20_40_40():
    names = pl.Series([f"G{number}" for number in range(100)])
    found = strata.by_rank("x", "y", names, {f"G{number}": float(number) for number in range(100)})
    assert np.bincount(found.of_row).tolist() == [20, 40, 40]
    assert found.of_row[99] == 0
    assert strata.by_rank("x", "y", pl.Series([None, "G1"], dtype=pl.String), {"G1": 3.0}).of_row.tolist() == [2, 1]


def test_hops_are_those_of_networkx(ground, pairs):
    view = ground.snapshot.view("path-kg")
    graph = nx.Graph()
    graph.add_nodes_from(range(view.csr.nodes))
    graph.add_edges_from(view.csr.edge_list().tolist())
    found = strata.by_hops(ground, pairs)
    for row, stratum in zip(pairs.iter_rows(named=True), found.of_row, strict=True):
        ends = [
            view.local(int(ground.nodes_of(pl.Series([row[f"{side}_gene"]], dtype=pl.String))[0]))
            for side in strata.SIDES
        ]
        if None in ends or not nx.has_path(graph, *ends) or nx.shortest_path_length(graph, *ends) > strata.MAX_HOPS:
            assert found.names[stratum] == "no path"
        else:
            assert stratum == nx.shortest_path_length(graph, *ends)
    assert found.names[found.of_row[0]] == "same gene"


def test_coverage_tells_which_gene_is_missing(ground, pairs):
    found = strata.by_coverage(ground, pairs)
    said = [found.names[place] for place in found.of_row]
    unknown = [name == "NO-SUCH-GENE" for name in pairs["perturbation"]]
    assert {one for one, missing in zip(said, unknown, strict=True) if missing} == {
        "perturbation missing",
        "both missing",
    }


def test_popularity_counts_references_or_what_a_file_says(ground, tmp_path):
    counted = strata.annotation_references(ground)
    assert counted
    assert min(counted.values()) >= 1
    path = tmp_path / "mentions.csv"
    path.write_text("gene,count\nTP53,900\nP53,100\nNO-SUCH-GENE,5\nMDM2,70\n")
    found = strata.read_mentions(ground, path)
    genes = dict(ground.resolver.resolve_column(pl.Series(["TP53", "MDM2"])).select("query", "gene").iter_rows())
    assert found[genes["MDM2"]] == 70
    assert found[genes["TP53"]] >= 900
    path.write_text("gene,count\nNO-SUCH-GENE,5\n")
    with pytest.raises(UsageError, match="none of its genes"):
        strata.read_mentions(ground, path)


def test_every_way_of_parting_gives_each_row_one_stratum(ground, pairs):
    for one in strata.all_strata(ground, pairs):
        assert len(one.of_row) == pairs.height
        assert one.of_row.min() >= 0
        assert one.of_row.max() < len(one.names)
