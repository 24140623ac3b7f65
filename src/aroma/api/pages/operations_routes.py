"""Pages about the store itself: publications and audits, what changed, models and how they compare."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from aroma.api.answering import desk_of
from aroma.api.pages.rendering import answer
from aroma.api.pages.routes import Frame, respond, show
from aroma.errors import IdentifierError, ReleaseError
from aroma.kgstore.home import Home
from aroma.kgstore.releases import find_release
from aroma.model.evaluation.text import headline_table
from aroma.model.serving.history import Promotion, read_promotions, served_models
from aroma.model.serving.promotion import PAGE, read_report, reports_directory
from aroma.retrieval import answers

router = APIRouter(include_in_schema=False)
_PUBLICATIONS_A_PAGE: Final = 50
_DECISIONS: Final = 100
_REPORT: Final = re.compile(r"[A-Za-z0-9-]{1,80}")
ReleaseName = Annotated[str, Query(max_length=64)]


@router.get("/audit")
async def audits(request: Request, offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0) -> Response:
    """Every publication, newest first, with its audit report."""
    desk = desk_of(request)
    opened = await desk.opened(None)

    def make() -> tuple[str, dict[str, Any]]:
        page = answers.list_releases(desk.served.home, offset=offset, limit=_PUBLICATIONS_A_PAGE)
        return "audit.html", {"page": page, "json": "/v1/releases"}

    return await show(request, opened, make)


@router.get("/audit/{release}")
async def audit(request: Request, release: str) -> Response:
    """The audit report of one release, as it was written with it."""
    home = desk_of(request).served.home
    return await _kept_page(request, lambda: home.release(find_release(home, release[:64])) / "audit.html")


@router.get("/changes")
async def changes(request: Request, release: ReleaseName = "published") -> Response:
    """What a release changed against the one before."""
    desk = desk_of(request)
    opened = await desk.opened(None)

    def make() -> tuple[str, dict[str, Any]]:
        about = find_release(desk.served.home, release)
        audit = json.loads(answers.audit_text(desk.served.home, about))
        return "changes.html", {"about": about, "diff": audit["diff"], "json": f"/v1/releases/{about}/audit"}

    return await show(request, opened, make)


@router.get("/models")
async def models(request: Request) -> Response:
    """Which models are served, how the last one compared, and every decision."""
    desk = desk_of(request)
    opened = await desk.opened(None)

    def make() -> tuple[str, dict[str, Any]]:
        home = desk.served.home
        history = list(reversed(read_promotions(home)))[:_DECISIONS]
        return "models.html", {
            "served": list(served_models(home).values()),
            "history": history,
            "comparison": _comparison(home, history),
            "json": "/v1/models",
        }

    return await show(request, opened, make, own_style=True)


@router.get("/models/reports/{name}")
async def report(request: Request, name: str) -> Response:
    """The report of one decision, as it was written with it."""
    home = desk_of(request).served.home

    def place() -> Path:
        if not _REPORT.fullmatch(name):
            raise IdentifierError("no report is called so; /models lists them")
        return reports_directory(home) / name / PAGE

    return await _kept_page(request, place)


async def _kept_page(request: Request, place: Callable[[], Path]) -> Response:
    """Return a page that stands in the home; it has its own style inside."""
    opened = await desk_of(request).opened(None)

    def make(_: Frame) -> Response:
        path = place()
        try:
            return answer(path.read_bytes(), own_style=True)
        except OSError as error:
            raise ReleaseError(f"{path.name} of it is not there ({error.strerror}); it was pruned") from error

    return await respond(request, opened, make)


def _comparison(home: Home, history: list[Promotion]) -> dict[str, Any] | None:
    """Return the newest comparison with its intervals drawn, or None where no model was compared yet."""
    named = (entry.report for entry in history if entry.report)
    return next((found for name in named if (found := _drawn(home, name)) is not None), None)


@lru_cache(maxsize=8)
def _drawn(home: Home, name: str) -> dict[str, Any] | None:
    """Return a report's comparison, drawn; it does not change, and drawing costs seconds the first time."""
    from aroma.model.evaluation.plots import headline_plot

    said = read_report(home, name)
    if not said["comparison"]:
        return None
    return {"said": said, "plot": headline_plot(said["comparison"]), "table": headline_table(said["comparison"])}
