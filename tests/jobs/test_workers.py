"""Real workers with a real Redis: whoever dies, the result is the same file and nothing finished is done twice."""

import random
import time
from contextlib import ExitStack

import pytest

from aroma.jobs.broker import broker_state, wake
from aroma.kgstore.ledger import State
from tests.support.worker_process import Worker, aroma


@pytest.fixture
def staff(lab, tmp_path, redis_server):
    """Start workers; each that lives at the end is told to end, and must end well."""
    with ExitStack() as stack:
        started = []

        def start(number):
            for _ in range(number):
                log = tmp_path / f"worker-{len(started)}.log"
                started.append(stack.enter_context(Worker(lab.home.path, log, broker=redis_server.url)))
            wait_until(lambda: {one.process.pid for one in started if one.process.poll() is None} <= there(lab))
            return started

        yield start
        for worker in started:
            if worker.process.poll() is None:
                assert worker.end() == 0, worker.log()
        assert lab.ledger.workers() == []


def there(lab):
    """Workers that have said that they are there, by process number."""
    return {int(worker.name.split(":")[1]) for worker in lab.ledger.workers()}


def wait_until(is_so, seconds=120):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_one_of_three_workers_is_killed(lab, staff, undisturbed, redis_server):
    workers = staff(3)
    run = lab.plan()
    assert wake(redis_server.url, run.id, run.queue, run.shards[State.WAITING]) is None
    standing = lab.wait(run, lambda now: now.workers and now.shards.get(State.DONE, 0) > 5)
    holder = int(standing.workers[0].split(":")[1])
    next(one for one in workers if one.process.pid == holder).kill()
    standing = lab.ledger.run(run.id)
    assert standing.is_open, "the run ended before the worker was killed: make it longer"
    ended = lab.wait_done(run)
    assert lab.files() == undisturbed
    assert lab.attempts() <= ended.shards[State.DONE] + 1  # at most the killed worker's shard was begun twice


def test_redis_is_killed_and_comes_back_empty(lab, staff, undisturbed, redis_server):
    staff(2)
    run = lab.plan()
    wake(redis_server.url, run.id, run.queue, run.shards[State.WAITING])
    lab.wait(run, lambda now: now.shards.get(State.DONE, 0) > 5)
    redis_server.kill()
    assert lab.ledger.run(run.id).is_open
    assert "does not answer" in wake(redis_server.url, run.id, run.queue, 1)
    ended = lab.wait_done(run)  # with no broker at all
    assert lab.attempts() == ended.shards[State.DONE]
    assert lab.files() == undisturbed
    redis_server.start()
    assert wake(redis_server.url, run.id, run.queue, 2) is None
    wait_until(lambda: not broker_state(redis_server.url).waiting["cpu"])  # they came back and took the messages


def test_cancel_and_resume_with_workers(lab, staff, undisturbed, redis_server):
    staff(2)
    run = lab.plan()
    wake(redis_server.url, run.id, run.queue, run.shards[State.WAITING])
    lab.wait(run, lambda now: now.shards.get(State.DONE, 0) > 5)
    lab.ledger.cancel(run.id)
    time.sleep(1)
    stopped = lab.ledger.run(run.id)
    assert stopped.state is State.CANCELLED
    assert stopped.workers == ()
    assert stopped.shards.get(State.WAITING), "the run ended before it was cancelled: make it longer"
    begun = lab.attempts()
    answer = aroma(lab.home.path, "runs", "resume", run.id, "--json", broker=redis_server.url)
    assert answer.returncode == 0, answer.stderr
    assert lab.ledger.run(run.id).state is State.DONE
    assert lab.attempts() == begun + stopped.shards[State.WAITING]  # what was done stayed done
    assert lab.files() == undisturbed


def test_a_worker_needs_no_broker(lab, tmp_path, undisturbed):
    with Worker(lab.home.path, tmp_path / "worker.log") as worker:
        run = lab.plan()
        lab.wait_done(run)
        assert lab.files() == undisturbed
        assert worker.end() == 0


@pytest.mark.full
def test_a_shard_of_a_machine_that_is_gone_is_taken_over_within_a_minute(lab, tmp_path, undisturbed):
    run = lab.plan()
    held = lab.ledger.claim(run.id, "another-machine:1:a")
    with Worker(lab.home.path, tmp_path / "worker.log"):
        lab.wait(run, lambda now: now.shards == {State.DONE: 456, State.LEASED: 1})
        began = time.monotonic()
        lab.wait_done(run)
        assert time.monotonic() - began < 60
    assert not lab.ledger.finish(held, {}, 1.0)
    assert lab.files() == undisturbed


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_twenty_kills(lab, staff, undisturbed, redis_server):
    """A worker is killed at a random moment and replaced, twenty times over one run."""
    drawn = random.Random(5)
    workers, kills = list(staff(3)), 0
    run = lab.plan()
    wake(redis_server.url, run.id, run.queue, run.shards[State.WAITING])
    while kills < 20:
        if not lab.ledger.run(run.id).is_open:  # a further run of the same items, as after a prune
            assert lab.files() == undisturbed
            answer = aroma(lab.home.path, "embed", "list", "--json")
            aroma(lab.home.path, "embed", "prune", "/".join(_set_of(answer.stdout)))
            run = lab.plan()
        lab.wait(run, lambda now: bool(now.workers) or not now.is_open)
        time.sleep(drawn.random())
        workers.pop(drawn.randrange(3)).kill()
        workers.append(staff(1)[-1])
        kills += 1
    lab.wait_done(run)
    assert lab.files() == undisturbed


def _set_of(shown):
    import json

    one = json.loads(shown.splitlines()[0])
    return one["encoder_id"], one["release"]
