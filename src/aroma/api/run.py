"""Running the server: uvicorn with a bound on how long a request may take to arrive."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any, cast

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aroma.api.problems import MEDIA_TYPE, make_problem
from aroma.api.settings import Settings, check_exposure
from aroma.kgstore.home import Home
from aroma.kgstore.tokens import read_tokens
from aroma.observe import logs

_APP = "aroma.api.app:from_environment"


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a time limit for the request line and headers, and problems for what is no HTTP."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock."""
        super().connection_made(transport)
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Start the clock: the first byte of a request is here."""
        self._start()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._stop()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem."""
        body = msgspec.json.encode(make_problem(400, msg))
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _start(self) -> None:
        self._stop()
        seconds = float(os.environ.get("AROMA_HEADER_SECONDS", "10"))
        self._waiting = self.loop.call_later(seconds, self._too_slow)

    def _stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def serve(settings: Settings, host: str = "127.0.0.1", port: int = 8080, workers: int = 1) -> None:
    """Serve until told to stop.

    Args:
        settings: What is served and how.
        host: Address to listen on.
        port: Port to listen on.
        workers: Processes; each opens the release, the mapped files are shared.

    Raises:
        UsageError: Listening where others can reach without a token.
        ReleaseError: Nothing is published.
    """
    check_exposure(host, settings.token, has_tokens=bool(read_tokens(Home(settings.home))))
    settings = replace(settings, home=settings.home.resolve())
    os.environ.update(settings.to_environment())
    os.environ["AROMA_HEADER_SECONDS"] = str(settings.limits.header_seconds)
    logs.set_up()
    config = uvicorn.Config(
        _APP,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=cast("Any", BoundedProtocol),
        loop="uvloop" if os.name == "posix" else "asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=settings.limits.connections,
        timeout_keep_alive=15,
        timeout_worker_healthcheck=120,  # opening a release keeps a new worker busy for a while
        timeout_graceful_shutdown=20,
        backlog=512,
    )
    if workers > 1:
        from uvicorn.supervisors import Multiprocess

        socket = config.bind_socket()
        Multiprocess(config, sockets=[socket]).run()
        return
    uvicorn.Server(config).run()
