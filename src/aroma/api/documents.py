"""The OpenAPI document: schemas of answers come from the records that make them."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from aroma.api import asking, curation_asking
from aroma.api.problems import MEDIA_TYPE, Problem
from aroma.model.serving import answer_model as models
from aroma.retrieval import answer_model as answers
from aroma.retrieval import curation_model as curated
from aroma.retrieval import embedding_model as embeddings
from aroma.retrieval.evidence_model import Evidence

NDJSON: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"
JSON: Final = "application/json"
_TYPES: Final[tuple[type, ...]] = (
    Problem,
    Evidence,
    answers.GeneAnswer,
    answers.GeneBatch,
    answers.GenePage,
    answers.TextPage,
    answers.PathsAnswer,
    answers.NeighbourhoodAnswer,
    answers.CoverageAnswer,
    answers.ReleasePage,
    answers.ReleaseDetail,
    answers.SourceList,
    answers.ViewList,
    answers.Health,
    answers.PromptAnswer,
    answers.BatchError,
    embeddings.EncoderList,
    embeddings.VectorBatch,
    embeddings.SimilarAnswer,
    models.ServedModelList,
    models.PredictionBatch,
    asking.VectorsAsked,
    asking.Names,
    asking.Pairs,
    asking.EvidenceBatch,
    asking.PredictionsAsked,
    curated.CurationPage,
    curated.CurationAnswer,
    curation_asking.AssertAsked,
    curation_asking.RetractAsked,
    curation_asking.RevokeAsked,
    curation_asking.ReviewAsked,
)
_PROBLEMS: Final = {
    400: "A body that is no JSON.",
    401: "The token is missing, wrong, expired or revoked.",
    403: "The token's scope does not allow it.",
    404: "Unknown gene, release, view, template or encoder, or no vector; with the reason and the nearest symbols.",
    408: "The body did not arrive in time.",
    413: "Too large a body, or too many pairs; `limit` is the number allowed.",
    415: "A body of another type than JSON.",
    422: "Parameters or a body that do not fit.",
    429: "Asked too often; try again after `Retry-After` seconds.",
    500: "A defect of the server.",
    503: "Busy or publishing; try again after `Retry-After` seconds.",
    504: "No answer in time.",
}
_OF_BODIES: Final = frozenset({400, 408, 413, 415})


def reference(kind: type) -> dict[str, str]:
    """Return a reference to a record's schema."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def responses(kind: type | None, example: Any = None, *, body: bool = False, **content: Any) -> dict[int | str, Any]:
    """Return the ``responses`` of a route: its answer and every problem that it may have.

    Args:
        kind: Record of the answer, as JSON; None where ``content`` says all.
        example: An example of it.
        body: True for a route that reads a body.
        content: Media types of the answer and their schemas, besides JSON.
    """
    media: dict[str, Any] = dict(content.pop("media", {}))
    if kind is not None:
        media[JSON] = {"schema": reference(kind), **({"example": example} if example is not None else {})}
    found: dict[int | str, Any] = {
        200: {"description": "The answer.", "content": media, "headers": _HEADERS},
    }
    if not body:
        found[304] = {"description": "Not changed since the answer with this ETag."}
    for status, said in _PROBLEMS.items():
        if body or status not in _OF_BODIES:
            found[status] = {"description": said, "content": {MEDIA_TYPE: {"schema": reference(Problem)}}}
    return found


_HEADERS: Final = {
    "ETag": {"description": "Changes with the release and with what is withheld.", "schema": {"type": "string"}},
    "X-Request-ID": {"description": "The one sent, or a new one; it is in the log.", "schema": {"type": "string"}},
}


def body_of(kind: type, example: Any) -> dict[str, Any]:
    """Return what a route says of its body."""
    return {"requestBody": {"required": True, "content": {JSON: {"schema": reference(kind), "example": example}}}}


def document(app: FastAPI, *, token: bool) -> dict[str, Any]:
    """Return the OpenAPI document of the application."""
    said = get_openapi(
        title="aroma",
        version="1",
        summary="Evidence for perturbation biology: genes, paths, neighbourhoods, evidence of one released graph.",
        description=_ABOUT,
        routes=app.routes,
    )
    _, components = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    schemas = said.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(components)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if token:
        said["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        said["security"] = [{"token": []}]
    return said


_ABOUT: Final = """Every answer names the release that it comes from and carries it in its `ETag`; a request with
`If-None-Match` gets 304 while nothing changed. Errors are problem details (RFC 9457). An unknown gene is a 404 with the
reason and the nearest symbols where one is asked, and a marked entry where many are."""
