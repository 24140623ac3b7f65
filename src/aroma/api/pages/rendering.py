"""Templates of the evidence page, and what every page carries: the release, headers that forbid scripts."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote, urlencode

import jinja2
from starlette.responses import Response

from aroma.api.pages.links import page_of
from aroma.retrieval.evidence_model import Edge

_MOST_LINES: Final = 3
_POLICY: Final = (
    "default-src 'none'; style-src {style}; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
EVIDENCE_CODES: Final = {
    "EXP": "inferred from experiment",
    "IDA": "inferred from direct assay",
    "IPI": "inferred from physical interaction",
    "IMP": "inferred from mutant phenotype",
    "IGI": "inferred from genetic interaction",
    "IEP": "inferred from expression pattern",
    "HTP": "inferred from high-throughput experiment",
    "HDA": "inferred from high-throughput direct assay",
    "HMP": "inferred from high-throughput mutant phenotype",
    "HGI": "inferred from high-throughput genetic interaction",
    "HEP": "inferred from high-throughput expression pattern",
    "IBA": "inferred from biological aspect of ancestor",
    "IBD": "inferred from biological aspect of descendant",
    "IKR": "inferred from key residues",
    "IRD": "inferred from rapid divergence",
    "ISS": "inferred from sequence or structural similarity",
    "ISO": "inferred from sequence orthology",
    "ISA": "inferred from sequence alignment",
    "ISM": "inferred from sequence model",
    "IGC": "inferred from genomic context",
    "RCA": "inferred from reviewed computational analysis",
    "TAS": "traceable author statement",
    "NAS": "non-traceable author statement",
    "IC": "inferred by curator",
    "ND": "no biological data available",
    "IEA": "inferred from electronic annotation",
}
"""Meaning of the evidence codes of GO (https://geneontology.org/docs/guide-go-evidence-codes/)."""


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("aroma.api.pages"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    made.filters |= {"page_of": page_of, "statements": _statements, "urlencode": _encoded}
    return made


def quoted(text: str) -> str:
    """Return a text as a part of an address."""
    return quote(text, safe="")


def _encoded(value: Any) -> str:
    """Return a text as a part of a path, or a mapping as a query; what is empty stays away."""
    if isinstance(value, str):
        return quoted(value)
    return urlencode({name: said for name, said in value.items() if said not in {None, ""}})


def _statements(edge: Edge) -> dict[str, Any]:
    """Return the first lines behind an edge, and how many more there are."""
    columns = (edge.statements, edge.evidence, edge.qualifiers, edge.references)
    lines = [
        {
            "statement": statement,
            "evidence": evidence,
            "meaning": EVIDENCE_CODES.get(evidence, evidence),
            "qualifier": qualifier,
            "reference": reference,
        }
        for statement, evidence, qualifier, reference in zip(*columns, strict=True)
    ]
    return {"lines": lines[:_MOST_LINES], "more": max(len(lines) - _MOST_LINES, 0)}


def render(template: str, **context: Any) -> bytes:
    """Return a page as UTF-8 text.

    Args:
        template: File name in ``templates``.
        context: What it shows.
    """
    return _environment().get_template(template).render(**context).encode()


def answer(body: bytes, status: int = 200, *, own_style: bool = False) -> Response:
    """Return a page as a response that lets the browser run nothing and fetch nothing from elsewhere.

    Args:
        body: The page.
        status: HTTP status.
        own_style: The page has style inside, as reports that can be kept and plots have.
    """
    policy = _POLICY.format(style="'self' 'unsafe-inline'" if own_style else "'self'")
    headers = {**_HEADERS, "Content-Security-Policy": policy}
    return Response(body, status_code=status, headers=headers, media_type="text/html")


@cache
def style() -> bytes:
    """Return the style sheet."""
    return (files("aroma.api.pages") / "templates" / "page.css").read_bytes()
