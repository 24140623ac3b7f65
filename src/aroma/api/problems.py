"""Errors as problem details (RFC 9457): every answer that is no success has this form."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.responses import Response

from aroma.errors import (
    AromaError,
    IdentifierError,
    LockHeldError,
    QueryError,
    ReleaseError,
    SnapshotError,
    StoreUnavailableError,
    UsageError,
)
from aroma.retrieval.answers import UnknownGeneError
from aroma.retrieval.similar import NoVectorError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 1
_STATUS: Final[tuple[tuple[type[AromaError], int], ...]] = (
    (IdentifierError, 404),
    (QueryError, 422),
    (UsageError, 422),
    (StoreUnavailableError, 503),
    (LockHeldError, 503),
    (SnapshotError, 503),
    (ReleaseError, 404),
)


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong: ``type`` is stable and can be told apart by programs, ``detail`` is for people.

    ``reason``, ``candidates`` and ``nearest`` come with an unknown gene, ``reason`` with no vector, ``errors`` with
    parameters that do not fit, ``limit`` with a request that is too large.
    """

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None
    release: str | None = None
    reason: str | None = None
    candidates: list[str] | None = None
    nearest: list[str] | None = None
    errors: list[dict[str, Any]] | None = None
    limit: int | None = None


class ProblemError(Exception):
    """A problem raised by the server itself."""

    def __init__(self, status: int, detail: str, *, kind: str | None = None, **more: Any) -> None:
        self.problem = make_problem(status, detail, kind=kind, **more)
        super().__init__(detail)


def make_problem(status: int, detail: str, *, kind: str | None = None, **more: Any) -> Problem:
    """Return a problem; its ``type`` is made from ``kind``, else from the status."""
    title = HTTPStatus(status).phrase
    name = kind or title.lower().replace(" ", "-")
    return Problem(type=f"urn:aroma:problem:{name}", title=title, status=status, detail=detail, **more)


def problem_of(error: AromaError) -> Problem:
    """Return the problem for one of our own errors."""
    if isinstance(error, UnknownGeneError):
        answer = error.answer
        return make_problem(
            404,
            str(error),
            kind="unknown-gene",
            release=answer.release,
            reason=answer.reason,
            candidates=answer.candidates,
            nearest=answer.nearest,
        )
    if isinstance(error, NoVectorError):
        return make_problem(404, str(error), kind="no-vector", release=error.release, reason=error.reason)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return make_problem(status, str(error))


def response_of(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """Return the response that carries a problem."""
    more = dict(headers or {})
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        more.setdefault("Retry-After", str(RETRY_SECONDS))
    return Response(msgspec.json.encode(problem), problem.status, more, MEDIA_TYPE)
