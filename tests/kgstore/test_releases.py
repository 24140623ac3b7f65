"""Releases: immutable directories, one switch, numbers that go on, and a way back."""

from __future__ import annotations

import json

import pytest

from aroma.errors import LockHeldError, ReleaseError, StoreUnavailableError
from aroma.kgstore.diff import edge_history
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.locks import exclusive
from aroma.kgstore.publications import published, read_publications
from aroma.kgstore.releases import (
    check_tables,
    find_release,
    known_releases,
    load_tables,
    publish,
    roll_back,
    save_release,
)
from aroma.kgstore.retention import Rules, prune_releases
from tests.support.engines import MemoryEngine
from tests.support.tables import nodes, release, run_rows, statements

GENES = nodes(*[(f"HGNC:{n}", "Gene") for n in range(1, 6)])
PAIR = ("HGNC:1", "INTERACTS_WITH", "HGNC:2")
OTHER = ("HGNC:2", "INTERACTS_WITH", "HGNC:3")


def tables(*pairs, score=500, version="1"):
    runs = run_rows(("string", "links", len(pairs)))
    return release([GENES], [statements(pairs, score=score)], version=version, runs=runs)


def publish_tables(home, engine, made, **options):
    return publish(home, save_release(home, made), engine, **options)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def engine():
    return MemoryEngine()


def test_the_same_tables_are_the_same_release_and_published_once(home, engine):
    first = publish_tables(home, engine, tables(PAIR))
    again = publish_tables(home, engine, tables(PAIR))
    assert first == again
    assert [entry.sequence for entry in read_publications(home)] == [1]
    assert engine.projections == 1


def test_numbers_go_on_and_since_stays_with_what_did_not_change(home, engine):
    publish_tables(home, engine, tables(PAIR))
    second = publish_tables(home, engine, tables(PAIR, OTHER, version="2"))
    assert (second.sequence, second.parent) == (2, read_publications(home)[0].release)
    since = dict(load_tables(home, second.release)["edges"].select("subject", "since").iter_rows())
    assert since == {"HGNC:1": 1, "HGNC:2": 2}


def test_rolling_back_publishes_the_older_tables_under_the_next_number(home, engine):
    first = publish_tables(home, engine, tables(PAIR))
    publish_tables(home, engine, tables(OTHER))
    back = roll_back(home, engine, note="worse", progress=lambda _: None)
    assert (back.sequence, back.release, back.action, back.note) == (3, first.release, "rollback", "worse")
    assert engine.held.release == first.release
    forward = roll_back(home, engine, to="2", progress=lambda _: None)
    assert (forward.sequence, forward.release) == (4, read_publications(home)[1].release)


def test_there_must_be_something_to_roll_back_to(home, engine):
    publish_tables(home, engine, tables(PAIR))
    with pytest.raises(ReleaseError, match="no earlier release"):
        roll_back(home, engine, progress=lambda _: None)


def test_an_engine_that_fails_leaves_the_old_release_served_and_a_rerun_completes(home, engine):
    first = publish_tables(home, engine, tables(PAIR))

    def unreachable():
        raise StoreUnavailableError("down")

    failing = MemoryEngine(before=unreachable)
    with pytest.raises(StoreUnavailableError):
        publish_tables(home, failing, tables(OTHER))
    assert published(home) == first
    assert publish_tables(home, engine, tables(OTHER)).sequence == 2


def test_a_second_database_is_filled_without_a_new_publication(home, engine):
    first = publish_tables(home, engine, tables(PAIR))
    other = MemoryEngine()
    assert publish_tables(home, other, tables(PAIR)) == first
    assert other.held.release == first.release


def test_releases_are_found_by_id_beginning_and_number(home, engine):
    first = publish_tables(home, engine, tables(PAIR))
    second = publish_tables(home, engine, tables(OTHER))
    assert find_release(home, first.release) == first.release
    assert find_release(home, "1") == first.release
    assert find_release(home, "published") == second.release
    assert find_release(home, second.release[:9]) == second.release
    with pytest.raises(ReleaseError, match="is not a release here; there are"):
        find_release(home, "rffffffff")


def test_the_history_of_an_edge_is_read_from_the_tables(home, engine):
    publish_tables(home, engine, tables(PAIR, score=500))
    publish_tables(home, engine, tables(PAIR, score=800))
    publish_tables(home, engine, tables(OTHER))
    events = [(entry.sequence, entry.event) for entry in edge_history(home, "HGNC:2", "HGNC:1")]
    assert events == [(1, "first seen"), (2, "changed"), (3, "retired")]


def test_a_changed_file_is_noticed_and_not_published_again(home, engine):
    first = publish_tables(home, engine, tables(PAIR))
    publish_tables(home, engine, tables(OTHER))
    tables(OTHER)["edges"].write_parquet(home.release(first.release) / "edges.parquet")
    assert check_tables(home, first.release) == ["edges"]
    with pytest.raises(ReleaseError, match="edges changed since it was made"):
        roll_back(home, engine, progress=lambda _: None)


def test_half_written_directories_are_no_releases(home, engine):
    publish_tables(home, engine, tables(PAIR))
    (home.release("x").parent / ".rabc.partial").mkdir()
    (home.release("rdef")).mkdir()
    assert known_releases(home) == [published(home).release]


def test_pruning_keeps_the_served_release(home, engine):
    first = publish_tables(home, engine, tables(PAIR))
    publish_tables(home, engine, tables(OTHER))
    roll_back(home, engine, progress=lambda _: None)
    gone = prune_releases(home, Rules(keep=1)).gone
    assert known_releases(home) == [first.release]
    assert len(gone) == 1


def test_a_second_builder_learns_who_holds_the_lock(home):
    lock = home.locks / "build.lock"
    with exclusive(lock, "a build"):
        holder = json.loads(lock.with_suffix(".holder").read_text())
        said = rf"a build is under way: process {holder['pid']} on"
        with pytest.raises(LockHeldError, match=said), exclusive(lock, "a build"):
            pass
    with exclusive(lock, "a build"):
        pass


def test_the_audit_stands_beside_the_tables(home, engine):
    publish_tables(home, engine, tables(PAIR, OTHER))
    second = publish_tables(home, engine, tables(PAIR))
    said = json.loads((home.release(second.release) / "audit.json").read_text())
    assert said["diff"]["summary"] == [
        {"provider": "string", "thing": "INTERACTS_WITH", "change": "retired", "rows": 1}
    ]
    page = (home.release(second.release) / "audit.html").read_text()
    assert second.release in page
    assert "http-equiv" not in page
    assert "<script" not in page


@pytest.mark.parametrize("uri", ["http://localhost:7687", "bolt://", "neo4j"])
def test_an_address_that_is_none_is_refused(uri):
    with pytest.raises(Exception, match="graph address"):
        GraphTarget.locate(uri)
