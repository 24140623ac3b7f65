"""From a question to bytes: the release, the ETag, a small cache of answers, and the threads that compute."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from aroma.api.metrics import Metrics
from aroma.api.settings import Settings
from aroma.api.workroom import Workroom
from aroma.model.serving.answering import OpenedModel, ServedModels
from aroma.retrieval.answer_model import to_bytes
from aroma.retrieval.evidence import EvidenceOptions, EvidenceStore
from aroma.retrieval.served import Opened, Served

_CACHED_BYTES: Final = 64 * 2**20
_LARGEST_CACHED: Final = 256 * 2**10


class AnswerCache:
    """The bytes of recent answers, at most 64 MiB of them, by ETag, path and query."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, bytes], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str, bytes]) -> bytes | None:
        """Return the answer kept under a key, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: tuple[str, str, bytes], answer: bytes) -> None:
        """Keep an answer unless it is large."""
        if len(answer) > _LARGEST_CACHED:
            return
        with self._lock:
            self._bytes += len(answer) - len(self._kept.get(key, b""))
            self._kept[key] = answer
            while self._bytes > _CACHED_BYTES:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= len(gone)


@dataclass
class Desk:
    """What every route answers with; one a process.

    Attributes:
        settings: Of the server.
        served: The releases.
        metrics: Counts.
        quick: Threads for answers of milliseconds.
        bulk: One thread for batches, which take turns piece by piece, so that single answers need not wait for them.
        database: Threads that wait for the database, which may be slow or gone.
        slow: One thread for what takes seconds: releases, views and hold-outs that were not asked for before.
        cache: Recent answers.
        models: The models in service.
    """

    settings: Settings
    served: Served
    metrics: Metrics
    quick: Workroom = field(default_factory=lambda: Workroom("aroma-quick"))
    bulk: Workroom = field(default_factory=lambda: Workroom("aroma-bulk", threads=1, waiting=1_000))
    database: Workroom = field(default_factory=lambda: Workroom("aroma-database", threads=2, waiting=16))
    slow: Workroom = field(default_factory=lambda: Workroom("aroma-slow", threads=1, waiting=8))
    cache: AnswerCache = field(default_factory=AnswerCache)
    models: ServedModels = field(init=False)

    def __post_init__(self) -> None:
        self.models = ServedModels(self.served.home)

    async def opened(self, release: str | None) -> Opened:
        """Return the release that a request asks about.

        Raises:
            ReleaseError: There is no such release.
        """
        served = self.served.look()
        if release is None or release == served.release:
            return served
        return await self.slow.run(self.served.at, release)

    async def model(self, plugin: str | None) -> OpenedModel:
        """Return the model that answers a request; one that is not open yet is opened in the slow thread."""
        if self.models.is_ready(plugin):
            return self.models.find(plugin)
        return await self.slow.run(self.models.find, plugin)

    async def store(self, opened: Opened, options: EvidenceOptions, withhold: tuple[str, ...] = ()) -> EvidenceStore:
        """Return the store that answers under these options; new ones are made in the slow thread."""
        if opened.is_ready(options, withhold):
            return opened.store(options, withhold)
        return await self.slow.run(opened.store, options, withhold)

    async def answer(
        self,
        request: Request,
        opened: Opened,
        make: Callable[[], object],
        *,
        cached: bool = True,
        room: Workroom | None = None,
    ) -> Response:
        """Return the answer as JSON with its ETag, or 304 where the client has it.

        Args:
            request: What is answered.
            opened: The release that answers.
            make: Makes the record, or its bytes; runs in a thread.
            cached: The answer depends on the release and the query alone.
            room: Other threads than the quick ones.
        """
        key = (opened.etag, request.url.path, request.scope["query_string"])
        body = self.cache.get(key) if cached else None
        if body is None:
            body = await (room or self.quick).run(_bytes_of, make)
            if cached:
                self.cache.put(key, body)
        etag = opened.etag if cached else f'{opened.etag[:-1]}.{opened.sequence}"'
        return conditional(request, etag, body)

    def close(self) -> None:
        """End the threads."""
        for room in (self.quick, self.bulk, self.database):
            room.close()
        self.slow.close()


def _bytes_of(make: Callable[[], object]) -> bytes:
    made = make()
    return made if isinstance(made, bytes) else to_bytes(made)


def etag_of(body: bytes) -> str:
    """Return the ETag of an answer that depends on more than the release: a checksum of it."""
    return f'"{hashlib.sha256(body).hexdigest()[:16]}"'


def conditional(request: Request, etag: str, body: bytes, media: str = "application/json") -> Response:
    """Return 200 with the body, or 304 where ``If-None-Match`` names its ETag."""
    given = request.headers.get("if-none-match")
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if given is not None and matches(given, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media)


def matches(given: str, etag: str) -> bool:
    """Tell whether an ``If-None-Match`` header names an ETag; weak and strong compare alike (RFC 9110, 13.1.2)."""
    return any(part.strip().removeprefix("W/") in {etag, "*"} for part in given.split(","))


def desk_of(request: Request) -> Desk:
    """Return the desk of the application that got a request."""
    desk: Desk = request.app.state.desk
    return desk
