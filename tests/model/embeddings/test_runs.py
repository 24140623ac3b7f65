"""Embedding runs: the same file whoever does them and however often, nothing half-published."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aroma.errors import ModelError, ReleaseError, SnapshotError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import State
from aroma.kgstore.work_loop import STOP, CannotDoError
from aroma.model.embeddings.encoder import Encoded, Encoder, Item
from aroma.model.embeddings.run_files import run_directory, shard_path
from aroma.model.embeddings.runs import embeddings_ledger, plan_run, publish, work_on
from aroma.retrieval.vector_store import EncoderCard, embeddings_directory, list_vector_sets

TEXTS = {f"N:{number:02}": "ACDEFGHIK"[: number % 9 + 1] * (number + 1) for number in range(30)}


class Counting(Encoder):
    """Length and first letter of a text; keeps what it was asked."""

    def __init__(self, dtype="float32", version="1", breaks_at=None, gives_nan_at=None):
        self.card = EncoderCard("counting", "text", version, 2, dtype=dtype)
        self.asked, self.breaks_at, self.gives_nan_at = [], breaks_at, gives_nan_at

    def encode(self, texts):
        self.asked += texts
        if self.breaks_at in texts:
            raise ValueError("token 7 is out of range")
        rows = [(float(len(text)), np.nan if text == self.gives_nan_at else ord(text[0])) for text in texts]
        problems = {at: "it is too short" for at, text in enumerate(texts) if text == "A"}
        return Encoded(np.array(rows, dtype=np.float32), problems)

    def cost(self, text):
        return len(text)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("AROMA_LEDGER", raising=False)
    return Home(tmp_path / "home")


@pytest.fixture
def ledger(home):
    return embeddings_ledger(home, lease_seconds=0.2)


def items(texts=TEXTS):
    return [Item.of(node, text) for node, text in texts.items()]


def plan(home, ledger, encoder=None, texts=TEXTS, *, release="r1", cost=60, **more):
    return plan_run(
        home, ledger, release, encoder or Counting(), {"encoder": "counting"}, items(texts), shard_cost=cost, **more
    )


def made(home):
    (one,) = list_vector_sets(home)
    return {name: (one.directory / name).read_bytes() for name in ("vectors.npy", "items.parquet")}


def done(home, ledger, run, encoder=None):
    encoder = encoder or Counting()
    number = work_on(home, ledger, run.id, lambda _: encoder)
    return number, encoder


def test_a_run_gives_every_input_its_vector_and_every_other_its_reason(home, ledger):
    run = plan(home, ledger, missing={"N:99": "no sequence"})
    assert run.shards[State.WAITING] > 5
    number, _ = done(home, ledger, run)
    assert number == run.shards[State.WAITING]
    (one,) = list_vector_sets(home)
    table = one.items()
    assert dict(table.filter(pl.col("problem").is_not_null()).select("id", "problem").iter_rows()) == {
        "N:00": "it is too short",
        "N:99": "no sequence",
    }
    vectors, known = one.of(TEXTS)
    assert known.tolist() == [node != "N:00" for node in TEXTS]
    assert vectors[known, 0].tolist() == [len(text) for node, text in TEXTS.items() if node != "N:00"]
    assert ledger.run(run.id).state is State.DONE
    assert not run_directory(home, run.id).exists()


def test_equal_inputs_are_embedded_once_and_asking_twice_computes_nothing(home, ledger):
    twins = {**TEXTS, "N:77": TEXTS["N:20"]}
    _, encoder = done(home, ledger, plan(home, ledger, texts=twins))
    assert sorted(encoder.asked) == sorted(set(twins.values()))
    first = made(home)
    again = plan(home, ledger, texts=twins)
    assert again.state is State.DONE
    assert done(home, ledger, again)[1].asked == []
    assert made(home) == first


def test_the_file_is_the_same_however_the_work_was_cut_and_shared(home, ledger, tmp_path):
    done(home, ledger, plan(home, ledger))
    other = Home(tmp_path / "other")
    their = embeddings_ledger(other)
    run = plan(other, their, cost=1)
    encoders = [Counting(), Counting()]
    while their.run(run.id).is_open:
        for encoder in encoders:
            shard = their.claim(run.id, "elsewhere:1:a")  # of another machine, which gives it back
            if shard is not None:
                their.give_back(shard)
            work_on(other, their, run.id, lambda _, encoder=encoder: encoder)
    assert made(other) == made(home)


def test_the_next_release_embeds_only_what_is_new(home, ledger):
    done(home, ledger, plan(home, ledger))
    texts = {node: text for node, text in TEXTS.items() if node != "N:05"} | {"N:50": "WWW"}
    run = plan(home, ledger, texts=texts, release="r2")
    assert run.facts["to_embed"] == 2  # the new one, and the one that had no vector
    _, encoder = done(home, ledger, run)
    assert sorted(encoder.asked) == ["A", "WWW"]
    second = next(one for one in list_vector_sets(home) if one.release == "r2")
    assert second.of(["N:50", "N:07", "N:05"])[1].tolist() == [True, True, False]


def test_a_shard_whose_worker_died_after_writing_it_is_taken_as_it_is(home, ledger):
    run = plan(home, ledger)
    ledger.claim(run.id, "elsewhere:1:a")
    keeper = Counting()
    work_on(home, ledger, run.id, lambda _: keeper)  # all but the one that is held
    first = set(keeper.asked)
    assert ledger.run(run.id).shards[State.LEASED] == 1
    time.sleep(0.3)
    _, late = done(home, ledger, run)
    assert first.isdisjoint(late.asked)
    assert first | set(late.asked) == set(TEXTS.values())


def test_a_shard_file_that_is_damaged_or_of_other_inputs_is_done_anew(home, ledger, monkeypatch):
    import aroma.model.embeddings.runs as module

    run = plan(home, ledger)
    with monkeypatch.context() as context:
        context.setattr(module, "publish", lambda *_: None)  # all shards are done, and their files stand
        _, first = done(home, ledger, run)
    shard_path(home, run.id, 0).write_bytes(shard_path(home, run.id, 0).read_bytes()[:40])
    shutil.copy(shard_path(home, run.id, 2), shard_path(home, run.id, 1))
    assert publish(home, ledger, run.id) is None
    assert ledger.run(run.id).shards[State.WAITING] == 2
    _, second = done(home, ledger, run)
    assert ledger.run(run.id).state is State.DONE
    assert set(second.asked) < set(first.asked)
    (one,) = list_vector_sets(home)
    known = [node for node in TEXTS if node != "N:00"]
    assert one.of(known)[0][:, 0].tolist() == [len(TEXTS[node]) for node in known]


def test_a_shard_file_lost_after_the_ledger_said_done_is_done_anew(home, ledger):
    run = plan(home, ledger)
    for shard in iter(lambda: ledger.claim(run.id, "elsewhere:1:a"), None):
        ledger.finish(shard, {}, 0.1)  # says so, wrote nothing
    assert publish(home, ledger, run.id) is None
    assert ledger.run(run.id).shards == {State.WAITING: run.shards[State.WAITING]}
    _, encoder = done(home, ledger, run)
    assert set(encoder.asked) == set(TEXTS.values())
    assert ledger.run(run.id).state is State.DONE


def test_an_input_that_breaks_the_encoder_is_recorded_and_the_run_goes_on(home, ledger):
    done(home, ledger, plan(home, ledger), Counting(breaks_at=TEXTS["N:12"]))
    (one,) = list_vector_sets(home)
    said = dict(one.items().drop_nulls("problem").select("id", "problem").iter_rows())
    assert said == {"N:00": "it is too short", "N:12": "ValueError: token 7 is out of range"}


def test_an_encoder_that_breaks_at_everything_fails_the_run(home, ledger):
    class Broken(Counting):
        def encode(self, texts):
            raise ValueError("the vocabulary is empty")

    run = plan(home, ledger)
    done(home, ledger, run, Broken())
    ended = ledger.run(run.id)
    assert (ended.state, ended.message) == (State.FAILED, "ValueError: the vocabulary is empty")
    assert list_vector_sets(home) == []


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Counting(gives_nan_at=TEXTS["N:12"]), "a vector that is not finite for N:12; nothing was published"),
        (Counting(dtype="float16"), None),
    ],
)
def test_numbers_that_are_not_finite_publish_nothing(home, ledger, encoder, message):
    texts = TEXTS if message else {**TEXTS, "N:88": "A" * 70_000}  # more than float16 holds
    run = plan(home, ledger, encoder, texts, cost=100_000)
    if message:
        done(home, ledger, run, encoder)
    else:
        with pytest.raises(SnapshotError, match="not finite for N:88"):
            done(home, ledger, run, encoder)
    ended = ledger.run(run.id)
    assert ended.state is State.FAILED
    assert (message or "not finite for N:88") in ended.message
    assert list_vector_sets(home) == []
    assert not list(embeddings_directory(home).glob("e*/*/"))


def test_a_worker_with_other_weights_leaves_the_run_to_others(home, ledger):
    run = plan(home, ledger)
    with pytest.raises(CannotDoError, match="give every worker the same weights"):
        done(home, ledger, run, Counting(version="2"))
    standing = ledger.run(run.id)
    assert standing.shards == run.shards
    assert "planned with" in standing.message
    done(home, ledger, run)
    assert ledger.run(run.id).message == ""


def test_a_worker_without_the_runs_files_leaves_the_run_to_others(home, ledger, tmp_path):
    run = plan(home, ledger)
    with pytest.raises(CannotDoError, match="all workers need the same AROMA_HOME"):
        work_on(Home(tmp_path / "wrong"), ledger, run.id, lambda _: Counting())
    assert done(home, ledger, run)[0] == run.shards[State.WAITING]


def test_a_release_pruned_under_way_publishes_nothing(home, ledger):
    place = home.release("r1")
    place.mkdir(parents=True)
    (place / "manifest.json").write_text(json.dumps({}))
    run = plan(home, ledger)
    shutil.rmtree(place)
    with pytest.raises(ReleaseError, match="release r1 was pruned"):
        done(home, ledger, run)
    assert ledger.run(run.id).state is State.FAILED
    assert list_vector_sets(home) == []


def test_vectors_taken_over_that_vanish_are_said_and_planned_anew(home, ledger):
    done(home, ledger, plan(home, ledger))
    run = plan(home, ledger, texts={**TEXTS, "N:50": "WWW"}, release="r2")
    shutil.rmtree(list_vector_sets(home)[0].directory)
    with pytest.raises(ModelError, match="removed meanwhile"):
        done(home, ledger, run)
    anew = plan(home, ledger, texts={**TEXTS, "N:50": "WWW"}, release="r2")
    assert anew.facts["to_embed"] == len({*TEXTS.values(), "WWW"})
    done(home, ledger, anew)
    assert ledger.run(anew.id).state is State.DONE


def test_a_set_that_was_pruned_is_made_anew(home, ledger):
    first = plan(home, ledger)
    done(home, ledger, first)
    before = made(home)
    shutil.rmtree(list_vector_sets(home)[0].directory)
    assert plan(home, ledger).state is State.WAITING
    done(home, ledger, first)
    assert made(home) == before


def test_a_set_that_outlived_its_ledger_is_found(home, ledger):
    done(home, ledger, plan(home, ledger))
    ledger.forget(plan(home, ledger).id)
    assert plan(home, ledger).state is State.DONE


def test_a_full_disk_at_the_end_keeps_the_older_set_and_can_be_resumed(home, ledger, monkeypatch):
    """Other items under one name: the older set goes only when the new one is whole."""
    import aroma.model.embeddings.runs as module

    done(home, ledger, plan(home, ledger))
    before = made(home)
    run = plan(home, ledger, texts={"N:01": "CC"})

    def full(*_, **__):
        raise SnapshotError("vectors.npy: cannot be put in place (No space left on device)")

    with monkeypatch.context() as context:
        context.setattr(module, "write_vector_set", full)
        with pytest.raises(SnapshotError, match="No space left"):
            done(home, ledger, run)
    assert made(home) == before
    assert "aroma runs resume" in ledger.run(run.id).message
    ledger.resume(run.id)
    assert done(home, ledger, run)[0] == 0  # nothing was computed again
    assert len(list_vector_sets(home)[0].ids) == 1


def test_a_process_that_is_to_end_gives_its_shard_back(home, ledger):
    run = plan(home, ledger)

    class Ending(Counting):
        def encode(self, texts):
            STOP.set()
            return super().encode(texts)

    try:
        assert work_on(home, ledger, run.id, lambda _: Ending()) == 0
    finally:
        STOP.clear()
    assert ledger.run(run.id).shards == run.shards
    assert not shard_path(home, run.id, 0).exists()
    done(home, ledger, run)
    assert ledger.run(run.id).state is State.DONE


def test_a_cancelled_run_stops_and_goes_on_where_it_was(home, ledger):
    run = plan(home, ledger)

    class Cancelled(Counting):
        def encode(self, texts):
            if len(self.asked) > 5:
                ledger.cancel(run.id)
            return super().encode(texts)

    first = Cancelled()
    work_on(home, ledger, run.id, lambda _: first)
    stopped = ledger.run(run.id)
    assert stopped.state is State.CANCELLED
    assert list_vector_sets(home) == []
    _, second = done(home, ledger, plan(home, ledger))
    assert len(second.asked) < len(set(TEXTS.values()))
    assert ledger.run(run.id).state is State.DONE


def test_an_id_that_stands_twice_is_refused(home, ledger):
    with pytest.raises(UsageError, match="N:01 is to be embedded twice"):
        plan_run(home, ledger, "r1", Counting(), {}, [Item.of("N:01", "A"), Item.of("N:01", "C")])


def test_the_ledger_may_stand_elsewhere(home, tmp_path, monkeypatch):
    monkeypatch.setenv("AROMA_LEDGER", f"sqlite:///{tmp_path / 'lab' / 'ledger.db'}")
    plan(home, embeddings_ledger(home))
    assert Path(tmp_path / "lab" / "ledger.db").exists()
    assert not (embeddings_directory(home) / "ledger.sqlite").exists()
