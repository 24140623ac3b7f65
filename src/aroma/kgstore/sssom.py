"""Decisions of the gene resolver as an SSSOM mapping set (TSV with a YAML header).

Format: https://mapping-commons.github.io/sssom/ (1.1). A name is a literal subject, a gene the object. A name without
a gene is kept as a row whose object is ``sssom:NoTermFound``; the reason and the candidates stand in ``comment``.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable
from typing import Final

from aroma.kgstore.resolver import Resolution, Tier

NO_TERM: Final = "sssom:NoTermFound"
_PREDICATE: Final = "skos:exactMatch"
_LEXICAL: Final = "semapv:LexicalMatching"
_CROSS_REFERENCE: Final = "semapv:BackgroundKnowledgeBasedMatching"
_LICENCE: Final = "https://creativecommons.org/publicdomain/zero/1.0/"
_CURIE_MAP: Final = {
    "ENSEMBL": "http://identifiers.org/ensembl/",
    "HGNC": "http://identifiers.org/hgnc/",
    "semapv": "https://w3id.org/semapv/vocab/",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "sssom": "https://w3id.org/sssom/",
}
_COLUMNS: Final = (
    "subject_label", "subject_type", "predicate_id", "object_id", "object_label", "mapping_justification", "comment",
)  # fmt: skip
_IDENTIFIERS: Final = frozenset({Tier.HGNC_ID, Tier.ENSEMBL_ID, Tier.ENTREZ_ID, Tier.UNIPROT_ID, Tier.STRING_ID})


def to_sssom(resolutions: Iterable[Resolution], *, release: str = "") -> str:
    """Return an SSSOM mapping set of ``resolutions``, one row each, in their order.

    Args:
        resolutions: As the resolver gave them.
        release: Release whose names were asked; named in the header.

    Returns:
        The text of the file. ``mapping_set_id`` is a hash of the rows, so equal decisions give equal files.
    """
    body = io.StringIO()
    table = csv.writer(body, delimiter="\t", lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows(_row(resolution) for resolution in resolutions)
    digest = hashlib.sha256(f"{release}\n{body.getvalue()}".encode()).hexdigest()
    return "".join(f"#{line}\n" for line in _header(digest, release)) + body.getvalue()


def _header(digest: str, release: str) -> list[str]:
    lines = [
        'sssom_version: "1.1"',
        f"mapping_set_id: https://w3id.org/sssom/mappings/{digest[:32]}",
        'mapping_set_title: "Gene names and the genes that they stand for"',
        f"license: {_LICENCE}",
        "mapping_tool: aroma",
    ]
    if release:
        lines.append(f'object_source_version: "{release}"')
    return [*lines, "curie_map:", *(f"  {prefix}: {place}" for prefix, place in _CURIE_MAP.items())]


def _row(resolution: Resolution) -> tuple[str, ...]:
    notes = [str(resolution.tier or resolution.reason), *resolution.flags]
    if resolution.candidates:
        also = "stands between" if resolution.gene is None else "also stands for"
        notes.append(f"{also} {', '.join(resolution.candidates)}")
    return (
        resolution.query,
        "rdfs literal",
        _PREDICATE,
        resolution.gene or NO_TERM,
        resolution.symbol or "",
        _CROSS_REFERENCE if resolution.tier in _IDENTIFIERS else _LEXICAL,
        "; ".join(notes),
    )
