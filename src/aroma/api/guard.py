"""The outermost layer: request ids, who asks, bounds of size, time, number and rate; log lines, spans, metrics."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aroma.api.callers import Caller, Door
from aroma.api.metrics import Metrics
from aroma.api.pages import sign_in
from aroma.api.problems import Problem, ProblemError, make_problem, response_of
from aroma.api.rates import Rates
from aroma.api.scopes import WriteAsked
from aroma.api.settings import Settings
from aroma.errors import ReleaseError
from aroma.kgstore.home import Home
from aroma.kgstore.tokens import Token
from aroma.kgstore.write_log import Write, add_write
from aroma.observe import logs, tracing

_OPEN_PATHS: Final = frozenset({"/v1/health"}) | sign_in.OPEN
_PROGRAMS: Final = "/v1/"
_STREAMED: Final = "/batch"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_LONGEST_LOGGED: Final = 500
_DISCARD_SECONDS: Final = 3.0
_DISCARD_BYTES: Final = 256 * 2**20
_FAILURES_BURST: Final = 20
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
    caller: Caller | None = None
    retry_after: int = 0

    @property
    def route(self) -> str:
        return getattr(self.scope.get("route"), "path", "none")

    @property
    def authorization(self) -> bytes:
        """The header, or what a browser's cookie stands for; a cookie opens nothing that writes."""
        given = self.headers.get(b"authorization", b"")
        return given if given or self.scope["method"] != "GET" else sign_in.bearer_of(self.headers.get(b"cookie", b""))

    @property
    def is_page(self) -> bool:
        return self.scope["method"] == "GET" and not self.scope["path"].startswith(_PROGRAMS)

    @property
    def address(self) -> str:
        client = self.scope.get("client")
        return str(client[0]) if client else ""


class Guard:
    """ASGI middleware around the application.

    Args:
        app: The application.
        settings: Token and limits.
        metrics: Counts and times of requests.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, settings.limits, metrics
        self._home = Home(settings.home)
        self.door = Door(self._home, settings.token)
        self._rates = Rates(self._limits.rate, self._limits.burst)
        self._failures = Rates(self._limits.failures, _FAILURES_BURST)
        self._active = 0
        self._noting: set[asyncio.Future[None]] = set()

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
        self._metrics.in_flight.inc(counted)
        carrier = {"traceparent": headers.get(b"traceparent", b"").decode("latin-1")}
        with logs.bound(request_id=exchange.request_id), tracing.span(scope["method"], carrier=carrier) as span:
            try:
                await self._answer(exchange, receive, guarded, counted=counted)
            finally:
                self._active -= counted
                self._metrics.in_flight.dec(counted)
                self._note(exchange)
                if span is not None:
                    _describe(span, exchange)

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
        try:
            caller = self.door.caller(exchange.authorization)
        except ReleaseError as error:
            _log.error("%s", error)
            return make_problem(503, "the tokens of this server cannot be read; its log says why")
        if caller is None:
            if wait := self._failures.wait(exchange.address):
                return self._too_often(exchange, wait, "too many requests without a good token")
            return make_problem(401, "this server needs a token that is good: Authorization: Bearer TOKEN")
        exchange.caller = exchange.scope["state"]["caller"] = caller
        if caller.first_today is not None:
            self._note_use(caller.first_today)
        if wait := self._rates.wait(f"token {caller.token}" if caller.token else exchange.address):
            return self._too_often(exchange, wait, f"more than {self._limits.rate:g} requests a second")
        length = exchange.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._limits.body_bytes:
            return self._too_large()
        return None

    def _too_often(self, exchange: _Exchange, wait: int, said: str) -> Problem:
        self._metrics.refused_often.inc()
        exchange.retry_after = wait
        return make_problem(429, f"{said}; try again in {wait} s")

    def _note_use(self, token: Token) -> None:
        """Write down in a thread that a token was used today."""
        noting = asyncio.get_running_loop().run_in_executor(None, self.door.note_use, token)
        self._noting.add(noting)
        noting.add_done_callback(self._noting.discard)

    async def _note_write(self, exchange: _Exchange, asked: WriteAsked) -> None:
        """Put a write into the log before it is answered; the change itself stands where that fails."""
        caller = exchange.caller
        assert caller is not None
        outcome = str(exchange.status)
        self._metrics.writes.labels(exchange.route, outcome).inc()
        route = f"{exchange.scope['method']} {exchange.route}"
        write = Write(
            caller.name, caller.token, route, asked.what or exchange.scope["path"], outcome, exchange.request_id,
            asked.scope,
        )  # fmt: skip
        try:
            await asyncio.to_thread(add_write, self._home, write)
        except OSError as error:
            _log.error("a write could not be logged: %s", error, extra={"fields": {"route": route, "who": caller.name}})

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
        if problem.status == 401 and exchange.is_page:  # noqa: PLR2004
            refused = bool(sign_in.bearer_of(exchange.headers.get(b"cookie", b"")))
            way = sign_in.way_in(exchange.scope["path"], exchange.scope["query_string"], refused=refused)
            await way(exchange.scope, receive, send)
            return
        named = msgspec.structs.replace(problem, request_id=exchange.request_id)
        headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}  # noqa: PLR2004
        if exchange.retry_after:
            headers["Retry-After"] = str(exchange.retry_after)
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
                asked = exchange.scope["state"].get("write")
                if asked is not None:
                    await self._note_write(exchange, asked)
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
            fields = {
                "request_id": exchange.request_id,
                "method": scope["method"],
                "path": scope["path"][:_LONGEST_LOGGED],
                "query": scope["query_string"][:_LONGEST_LOGGED].decode("latin-1"),
                "status": exchange.status,
                "ms": round(seconds * 1000, 2),
                "bytes": exchange.sent,
                "client": exchange.address,
                "who": exchange.caller.name if exchange.caller else "",
            }
            _log.info("request", extra={"fields": fields})


def _describe(span: Any, exchange: _Exchange) -> None:
    """Name a span as OpenTelemetry's conventions for HTTP servers do."""
    method = exchange.scope["method"]
    span.update_name(f"{method} {exchange.route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": exchange.route,
            "http.response.status_code": exchange.status,
            "url.path": exchange.scope["path"][:_LONGEST_LOGGED],
            "client.address": exchange.address,
            "aroma.request_id": exchange.request_id,
        }
    )


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
