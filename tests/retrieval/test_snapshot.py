"""The snapshot: what is missing, old or damaged is noticed and made anew; what is served equals the release."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from aroma.errors import ReleaseError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import load_tables
from aroma.kgstore.schema import Relation
from aroma.kgstore.tables import ReleaseTables
from aroma.kgstore.views import PRESETS, adjusted, simple_pairs, view_edges
from aroma.retrieval import parts
from aroma.retrieval.edge_table import NO_SCORE
from aroma.retrieval.snapshot import (
    DERIVED,
    SERVED_VIEWS,
    check_snapshot,
    make_snapshot,
    open_snapshot,
    prune_snapshots,
)
from tests.support.homes import home_of_tables


def tables_of(home: Home) -> ReleaseTables:
    return load_tables(home, require_published(home).release)


def pairs_in(home: Home, definition) -> set[tuple[str, str]]:
    snapshot = open_snapshot(home)
    view = snapshot.view(definition)
    ids = [snapshot.nodes.ids[node] for node in view.to_release]
    return {(ids[one], ids[other]) for one, other in view.csr.edge_list()}


@pytest.mark.parametrize("name", PRESETS)
def test_a_view_joins_what_the_tables_join(sample_home, name):
    expected = set(simple_pairs(view_edges(tables_of(sample_home), PRESETS[name])).rows())
    assert pairs_in(sample_home, PRESETS[name]) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"minimum_score": 500},
        {"dropped_nodes": ("GO:0000002",)},
        {"excluded_evidence": ("IEA",)},
        {"annotated_until": "2022-12-31"},
        {"degree_cap": 3},
    ],
)
@pytest.mark.parametrize("name", SERVED_VIEWS)
def test_views_for_the_occasion_join_what_the_tables_join(small_home, name, changes):
    definition = adjusted(PRESETS[name], **changes)
    expected = set(simple_pairs(view_edges(tables_of(small_home), definition)).rows())
    assert pairs_in(small_home, definition) == expected
    derived = open_snapshot(small_home).derive(definition)
    assert len(derived.csr.edge_list()) == len(expected)
    assert not [path for path in small_home.snapshot(derived.release).glob("*") if "partial" in path.name]


def test_exclusions_change_the_views_that_they_concern(small_home):
    def count(name, **changes):
        return len(pairs_in(small_home, adjusted(PRESETS[name], **changes)))

    assert count("gene-kg", minimum_score=500) < count("gene-kg")
    assert count("path-kg", excluded_evidence=("IEA",)) == count("path-kg") - 1
    assert count("path-kg", annotated_until="2022-12-31") == count("path-kg") - 1
    assert count("path-kg", dropped_nodes=("GO:0000002",)) < count("path-kg")


def test_edges_between_two_nodes_are_those_of_the_release(sample_home):
    snapshot = open_snapshot(sample_home)
    edges = tables_of(sample_home)["edges"]
    for name in SERVED_VIEWS:
        view = snapshot.view(name)
        ids = [snapshot.nodes.ids[node] for node in view.to_release]
        for one, other in view.csr.edge_list()[::3]:
            numbers = view.edges_between(int(one), int(other))
            assert numbers == view.edges_between(int(other), int(one))
            for number in numbers:
                if number != DERIVED:
                    assert {edges["subject"][number], edges["object"][number]} == {ids[one], ids[other]}
        with pytest.raises(KeyError):
            view.edges_between(0, 0)


def test_pairs_of_a_node_are_those_between_it_and_each_neighbour(sample_home):
    view = open_snapshot(sample_home).view("path-kg")
    for node in range(view.csr.nodes):
        for pair, other in zip(view.pairs_of(node), view.csr.neighbours(node), strict=True):
            edges = view.pair_edges[view.pair_start[pair] : view.pair_start[pair + 1]].tolist()
            assert edges == view.edges_between(node, int(other))


def test_rows_of_edges_equal_the_release(sample_home):
    edges, table = tables_of(sample_home)["edges"], open_snapshot(sample_home).edges
    columns = [
        "subject", "relation", "object", "provider", "provider_release", "licence", "statements", "evidence",
        "references", "qualifiers", "score", "score_full", "since",
    ]  # fmt: skip
    for number, expected in enumerate(edges.select(columns).iter_rows(named=True)):
        row = table.row(number)
        for name in ("evidence", "references", "qualifiers"):
            expected[name] = [value or "" for value in expected[name]]
        assert row == expected
        channels = {
            name.removeprefix("score_"): edges[name][number]
            for name in edges.columns
            if name.startswith("score_") and name != "score_full" and edges[name][number]
        }
        assert table.channel_scores(number) == channels
    assert (table.score == NO_SCORE).sum() == edges["score"].null_count()
    assert [str(list(Relation)[code]) for code in table.relation] == edges["relation"].to_list()


def test_nodes_are_sorted_and_found_by_id(sample_home):
    nodes = open_snapshot(sample_home).nodes
    ids = nodes.ids.series()
    assert ids.is_sorted()
    for number, name in enumerate(ids):
        assert nodes.ids.find(name) == number
    assert nodes.ids.find("HGNC:0") is None
    assert nodes.ids[:2] == ids.to_list()[:2]
    with pytest.raises(IndexError):
        nodes.ids[len(nodes.ids)]
    with pytest.raises(IndexError):
        nodes.ids[-1]


def part_files(home: Home) -> list[str]:
    release = require_published(home).release
    make_snapshot(home)
    return sorted(str(path) for path in home.snapshot(release).rglob("*") if path.is_file())


def answers(home: Home) -> tuple[set[tuple[str, str]], list[str], list[dict[str, object]]]:
    snapshot = make_snapshot(home)
    rows = snapshot.edges.rows(range(len(snapshot.edges.subject)))
    return pairs_in(home, PRESETS["path-kg"]), list(snapshot.nodes.names), rows


@pytest.mark.parametrize("damage", ["missing", "cut off", "no manifest", "manifest is no JSON", "layout", "release"])
@pytest.mark.parametrize("part", ["nodes", "edges", "view"])
def test_what_is_missing_old_or_cut_off_is_made_anew(own_home, part, damage):
    before = answers(own_home)
    release = require_published(own_home).release
    place = own_home.snapshot(release) / (PRESETS["path-kg"].id if part == "view" else part)
    largest = max((path for path in place.glob("*.npy")), key=lambda path: path.stat().st_size)
    manifest = place / "manifest.json"
    said = json.loads(manifest.read_text())
    if damage == "missing":
        largest.unlink()
    elif damage == "cut off":
        largest.write_bytes(largest.read_bytes()[:-1])
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "manifest is no JSON":
        manifest.write_text("{")
    else:
        manifest.write_text(json.dumps({**said, damage: "another"}))
    with pytest.raises(parts.SnapshotError):
        parts.open_part(place, release)
    assert answers(own_home) == before
    assert parts.open_part(place, release) == said


def test_a_changed_byte_is_found_by_its_checksum(own_home):
    release = require_published(own_home).release
    make_snapshot(own_home)
    assert check_snapshot(own_home, release) == []
    names = own_home.snapshot(release) / "nodes" / "names.data.npy"
    content = bytearray(names.read_bytes())
    content[-1] ^= 1
    names.write_bytes(content)
    assert check_snapshot(own_home, release) == ["nodes/names.data.npy"]


def test_another_release_has_a_snapshot_of_its_own_and_pruning_keeps_known_releases(own_home):
    first = make_snapshot(own_home).release
    tables = tables_of(own_home)
    changed = tables["nodes"].with_columns(pl.lit("another name").alias("name"))
    home_of_tables(own_home.path, ReleaseTables.of({**tables.frames, "nodes": changed}))
    second = make_snapshot(own_home).release
    assert first != second
    assert set(open_snapshot(own_home).nodes.names) == {"another name"}
    assert "another name" not in set(open_snapshot(own_home, first).nodes.names)
    gone = own_home.snapshot("r0000000000000000")
    gone.mkdir()
    assert prune_snapshots(own_home) == ["r0000000000000000"]
    assert own_home.snapshot(first).exists()


def _open_in_a_process(home: Home) -> int:
    return make_snapshot(home).view("path-kg").csr.edges


def test_several_processes_open_and_make_it_at_once(own_home):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(_open_in_a_process, [own_home] * 8)
    assert len(set(found)) == 1
    assert check_snapshot(own_home, require_published(own_home).release) == []


def test_unknown_releases_and_views_are_named(small_home, tmp_path):
    with pytest.raises(ReleaseError, match="no release is published"):
        open_snapshot(Home(tmp_path))
    with pytest.raises(ReleaseError, match="rffff"):
        open_snapshot(small_home, "rffff")
    with pytest.raises(UsageError, match="did you mean 'gene-kg'"):
        open_snapshot(small_home).view("genekg")


def test_a_permuted_view_keeps_every_degree_and_the_labels_that_edges_join(sample_home):
    snapshot = open_snapshot(sample_home)
    plain = snapshot.view("path-kg")
    permuted = snapshot.view(adjusted(PRESETS["path-kg"], permutation_seed=1))
    assert np.array_equal(plain.to_release, permuted.to_release)
    assert np.array_equal(plain.csr.degrees, permuted.csr.degrees)
    assert not np.array_equal(plain.csr.indices, permuted.csr.indices)

    def joined(view):
        labels = [snapshot.nodes.labels[node] for node in view.to_release]
        return sorted(tuple(sorted((labels[one], labels[other]))) for one, other in view.csr.edge_list())

    assert joined(plain) == joined(permuted)
    again = snapshot.derive(adjusted(PRESETS["path-kg"], permutation_seed=1))
    assert np.array_equal(again.csr.indices, permuted.csr.indices)
    other = snapshot.derive(adjusted(PRESETS["path-kg"], permutation_seed=2))
    assert not np.array_equal(other.csr.indices, permuted.csr.indices)


def test_opening_reads_no_table_of_the_release(own_home):
    """A snapshot that is there is opened from its own files: it still opens when the tables are gone."""
    release = make_snapshot(own_home).release
    for path in own_home.release(release).glob("*.parquet"):
        path.unlink()
    code = (
        "import sys; from pathlib import Path; from aroma.kgstore.home import Home;"
        "from aroma.retrieval.snapshot import make_snapshot;"
        "print(make_snapshot(Home(Path(sys.argv[1]))).view('path-kg').csr.nodes)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(own_home.path)], capture_output=True, text=True, check=True)
    assert int(run.stdout) > 0
