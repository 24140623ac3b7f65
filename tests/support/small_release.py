"""A small release with everything in it that queries and engines must get right, written by hand.

Five genes around autophagy: edges of every kind of relation, a ``NOT`` annotation, a GO hierarchy with two ways up,
parallel edges of two providers between the same nodes, an edge of several statements, conflicting and unresolved names.
Identifiers are real ones; the statements are made up.
"""

from __future__ import annotations

import polars as pl

from aroma.kgstore import schema
from aroma.kgstore.assemble import edges_from_statements, with_content
from aroma.kgstore.tables import ReleaseTables

GENES = {
    "HGNC:12426": ("TULP1", "TUB like protein 1"),
    "HGNC:13890": ("ITCH", "itchy E3 ubiquitin protein ligase"),
    "HGNC:18": ("AAMP", "angio associated migratory cell protein"),
    "HGNC:324": ("AGPAT1", "1-acylglycerol-3-phosphate O-acyltransferase 1"),
    "HGNC:20": ("AARS1", "alanyl-tRNA synthetase 1"),
}
TERMS = {
    "GO:0008150": "biological_process",
    "GO:0009987": "cellular process",
    "GO:0006914": "autophagy",
    "GO:0000422": "autophagy of mitochondrion",
    "GO:0016236": "macroautophagy",
    "GO:0005515": "protein binding",
}
PATHWAYS = {"REACTOME:R-HSA-168256": "Immune System", "REACTOME:R-HSA-9612973": "Autophagy"}
RUNS = {
    "hgnc": "hgnc.complete.0123456789ab",
    "uniprot": "uniprot.fasta.1123456789ab",
    "string": "string.links.2123456789ab",
    "corum": "corum.complexes.3123456789ab",
    "gene_ontology": "gene_ontology.gaf.4123456789ab",
    "reactome": "reactome.lowest.5123456789ab",
    "complex_portal": "complex_portal.human.6123456789ab",
}
_GO = "gene_ontology"
# provider, subject, relation, object, evidence, reference, qualifier, score
_STATEMENTS: tuple[tuple[str, str, str, str, str, str, str, int | None], ...] = (
    ("uniprot", "HGNC:12426", "ENCODES", "UniProtKB:O00294", "", "", "", None),
    ("string", "HGNC:12426", "INTERACTS_WITH", "HGNC:13890", "", "", "", 712),
    ("string", "HGNC:13890", "INTERACTS_WITH", "HGNC:12426", "", "", "", 715),
    ("string", "HGNC:18", "INTERACTS_WITH", "HGNC:20", "", "", "", 400),
    ("corum", "HGNC:13890", "MEMBER_OF", "CORUM:783", "MI:0019", "PMID:16055720", "", None),
    ("corum", "HGNC:18", "MEMBER_OF", "CORUM:783", "MI:0019", "PMID:16055720", "", None),
    ("complex_portal", "HGNC:18", "MEMBER_OF", "CORUM:783", "ECO:0000353", "PMID:1", "", None),
    (_GO, "HGNC:12426", "ANNOTATED_TO", "GO:0000422", "IDA", "PMID:2", "involved_in", None),
    (_GO, "HGNC:12426", "ANNOTATED_TO", "GO:0000422", "IEA", "GO_REF:0000002", "involved_in", None),
    (_GO, "HGNC:13890", "ANNOTATED_TO", "GO:0016236", "IMP", "PMID:3", "involved_in", None),
    (_GO, "HGNC:18", "ANNOTATED_TO", "GO:0016236", "IBA", "PMID:4", "involved_in", None),
    (_GO, "HGNC:18", "NOT_ANNOTATED_TO", "GO:0006914", "IDA", "PMID:5", "NOT|involved_in", None),
    (_GO, "HGNC:324", "ANNOTATED_TO", "GO:0009987", "TAS", "PMID:6", "involved_in", None),
    (_GO, "HGNC:12426", "ANNOTATED_TO", "GO:0005515", "IPI", "PMID:7", "enables", None),
    (_GO, "HGNC:20", "ANNOTATED_TO", "GO:0005515", "IPI", "PMID:8", "enables", None),
    (_GO, "GO:0009987", "IS_A", "GO:0008150", "", "", "", None),
    (_GO, "GO:0006914", "IS_A", "GO:0009987", "", "", "", None),
    (_GO, "GO:0000422", "IS_A", "GO:0006914", "", "", "", None),
    (_GO, "GO:0016236", "IS_A", "GO:0006914", "", "", "", None),
    (_GO, "GO:0000422", "PART_OF", "GO:0016236", "", "", "", None),
    (_GO, "GO:0000422", "REGULATES", "GO:0016236", "", "", "", None),
    ("reactome", "REACTOME:R-HSA-9612973", "CHILD_OF", "REACTOME:R-HSA-168256", "", "", "", None),
    ("reactome", "HGNC:12426", "PARTICIPATES_IN", "REACTOME:R-HSA-9612973", "TAS", "", "", None),
    ("reactome", "HGNC:324", "PARTICIPATES_IN", "REACTOME:R-HSA-9612973", "IEA", "", "", None),
    ("reactome", "HGNC:20", "PARTICIPATES_IN", "REACTOME:R-HSA-168256", "TAS", "", "", None),
)


