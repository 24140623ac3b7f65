"""The outermost layer: request ids, the token, bounds of size, time and number, one log line and metrics a request."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aroma.api.metrics import Metrics
from aroma.api.problems import Problem, ProblemError, make_problem, response_of
from aroma.api.settings import Settings

_OPEN_PATHS: Final = frozenset({"/v1/health"})
_STREAMED: Final = "/batch"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_LONGEST_LOGGED: Final = 500
_DISCARD_SECONDS: Final = 3.0
_DISCARD_BYTES: Final = 256 * 2**20
_log = logging.getLogger("aroma.api")


@dataclass(slots=True)
class _Exchange:
    """One request and what became of it."""

    scope: Scope
    headers: dict[bytes, bytes]
    request_id: str
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    complete: bool = False
    sent: int = 0
    received: int = 0

    @property
    def route(self) -> str:
        return getattr(self.scope.get("route"), "path", "none")


class Guard:
    """ASGI middleware around the application.

    Args:
        app: The application.
        settings: Token and limits.
        metrics: Counts and times of requests.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, settings.limits, metrics
        self._token = settings.token.encode() if settings.token else None
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection event."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        exchange = _Exchange(scope, headers, _request_id(headers.get(b"x-request-id", b"")))
        scope.setdefault("state", {})["request_id"] = exchange.request_id
        guarded = self._sender(exchange, send)
        counted = scope["path"] not in _OPEN_PATHS
        self._active += counted
        try:
            await self._answer(exchange, receive, guarded, counted=counted)
        finally:
            self._active -= counted
            self._note(exchange)

    async def _answer(self, exchange: _Exchange, receive: Receive, send: Send, *, counted: bool) -> None:
        problem = self._refusal(exchange) if counted else None
        if problem is None and self._active > self._limits.requests:
            problem = make_problem(503, "too many requests at once; try again", kind="busy")
        if problem is not None:
            if "expect" not in {name.decode("latin-1") for name in exchange.headers}:
                await _discard(exchange, receive)
            await self._send_problem(exchange, receive, send, problem)
            return
        streamed = exchange.scope["path"].endswith(_STREAMED)
        seconds = self._limits.batch_seconds if streamed else self._limits.seconds
        try:
            async with asyncio.timeout(seconds):
                await self._app(exchange.scope, self._receiver(exchange, receive), send)
        except TimeoutError:
            await self._give_up(
                exchange, receive, send, make_problem(504, f"no answer within {seconds:g} s; ask for less")
            )
        except ProblemError as error:
            await self._give_up(exchange, receive, send, error.problem)
        except Exception:  # noqa: BLE001 - the last line of defence: logged, and answered by a 500
            _log.exception("defect", extra={"fields": {"request_id": exchange.request_id}})
            await self._give_up(
                exchange, receive, send, make_problem(500, "the server failed; its log has the request id")
            )

    def _refusal(self, exchange: _Exchange) -> Problem | None:
        """Return why a request is not even looked at."""
        if self._token is not None:
            scheme, _, given = exchange.headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                return make_problem(401, "this server needs its token: Authorization: Bearer TOKEN")
        length = exchange.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._limits.body_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> Problem:
        most = self._limits.body_bytes
        return make_problem(413, f"the body is larger than {most:,} bytes; send it in parts", limit=most)

    async def _give_up(self, exchange: _Exchange, receive: Receive, send: Send, problem: Problem) -> None:
        """Send a problem, or end the connection where an answer has begun already."""
        if exchange.complete:
            return
        if exchange.status:
            raise ConnectionAbortedError(problem.detail)
        await self._send_problem(exchange, receive, send, problem)

    async def _send_problem(self, exchange: _Exchange, receive: Receive, send: Send, problem: Problem) -> None:
        named = msgspec.structs.replace(problem, request_id=exchange.request_id)
        headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}  # noqa: PLR2004
        if problem.status in {408, 413, 504}:
            headers["Connection"] = "close"
        await response_of(named, headers)(exchange.scope, receive, send)

    def _receiver(self, exchange: _Exchange, receive: Receive) -> Receive:
        """Return a ``receive`` that gives up on bodies that are too large or too slow."""
        limits = self._limits

        async def guarded() -> Message:
            left = exchange.started + limits.body_seconds - time.perf_counter()
            try:
                async with asyncio.timeout(max(left, 0)) as waiting:
                    if exchange.status:  # the answer has begun: this only waits for the client to go
                        waiting.reschedule(None)
                    message = await receive()
            except TimeoutError:
                if exchange.status:
                    raise
                raise ProblemError(408, f"the body did not arrive within {limits.body_seconds:g} s") from None
            exchange.received += len(message.get("body", b""))
            if exchange.received > limits.body_bytes:
                if message.get("more_body"):
                    await _discard(exchange, receive)
                raise ProblemError(413, self._too_large().detail, limit=limits.body_bytes)
            return message

        return guarded

    def _sender(self, exchange: _Exchange, send: Send) -> Send:
        """Return a ``send`` that names the request and gives up on a client that does not read."""
        request_id = (b"x-request-id", exchange.request_id.encode())
        stall = self._limits.stall_seconds

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), request_id]
            else:
                exchange.sent += len(message.get("body", b""))
                exchange.complete = not message.get("more_body", False)
            async with asyncio.timeout(stall):
                await send(message)

        return guarded

    def _note(self, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        scope = exchange.scope
        self._metrics.note(scope["method"], exchange.route, exchange.status, seconds)
        if _log.isEnabledFor(logging.INFO):
            client = scope.get("client") or ("", 0)
            fields = {
                "request_id": exchange.request_id,
                "method": scope["method"],
                "path": scope["path"][:_LONGEST_LOGGED],
                "query": scope["query_string"][:_LONGEST_LOGGED].decode("latin-1"),
                "status": exchange.status,
                "ms": round(seconds * 1000, 2),
                "bytes": exchange.sent,
                "client": client[0],
            }
            _log.info("request", extra={"fields": fields})


def _request_id(given: bytes) -> str:
    return given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


async def _discard(exchange: _Exchange, receive: Receive) -> None:
    """Read what is left of a body for a while, so that a client that is still writing gets to read the answer."""
    if not exchange.headers.get(b"content-length", b"0").strip(b"0") and b"transfer-encoding" not in exchange.headers:
        return
    discarded = 0
    try:
        async with asyncio.timeout(_DISCARD_SECONDS):
            while discarded < _DISCARD_BYTES:
                message = await receive()
                discarded += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return
