"""Where each provider publishes its files: the one place for addresses.

A lab behind a proxy or with a mirror sets ``AROMA_DOWNLOAD_BASE``: ``https://host/path`` is then asked for at
``<base>/host/path``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aroma.importers.versions import UNDATED

BASE_VARIABLE: Final = "AROMA_DOWNLOAD_BASE"


@dataclass(frozen=True, slots=True)
class Probe:
    """Where a provider states its current version: ``pattern``'s first group in the text at ``url``."""

    url: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Address:
    """One published file.

    Attributes:
        provider: Provider's name.
        file: Name to save it under; ``{version}`` is filled where the version is known before the download.
        current: Address of the newest release; empty where every address names a version.
        release: Address of a given release, with ``{version}``; empty where the provider keeps no old ones.
        newest: The version to fetch when none is given and there is no ``current`` address.
        probe: Where the provider states the current version.
        dated: The server's Last-Modified date is the version (files that are exported anew, without a release).
        optional: Fetched only when named by ``--optional``.
    """

    provider: str
    file: str
    current: str = ""
    release: str = ""
    newest: str = ""
    probe: Probe | None = None
    dated: bool = False
    optional: bool = False

    @property
    def name(self) -> str:
        """The file's name without version and suffixes, for people."""
        return self.file.replace(".v{version}", "").replace(".{version}", "")


_STRING: Final = "https://stringdb-downloads.org/download"
_GO_CURRENT: Final = "https://current.geneontology.org"
_GO_RELEASE: Final = "https://release.geneontology.org/{version}"
_HGNC: Final = "https://storage.googleapis.com/public-download-files/hgnc/tsv/tsv"
_CORUM: Final = "https://mips.helmholtz-muenchen.de/fastapi-corum/public"
_UNIPROT: Final = "https://ftp.uniprot.org/pub/databases/uniprot/current_release"
_COMPLEX_PORTAL: Final = "https://ftp.ebi.ac.uk/pub/databases/intact/complex/current/complextab"
_REACTOME: Final = "https://reactome.org"

_REACTOME_VERSION: Final = Probe(f"{_REACTOME}/ContentService/data/database/version", re.compile(r"^\s*(\d+)\s*$"))
_UNIPROT_VERSION: Final = Probe(f"{_UNIPROT}/relnotes.txt", re.compile(r"UniProt Release (\d{4}_\d{2})"))
_CORUM_VERSION: Final = Probe(f"{_CORUM}/releases/current", re.compile(r'"version"\s*:\s*"([\d.]+)"'))


def _string(table: str, *, optional: bool = False) -> Address:
    name = f"{table}.v{{version}}"
    return Address(
        "string",
        f"9606.{name}.txt.gz",
        release=f"{_STRING}/{name}/9606.{name}.txt.gz",
        newest="12.0",
        optional=optional,
    )


def _go(folder: str, stem: str, suffix: str) -> Address:
    path = f"{folder}/{stem}.{suffix}"
    return Address(
        "gene_ontology", f"{stem}.{suffix}", current=f"{_GO_CURRENT}/{path}", release=f"{_GO_RELEASE}/{path}"
    )


def _reactome(table: str, *, optional: bool = False) -> Address:
    return Address(
        "reactome",
        f"{table}.txt",
        current=f"{_REACTOME}/download/current/{table}.txt",
        release=f"{_REACTOME}/download/{{version}}/{table}.txt",
        probe=_REACTOME_VERSION,
        optional=optional,
    )


ADDRESSES: Final = (
    Address("hgnc", "hgnc_complete_set.txt", current=f"{_HGNC}/hgnc_complete_set.txt", dated=True),
    Address("hgnc", "withdrawn.txt", current=f"{_HGNC}/withdrawn.txt", dated=True),
    Address(
        "uniprot",
        "UP000005640_9606.fasta.gz",
        current=f"{_UNIPROT}/knowledgebase/reference_proteomes/Eukaryota/UP000005640/UP000005640_9606.fasta.gz",
        probe=_UNIPROT_VERSION,
    ),
    Address(
        "uniprot",
        "uniprot_sprot.fasta.gz",
        current=f"{_UNIPROT}/knowledgebase/complete/uniprot_sprot.fasta.gz",
        probe=_UNIPROT_VERSION,
        optional=True,
    ),
    _string("protein.links"),
    _string("protein.links.full"),
    _string("protein.info"),
    _string("protein.links.detailed", optional=True),
    _string("protein.physical.links", optional=True),
    _string("protein.physical.links.detailed", optional=True),
    _string("protein.physical.links.full", optional=True),
    _string("protein.aliases", optional=True),
    Address(
        "corum",
        "allComplexes.{version}.txt",
        current=f"{_CORUM}/file/download_current_file?file_id=complete&file_format=txt",
        probe=_CORUM_VERSION,
    ),
    Address("complex_portal", "9606.tsv", current=f"{_COMPLEX_PORTAL}/9606.tsv", dated=True),
    _go("ontology", "go-basic", "obo"),
    _go("annotations", "goa_human", "gaf.gz"),
    _reactome("ReactomePathways"),
    _reactome("ReactomePathwaysRelation"),
    _reactome("UniProt2Reactome"),
    _reactome("UniProt2Reactome_All_Levels", optional=True),
    _reactome("UniProt2ReactomeReactions", optional=True),
)
"""Every file that ``aroma download`` fetches."""


def published(provider: str, name: str) -> str:
    """Return the address that a provider's file is published at, with ``{version}`` where old releases are kept.

    Args:
        provider: Provider's name.
        name: ``Address.name``: the file's name without version.
    """
    address = next(one for one in ADDRESSES if (one.provider, one.name) == (provider, name))
    return address.release or address.current


def at_version(template: str, version: str) -> str:
    """Fill ``{version}`` in an address; an undated file is said to come from the address of the newest release."""
    if version == UNDATED and "{version}" in template:
        return next((one.current for one in ADDRESSES if one.release == template), "")
    return template.replace("{version}", version)


def through_mirror(url: str) -> str:
    """Return the address to ask at: ``url`` itself, or its place in the mirror that AROMA_DOWNLOAD_BASE names."""
    base = os.environ.get(BASE_VARIABLE, "").rstrip("/")
    if not base:
        return url
    parts = urlsplit(url)
    return f"{base}/{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")
