"""Traces asked of an endpoint: counted, kept, resumed, paid for once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import polars as pl
import pytest

from aroma.errors import LockHeldError, ServerAnswerError, UsageError
from aroma.model.traces.choosing import choose_rows
from aroma.model.traces.data_set import read_facts
from aroma.model.traces.endpoint import Endpoint, Sampling
from aroma.model.traces.instructions import instruction_text
from aroma.model.traces.journal import Journal
from aroma.model.traces.requesting import JOURNAL, RequestOptions, TraceRequests
from aroma.model.traces.rows import read_traces
from aroma.model.traces.spending import Prices
from aroma.model.traces.telling import open_evidence
from tests.support.chat_server import ChatServer, Reply, answer, by_rule

KEY = "sk-very-secret-key"


@pytest.fixture(scope="module")
def choice(known_outcomes):
    return choose_rows(known_outcomes, reserve=3, most=12, seed=1)


@pytest.fixture(scope="module")
def seen(sample_home, choice):
    return open_evidence(sample_home, None, choice.fold)


@pytest.fixture
def ask_for(seen, choice, tmp_path):
    def make(url, mode="informed", rows=choice, **more):
        endpoint = Endpoint(url, "scripted", KEY, seconds=10, attempts=2, first_wait=0.01)
        options = RequestOptions(mode, instruction_text(mode), **more)
        return TraceRequests(seen, rows, tmp_path / "out", endpoint, options)

    return make


def test_informed_traces_become_a_data_set(ask_for, tmp_path, choice):
    with ChatServer() as server:
        done = ask_for(server.url).run()
    frame = read_traces(tmp_path / "out")
    assert (done.asked, done.missing, done.stopped) == (12, 0, None)
    assert frame["kept"].all()
    assert frame.select("cell_line", "perturbation", "target", "label", "split").equals(
        choice.rows.select("cell_line", "perturbation", "target", "label", "split")
    )
    assert set(frame["writer"]) == {"scripted"}
    assert set(frame["kind"]) == {"informed"}
    assert frame["prompt"].str.contains("<Path-KG_EMB>").all()
    facts = read_facts(tmp_path / "out")
    assert "proves nothing" in facts.notes[0]
    assert facts.steps[-1]["tokens_in"] == 1200 == done.tokens_in
    assert not any("_EMB>" in question["messages"][-1]["content"] for question in server.questions)


def test_the_key_is_in_no_file(ask_for, tmp_path):
    with ChatServer(lambda *_: Reply(status=400, body={"error": KEY})) as server:
        ask_for(server.url).run()
    assert server.keys[0] == f"Bearer {KEY}"
    for path in (tmp_path / "out").iterdir():
        assert KEY.encode() not in path.read_bytes()


def test_a_blind_writer_is_not_told_and_kept_where_it_is_right(ask_for, tmp_path):
    with ChatServer() as server:
        ask_for(server.url, "blind", samples=3).run()
    assert len(server.questions) == 36
    assert len({question["seed"] for question in server.questions}) == 3
    assert not any("Its result" in question["messages"][-1]["content"] for question in server.questions)
    frame = read_traces(tmp_path / "out")
    assert 0 < frame["kept"].sum() < frame.height == 36
    said = {"not significantly changed": 0, "downregulated": 1, "upregulated": 2}
    right = pl.Series([said[text] for text in frame["answer"]]) == frame["label"]
    assert (frame["kept"] == right).all()
    assert frame.filter(~pl.col("kept"))["reason"].str.contains("^answer is .*, measured").all()


def test_no_further_sample_where_one_is_right(ask_for, tmp_path):
    with ChatServer() as server:
        ask_for(server.url, "blind", samples=30, until_good=True).run()
    kept = read_traces(tmp_path / "out", kept=True)
    assert kept.select("cell_line", "perturbation", "target").is_duplicated().sum() == 0
    assert len(server.questions) < 12 * 30


def test_a_blind_instruction_cannot_see_the_outcome(seen, choice, tmp_path):
    options = RequestOptions("blind", "{{ prompt }} {{ answer }}")
    requests = TraceRequests(seen, choice, tmp_path / "out", Endpoint("http://127.0.0.1:9", "m"), options)
    with pytest.raises(UsageError, match="instruction of mode blind: 'answer' is undefined"):
        requests.run()


BAD = [
    lambda: Reply(body=b'{"choices": [{"mess'),
    lambda: Reply(body={"choices": []}),
    lambda: answer("<think>a</think><answer>upregulated</answer><answer>downregulated</answer>"),
    lambda: Reply(status=400, body={"error": "too long"}),
]


def test_every_bad_answer_is_kept_with_its_reason_and_not_asked_again(ask_for, tmp_path):
    with ChatServer(lambda _, number: BAD[number % 4]()) as server:
        ask_for(server.url).run()
        assert ask_for(server.url).run().asked == 0
    frame = read_traces(tmp_path / "out")
    assert frame.height == 12
    assert not frame["kept"].any()
    counts = dict(frame.group_by("reason").len().iter_rows())
    assert sorted(counts.values()) == [3, 3, 3, 3]
    assert "more than one answer block" in counts
    with ChatServer() as server:
        assert ask_for(server.url, again=True).run().asked == 12
    assert read_traces(tmp_path / "out")["kept"].all()


def test_unanswered_questions_are_asked_by_the_next_run_only(ask_for, tmp_path):
    with ChatServer(lambda body, number: by_rule(body, number) if number % 3 else Reply(status=500)) as server:
        first = ask_for(server.url, concurrency=1, sampling=Sampling()).run()
    silent = read_traces(tmp_path / "out", kept=False)
    assert first.missing == silent.height
    with ChatServer() as server:
        second = ask_for(server.url).run()
    assert second.asked == first.missing
    assert read_traces(tmp_path / "out")["kept"].all()


def test_an_endpoint_that_is_gone_ends_the_run(ask_for, tmp_path, known_outcomes):
    many = choose_rows(known_outcomes, reserve=0, most=60)
    with pytest.raises(ServerAnswerError, match="20 questions in a row got no answer"):
        ask_for("http://127.0.0.1:9/v1", rows=many).run()
    with ChatServer() as server:
        assert ask_for(server.url, rows=many).run().missing == 0


def test_a_refused_key_ends_the_run_and_keeps_what_was_answered(ask_for):
    def script(body, number):
        return by_rule(body, number) if number < 4 else Reply(status=401)

    with ChatServer(script) as server, pytest.raises(ServerAnswerError, match="AROMA_LLM_KEY"):
        ask_for(server.url, concurrency=1).run()
    with ChatServer() as server:
        assert ask_for(server.url).run().asked == 8


def test_not_more_questions_at_one_time_than_allowed(ask_for):
    with ChatServer(lambda body, number: replace(by_rule(body, number), delay=0.05)) as server:
        ask_for(server.url, concurrency=3).run()
    assert 1 < server.most_at_once <= 3


def test_the_estimate_sends_nothing_and_the_limit_holds(ask_for, tmp_path):
    prices = Prices(1.0, 2.0)
    with ChatServer() as server:
        estimate, first = ask_for(server.url, prices=prices).preview()
        assert server.questions == []
        assert not (tmp_path / "out").exists()
        assert estimate.questions == 12
        assert estimate.tokens_in > 1000
        assert estimate.cost == pytest.approx((estimate.tokens_in + 2 * 12 * 400) / 1e6)
        assert "The experiment was done" in first[-1]["content"]
        each = estimate.most_cost / 12
        stopped = ask_for(server.url, prices=prices, most_cost=3.5 * each).run()
    assert "spending limit" in (stopped.stopped or "")
    assert 0 < stopped.asked < 12
    assert stopped.cost <= 3.5 * each
    with ChatServer() as server:
        assert ask_for(server.url, prices=prices).run().missing == 0
    with pytest.raises(UsageError, match="a spending limit needs prices"):
        ask_for(server.url, most_cost=1.0)


def test_another_run_in_the_same_place_is_refused_by_what_differs(ask_for):
    with ChatServer() as server:
        ask_for(server.url).run()
        with pytest.raises(UsageError, match="another mode, instruction is there \\('informed', now 'blind'\\)"):
            ask_for(server.url, "blind")


def test_one_process_at_a_time(ask_for, tmp_path):
    with Journal(tmp_path / "out" / JOURNAL), pytest.raises(LockHeldError, match="another process"):
        Journal(tmp_path / "out" / JOURNAL)


def test_half_a_line_of_a_killed_run_is_cut_off(ask_for, tmp_path):
    with ChatServer() as server:
        ask_for(server.url).run()
        path = tmp_path / "out" / JOURNAL
        whole = path.read_bytes()
        path.write_bytes(whole[:-25])
        assert ask_for(server.url).run().asked == 1
    assert len(path.read_bytes().splitlines()) == 12
    assert read_traces(tmp_path / "out")["kept"].all()


CHILD = """
import sys
from pathlib import Path
from aroma.cli import main
main(sys.argv[1:])
"""


def test_a_run_killed_in_the_middle_asks_only_for_what_is_missing(sample_home, tmp_path, known_outcomes):
    known_outcomes.select("cell_line", "perturbation", "target", "label").write_csv(tmp_path / "outcomes.csv")
    out = tmp_path / "out"
    command = [
        sys.executable, "-c", CHILD, "traces", "request", "--outcomes", str(tmp_path / "outcomes.csv"), "--rows", "40",
        "--reserve", "5", "--out", str(out), "--mode", "informed", "--model", "scripted", "--concurrency", "2",
        "--yes", "--json",
    ]  # fmt: skip
    with ChatServer(lambda body, number: replace(by_rule(body, number), delay=0.05)) as server:
        environment = {**os.environ, "AROMA_HOME": str(sample_home.path), "AROMA_LLM_URL": server.url}
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while len(server.questions) < 12 and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        time.sleep(0.2)
        asked, written = len(server.questions), len((out / JOURNAL).read_bytes().splitlines())
        assert 10 <= written < 40
        again = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    said = json.loads(again.stdout)
    assert said["asked"] == 40 - written == len(server.questions) - asked
    assert asked - written <= 2  # those that were under way
    frame = read_traces(out)
    assert frame.height == 40
    assert frame.select("cell_line", "perturbation", "target").is_duplicated().sum() == 0
