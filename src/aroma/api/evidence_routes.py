"""Routes about evidence: one pair, as text, many at once."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final

import msgspec
import pyarrow as pa
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from aroma.api.answering import Desk, desk_of
from aroma.api.asking import EvidenceBatch, EvidenceQuery, PromptQuery, check_number, read_body
from aroma.api.documents import ARROW, NDJSON, body_of, reference, responses
from aroma.errors import AromaError
from aroma.retrieval import answers
from aroma.retrieval.answer_model import BatchError, PromptAnswer, to_bytes
from aroma.retrieval.evidence import EvidenceStore, Pair
from aroma.retrieval.evidence_model import Evidence, evidence_schema, to_json

router = APIRouter(prefix="/v1")
_ROWS_A_PIECE: Final = 50
_ARROW_SCHEMA: Final = pa.schema(
    [
        ("row", pa.int32()),
        ("cell_line", pa.string()),
        ("perturbation", pa.string()),
        ("target", pa.string()),
        ("perturbation_id", pa.string()),
        ("target_id", pa.string()),
        ("paths", pa.int32()),
        ("coverage", pa.list_(pa.string())),
        ("evidence", pa.large_string()),
    ]
)


@router.get("/evidence", summary="Evidence for one pair in one cell line", responses=responses(Evidence))
async def evidence(request: Request, query: Annotated[EvidenceQuery, Query()]) -> Response:
    """The evidence object as it is in training: descriptions, paths, shared features, contrastive cases, coverage."""
    desk = desk_of(request)
    opened = await desk.opened(query.release)
    store = await desk.store(opened, query.options(), query.withheld())

    def make() -> bytes:
        desk.metrics.made(1)
        return to_json(_evidence(store, query, text=True))

    return await desk.answer(request, opened, make)


def _evidence(store: EvidenceStore, query: EvidenceQuery, *, text: bool = False) -> Evidence:
    for name in (query.perturbation, query.target):
        if store.resolve(name).gene is None:
            answers.require_gene(store, name)
    make = store.encoded if text else store.evidence
    return make(query.perturbation, query.target, query.cell_line)


@router.get("/evidence/prompt", summary="Evidence as text for a model", responses=responses(PromptAnswer))
async def prompt(request: Request, query: Annotated[PromptQuery, Query()]) -> Response:
    """A template filled with the evidence; with a budget the least important evidence goes first."""
    desk = desk_of(request)
    opened = await desk.opened(query.release)
    store = await desk.store(opened, query.options(), query.withheld())
    return await desk.answer(
        request, opened, lambda: answers.render_prompt(_evidence(store, query), query.template, query.budget)
    )


@router.get("/schema/evidence", summary="JSON Schema of the evidence object", responses=responses(None))
async def schema(request: Request) -> Response:
    """JSON Schema, 2020-12."""
    desk = desk_of(request)
    return await desk.answer(request, await desk.opened(None), evidence_schema)


_BATCH_EXAMPLE: Final = {"pairs": [{"perturbation": "TULP1", "target": "ITCH", "cell_line": "RPE1"}], "k": 3}
_BATCH_MEDIA: Final = {
    NDJSON: {"schema": {"oneOf": [reference(Evidence), reference(BatchError)]}},
    ARROW: {"schema": {"type": "string", "format": "binary"}},
}


@router.post(
    "/evidence/batch",
    summary="Evidence for many pairs, streamed",
    responses=responses(None, body=True, media=_BATCH_MEDIA),
    openapi_extra=body_of(EvidenceBatch, _BATCH_EXAMPLE),
)
async def batch(request: Request) -> Response:
    """One evidence object a line in the order asked (NDJSON), or an Arrow stream where ``Accept`` asks for one.

    A pair with an unknown gene gets an object that says so.
    """
    desk = desk_of(request)
    asked = await read_body(request, EvidenceBatch)
    check_number(len(asked.pairs), desk.settings.limits.batch_pairs)
    opened = await desk.opened(asked.release)
    store = await desk.store(opened, asked.options(), asked.withheld())
    pairs = [Pair(pair.perturbation, pair.target, pair.cell_line) for pair in asked.pairs]
    headers = {"ETag": opened.etag, "X-Release": opened.release}
    if ARROW in request.headers.get("accept", ""):
        return StreamingResponse(_stream_arrow(desk, store, pairs), headers=headers, media_type=ARROW)
    return StreamingResponse(_stream_lines(desk, store, pairs), headers=headers, media_type=NDJSON)


async def _stream_lines(desk: Desk, store: EvidenceStore, pairs: list[Pair]) -> AsyncIterator[bytes]:
    row = 0
    try:
        for piece in _pieces(pairs):
            lines = await desk.bulk.run(_lines, store, piece)
            desk.metrics.made(len(piece))
            yield lines
            row += len(piece)
    except AromaError as error:
        yield to_bytes(BatchError(problem=str(error), row=row)) + b"\n"


def _lines(store: EvidenceStore, pairs: list[Pair]) -> bytes:
    return b"".join(itertools.chain.from_iterable((to_json(found), b"\n") for found in store.many_encoded(pairs)))


async def _stream_arrow(desk: Desk, store: EvidenceStore, pairs: list[Pair]) -> AsyncIterator[bytes]:
    sink = _Sink()
    writer = pa.ipc.new_stream(sink, _ARROW_SCHEMA)
    row = 0
    for piece in _pieces(pairs):
        record = await desk.bulk.run(_record, store, piece, row)
        desk.metrics.made(len(piece))
        writer.write_batch(record)
        row += len(piece)
        yield sink.taken()
    writer.close()
    yield sink.taken()


def _record(store: EvidenceStore, pairs: list[Pair], first: int) -> pa.RecordBatch:
    rows = [_row(found, first + place) for place, found in enumerate(store.many_encoded(pairs))]
    return pa.RecordBatch.from_pylist(rows, schema=_ARROW_SCHEMA)


def _row(found: Evidence, row: int) -> dict[str, Any]:
    asked = msgspec.structs.asdict(found.query)
    codes = [flag.code for flag in found.coverage]
    return {"row": row, **asked, "paths": len(found.paths), "coverage": codes, "evidence": to_json(found).decode()}


def _pieces(pairs: list[Pair]) -> Iterator[list[Pair]]:
    for start in range(0, len(pairs), _ROWS_A_PIECE):
        yield pairs[start : start + _ROWS_A_PIECE]


class _Sink:
    """A file that hands over what was written to it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def flush(self) -> None:
        """Nothing waits."""

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        found, self._parts = b"".join(self._parts), []
        return found
