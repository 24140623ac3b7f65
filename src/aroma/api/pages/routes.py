"""Routes of the evidence page. Every page is a plain answer to a GET: it can be linked, kept, read without script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from aroma.api.answering import Desk, conditional, desk_of, etag_of
from aroma.api.asking import LONGEST_NAME
from aroma.api.pages.drawing import draw_paths
from aroma.api.pages.links import page_of
from aroma.api.pages.predicted import predictions_of
from aroma.api.pages.rendering import answer, quoted, render, style
from aroma.api.problems import Problem, make_problem, problem_of
from aroma.errors import AromaError, IdentifierError
from aroma.kgstore.schema import Relation
from aroma.retrieval import answers
from aroma.retrieval.evidence import EvidenceOptions
from aroma.retrieval.evidence_model import Evidence, Node
from aroma.retrieval.incident_edges import IncidentPage, incident_edges
from aroma.retrieval.served import Opened

router = APIRouter(include_in_schema=False)
_EDGES_A_PAGE: Final = 100
_GENES_FOUND: Final = 50
_LAST_OFFSET: Final = 1_000_000
Text = Annotated[str, Query(max_length=LONGEST_NAME)]
Frame = dict[str, Any]
Page = Callable[[], tuple[str, dict[str, Any]]]


async def respond(
    request: Request, opened: Opened, make: Callable[[Frame], Response], *, asked: dict[str, str] | None = None
) -> Response:
    """Return an answer made in a thread; what goes wrong is a page as well.

    Args:
        request: What is answered.
        opened: The release that answers.
        make: Is given what every page shows around its content.
        asked: What stands in the forms.
    """
    desk = desk_of(request)
    frame = _frame(desk, opened, asked or {})

    def made() -> Response:
        try:
            return make(frame)
        except AromaError as error:
            return _problem(frame, problem_of(error))

    return await desk.quick.run(made)


async def show(
    request: Request, opened: Opened, make: Page, *, asked: dict[str, str] | None = None, own_style: bool = False
) -> Response:
    """Return a page of a template; ``make`` returns its name and what it shows."""

    def made(frame: Frame) -> Response:
        template, context = make()
        return answer(render(template, **{**frame, **context}), own_style=own_style)

    return await respond(request, opened, made, asked=asked)


def _problem(frame: Frame, problem: Problem) -> Response:
    return answer(render("problem.html", **frame, problem=problem), problem.status)


def _frame(desk: Desk, opened: Opened, asked: dict[str, str]) -> Frame:
    """Return what every page shows around its content."""
    return {
        "asked": {"perturbation": "", "target": "", "cell_line": "", "q": "", **asked},
        "cell_lines": opened.base.cell_lines.names(),
        "release": opened.release,
        "sequence": opened.sequence,
        "opening": desk.served.opening,
        "json": None,
    }


@router.get("/page.css")
async def page_css(request: Request) -> Response:
    """The style sheet of all pages."""
    body = style()
    return conditional(request, etag_of(body), body, "text/css")


@router.get("/")
async def home(request: Request) -> Response:
    """What can be asked, and what the release holds."""
    desk = desk_of(request)
    opened = await desk.opened(None)

    def make() -> tuple[str, dict[str, Any]]:
        release = opened.release
        return "home.html", {
            "sources": answers.list_sources(desk.served.home, release).items,
            "views": answers.list_views(desk.served.home, release).items,
            "examples": _examples(opened),
            "json": f"/v1/releases/{release}",
        }

    return await show(request, opened, make)


_EXAMPLES: Final = (("TULP1", "ITCH", "RPE1"), ("AAMP", "AGPAT1", "Jurkat"))


def _examples(opened: Opened) -> list[dict[str, str]]:
    """Return the paper's pairs where the release knows their genes, else two genes that it knows."""
    pairs = [pair for pair in _EXAMPLES if all(opened.base.resolve(name).gene for name in pair[:2])]
    if not pairs:
        symbols = sorted(opened.base.resolver.symbols.values())[:2]
        pairs = [(symbols[0], symbols[-1], "K562")] if symbols else []
    return [{"perturbation": one, "target": other, "cell_line": line} for one, other, line in pairs]


