"""When a request is sent again, and what an answer that is no success becomes."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec

from aroma.errors import ServerAnswerError, UsageError

TOKEN_VARIABLE: Final = "AROMA_TOKEN"  # noqa: S105 - a variable's name
PAIRS_A_REQUEST: Final = 1_000
_AGAIN: Final = frozenset({429, 502, 503})
_LOST: Final = (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently a request is sent again.

    Sent again are requests that found nobody or were turned away (429, 502, 503): most only read, and what writes
    (curation) enters a thing sent twice once, so nothing can happen twice.

    Attributes:
        attempts: Times sent, the first one among them.
        first_wait: Seconds before the second time; doubled each time, with some chance.
        longest_wait: Most seconds between two times; a longer ``Retry-After`` ends the tries.
    """

    attempts: int = 4
    first_wait: float = 0.2
    longest_wait: float = 10.0

    def wait_after(self, attempt: int, problem: httpx.Response | Exception) -> float | None:
        """Return how long to wait before the next time, or None where there is none.

        Args:
            attempt: Times sent so far.
            problem: What came of the last.
        """
        if attempt >= self.attempts:
            return None
        if isinstance(problem, Exception):
            return self._own(attempt) if isinstance(problem, _LOST) else None
        if problem.status_code not in _AGAIN:
            return None
        asked = problem.headers.get("retry-after", "")
        if not asked.isdigit():
            return self._own(attempt)
        return float(asked) if float(asked) <= self.longest_wait else None

    def _own(self, attempt: int) -> float:
        spread = random.uniform(0.5, 1.0)  # noqa: S311 - to spread clients, no secret
        doubled: float = self.first_wait * 2 ** (attempt - 1)
        return min(doubled, self.longest_wait) * spread


def problem_of(response: httpx.Response) -> ServerAnswerError:
    """Return the error for an answer that is no success."""
    try:
        said: dict[str, Any] = msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.DecodeError:
        said = {}
    text = said.get("detail") or f"{response.reason_phrase or 'no success'}, without a reason"
    request_id = response.headers.get("x-request-id")
    where = f" (request {request_id})" if request_id and response.status_code >= 500 else ""  # noqa: PLR2004
    return ServerAnswerError(
        f"{response.url.host} answered {response.status_code}: {text}{where}",
        status=response.status_code,
        problem=said,
    )


def lost(base_url: str, error: Exception) -> ServerAnswerError:
    """Return the error for a request that got no answer."""
    said = str(error) or type(error).__name__
    return ServerAnswerError(f"no answer from {base_url} ({said}); is the server running there (aroma serve)?")


def line_of(line: bytes) -> bytes:
    """Return one line of a stream.

    Raises:
        ServerAnswerError: The line says that the stream could not be finished.
    """
    if line.startswith(b'{"problem":'):
        said = msgspec.json.decode(line, type=dict[str, Any])
        raise ServerAnswerError(f"stopped at pair {said['row']}: {said['problem']}", problem=said)
    return line


class Lines:
    """Cuts a stream of bytes at line feeds, and nowhere else: texts may hold other line ends."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that are complete with this piece."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        return whole


def connection(base_url: str, token: str | None, seconds: float) -> dict[str, Any]:
    """Return how httpx's clients are opened.

    Raises:
        UsageError: The address is no HTTP address.
    """
    if not base_url.startswith(("http://", "https://")):
        raise UsageError(f"server address {base_url!r}: expected one like http://127.0.0.1:8080")
    secret = token or os.environ.get(TOKEN_VARIABLE)
    headers = {"User-Agent": "aroma-client", **({"Authorization": f"Bearer {secret}"} if secret else {})}
    return {"base_url": base_url.rstrip("/").removesuffix("/v1"), "headers": headers, "timeout": seconds}
