"""Threads in which answers are computed, so that the event loop stays free; both are bounded."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from aroma.api.problems import ProblemError

Result = TypeVar("Result")
_WAITING_EACH: Final = 32


class Workroom:
    """A pool of threads with a bounded queue.

    Work whose request has given up goes on to its end, as compiled code cannot be stopped; until then it counts, so
    that many such requests are turned away and not piled up.

    Args:
        name: For the threads.
        threads: How many; one a core by default.
        waiting: Most pieces of work under way and queued.
    """

    def __init__(self, name: str, threads: int | None = None, waiting: int | None = None) -> None:
        count = threads or max(2, os.cpu_count() or 1)
        self._name, self._count = name, count
        self._pool: ThreadPoolExecutor | None = None
        self._most = waiting or count * _WAITING_EACH
        self._busy = 0
        self._lock = threading.Lock()

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Run ``work`` in a thread and return its result.

        Raises:
            ProblemError: 503, the queue is full.
        """
        return await asyncio.wrap_future(self.submit(work, *arguments))

    def submit(self, work: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Start ``work`` without waiting for it.

        Raises:
            ProblemError: 503, the queue is full.
        """
        with self._lock:
            if self._busy >= self._most:
                raise ProblemError(503, "the server is busy; try again", kind="busy")
            self._busy += 1
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._count, thread_name_prefix=self._name)
        job = self._pool.submit(contextvars.copy_context().run, work, *arguments)  # log lines name the request
        job.add_done_callback(self._done)
        return job

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self._busy -= 1

    def close(self) -> None:
        """Let running work end and give up what waits; work that comes later starts new threads."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
