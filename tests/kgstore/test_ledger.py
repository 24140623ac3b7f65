"""The ledger of runs: nothing done twice, nothing lost, whoever dies."""

import multiprocessing
import subprocess
import sys
import time

import pytest

from aroma.errors import LedgerError, UsageError
from aroma.kgstore.ledger import MOST_ATTEMPTS, MOST_DEATHS, Ledger, ShardPlan, State, worker_name

PLAN = [ShardPlan({"items": [number]}, cost=number + 1) for number in range(4)]


@pytest.fixture
def ledger(tmp_path):
    found = Ledger(tmp_path / "ledger.sqlite", lease_seconds=0.2)
    found.plan("r1", "embed", "cpu", {"encoder": "x"}, PLAN)
    return found


def drain(ledger, worker, run="r1"):
    done = []
    while shard := ledger.claim(run, worker):
        assert ledger.finish(shard, {"number": shard.number}, 0.1)
        done.append(shard.number)
    return done


def test_shards_are_done_once_dearest_first_and_the_run_is_closed(ledger):
    assert not ledger.close("r1")
    assert drain(ledger, worker_name()) == [3, 2, 1, 0]
    assert ledger.close("r1")
    run = ledger.run("r1")
    assert (run.state, run.cost, run.cost_done) == (State.DONE, 10, 10)
    assert [result["number"] for result in ledger.results("r1")] == [0, 1, 2, 3]


def test_planning_twice_plans_once(ledger):
    drain(ledger, worker_name())
    ledger.plan("r1", "embed", "cpu", {}, PLAN * 2)
    assert ledger.run("r1").shards == {State.DONE: 4}
    assert ledger.run("r1").facts == {"encoder": "x"}


def test_a_shard_that_stands_still_is_taken_over_and_its_first_worker_learns_it(ledger):
    slow = ledger.claim("r1", "far-away:1:a")  # of another host: only its beats tell
    assert drain(ledger, worker_name()) == [2, 1, 0]
    assert ledger.claim("r1", "b") is None
    time.sleep(0.25)
    assert ledger.renew(slow)  # it lives: the watch begins anew
    assert ledger.claim("r1", "b") is None
    time.sleep(0.25)
    again = ledger.claim("r1", "b")
    assert again.number == slow.number
    assert not ledger.renew(slow)
    assert not ledger.finish(slow, {}, 1.0)
    assert ledger.finish(again, {}, 1.0)
    assert ledger.close("r1")


def test_a_dead_process_of_this_host_is_replaced_at_once(tmp_path):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, lease_seconds=1000)
    ledger.plan("r1", "embed", "cpu", {}, PLAN[:1])
    code = "import sys; from aroma.kgstore.ledger import *; Ledger(sys.argv[1]).claim('r1', worker_name())"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert ledger.run("r1").shards == {State.LEASED: 1}
    assert ledger.claim("r1", worker_name()) is not None


def test_a_failing_shard_is_tried_again_and_then_fails_the_run_which_can_be_resumed(ledger):
    for _ in range(MOST_ATTEMPTS):
        shard = ledger.claim("r1", "a")
        assert shard.number == 3
        ledger.fail(shard, "out of memory", again=True)
    run = ledger.run("r1")
    assert (run.state, run.message) == (State.FAILED, "out of memory")
    assert ledger.claim("r1", "a") is None
    ledger.resume("r1")
    assert drain(ledger, worker_name()) == [3, 2, 1, 0]


def test_cancelling_stops_workers_and_keeps_what_is_done(ledger):
    done = ledger.claim("r1", "a")
    ledger.finish(done, {}, 1.0)
    held = ledger.claim("r1", "a")
    assert ledger.cancel("r1").state is State.CANCELLED
    assert not ledger.renew(held)
    assert ledger.claim("r1", "b") is None
    ledger.resume("r1")
    assert sorted(drain(ledger, worker_name())) == [0, 1, 2]


def _work(path, queue):
    queue.put(drain(Ledger(path), worker_name()))


