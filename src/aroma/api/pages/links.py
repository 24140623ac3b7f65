"""Where an identifier can be looked up: the provider's own page of it."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

_PAGES: Final = {
    "HGNC": "https://www.genenames.org/data/gene-symbol-report/#!/hgnc_id/HGNC:{}",
    "ENSEMBL": "https://www.ensembl.org/id/{}",
    "NCBIGene": "https://www.ncbi.nlm.nih.gov/gene/{}",
    "UniProtKB": "https://www.uniprot.org/uniprotkb/{}/entry",
    "CORUM": "https://mips.helmholtz-muenchen.de/corum/?id={}",
    "ComplexPortal": "https://www.ebi.ac.uk/complexportal/complex/{}",
    "GO": "https://amigo.geneontology.org/amigo/term/GO:{}",
    "REACTOME": "https://reactome.org/content/detail/{}",
    "PMID": "https://pubmed.ncbi.nlm.nih.gov/{}/",
    "DOI": "https://doi.org/{}",
    "Cellosaurus": "https://www.cellosaurus.org/{}",
    "ORCID": "https://orcid.org/{}",
    "GO_REF": "https://geneontology.org/cgi-bin/references.cgi#GO_REF:{}",
}
_BY_FOLDED: Final = {prefix.casefold(): page for prefix, page in _PAGES.items()}


def page_of(identifier: str) -> str | None:
    """Return the address of an identifier's page, or None where none is known.

    Args:
        identifier: A CURIE such as ``GO:0008201`` or ``PMID:12345``; prefixes in any case.
    """
    prefix, found, local = identifier.partition(":")
    page = _BY_FOLDED.get(prefix.casefold())
    if not found or not local or page is None:
        return None
    return page.format(quote(local, safe="/."))