def small_release() -> ReleaseTables:
    """Return the tables."""
    statements = _statements()
    parts = [
        edges_from_statements(
            statements.filter(pl.col("provider") == provider), provider_release=f"{provider}-1", licence="CC BY 4.0"
        )
        for provider in RUNS
    ]
    edges = with_content(pl.concat(parts), statements).with_columns(pl.lit(1, dtype=pl.Int32).alias("since"))
    return ReleaseTables.of(
        {
            "nodes": _nodes(),
            "edges": edges,
            "statements": statements,
            "gene_names": _gene_names(),
            "import_runs": _import_runs(),
            "sources": _sources(),
            "unresolved": _unresolved(),
            "name_conflicts": _conflicts(),
            "descriptions": schema.conform(
                "descriptions",
                pl.DataFrame(
                    [{"node": "HGNC:12426", "text": "Photoreceptor protein.", "provider": "string", "statement": "x:1"}]
                ),
            ),
        }
    )


def _statements() -> pl.DataFrame:
    columns = ("provider", "subject", "relation", "object", "evidence", "reference", "qualifier", "score")
    rows = []
    for line, values in enumerate(_STATEMENTS, start=2):
        row = dict(zip(columns, values, strict=True))
        run = RUNS[str(row["provider"])]
        own = {"original_subject": f"own:{row['subject']}", "original_object": f"own:{row['object']}"}
        rows.append({"id": f"{run}:{line}", "import_run": run, "line": line, **row, **own})
    return schema.conform("statements", pl.DataFrame(rows))


def _nodes() -> pl.DataFrame:
    rows: list[dict[str, object]] = [
        {"id": id_, "label": "Gene", "symbol": symbol, "name": name, "provider": "hgnc"}
        for id_, (symbol, name) in GENES.items()
    ]
    rows += [
        {"id": id_, "label": "GOTerm", "name": name, "namespace": "biological_process", "provider": _GO}
        for id_, name in TERMS.items()
    ]
    rows += [{"id": id_, "label": "Pathway", "name": name, "provider": "reactome"} for id_, name in PATHWAYS.items()]
    rows.append({"id": "CORUM:783", "label": "Complex", "name": "ITCH complex", "provider": "corum"})
    rows.append({"id": "UniProtKB:O00294", "label": "Protein", "name": "TULP1_HUMAN", "provider": "uniprot"})
    for line, row in enumerate(rows, start=2):
        run = RUNS[str(row["provider"])]
        row.update(
            provider_release=f"{row['provider']}-1", licence="CC BY 4.0", import_run=run, statement=f"{run}:{line}"
        )
    frame = schema.conform("nodes", pl.DataFrame(rows))
    previous = pl.when(pl.col("symbol") == "AARS1").then(pl.lit(["AARS"])).otherwise(pl.col("previous"))
    return frame.with_columns(previous.alias("previous"))


def _gene_names() -> pl.DataFrame:
    rows = [{"name": symbol, "tier": "approved symbol", "gene": id_} for id_, (symbol, _) in GENES.items()]
    rows += [{"name": id_, "tier": "HGNC id", "gene": id_} for id_ in GENES]
    rows.append({"name": "AARS", "tier": "previous symbol", "gene": "HGNC:20"})
    rows.append({"name": "AIP4", "tier": "alias symbol", "gene": "HGNC:13890"})
    return schema.conform(
        "gene_names", pl.DataFrame([{**row, "provider": "hgnc", "import_run": RUNS["hgnc"]} for row in rows])
    )


def _import_runs() -> pl.DataFrame:
    rows = [
        {
            "id": run,
            "provider": provider,
            "kind": run.split(".")[1],
            "file": f"{provider}.txt.gz",
            "url": f"https://example.org/{provider}.txt.gz",
            "sha256": run.rpartition(".")[2] * 5 + "0123",
            "bytes": 100,
            "version": f"{provider}-1",
            "version_found": "file name",
            "licence": "CC BY 4.0",
            "parser_version": "1",
            "rows_read": 30,
            "accepted": 26,
            "rejected": 1,
            "unresolved": 3,
            "set_aside": 0,
            "reasons": "{}",
            "retrieved_at": "2026-01-01T00:00:00+00:00",
        }
        for provider, run in RUNS.items()
    ]
    return schema.conform("import_runs", pl.DataFrame(rows))


def _sources() -> pl.DataFrame:
    rows = [
        {
            "provider": provider,
            "title": provider.upper(),
            "version": f"{provider}-1",
            "licence": "CC BY 4.0",
            "licence_url": "https://creativecommons.org/licenses/by/4.0/",
            "homepage": f"https://example.org/{provider}",
            "commercial_use": provider != "corum",
        }
        for provider in RUNS
    ]
    return schema.conform("sources", pl.DataFrame(rows))


def _unresolved() -> pl.DataFrame:
    common = {"provider": "corum", "import_run": RUNS["corum"]}
    rows = [
        {**common, "identifier": "P99999", "reason": "unknown", "candidates": [], "rows": 2, "first_line": 9},
        {
            **common,
            "identifier": "ABC",
            "reason": "ambiguous",
            "candidates": ["HGNC:18", "HGNC:20"],
            "rows": 1,
            "first_line": 11,
        },
    ]
    return schema.conform("unresolved", pl.DataFrame(rows))


def _conflicts() -> pl.DataFrame:
    row = {
        "name": "AIP4",
        "tier": "previous symbol",
        "gene": "HGNC:18",
        "other_tier": "alias symbol",
        "other_genes": ["HGNC:13890"],
    }
    return schema.conform("name_conflicts", pl.DataFrame([row]))