def test_many_processes_share_the_shards_without_overlap(tmp_path):
    path = tmp_path / "ledger.sqlite"
    Ledger(path).plan("r1", "embed", "cpu", {}, [ShardPlan({}) for _ in range(60)])
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_work, args=(path, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    done = [number for _ in workers for number in queue.get(timeout=60)]
    for worker in workers:
        worker.join(30)
    assert sorted(done) == list(range(60))


def test_an_unknown_run_and_a_file_that_is_no_ledger_are_said(ledger, tmp_path):
    with pytest.raises(UsageError, match="no runs begin with 'x'"):
        ledger.run("x")
    (tmp_path / "bad").write_text("not a database" * 100)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(tmp_path / "bad")


def test_a_shard_given_back_is_as_if_it_had_not_been_begun(ledger):
    shard = ledger.claim("r1", "a")
    ledger.give_back(shard)
    assert ledger.run("r1").shards == {State.WAITING: 4}
    again = ledger.claim("r1", "b")
    assert (again.number, again.attempts) == (shard.number, 1)
    ledger.give_back(shard)  # no longer its own: nothing changes
    assert ledger.renew(again)


def test_who_lost_a_shard_cannot_fail_its_run(ledger):
    lost = ledger.claim("r1", "far-away:1:a")
    ledger.cancel("r1")
    ledger.resume("r1")
    ledger.claim("r1", "b")
    ledger.fail(lost, "too late", again=False)
    assert ledger.run("r1").state is State.RUNNING


def test_a_shard_that_every_worker_dies_of_fails_the_run(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", lease_seconds=0.01)
    ledger.plan("r1", "embed", "cpu", {}, PLAN[:1])
    for number in range(MOST_DEATHS + 1):
        shard = ledger.claim("r1", f"far-away:{number}:a")
        ledger.claim("r1", "b")  # looks, and will see that nothing has moved
        time.sleep(0.02)
        if shard is None:
            break
    run = ledger.run("r1")
    assert run.state is State.FAILED
    assert f"{MOST_DEATHS} workers died" in run.message
    assert ledger.resume("r1").is_open
    assert ledger.claim("r1", "c") is not None


def test_a_shard_whose_result_was_lost_is_done_anew(ledger):
    drain(ledger, "a")
    ledger.redo("r1", 2, "its file is lost")
    assert not ledger.close("r1")
    assert drain(ledger, "b") == [2]


def test_open_runs_are_found_by_queue(ledger):
    ledger.plan("r2", "train-gat", "gpu", {}, PLAN[:1])
    assert ledger.open_runs(["cpu"]) == [("r1", "embed")]
    assert ledger.open_runs(["gpu"]) == [("r2", "train-gat")]
    ledger.move("r2", "cpu")
    assert {name for name, _ in ledger.open_runs(["cpu", "gpu"])} == {"r1", "r2"}
    assert ledger.open_runs(["gpu"]) == []
    ledger.fail_run("r2", "the disk is full")
    assert ledger.open_runs(["cpu"]) == [("r1", "embed")]
    assert ledger.run("r2").message == "the disk is full"


def test_workers_are_seen_until_they_leave_or_their_process_is_gone(ledger, tmp_path):
    here = worker_name()
    ledger.announce(here, ("cpu", "gpu"), "cuda:0")
    ledger.announce(here, ("cpu", "gpu"), "cuda:0")
    code = (
        "import sys; from aroma.kgstore.ledger import *; Ledger(sys.argv[1]).announce(worker_name(), ('cpu',), 'cpu')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "ledger.sqlite")], check=True)
    (seen,) = ledger.workers()
    assert (seen.name, seen.queues, seen.device) == (here, ("cpu", "gpu"), "cuda:0")
    ledger.leave(here)
    assert ledger.workers() == []


def test_a_ledger_whose_driver_is_missing_is_said_without_the_password():
    with pytest.raises(LedgerError, match="driver is not installed") as raised:
        Ledger("postgresql+pg8000://lab:secret@host/aroma")
    assert "secret" not in str(raised.value)
    with pytest.raises(LedgerError, match="SQLite or PostgreSQL, not mysql"):
        Ledger("mysql://lab:secret@host/aroma")
