"""Compact URIs (CURIEs) as the graph writes them: one spelling for each identifier.

Prefixes follow the Bioregistry's preferred spelling where the field has one.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class Prefix(StrEnum):
    """Prefixes of identifiers in the graph."""

    HGNC = "HGNC"
    ENSEMBL = "ENSEMBL"
    ENTREZ = "NCBIGene"
    UNIPROT = "UniProtKB"
    CORUM = "CORUM"
    COMPLEX_PORTAL = "ComplexPortal"
    GO = "GO"
    REACTOME = "REACTOME"
    PUBMED = "PMID"
    CELLOSAURUS = "Cellosaurus"


_LOCAL: Final[dict[Prefix, re.Pattern[str]]] = {
    Prefix.HGNC: re.compile(r"[0-9]{1,6}"),
    Prefix.ENSEMBL: re.compile(r"ENS[A-Z]*[GPT][0-9]{11}"),
    Prefix.ENTREZ: re.compile(r"[0-9]{1,10}"),
    Prefix.UNIPROT: re.compile(
        r"([OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9]([A-Z][A-Z0-9]{2}[0-9]){1,2})(-[0-9]+)?(-PRO_[0-9]+)?"
    ),
    Prefix.CORUM: re.compile(r"[0-9]{1,6}"),
    Prefix.COMPLEX_PORTAL: re.compile(r"CPX-[0-9]{1,6}"),
    Prefix.GO: re.compile(r"[0-9]{7}"),
    Prefix.REACTOME: re.compile(r"R-[A-Z]{3}-[0-9]{1,9}(\.[0-9]+)?"),
    Prefix.PUBMED: re.compile(r"[0-9]{1,9}"),
    Prefix.CELLOSAURUS: re.compile(r"CVCL_[A-Z0-9]{4}"),
}


def pattern(prefix: Prefix) -> str:
    """Return the anchored regular expression of the local part, for vectorised checks over columns."""
    return f"^(?:{_LOCAL[prefix].pattern})$"
