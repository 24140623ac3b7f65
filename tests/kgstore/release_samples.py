"""Small hand-made release tables with everything in them that an engine could get wrong."""

from __future__ import annotations

import polars as pl

from aroma.kgstore.publications import Publication
from aroma.kgstore.tables import ReleaseTables

RUN = "string.links.0123456789ab"


def sample_tables(*, score: int = 900, pairs: int = 3) -> ReleaseTables:
    """Return a release of ``pairs`` STRING edges around one gene, a term, a complex and what goes with them."""
    genes = [f"HGNC:{number}" for number in range(1, pairs + 2)]
    nodes = [
        {
            "id": gene,
            "label": "Gene",
            "symbol": f"G{gene[5:]}",
            "synonyms": ["a", 'quote " \\ back'],
            "provider": "hgnc",
        }
        for gene in genes
    ]
    nodes += [
        {"id": "GO:0000001", "label": "GOTerm", "name": 'an "odd"\tname: é 漢 "score":null,', "obsolete": False},
        {"id": "GO:0000002", "label": "GOTerm", "name": "second", "obsolete": True},
        {"id": "CORUM:1", "label": "Complex", "name": "complex", "references": ["PMID:1"]},
    ]
    shared = {"provider_release": "1", "licence": "CC0", "since": 1, "content": "1"}
    lists = {"evidence": ["", ""], "references": ["PMID:1", ""], "qualifiers": ["", ""]}
    edges = [
        {
            "subject": "HGNC:1", "relation": "INTERACTS_WITH", "object": gene, "provider": "string", "score": score,
            "score_experiments": 7 if gene == "HGNC:2" else None, "import_runs": [RUN],
            "statements": [f"{RUN}:{gene[5:]}", f"{RUN}:9{gene[5:]}"], "original_subject": "9606.ENSP1",
            **lists, **shared,
        }
        for gene in genes[1:]
    ]  # fmt: skip
    edges += [
        {"subject": "HGNC:1", "relation": "ANNOTATED_TO", "object": "GO:0000001", "provider": "goa", **shared},
        {"subject": "HGNC:1", "relation": "ANNOTATED_TO", "object": "GO:0000001", "provider": "other", **shared},
        {"subject": "GO:0000002", "relation": "IS_A", "object": "GO:0000001", "provider": "go", **shared},
        {"subject": "HGNC:2", "relation": "MEMBER_OF", "object": "CORUM:1", "provider": "corum", **shared},
    ]
    return ReleaseTables.of(
        {
            "nodes": pl.DataFrame(nodes, infer_schema_length=None),
            "edges": pl.DataFrame(edges, infer_schema_length=None),
            "descriptions": pl.DataFrame({"node": ["HGNC:1"], "text": ["what it does"], "provider": ["string"]}),
            "import_runs": pl.DataFrame({"id": [RUN], "provider": ["string"], "file": ["f.gz"], "rows_read": [3]}),
            "sources": pl.DataFrame({"provider": ["string"], "title": ["STRING"], "commercial_use": [True]}),
            "unresolved": pl.DataFrame(
                {"provider": ["string"], "import_run": [RUN], "identifier": ["X"], "reason": ["unknown"], "rows": [2]}
            ),
            "name_conflicts": pl.DataFrame(
                {"name": ["TAZ"], "tier": ["previous"], "other_tier": ["alias"], "other_genes": [["HGNC:2"]]}
            ),
        }
    )


def publication(release: str = "r1", sequence: int = 1, parent: str | None = None) -> Publication:
    """Return a publication with a fixed time."""
    return Publication(sequence, release, parent, "2026-01-02T03:04:05+00:00")
