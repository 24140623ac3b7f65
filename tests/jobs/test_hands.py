"""The worker of a process and who watches a run, without processes."""

import subprocess
import sys
import time

import pytest

from aroma.errors import ModelError, UsageError
from aroma.jobs.devices import check_queues, queue_of
from aroma.jobs.hands import Hands
from aroma.jobs.kinds import KINDS, work_function
from aroma.jobs.watching import Pace, do_here, require_done, watch
from aroma.kgstore.ledger import ShardPlan, State
from aroma.kgstore.work_loop import STOP
from tests.support.worker_process import Worker, environment


@pytest.fixture
def hands(lab):
    return Hands(lab.home, lab.ledger, ("cpu",), "cpu")


def test_a_worker_does_the_runs_of_its_queues_alone(lab, hands, undisturbed):
    run = lab.plan(device="cuda")
    assert run.queue == "gpu"
    assert hands.look() == 0
    lab.plan()  # asked again for the CPU: the same run, moved
    assert hands.look() == 457
    assert lab.files() == undisturbed
    assert hands.work(run.id) == 0  # over


def test_a_run_that_cannot_be_done_here_stands_with_the_reason_and_the_others_are_done(lab, hands):
    strange = lab.ledger.plan("x1", "of-the-future", "cpu", {}, [ShardPlan({})])
    run = lab.plan()
    assert hands.look() == 457
    assert lab.ledger.run(run.id).state is State.DONE
    standing = lab.ledger.run(strange.id)
    assert standing.is_open
    assert "this worker may be older" in standing.message
    assert hands.work("nothing-like-it") == 0


def test_a_process_at_work_takes_no_second_run(lab, hands):
    run = lab.plan()
    with hands._busy:
        assert hands.work(run.id) == 0
    assert lab.ledger.run(run.id).shards == run.shards


def test_a_worker_without_work_ends_itself(lab, tmp_path, redis_server):
    for broker in (None, redis_server.url):
        with Worker(lab.home.path, tmp_path / "idle.log", broker=broker, more=("--idle", "1")) as worker:
            assert worker.process.wait(120) == 0, worker.log()
            assert "nothing to do for 1 s" in worker.log()


def test_a_worker_told_to_end_before_celery_listens_ends_as_well(lab, redis_server):
    code = "import sys; from aroma.jobs.worker import serve_worker; from aroma.kgstore.home import Home; "
    code += "serve_worker(Home.locate(sys.argv[1]), 'cpu', 'cpu', 0.0)"  # tells itself at once
    words = [sys.executable, "-c", code, str(lab.home.path)]
    done = subprocess.run(words, env=environment(redis_server.url), timeout=120, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def test_every_kind_of_run_has_what_does_it():
    assert set(KINDS) >= {"embed", "train-gat", "refresh", "refresh-step"}
    for kind in KINDS:
        assert callable(work_function(kind))
    with pytest.raises(UsageError, match="not known here"):
        work_function("train-all")


def test_rate_and_time_left_come_from_what_was_done_while_watched():
    pace = Pace()
    assert pace.of(100, 1000, 0.0) == (None, None)
    assert pace.of(300, 1000, 10.0) == (20.0, 35.0)
    assert pace.of(300, 1000, 20.0) == (10.0, 70.0)
    rate, _ = pace.of(500, 1000, 200.0)  # what is older than two minutes no longer counts
    assert rate == pytest.approx(200 / 180)


def test_who_watches_is_told_when_nobody_is_there_to_work(lab, monkeypatch):
    import aroma.jobs.watching as module

    monkeypatch.setattr(module, "_LONELY_SECONDS", 0.0)
    run, notes = lab.plan(), []

    def show(now):
        notes.append(now.note)
        if "start one" in now.note:
            lab.ledger.cancel(run.id)

    ended = watch(lab.home, lab.ledger, run, "redis://127.0.0.1:1/0", show)
    assert "no worker serves queue cpu; start one: aroma worker --queue cpu" in notes
    with pytest.raises(ModelError, match=f"aroma runs resume {run.id}"):
        require_done(ended)


def test_what_fails_here_is_raised_here(lab):
    strange = lab.ledger.plan("x1", "of-the-future", "cpu", {}, [ShardPlan({})])
    with pytest.raises(UsageError, match="not known here"):
        do_here(lab.home, lab.ledger, strange, "cpu", lambda _: None)


def test_whoever_is_interrupted_while_watching_stops_the_work(lab):
    run = lab.plan()

    def show(now):
        if now.run.shards.get(State.DONE, 0) > 3:
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            do_here(lab.home, lab.ledger, run, "cpu", show)
    finally:
        STOP.clear()
    standing = lab.ledger.run(run.id)
    assert standing.is_open
    assert standing.workers == ()
    time.sleep(0.2)
    assert lab.ledger.run(run.id).shards == standing.shards


@pytest.mark.parametrize(("device", "queue"), [("cpu", "cpu"), ("cuda", "gpu"), ("cuda:3", "gpu")])
def test_devices_have_queues(device, queue):
    assert queue_of(device) == queue


def test_queues_are_named():
    assert check_queues("gpu, cpu,gpu") == ("gpu", "cpu")
    for bad in ("", "fast", "cpu,fast"):
        with pytest.raises(UsageError, match="there are: cpu, gpu"):
            check_queues(bad)
