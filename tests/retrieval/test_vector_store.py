"""Vector sets: whole or not there, what each vector came from, and damage that is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from filelock import FileLock

from aroma.errors import IdentifierError, SnapshotError, UsageError
from aroma.kgstore.home import Home
from aroma.retrieval.vector_store import (
    EncoderCard,
    VectorSet,
    check_vector_sets,
    embeddings_directory,
    find_vector_set,
    known_vectors,
    list_vector_sets,
    prune_vector_sets,
    vector_sets_of,
    write_vector_set,
)
from tests.support.vectors import make_vectors

RELEASE = "r0000000000000001"
TOY = {"b": [0.0, 3.0], "a": [1.0, 0.0], "c": "no sequence", "é": [2.0, 2.0]}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_rows_follow_the_ids_and_what_has_no_vector_says_why(home: Home):
    made = make_vectors(home, RELEASE, TOY)
    assert list(made.ids) == ["a", "b", "é"]
    vectors, known = made.of(["b", "c", None, "unheard of", "é", "b"])
    assert known.tolist() == [True, False, False, False, True, True]
    assert np.array_equal(vectors[known], [[0, 3], [2, 2], [0, 3]])
    assert np.isnan(vectors[~known]).all(), "unknown is no zero and no mean"
    assert (made.problem_of("c"), made.problem_of("a"), made.problem_of("unheard of")) == ("no sequence", None, None)
    items = made.items()
    assert items["id"].to_list() == ["a", "b", "c", "é"]
    assert items["row"].to_list() == [0, 1, None, 2]


def test_a_set_without_a_single_vector_can_be_kept(home: Home):
    items = pl.DataFrame(
        {"id": ["a"], "input_sha256": [None], "problem": ["empty"]}, schema_overrides={"input_sha256": pl.String}
    )
    made = write_vector_set(home, RELEASE, EncoderCard("toy", "text", "1", 4), items, lambda _: None)
    assert made.vectors.shape == (0, 4)
    assert made.rows_of(["a"]).tolist() == [-1]


def test_nothing_can_be_written_through_an_opened_set(home: Home):
    with pytest.raises(ValueError, match="read-only"):
        make_vectors(home, RELEASE, TOY).vectors[0, 0] = 9


@pytest.mark.parametrize(
    ("value", "said"), [(float("nan"), "not finite"), (float("inf"), "not finite"), (0.0, "nothing but zeros")]
)
def test_numbers_that_are_none_publish_nothing(home: Home, value: float, said: str):
    with pytest.raises(SnapshotError, match=f"toy gave a vector .*{said} for b; nothing was published"):
        make_vectors(home, RELEASE, {**TOY, "b": [value, value]})
    assert list_vector_sets(home) == []
    assert not any(path.is_dir() for path in embeddings_directory(home).glob("*/*")), "nor is a part of it left"


def test_what_overflows_half_precision_is_told(home: Home):
    with pytest.raises(SnapshotError, match="not finite for b"), np.errstate(over="ignore"):
        make_vectors(home, RELEASE, {**TOY, "b": [1e6, 1.0]}, dtype="float16")


def test_a_fill_that_fails_leaves_nothing(home: Home):
    items = pl.DataFrame(
        {"id": ["a"], "input_sha256": ["x"], "problem": [None]}, schema_overrides={"problem": pl.String}
    )

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(SnapshotError, match="cannot be put in place \\(No space left on device\\)"):
        write_vector_set(home, RELEASE, EncoderCard("toy", "text", "1", 4), items, full)
    assert list_vector_sets(home) == []


def test_an_id_twice_and_unknown_kinds_are_refused(home: Home):
    twice = pl.DataFrame({"id": ["a", "a"], "input_sha256": ["x", "y"], "problem": [None, None]})
    with pytest.raises(UsageError, match="a is to be embedded twice"):
        write_vector_set(home, RELEASE, EncoderCard("toy", "text", "1", 4), twice, lambda _: None)
    for wrong in ({"kind": "sound"}, {"dtype": "float64"}):
        with pytest.raises(UsageError, match="kind is one of graph, protein, text, dtype one of float32, float16"):
            make_vectors(home, RELEASE, TOY, **wrong)  # type: ignore[arg-type]


def test_an_id_of_an_encoder_follows_what_changes_a_vector_and_nothing_else():
    card = EncoderCard("toy", "text", "1", 4, parameters={"layer": 6, "window": 1024})
    assert card.id == EncoderCard("toy", "text", "1", 4, parameters={"window": 1024, "layer": 6}).id
    assert card.id == EncoderCard("toy", "text", "1", 4, parameters=card.parameters, licences={"corum": "NC"}).id
    others = [
        EncoderCard("toy", "text", "2", 4, parameters=card.parameters),
        EncoderCard("toy", "text", "1", 4, parameters={"layer": 5, "window": 1024}),
        EncoderCard("toy", "text", "1", 4, parameters=card.parameters, weights_sha256="ab"),
        EncoderCard("toy", "text", "1", 4, "float16", card.parameters),
    ]
    assert len({card.id, *(one.id for one in others)}) == 5


def test_sets_are_found_by_name_or_id_and_a_mistyped_name_gets_the_nearest(home: Home):
    one = make_vectors(home, RELEASE, TOY, name="composition", kind="protein")
    assert find_vector_set(home, RELEASE, None).card.id == one.card.id, "the only one"
    make_vectors(home, RELEASE, TOY, name="toy", parameters={"layer": 1})
    other = make_vectors(home, RELEASE, TOY, name="toy", parameters={"layer": 2})
    make_vectors(home, "r2", TOY, name="toy")
    assert find_vector_set(home, RELEASE, "composition").directory == one.directory
    assert find_vector_set(home, RELEASE, other.card.id).card.parameters == {"layer": 2}
    with pytest.raises(IdentifierError, match="did you mean 'composition'"):
        find_vector_set(home, RELEASE, "compositoin")
    with pytest.raises(UsageError, match=f"2 encoders are called 'toy' .*{other.card.id}"):
        find_vector_set(home, RELEASE, "toy")
    with pytest.raises(UsageError, match="name one of composition, toy"):
        find_vector_set(home, RELEASE, None)
    with pytest.raises(IdentifierError, match="aroma embed makes them"):
        find_vector_set(home, "r3", "toy")
    assert [found.card.name for found in vector_sets_of(home, RELEASE)] == ["composition", "toy", "toy"]
    assert len(list_vector_sets(home)) == 4


def test_vectors_of_equal_inputs_are_known_across_releases(home: Home):
    first = make_vectors(home, "r1", TOY)
    make_vectors(home, "r2", {**TOY, "d": [5.0, 5.0]})
    known = known_vectors(home, first.card)
    for node, sha256, row, _ in first.items().iter_rows():
        assert (sha256 in known) == (row is not None)
        if row is not None:
            path, place = known[sha256]
            assert np.array_equal(np.load(path)[place], TOY[node])
    assert len(known) == 4
    assert known_vectors(home, EncoderCard("another", "graph", "1", 2)) == {}


def test_damage_is_found_and_a_set_cut_off_does_not_open(home: Home):
    sound = make_vectors(home, RELEASE, TOY, name="sound")
    bent = make_vectors(home, RELEASE, TOY, name="bent")
    short = make_vectors(home, RELEASE, TOY, name="short")
    path = bent.directory / "vectors.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (short.directory / "vectors.npy").write_bytes(path.read_bytes()[:-4])
    assert check_vector_sets(home) == {
        f"{bent.card.id}/{RELEASE}": [f"{RELEASE}/vectors.npy"],
        f"{short.card.id}/{RELEASE}": [f"{RELEASE}/vectors.npy"],
    }
    with pytest.raises(SnapshotError, match="vectors.npy: missing or cut off"):
        VectorSet(short.directory, RELEASE)
    assert [one.card.name for one in list_vector_sets(home)] == ["bent", "sound"]
    assert sound.digest == VectorSet(sound.directory, RELEASE).digest


@pytest.mark.parametrize("damage", ["encoder", "files", "dim", "text"])
def test_a_manifest_that_is_not_ours_is_told(home: Home, damage: str):
    made = make_vectors(home, RELEASE, TOY)
    path = made.directory / "manifest.json"
    said = json.loads(path.read_text())
    if damage == "encoder":
        said["encoder"]["flavour"] = 1
    elif damage == "files":
        del said["files"]["vectors.npy"]
    elif damage == "dim":
        said["encoder"]["dim"] = 3
    path.write_text("{" if damage == "text" else json.dumps(said))
    with pytest.raises(SnapshotError, match=r"manifest.json|the manifest says \(3, 3\)"):
        VectorSet(made.directory, RELEASE)
    assert list_vector_sets(home) == []


def test_pruning_takes_what_is_refused_or_broken_and_spares_what_is_being_written(home: Home):
    kept, old = make_vectors(home, "r2", TOY), make_vectors(home, "r1", TOY)
    broken = make_vectors(home, "r3", TOY)
    (broken.directory / "manifest.json").unlink()
    left, written = (kept.directory.with_name(f".{release}.123.partial") for release in ("r4", "r5"))
    left.mkdir()
    written.mkdir()
    with FileLock(kept.directory.with_name(".r5.lock")):
        gone = prune_vector_sets(home, lambda one: one.release == "r2")
    assert gone == [f"{kept.card.id}/{name}" for name in (".r4.123.partial", "r1", "r3")]
    assert not old.directory.exists()
    assert written.exists()
    assert [one.release for one in list_vector_sets(home)] == ["r2"]


def test_the_same_set_again_stays_as_it_is(home: Home):
    first = make_vectors(home, RELEASE, TOY)
    before = (first.directory / "manifest.json").stat().st_mtime_ns
    assert make_vectors(home, RELEASE, TOY).digest == first.digest
    assert (first.directory / "manifest.json").stat().st_mtime_ns == before
