"""Permuted releases keep every degree and nothing else, and plug-ins run on them."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.kgstore.tables import read_table
from aroma.model.evaluation.permutation import SWAPPED, permuted_edges, permuted_home
from aroma.model.evaluation.run import Request, evaluate
from aroma.model.ground import Ground

KEY = ["subject", "relation", "object", "provider"]


@pytest.fixture(scope="module")
def edges(ground) -> pl.DataFrame:
    return read_table(ground.home.release(ground.release), "edges")


def degree(edges: pl.DataFrame) -> pl.DataFrame:
    ends = pl.concat([edges.select("relation", "provider", node=side) for side in ("subject", "object")])
    return ends.group_by("relation", "provider", "node").len().sort("relation", "provider", "node")


def test_every_degree_is_kept_by_relation_and_provider(edges):
    found = permuted_edges(edges, 3)
    assert degree(found).equals(degree(edges))
    assert found.schema == edges.schema
    assert not found.select(KEY).is_duplicated().any()
    assert (found["subject"] != found["object"]).all()


def test_only_what_is_said_of_genes_moves_and_it_does(edges):
    found = permuted_edges(edges, 3)
    moved = pl.col("relation").is_in([str(relation) for relation in SWAPPED])
    assert found.filter(~moved).sort(KEY).equals(edges.filter(~moved).sort(KEY))
    before, after = (table.filter(moved).select(KEY) for table in (edges, found))
    assert after.join(before, on=KEY, how="anti").height > before.height / 4
    for relation in SWAPPED:
        scores = [table.filter(pl.col("relation") == str(relation))["score"].sort() for table in (edges, found)]
        assert scores[0].equals(scores[1])


def test_a_seed_gives_one_graph(edges):
    assert permuted_edges(edges, 3).equals(permuted_edges(edges.sample(fraction=1.0, shuffle=True, seed=1), 3))
    assert not permuted_edges(edges, 3).equals(permuted_edges(edges, 4))


def test_a_permuted_home_opens_as_any_other(ground, tmp_path):
    made = Ground(permuted_home(ground.home, ground.release, 1, tmp_path / "home"))
    assert made.release != ground.release
    assert made.snapshot.view("path-kg").csr.nodes > 0
    assert made.resolver.resolve_column(pl.Series(["TP53"]))["gene"][0] is not None
    assert made.kernels["string"].rows.shape[0] > 0


def test_a_plugin_is_shown_against_five_permuted_graphs(ground, outcomes):
    request = Request(outcomes, plugins=("core-voting",), draws=0, strata=False, permutations=5)
    (found,) = evaluate(ground, request)["permutations"]
    assert found["seeds"] == 5
    said = found["measures"]["change"]
    assert len(said["permuted"]) == 5
    assert said["gain"] == pytest.approx(said["real"] - sum(said["permuted"]) / 5)
    assert 1 / 6 <= said["p"] <= 1
