"""Routes about genes, paths, neighbourhoods and coverage."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from aroma.api.answering import desk_of
from aroma.api.asking import (
    LONGEST_NAME,
    GeneSearchQuery,
    Names,
    NeighbourhoodQuery,
    PairQuery,
    Pairs,
    TextSearchQuery,
    check_number,
    read_body,
    require_preset,
)
from aroma.api.documents import body_of, responses
from aroma.kgstore.views import preset
from aroma.retrieval import answers
from aroma.retrieval.answer_model import (
    CoverageAnswer,
    GeneAnswer,
    GeneBatch,
    GenePage,
    NeighbourhoodAnswer,
    PathsAnswer,
    TextPage,
)
from aroma.retrieval.evidence import EvidenceOptions

router = APIRouter(prefix="/v1")
GeneName = Annotated[str, Path(min_length=1, max_length=LONGEST_NAME, examples=["TULP1"])]


@router.get("/genes", summary="Search genes by name, also mistyped ones", responses=responses(GenePage))
async def search_genes(request: Request, query: Annotated[GeneSearchQuery, Query()]) -> Response:
    """What the name stands for first, then symbols that begin so, then symbols spelled alike."""
    desk = desk_of(request)
    opened = await desk.opened(None)
    return await desk.answer(
        request,
        opened,
        lambda: answers.search_genes(opened.base, query.q, offset=query.offset, limit=query.limit),
    )


@router.get("/search", summary="Search nodes by their text", responses=responses(TextPage))
async def search_text(request: Request, query: Annotated[TextSearchQuery, Query()]) -> Response:
    """Names, synonyms and definitions, through the database's full-text index."""
    from aroma.kgstore.home import GraphTarget
    from aroma.retrieval.text_answers import search_text as ask

    desk = desk_of(request)
    opened = await desk.opened(None)
    target = GraphTarget.locate(desk.settings.uri)
    return await desk.answer(
        request,
        opened,
        lambda: ask(opened.base, desk.served.home, target, query.q, limit=query.limit),
        cached=False,
        room=desk.database,
    )


_GENE_EXAMPLE: Final[dict[str, Any]] = {
    "release": "r5e4cba2b4f5b49f8",
    "query": "TULP1",
    "gene": "HGNC:12423",
    "symbol": "TULP1",
    "name": "TUB like protein 1",
    "tier": "approved symbol",
    "reason": None,
    "candidates": [],
    "flags": [],
    "nearest": [],
}


@router.post(
    "/genes/resolve",
    summary="Resolve many gene names",
    responses=responses(GeneBatch, body=True),
    openapi_extra=body_of(Names, {"names": ["TULP1", "AARS", "NOTAGENE"]}),
)
async def resolve_genes(request: Request) -> Response:
    """One entry a name in the order asked; unknown ones are marked with the reason."""
    desk = desk_of(request)
    asked = await read_body(request, Names)
    check_number(len(asked.names), desk.settings.limits.batch_pairs)
    opened = await desk.opened(None)
    return await desk.answer(
        request, opened, lambda: answers.resolve_genes(opened.base, asked.names), cached=False, room=desk.bulk
    )


@router.get("/genes/{name:path}", summary="What one name stands for", responses=responses(GeneAnswer, _GENE_EXAMPLE))
async def resolve_gene(request: Request, name: GeneName) -> Response:
    """Any symbol (approved, previous, alias) or identifier (HGNC, Ensembl, Entrez, UniProt, STRING)."""
    desk = desk_of(request)
    opened = await desk.opened(None)
    return await desk.answer(request, opened, lambda: answers.require_gene(opened.base, name))


@router.get("/paths", summary="Ranked shortest paths between two genes", responses=responses(PathsAnswer))
async def paths(request: Request, query: Annotated[PairQuery, Query()]) -> Response:
    """Each hop with the edges behind it and their provenance; every option is part of the answer."""
    desk = desk_of(request)
    opened = await desk.opened(query.release)
    store = await desk.store(opened, EvidenceOptions(query.path_options()))
    return await desk.answer(request, opened, lambda: answers.find_paths(store, query.perturbation, query.target))


@router.get("/neighbourhoods/{gene:path}", summary="What is around a node", responses=responses(NeighbourhoodAnswer))
async def neighbourhood(request: Request, gene: GeneName, query: Annotated[NeighbourhoodQuery, Query()]) -> Response:
    """The nodes within some hops and the edges among them; nearest first, then those of the smallest degree."""
    require_preset(query.view)
    desk = desk_of(request)
    opened = await desk.opened(query.release)

    def make() -> NeighbourhoodAnswer:
        view = opened.view(preset(query.view))
        return answers.neighbourhood(opened.base, gene, view, hops=query.hops, limit=query.limit)

    return await desk.answer(request, opened, make)


@router.post(
    "/coverage",
    summary="How much of a list of pairs the release knows",
    responses=responses(CoverageAnswer, body=True),
    openapi_extra=body_of(Pairs, {"pairs": [{"perturbation": "TULP1", "target": "ITCH", "cell_line": "RPE1"}]}),
)
async def coverage(request: Request) -> Response:
    """Names and pairs that resolve, how, and the most frequent names that do not."""
    desk = desk_of(request)
    asked = await read_body(request, Pairs)
    check_number(len(asked.pairs), desk.settings.limits.batch_pairs)
    opened = await desk.opened(None)
    pairs = [(pair.perturbation, pair.target, pair.cell_line) for pair in asked.pairs]
    return await desk.answer(
        request, opened, lambda: answers.coverage(opened.base, pairs), cached=False, room=desk.bulk
    )
