"""Routes about embeddings: which vector sets there are, vectors of nodes, and what lies nearest to one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from aroma.api.answering import conditional, desk_of
from aroma.api.asking import EmbeddingsQuery, SimilarQuery, VectorsAsked, check_number, read_body
from aroma.api.documents import ARROW, body_of, responses
from aroma.api.workroom import Workroom
from aroma.kgstore.home import GraphTarget
from aroma.retrieval.answer_model import to_bytes
from aroma.retrieval.embedding_answers import find_rows, list_encoders, vectors_of
from aroma.retrieval.embedding_model import EncoderList, SimilarAnswer, VectorBatch
from aroma.retrieval.evidence import EvidenceStore
from aroma.retrieval.similar import similar_in

router = APIRouter(prefix="/v1")
_ENCODER: Final[dict[str, Any]] = {
    "encoder": "graph-svd",
    "id": "e0c2d4e6f8a1b",
    "kind": "graph",
    "release": "r5e4cba2b4f5b49f8",
    "rows": 19257,
    "missing": 2403,
    "dim": 128,
    "dtype": "float32",
    "licence": "Apache-2.0",
    "licences": {"corum": "CC BY-NC 4.0", "string": "CC BY 4.0"},
    "commercial_use": False,
}
_NODE: Final = {"id": "HGNC:11998", "label": "Gene", "name": "TP53"}
_FOUND: Final[dict[str, Any]] = {
    "rank": 1,
    "node": {"id": "HGNC:6973", "label": "Gene", "name": "MDM2"},
    "score": 0.724,
    "via": None,
    "shared": {
        "complexes": [{"id": "CORUM:2686", "label": "Complex", "name": "p53-MDM2 complex"}],
        "terms": [],
        "pathways": [],
        "string": 999,
    },
}
_SIMILAR_EXAMPLE: Final[dict[str, Any]] = {
    "release": "r5e4cba2b4f5b49f8",
    "encoder": _ENCODER,
    "query": _NODE,
    "label": "Gene",
    "shares": ["complex"],
    "index": "exact",
    "recall": None,
    "compared": 61,
    "items": [_FOUND],
}
_VECTORS_EXAMPLE: Final[dict[str, Any]] = {
    "release": "r5e4cba2b4f5b49f8",
    "encoder": {**_ENCODER, "dim": 2},
    "found": 1,
    "items": [
        {"query": "TP53", "node": "HGNC:11998", "row": 7, "vector": [0.61, -0.2], "problem": None},
        {
            "query": "?",
            "node": None,
            "row": None,
            "vector": None,
            "problem": "it names no node and no gene here (unknown)",
        },
    ],
}
_MEDIA: Final = {ARROW: {"schema": {"type": "string", "format": "binary"}}}


@router.get(
    "/embeddings",
    summary="Vector sets of a release",
    responses=responses(EncoderList, {"release": "r5e4cba2b4f5b49f8", "items": [_ENCODER]}),
)
async def embeddings(request: Request, query: Annotated[EmbeddingsQuery, Query()]) -> Response:
    """What made each, how many nodes have a vector, and the licences of what went in."""
    desk = desk_of(request)
    opened = await desk.opened(query.release)
    return await _answer(request, desk.quick, opened.release, lambda: list_encoders(opened.base.snapshot))


@router.post(
    "/embeddings/vectors",
    summary="Vectors of nodes",
    responses=responses(VectorBatch, _VECTORS_EXAMPLE, body=True, media=_MEDIA),
    openapi_extra=body_of(VectorsAsked, {"ids": ["TULP1", "HGNC:13890"]}),
)
async def vectors(request: Request) -> Response:
    """One entry a node in the order asked, or an Arrow stream where ``Accept`` asks for one.

    What has no vector has the reason and null, never zeros. At most 2,000,000 numbers.
    """
    desk = desk_of(request)
    asked = await read_body(request, VectorsAsked)
    check_number(len(asked.ids), desk.settings.limits.batch_pairs)
    opened = await desk.opened(asked.release)
    if ARROW in request.headers.get("accept", ""):
        body = await desk.bulk.run(_arrow, opened.base, asked)
        return Response(
            body, headers={"X-Release": opened.release, "ETag": _etag(opened.release, body)}, media_type=ARROW
        )
    return await _answer(request, desk.bulk, opened.release, lambda: vectors_of(opened.base, asked.encoder, asked.ids))


@router.get("/similar", summary="What lies nearest to a node", responses=responses(SimilarAnswer, _SIMILAR_EXAMPLE))
async def similar(request: Request, query: Annotated[SimilarQuery, Query()]) -> Response:
    """The nearest nodes by one encoder's vectors, with what each gene shares with the one asked for.

    Asked of Neo4j's vector index where the server's database is Neo4j and was filled, else of FAISS or NumPy.
    """
    desk = desk_of(request)
    opened = await desk.opened(query.release)
    target = GraphTarget.locate(desk.settings.uri)
    room = desk.quick if target.is_embedded else desk.database
    return await _answer(
        request,
        room,
        opened.release,
        lambda: similar_in(opened.base, query.name, query.encoder, query.options(), target=target),
    )


async def _answer(request: Request, room: Workroom, release: str, make: Callable[[], object]) -> Response:
    """Return the answer with an ETag of its own: vector sets come and go without a new release."""
    body = await room.run(lambda: to_bytes(make()))
    return conditional(request, _etag(release, body), body)


def _etag(release: str, body: bytes) -> str:
    return f'"{release}.{hashlib.sha256(body).hexdigest()[:12]}"'


def _arrow(store: EvidenceStore, asked: VectorsAsked) -> bytes:
    """Return an Arrow stream: ``query``, ``node``, ``row``, ``vector`` (float32s, null for none), ``problem``."""
    found, rows, problems = find_rows(store, asked.encoder, asked.ids)
    missing = rows < 0
    dim = found.card.dim
    numbers = np.zeros((len(rows), dim), dtype=np.float32)
    numbers[~missing] = found.vectors[rows[~missing]]
    table = pa.table(
        {
            "query": pa.array(asked.ids, pa.string()),
            "node": pa.array([None if row < 0 else found.ids[row] for row in rows.tolist()], pa.string()),
            "row": pa.array(rows, pa.int32(), mask=missing),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), dim, mask=pa.array(missing)),
            "problem": pa.array(problems, pa.string()),
        }
    )
    facts = {"release": found.release, "encoder": found.card.name, "id": found.card.id}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.with_metadata(facts)) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body
