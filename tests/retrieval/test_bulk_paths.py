"""Paths of a file of pairs equal those of one pair at a time; no row is dropped."""

from __future__ import annotations

import polars as pl
import pytest

from aroma.kgstore.views import PRESETS, adjusted
from aroma.retrieval.bulk_paths import PERMUTED, write_paths
from aroma.retrieval.evidence import EvidenceOptions
from aroma.retrieval.paths import PathOptions

NAMES = ["TULP1", "AAMP", "ITCH", "AGPAT1", "AARS", "RPL11", "TP53", "MDM2", "SAG", "TULP9", "", "MT-ND3"]


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "RPE1.csv"
    rows = [(one, other) for one in NAMES for other in NAMES]
    pl.DataFrame(rows, schema=["pert", "gene"], orient="row").write_csv(path)
    return path


@pytest.mark.parametrize("view", ["path-kg", "gene-kg"])
@pytest.mark.parametrize("slack", [0, 1])
def test_they_equal_the_paths_of_single_pairs(sample_home, store, pairs_file, tmp_path, monkeypatch, view, slack):
    monkeypatch.setattr("aroma.retrieval.bulk_paths._ROWS_A_CHUNK", 50)
    options = PathOptions(view, slack=slack)
    out = tmp_path / "paths.parquet"
    told = []
    counts = write_paths(sample_home, pairs_file, out, options, progress=lambda *state: told.append(state))
    table = pl.read_parquet(out)
    single = store.variant(options=EvidenceOptions(options))
    assert table["row"].unique().to_list() == list(range(len(NAMES) ** 2))
    assert table["row"].is_sorted()
    for (row,), part in table.group_by("row", maintain_order=True):
        first, second = NAMES[row // len(NAMES)], NAMES[row % len(NAMES)]
        evidence = single.evidence(first, second, "RPE1")
        assert part["perturbation"].unique().to_list() == [first]
        assert part["target"].unique().to_list() == [second]
        found = part.drop_nulls("rank").select("rank", "hops", pl.col("nodes", "node_ids").cast(pl.List(pl.String)))
        expected = [
            (path.rank, path.hops, [node.name for node in path.nodes], [node.id for node in path.nodes])
            for path in evidence.paths
        ]
        assert found.rows() == expected
        if not expected:
            assert part.height == 1
            assert part["reason"][0]
        for path, relations, provenance in zip(
            evidence.paths, part["relationships"].to_list(), part["provenance"].to_list(), strict=False
        ):
            assert len(relations) == len(provenance) == path.hops
            for step, relation, said in zip(path.steps, relations, provenance, strict=True):
                own = {edge.relation for edge in step.edges}
                assert set(relation.split("|")) <= own | {"SHARES_COMPLEX"}
                assert {piece.split(" ")[0] for piece in said.split("|")} <= {edge.provider for edge in step.edges}
    assert counts["pairs"] == len(NAMES) ** 2
    assert counts["paths"] == table["rank"].count()
    assert counts["with_paths"] == (table["rank"] == 1).sum()
    assert told[-1] == (144, 144)
    assert len(told) == 3


def test_reasons_say_what_is_missing(sample_home, pairs_file, tmp_path):
    out = tmp_path / "paths.parquet"
    write_paths(sample_home, pairs_file, out, PathOptions())
    table = pl.read_parquet(out).unique(["perturbation", "target"], keep="first")
    reasons = {(row["perturbation"], row["target"]): row["reason"] for row in table.iter_rows(named=True)}
    assert reasons["TULP1", "ITCH"] is None
    assert reasons["TULP1", "TULP9"] == "target TULP9: unknown gene"
    assert reasons["TULP9", "TULP9"] == "perturbation TULP9: unknown gene; target TULP9: unknown gene"
    assert reasons["TULP1", "TULP1"] == "perturbation and target are the same gene"


def test_provenance_names_provider_evidence_and_line(sample_home, store, pairs_file, tmp_path):
    out = tmp_path / "paths.parquet"
    write_paths(sample_home, pairs_file, out, PathOptions())
    first = (
        pl.read_parquet(out)
        .filter((pl.col("perturbation") == "TULP1") & (pl.col("target") == "ITCH"))
        .row(0, named=True)
    )
    step = store.evidence("TULP1", "ITCH", "RPE1").paths[0].steps[0]
    edge = step.edges[0]
    codes = ",".join(dict.fromkeys(edge.evidence))
    assert first["provenance"][0].split("|")[0] == f"{edge.provider} {codes} ({edge.statements[0]})"


def test_csv_has_the_same_rows_with_lists_joined(sample_home, pairs_file, tmp_path):
    for name in ("paths.parquet", "paths.csv"):
        write_paths(sample_home, pairs_file, tmp_path / name, PathOptions())
    lists = ["nodes", "node_ids", "relationships", "provenance"]
    parquet = pl.read_parquet(tmp_path / "paths.parquet").with_columns(
        pl.col(lists).cast(pl.List(pl.String)).list.join(";")
    )
    csv = pl.read_csv(tmp_path / "paths.csv", schema=parquet.schema)
    blank = pl.col(pl.String).fill_null("")
    assert csv.with_columns(blank).equals(parquet.with_columns(blank))


def test_steps_of_a_permuted_view_say_so(small_home, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("perturbation,target\n1,4\n2,5\n1,7\n")
    definition = adjusted(PRESETS["gene-kg"], permutation_seed=4)
    write_paths(small_home, path, tmp_path / "out.parquet", PathOptions(definition))
    table = pl.read_parquet(tmp_path / "out.parquet").drop_nulls("rank")
    assert set(table["relationships"].explode().cast(pl.String)) == {PERMUTED}
    assert set(table["provenance"].explode().cast(pl.String)) == {""}


def test_no_pairs_make_an_empty_table(sample_home, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("perturbation,target\n")
    counts = write_paths(sample_home, path, tmp_path / "out.parquet", PathOptions())
    assert counts["pairs"] == 0
    assert pl.read_parquet(tmp_path / "out.parquet").height == 0
