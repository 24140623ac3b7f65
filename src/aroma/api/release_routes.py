"""Routes about the server and what it serves: releases, sources, views, health, metrics."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from aroma.api.answering import desk_of
from aroma.api.asking import PageQuery
from aroma.api.documents import responses
from aroma.api.standing import standing
from aroma.retrieval import answers
from aroma.retrieval.answer_model import Health, ReleaseDetail, ReleasePage, SourceList, ViewList, to_bytes

router = APIRouter(prefix="/v1")
ReleaseName = Annotated[
    str, Path(min_length=1, max_length=64, description="Id, its beginning, a sequence number or published.")
]


@router.get("/releases", summary="Publications, newest first", responses=responses(ReleasePage))
async def releases(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """Every publication with its number, when, and which one is served."""
    desk = desk_of(request)
    opened = await desk.opened(None)
    home = desk.served.home
    return await desk.answer(
        request, opened, lambda: answers.list_releases(home, offset=query.offset, limit=query.limit), cached=False
    )


@router.get("/releases/{release}", summary="What a release holds", responses=responses(ReleaseDetail))
async def release(request: Request, release: ReleaseName) -> Response:
    """Rows by table, sizes of the views, publications of it."""
    desk = desk_of(request)
    opened = await desk.opened(None)
    return await desk.answer(request, opened, lambda: answers.show_release(desk.served.home, release), cached=False)


@router.get(
    "/releases/{release}/audit",
    summary="Audit report of a release",
    responses=responses(None, media={"application/json": {"schema": {"type": "object"}}}),
)
async def audit(request: Request, release: ReleaseName) -> Response:
    """What came in, what was turned away and why, what changed, on what licence."""
    desk = desk_of(request)
    opened = await desk.opened(None)
    return await desk.answer(request, opened, lambda: answers.audit_text(desk.served.home, release), cached=False)


@router.get("/sources", summary="Providers and their licences", responses=responses(SourceList))
async def sources(request: Request) -> Response:
    """Every provider whose files are in the served release."""
    desk = desk_of(request)
    opened = await desk.opened(None)
    return await desk.answer(request, opened, lambda: answers.list_sources(desk.served.home, opened.release))


@router.get("/views", summary="Preset views", responses=responses(ViewList))
async def views(request: Request) -> Response:
    """What each view takes and how large it is."""
    desk = desk_of(request)
    opened = await desk.opened(None)
    return await desk.answer(request, opened, lambda: answers.list_views(desk.served.home, opened.release))


@router.get("/health", summary="Whether the server answers, and from what", responses=responses(Health))
async def health(request: Request) -> Response:
    """Needs no token."""
    served = desk_of(request).served
    opened = served.look()
    said = Health(
        status="ok",
        version=version("aroma-evidence"),
        release=opened.release,
        sequence=opened.sequence,
        opening=served.opening,
        outcomes=opened.base.outcomes_digest,
        withheld=opened.own_withhold.describe(),
        seconds_up=round(time.monotonic() - served.started, 1),
    )
    return Response(to_bytes(said), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get(
    "/metrics",
    summary="Metrics in Prometheus' text format",
    responses=responses(None, media={"text/plain": {"schema": {"type": "string"}}}),
)
async def metrics(request: Request) -> Response:
    """Requests, times, writes of the process that answers; release served and its age, runs, workers, disk."""
    desk = desk_of(request)
    opened = desk.served.look()
    text = desk.metrics.text(await desk.database.run(standing, desk.served.home, opened))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