@router.get("/search")
async def search(request: Request, q: Text = "") -> Response:
    """Genes by name; a name that stands for one gene leads to its page at once."""
    opened = await desk_of(request).opened(None)
    found = opened.base.resolve(q) if q.strip() else None
    if found is not None and found.gene is not None:
        return RedirectResponse(f"/gene/{quoted(found.query.strip())}", status_code=303)
    return await show(
        request,
        opened,
        lambda: ("search.html", {"found": answers.search_genes(opened.base, q, offset=0, limit=_GENES_FOUND)}),
        asked={"q": q},
    )


@router.get("/gene/{name:path}")
async def gene(
    request: Request,
    name: str,
    relation: Text = "",
    holds: Annotated[str, Query(alias="name", max_length=LONGEST_NAME)] = "",
    offset: Annotated[int, Query(ge=0, le=_LAST_OFFSET)] = 0,
) -> Response:
    """One gene: what is known, and every edge with where it comes from."""
    opened = await desk_of(request).opened(None)

    def make() -> tuple[str, dict[str, Any]]:
        if relation and relation not in set(Relation):
            raise IdentifierError(f"no relation is called {relation!r}; there are {', '.join(Relation)}")
        return "gene.html", _gene(opened, name[:LONGEST_NAME], relation, holds, offset)

    return await show(request, opened, make, asked={"q": name})


def _gene(opened: Opened, name: str, relation: str, holds: str, offset: int) -> dict[str, Any]:
    store = opened.base
    found = answers.require_gene(store, name)
    number = answers.find_node(store, str(found.gene))
    page = incident_edges(
        store.snapshot, number, relation=relation or None, name=holds, offset=offset, limit=_EDGES_A_PAGE
    )
    counts = page.counts.values()
    return {
        "answer": found,
        "description": store.descriptions.of(number, "target"),
        "page": page,
        "all": sum(counts),
        "most": max(counts, default=1),
        "filters": {"relation": relation, "name": holds},
        "previous": max(offset - _EDGES_A_PAGE, 0) if offset else None,
        "next": _next(page),
        "json": f"/v1/genes/{found.gene}",
    }


def _next(page: IncidentPage) -> int | None:
    after = page.offset + len(page.items)
    return after if page.items and after < page.total else None


@router.get("/pair")
async def pair(request: Request, perturbation: Text = "", target: Text = "", cell_line: Text = "") -> Response:
    """All evidence for one pair of genes in one cell line, as a model gets it."""
    asked = {"perturbation": perturbation, "target": target, "cell_line": cell_line}
    opened = await desk_of(request).opened(None)
    lacking = [name.replace("_", " ") for name, said in asked.items() if not said.strip()]
    if lacking:
        frame = _frame(desk_of(request), opened, asked)
        return _problem(frame, make_problem(422, f"please give {' and '.join(lacking)}"))
    store = await desk_of(request).store(opened, EvidenceOptions())
    known = all(store.resolve(name).gene is not None for name in (perturbation, target))
    predicted = await predictions_of(desk_of(request), perturbation, target, cell_line) if known else []

    def make() -> tuple[str, dict[str, Any]]:
        for name in (perturbation, target):
            answers.require_gene(store, name)
        evidence = store.evidence(perturbation, target, cell_line)
        return "pair.html", {**_pair(evidence), "predictions": predicted, "json": f"/v1/evidence?{urlencode(asked)}"}

    return await show(request, opened, make, asked=asked)


def _pair(evidence: Evidence) -> dict[str, Any]:
    query = evidence.query
    ends = ((evidence.perturbation, query.perturbation), (evidence.target, query.target))
    hidden = evidence.withheld.get("outcomes_on_target", 0)
    return {
        "evidence": evidence,
        "names": [described.gene.name if described else asked for described, asked in ends],
        "drawing": draw_paths(evidence.paths, _address),
        "withheld": f"{hidden} outcomes on this target are withheld by this server." if hidden else "",
    }


def _address(node: Node) -> str | None:
    return f"/gene/{quoted(node.id)}" if node.label == "Gene" else page_of(node.id)
