"""One question to an endpoint, over real HTTP: what is tried again, what is counted, what is refused."""

from __future__ import annotations

import asyncio
import email.utils
import time
from dataclasses import replace

import pytest

from aroma.errors import ServerAnswerError, UsageError
from aroma.model.traces.endpoint import Endpoint, Sampling, ask, open_client, open_endpoint
from tests.support.chat_server import ChatServer, Reply, answer

GOOD = "<think>Because of the path.</think><answer>upregulated</answer>"
KEY = "sk-very-secret-key"


def asked(script, **more):
    with ChatServer(script) as server:
        endpoint = replace(Endpoint(server.url, "m", KEY, seconds=5, attempts=3, first_wait=0.01), **more)

        async def one():
            async with open_client(endpoint, 2) as client:
                return await ask(client, endpoint, [{"role": "user", "content": "?"}], Sampling(seed=7), sample=2)

        return asyncio.run(one()), server


def after(status, **more):
    return lambda _, number: Reply(status=status, **more) if number == 0 else answer(GOOD)


def test_a_good_answer_is_counted_as_the_endpoint_counts():
    found, server = asked(lambda *_: answer(GOOD))
    assert (found.text, found.problem, found.answered, found.attempts) == (GOOD, None, True, 1)
    assert (found.tokens_in, found.tokens_out) == (100, len(GOOD) // 4)
    assert server.questions[0]["seed"] == 9
    assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_what_may_pass_is_asked_again(status):
    found, server = asked(after(status))
    assert (found.problem, found.attempts, len(server.questions)) == (None, 2, 2)


@pytest.mark.parametrize(
    "said", [lambda: "0.4", lambda: email.utils.formatdate(time.time() + 2, usegmt=True)], ids=["seconds", "date"]
)
def test_retry_after_is_obeyed(said):
    arrived = []

    def script(_, number):
        arrived.append(time.monotonic())
        return Reply(status=429, headers={"Retry-After": said()}) if number == 0 else answer(GOOD)

    found, _ = asked(script)
    assert found.problem is None
    assert arrived[1] - arrived[0] >= 0.4


def test_an_endpoint_that_is_always_busy_ends_in_a_reason_and_not_in_an_answer():
    found, server = asked(lambda *_: Reply(status=503))
    assert (found.problem, found.answered, len(server.questions)) == ("answered 503, 3 times", False, 3)


def test_a_slow_answer_is_given_up_and_asked_again():
    found, _ = asked(lambda _, number: replace(answer(GOOD), delay=2 if number == 0 else 0), seconds=0.5)
    assert (found.problem, found.attempts) == (None, 2)


def test_nobody_there():
    endpoint = Endpoint("http://127.0.0.1:9", "m", attempts=2, first_wait=0.01)

    async def one():
        async with open_client(endpoint, 1) as client:
            return await ask(client, endpoint, [], Sampling())

    found = asyncio.run(one())
    assert (found.problem, found.answered) == ("no answer (ConnectError), 2 times", False)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (replace(answer(GOOD), cut=40), "the answer is no JSON object, or half of one"),
        (Reply(body=b"[]"), "the answer is no JSON object, or half of one"),
        (Reply(body=b""), "the answer is no JSON object, or half of one"),
        (Reply(body={"choices": []}), "the answer has no choices"),
        (Reply(body={"choices": "no"}), "the answer has no choices"),
        (Reply(body={"choices": [{"message": None}]}), "no think block"),
        (answer(GOOD + "<answer>downregulated</answer>"), "more than one answer block"),
        (answer("I cannot say."), "no think block"),
        (answer(GOOD, finish="length"), "cut off at the most tokens"),
        (Reply(status=400, body={"error": f"too long, key {KEY}"}), 'answered 400: {"error": "too long, key [key]"}'),
    ],
)
def test_an_answer_that_is_no_trace_is_final_and_has_a_reason(reply, problem):
    found, server = asked(lambda *_: reply)
    assert (found.problem, found.answered, len(server.questions)) == (problem, True, 1)


def test_reasoning_in_a_field_of_its_own_is_put_back():
    found, _ = asked(lambda *_: answer("<answer>upregulated</answer>", reasoning_content="Because."))
    assert found.text == "<think>Because.</think><answer>upregulated</answer>"
    assert found.problem is None


@pytest.mark.parametrize(("status", "advice"), [(401, "set AROMA_LLM_KEY"), (404, "AROMA_LLM_URL"), (402, "no credit")])
def test_a_refusal_of_every_question_is_an_error_without_the_key(status, advice):
    with pytest.raises(ServerAnswerError, match=advice) as caught:
        asked(lambda *_: Reply(status=status, body={"error": f"bad key {KEY}"}))
    assert KEY not in str(caught.value)


def test_settings(monkeypatch):
    for name in ("URL", "KEY", "MODEL"):
        monkeypatch.delenv(f"AROMA_LLM_{name}", raising=False)
    with pytest.raises(UsageError, match="AROMA_LLM_URL"):
        open_endpoint()
    with pytest.raises(UsageError, match="expected an HTTP address"):
        open_endpoint("localhost:80")
    with pytest.raises(UsageError, match="AROMA_LLM_MODEL"):
        open_endpoint("http://h/v1")
    monkeypatch.setenv("AROMA_LLM_URL", "http://h/v1/")
    monkeypatch.setenv("AROMA_LLM_MODEL", "m")
    monkeypatch.setenv("AROMA_LLM_KEY", KEY)
    endpoint = open_endpoint()
    assert (endpoint.address, endpoint.model, endpoint.key) == ("http://h/v1/chat/completions", "m", KEY)
    assert KEY not in repr(endpoint)
    assert replace(endpoint, url="http://h/chat/completions").address == "http://h/chat/completions"
