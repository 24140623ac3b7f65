"""Routes about models in service: which there are, what they predict, and what stands behind an answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from aroma.api.answering import conditional, desk_of, etag_of
from aroma.api.asking import LineageQuery, PredictionsAsked, check_number, read_body
from aroma.api.documents import body_of, responses
from aroma.model.lineage import lineage_of_id, why_changed_by_id
from aroma.model.serving.answer_model import PredictionBatch, ServedModelList
from aroma.model.serving.answering import MOST_EXPLAINED, answer_pairs
from aroma.retrieval.answer_model import to_bytes

router = APIRouter(prefix="/v1")
_PAIR: Final = {"perturbation": "TULP1", "target": "ITCH", "cell_line": "RPE1"}
_MODELS_EXAMPLE: Final[dict[str, Any]] = {
    "release": "r5e4cba2b4f5b49f8",
    "items": [
        {
            "plugin": "boosted-evidence",
            "version": "3",
            "model": "m38f559e2ebd971f8",
            "release": "r5e4cba2b4f5b49f8",
            "is_published_release": True,
            "since": "2026-11-21T15:00:00+00:00",
            "action": "promote",
            "reason": "no model was served before; calibration holds",
            "split": "official",
            "training_rows": 310_000,
            "cell_lines": ["HepG2", "Jurkat", "K562", "RPE1"],
            "licence": "Apache-2.0",
            "licences": {"corum": "CC BY-NC 4.0"},
            "answers_now": "m38f559e2ebd971f8",
            "problem": None,
        }
    ],
}


@router.get("/models", summary="Models in service", responses=responses(ServedModelList, _MODELS_EXAMPLE))
async def models(request: Request) -> Response:
    """One of each plug-in at most; a promotion or roll back shows here, and in answers, within a second."""
    desk = desk_of(request)
    body = await desk.quick.run(lambda: to_bytes(desk.models.listed()))
    return conditional(request, etag_of(body), body)


@router.post(
    "/predictions",
    summary="Predictions for pairs",
    responses=responses(PredictionBatch, body=True),
    openapi_extra=body_of(PredictionsAsked, {"pairs": [_PAIR], "plugin": "boosted-evidence", "explain": True}),
)
async def predictions(request: Request) -> Response:
    """One entry a pair in the order asked, all from one model on the release that it was trained on.

    Unknown genes are answered and flagged. ``prediction`` names the model and the question together: the lineage of an
    answer can be asked by it.
    """
    desk = desk_of(request)
    asked = await read_body(request, PredictionsAsked)
    check_number(len(asked.pairs), MOST_EXPLAINED if asked.explain else desk.settings.limits.batch_pairs)
    opened = await desk.model(asked.plugin)
    pairs = [(pair.perturbation, pair.target, pair.cell_line) for pair in asked.pairs]
    found = await desk.bulk.run(lambda: answer_pairs(desk.served.home, opened, pairs, explain=asked.explain))
    headers = {"X-Release": found.release, "X-Model": found.model, "Cache-Control": "no-store"}
    return Response(to_bytes(found), headers=headers, media_type="application/json")


@router.get(
    "/lineage/{name}",
    summary="What stands behind a prediction, model, release or file",
    responses=responses(None, media={"application/json": {"schema": {"type": "object"}}}),
)
async def lineage(
    request: Request,
    name: Annotated[str, Path(min_length=1, max_length=200, description="An id, or a file's sha256.")],
    query: Annotated[LineageQuery, Query()],
) -> Response:
    """The chain down to the checksums of providers' files; with ``against``, which inputs differ from another's."""
    desk = desk_of(request)
    home = desk.served.home

    def make() -> bytes:
        if query.against is None:
            return to_bytes(lineage_of_id(home, name).to_dict())
        found = why_changed_by_id(home, query.against, name)
        return to_bytes({"differences": [asdict(one) for one in found]})

    body = await desk.slow.run(make)
    return conditional(request, etag_of(body), body)
