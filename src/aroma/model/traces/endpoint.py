"""One question to an OpenAI-compatible chat endpoint: sent again where that can help, and whatever comes, an answer.

Sent again are requests that found nobody, took too long, or were turned away (408, 429, 5xx); ``Retry-After`` is
obeyed. What the endpoint did answer is never asked again by itself: it may have been paid for. The key stands in one
header and in no message, file or log.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import random
import re
import time
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import msgspec

from aroma.errors import ServerAnswerError, UsageError
from aroma.model.traces.answers import parse

URL_VARIABLE: Final = "AROMA_LLM_URL"
KEY_VARIABLE: Final = "AROMA_LLM_KEY"
MODEL_VARIABLE: Final = "AROMA_LLM_MODEL"
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
_REFUSED: Final = frozenset({401, 402, 403, 404, 405})
_PATH: Final = "/chat/completions"
_SHOWN: Final = 200
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where questions go.

    Attributes:
        url: Base address, such as ``http://127.0.0.1:8000/v1``.
        model: The model's name there.
        key: Sent as bearer token; None for none.
        seconds: Longest wait for one answer.
        attempts: Times a question is sent, the first among them.
        first_wait: Seconds before the second time; doubled each time, with some chance.
        longest_wait: Most seconds between two times, unless ``Retry-After`` asks for more.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    seconds: float = 300.0
    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0

    @property
    def address(self) -> str:
        """The full address of the chat call."""
        base = self.url.rstrip("/")
        return base if base.endswith(_PATH) else base + _PATH

    def hide(self, text: str) -> str:
        """Return a text without the key, should the endpoint have sent it back."""
        return text.replace(self.key, "[key]") if self.key else text


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the model is asked to write.

    Attributes:
        temperature: 0 for its likeliest words.
        most_tokens: Longest answer.
        seed: Passed on; sample ``k`` of a row has ``seed + k``.
    """

    temperature: float = 0.7
    most_tokens: int = 1500
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a question.

    Attributes:
        text: The trace as written; empty where there is none.
        problem: Why there is no good trace, or None.
        answered: Whether the endpoint gave an answer at all; else the question may be asked again.
        tokens_in: As counted by the endpoint, or None.
        tokens_out: As counted by the endpoint, or None.
        attempts: Times sent.
    """

    text: str
    problem: str | None
    answered: bool
    tokens_in: int | None = None
    tokens_out: int | None = None
    attempts: int = 1


def open_endpoint(
    url: str | None = None, model: str | None = None, *, seconds: float = 300.0, attempts: int = 6
) -> Endpoint:
    """Return the endpoint that options or settings name.

    Raises:
        UsageError: No address or model is given, or the address is no HTTP address.
    """
    address, name = url or os.environ.get(URL_VARIABLE), model or os.environ.get(MODEL_VARIABLE)
    if not address:
        raise UsageError(f"no endpoint: give --url or set {URL_VARIABLE}, such as http://127.0.0.1:8000/v1")
    if not re.match(r"https?://[^/]", address):
        raise UsageError(f"endpoint {address!r}: expected an HTTP address such as http://127.0.0.1:8000/v1")
    if not name:
        raise UsageError(f"no model: give --model or set {MODEL_VARIABLE} to its name at {address}")
    return Endpoint(address, name, os.environ.get(KEY_VARIABLE) or None, seconds=seconds, attempts=attempts)


def open_client(endpoint: Endpoint, connections: int) -> httpx.AsyncClient:
    """Return a client with so many connections."""
    headers = {"User-Agent": "aroma-evidence"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(endpoint.seconds, connect=10.0), limits=limits)


async def ask(
    client: httpx.AsyncClient, endpoint: Endpoint, messages: list[Message], sampling: Sampling, sample: int = 0
) -> Answered:
    """Ask once, patiently.

    Args:
        client: See ``open_client``.
        endpoint: Where to.
        messages: The conversation.
        sampling: How the model is to write.
        sample: Which of a row's samples; changes the seed.

    Raises:
        ServerAnswerError: The endpoint refuses every question alike: wrong key, no money, no such model or address.
    """
    body = {
        "model": endpoint.model,
        "messages": messages,
        "temperature": sampling.temperature,
        "max_tokens": sampling.most_tokens,
        "seed": sampling.seed + sample,
    }
    problem = ""
    for attempt in range(1, endpoint.attempts + 1):
        asked_wait: float | None = None
        try:
            response = await client.post(endpoint.address, json=body)
        except httpx.HTTPError as error:
            problem = f"no answer ({type(error).__name__})"
        else:
            if response.status_code in _REFUSED:
                raise _refused(endpoint, response)
            if response.status_code not in _AGAIN:
                return _answered(endpoint, response, attempt)
            problem, asked_wait = f"answered {response.status_code}", _retry_after(response)
        if attempt < endpoint.attempts:
            await asyncio.sleep(_wait(endpoint, attempt, asked_wait))
    return Answered("", f"{problem}, {endpoint.attempts} times", answered=False, attempts=endpoint.attempts)


def _wait(endpoint: Endpoint, attempt: int, asked: float | None) -> float:
    spread = random.uniform(0.5, 1.0)  # noqa: S311 - to spread requests, no secret
    own: float = min(endpoint.first_wait * 2 ** (attempt - 1), endpoint.longest_wait) * spread
    return own if asked is None else max(asked, 0.0) + own * 0.1


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3: a number or a date), or None."""
    said = response.headers.get("retry-after", "").strip()
    if said.replace(".", "", 1).isdigit():
        return float(said)
    try:
        return email.utils.parsedate_to_datetime(said).timestamp() - time.time()
    except ValueError:
        return None


def _refused(endpoint: Endpoint, response: httpx.Response) -> ServerAnswerError:
    advice = {
        401: f"set {KEY_VARIABLE}",
        402: "the account has no credit",
        403: f"{KEY_VARIABLE} may not use this model",
        404: f"look at {URL_VARIABLE} and the model's name {endpoint.model!r}",
    }.get(response.status_code, f"look at {URL_VARIABLE}")
    said = endpoint.hide(response.text[:_SHOWN])
    return ServerAnswerError(
        f"{endpoint.url} answered {response.status_code}: {said}; {advice}", status=response.status_code
    )


def _answered(endpoint: Endpoint, response: httpx.Response, attempts: int) -> Answered:
    """Return what an answer that is final says, whatever its form."""
    try:
        said: Any = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        said = None
    if not response.is_success:
        text = endpoint.hide(response.text[:_SHOWN])
        return Answered("", f"answered {response.status_code}: {text}", answered=True, attempts=attempts)
    if not isinstance(said, dict):
        return Answered("", "the answer is no JSON object, or half of one", answered=True, attempts=attempts)
    usage = said.get("usage")
    tokens_in, tokens_out = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    choices = said.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return Answered("", "the answer has no choices", True, tokens_in, tokens_out, attempts)
    text = endpoint.hide(trace_text(choices[0].get("message")))
    if choices[0].get("finish_reason") == "length":
        return Answered(text, "cut off at the most tokens", True, tokens_in, tokens_out, attempts)
    return Answered(text, parse(text).problem, True, tokens_in, tokens_out, attempts)


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def trace_text(message: Any) -> str:
    """Return a message as a trace; servers that take the think block out into a field of its own get it back in."""
    if not isinstance(message, dict):
        return ""
    content = message.get("content") if isinstance(message.get("content"), str) else ""
    apart = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(apart, str) and apart.strip() and "<think" not in str(content).lower():
        return f"<think>{apart.strip()}</think>{str(content).strip()}"
    return str(content)
