"""Routes about curation: what curators assert and retract. A release of it is made by ``aroma curate apply``."""

from __future__ import annotations

from typing import Annotated, Any, Final, Protocol, TypeVar

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from aroma.api.answering import desk_of
from aroma.api.asking import read_body
from aroma.api.curation_asking import AssertAsked, CurationQuery, RetractAsked, ReviewAsked, RevokeAsked
from aroma.api.documents import body_of, responses
from aroma.api.problems import ProblemError
from aroma.api.scopes import require
from aroma.kgstore.curation_desk import Asked, enter_one, listed
from aroma.retrieval.answer_model import to_bytes
from aroma.retrieval.curation_answers import curation_answer, curation_page
from aroma.retrieval.curation_model import CurationAnswer, CurationPage

router = APIRouter(prefix="/v1/curation")
_WHO: Final[dict[str, Any]] = {
    "curator": "0000-0002-1825-0097",
    "reason": "Found in the complex by our co-immunoprecipitation",
}
_EDGE: Final = {"subject": "TULP1", "relation": "MEMBER_OF", "object": "CORUM:783"}


class _CanBeAsked(Protocol):
    def asked(self) -> Asked:
        """Return it as the desk takes it."""


Body = TypeVar("Body", bound=_CanBeAsked)


@router.get("", summary="Assertions and retractions, in the order entered", responses=responses(CurationPage))
async def curation(request: Request, query: Annotated[CurationQuery, Query()]) -> Response:
    """Every one with its reason, its state and who reviewed or revoked it."""
    require(request, "read")
    desk = desk_of(request)
    home = desk.served.home

    def make() -> CurationPage:
        return curation_page(listed(home, query.state, query.about), query.offset, query.limit)

    return _answer(await desk.quick.run(make))


@router.post(
    "/assert",
    summary="Assert an edge",
    responses=responses(CurationAnswer, body=True),
    openapi_extra=body_of(AssertAsked, {**_EDGE, **_WHO, "references": ["PMID:16055720"]}),
)
async def assert_edge(request: Request) -> Response:
    """It stands beside what providers say, from the next release on. Sent twice, it is entered once."""
    return await _enter(request, AssertAsked)


@router.post(
    "/retract",
    summary="Hide a provider's edge, or one statement of it",
    responses=responses(CurationAnswer, body=True),
    openapi_extra=body_of(RetractAsked, {**_WHO, **_EDGE, "subject": "ITCH", "reason": "Withdrawn publication"}),
)
async def retract(request: Request) -> Response:
    """From the next release on; the tables keep what was hidden, with the reason."""
    return await _enter(request, RetractAsked)


@router.post(
    "/revoke",
    summary="Take an assertion or retraction back",
    responses=responses(CurationAnswer, body=True),
    openapi_extra=body_of(RevokeAsked, {**_WHO, "entry": "C0123456789ab", "reason": "Entered by mistake"}),
)
async def revoke(request: Request) -> Response:
    """Both stay in the log."""
    return await _enter(request, RevokeAsked)


@router.post(
    "/review",
    summary="Approve or reject another person's entry",
    responses=responses(CurationAnswer, body=True),
    openapi_extra=body_of(
        ReviewAsked, {**_WHO, "entry": "C0123456789ab", "decision": "approve", "reason": "Checked in the paper"}
    ),
)
async def review(request: Request) -> Response:
    """The reviewer is another person than who entered it."""
    return await _enter(request, ReviewAsked)


async def _enter(request: Request, kind: type[Body]) -> Response:
    require(request, "curate", f"curation {kind.__name__.removesuffix('Asked').lower()}")
    if (
        "content-type" not in request.headers
    ):  # a page of another site can send a body without a type, but none with JSON's
        raise ProblemError(415, "the body has no type; send application/json")
    body = await read_body(request, kind)
    desk = desk_of(request)
    outcome = await desk.slow.run(enter_one, desk.served.home, body.asked())
    return _answer(curation_answer(outcome))


def _answer(record: CurationPage | CurationAnswer) -> Response:
    return Response(to_bytes(record), media_type="application/json", headers={"Cache-Control": "no-store"})
