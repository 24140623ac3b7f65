"""The application: routes, problems for every error, the guard around it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from aroma.api import (
    curation_routes,
    embedding_routes,
    evidence_routes,
    graph_routes,
    prediction_routes,
    release_routes,
)
from aroma.api.answering import Desk
from aroma.api.documents import document
from aroma.api.guard import Guard
from aroma.api.metrics import Metrics
from aroma.api.pages import operations_routes, sign_in
from aroma.api.pages import routes as page_routes
from aroma.api.problems import ProblemError, make_problem, problem_of, response_of
from aroma.api.settings import Settings
from aroma.errors import AromaError
from aroma.kgstore.home import Home
from aroma.observe import logs, tracing
from aroma.retrieval.served import Seen, Served

_MOST_ERRORS = 20


def create_app(settings: Settings) -> ASGIApp:
    """Return the ASGI application; the published release is opened before this returns.

    Raises:
        ReleaseError: Nothing is published.
        UsageError: Outcomes or hold-outs of the settings that are not there.
    """
    desk = Desk(
        settings, Served(Home(settings.home), Seen(settings.outcomes, settings.withhold, settings.texts)), Metrics()
    )

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()
        tracing.shut_down()

    app = FastAPI(title="aroma", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=life)
    app.state.desk = desk
    pages = (page_routes, operations_routes, sign_in)
    data = (release_routes, evidence_routes, graph_routes, embedding_routes, prediction_routes, curation_routes)
    for routes in (*data, *pages):
        app.include_router(routes.router)
    guard = Guard(app, settings, desk.metrics)
    _add_document(app, token=not guard.door.is_open)
    app.add_exception_handler(AromaError, _aroma_error)
    app.add_exception_handler(ProblemError, _problem_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _defect)
    return guard


def from_environment() -> ASGIApp:
    """Return the application of one server process; uvicorn calls this."""
    end_with_parent()
    logs.set_up()
    tracing.set_up("aroma-api")
    return create_app(Settings.from_environment())


def end_with_parent() -> None:
    """End this process when the one that started it is gone: a killed server leaves nobody on its port."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _add_document(app: FastAPI, *, token: bool) -> None:
    said = document(app, token=token)

    @app.get("/v1/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return said

    app.openapi_schema = said


async def _aroma_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AromaError)
    return _answer(request, problem_of(error))


async def _problem_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return _answer(request, error.problem)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"where": ".".join(str(part) for part in one["loc"]), "problem": str(one["msg"])}
        for one in error.errors()[:_MOST_ERRORS]
    ]
    first = errors[0]
    return _answer(request, make_problem(422, f"{first['where']}: {first['problem']}", errors=errors))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    said = {404: f"there is no {path}; see /v1/openapi.json", 405: f"{request.method} is not allowed for {path}"}
    problem = make_problem(error.status_code, said.get(error.status_code, str(error.detail)))
    return _answer(request, problem, dict(error.headers or {}))


async def _gone(request: Request, _: Exception) -> Response:
    return _answer(request, make_problem(400, "the connection was closed before the body was whole"))


async def _defect(request: Request, _: Exception) -> Response:
    return _answer(request, make_problem(500, "the server failed; its log has the request id"))


def _answer(request: Request, problem: Any, headers: dict[str, str] | None = None) -> Response:
    named = msgspec.structs.replace(problem, request_id=request.scope.get("state", {}).get("request_id"))
    more = dict(headers or {})
    if problem.status in {408, 413}:
        more["Connection"] = "close"
    return response_of(named, more)
