"""A real server process (``aroma serve``) for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

_CODE = "import sys; from aroma.cli import main; main(sys.argv[1:])"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class ServerProcess:
    """``aroma serve`` on a free port, ended with the block."""

    def __init__(self, home: Path, log: Path, *more: str, environment: dict[str, str] | None = None) -> None:
        self.port, self._log = free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        arguments = ["serve", "--home", str(home), "--port", str(self.port), *more]
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _CODE, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )

    def wait(self, seconds: float = 120) -> None:
        """Wait until it answers."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                httpx.get(f"{self.url}/v1/health", timeout=5).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"the server did not start: {self.log()[-2000:]}")

    def log(self) -> str:
        """Return what it has logged."""
        return self._log.read_text(errors="replace")

    def connect(self) -> socket.socket:
        """Return a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def get(server: ServerProcess, path: str, **parameters: Any) -> httpx.Response:
    """Ask a server once."""
    return httpx.get(f"{server.url}/v1{path}", params=parameters, timeout=60)
