"""The release in the words of the Biolink Model (4.4): categories, predicates, knowledge levels, infores ids.

Sources: the Biolink Model (https://biolink.github.io/biolink-model/) for classes and slots; the Gene Ontology's
relations (RO) as Biolink maps them; GO's default mapping of evidence codes to ECO (gaf-eco-mapping).
"""

from __future__ import annotations

from typing import Final

import polars as pl

from aroma.kgstore.curation_apply import EVIDENCE as ASSERTED
from aroma.kgstore.schema import TEXTS, Label, Relation
from aroma.kgstore.views import CO_MEMBERSHIP

CATEGORIES: Final[dict[str, str]] = {
    str(Label.GENE): "biolink:Gene",
    str(Label.PROTEIN): "biolink:Protein",
    str(Label.COMPLEX): "biolink:MacromolecularComplex",
    str(Label.PATHWAY): "biolink:Pathway",
    str(Label.REACTION): "biolink:MolecularActivity",
    str(Label.CELL_LINE): "biolink:CellLine",
}
ASPECT_CATEGORIES: Final[dict[str, str]] = {
    "biological_process": "biolink:BiologicalProcess",
    "molecular_function": "biolink:MolecularActivity",
    "cellular_component": "biolink:CellularComponent",
}
PREDICATES: Final[dict[str, str]] = {
    str(Relation.INTERACTS_WITH): "biolink:interacts_with",
    str(Relation.MEMBER_OF): "biolink:part_of",
    str(Relation.IS_A): "biolink:subclass_of",
    str(Relation.PART_OF): "biolink:part_of",
    str(Relation.REGULATES): "biolink:regulates",
    str(Relation.POSITIVELY_REGULATES): "biolink:regulates",  # the direction is a qualifier of the edge
    str(Relation.NEGATIVELY_REGULATES): "biolink:regulates",
    str(Relation.PARTICIPATES_IN): "biolink:participates_in",
    str(Relation.CHILD_OF): "biolink:part_of",
    str(Relation.ENCODES): "biolink:has_gene_product",
    CO_MEMBERSHIP: "biolink:in_complex_with",
}
ASSOCIATIONS: Final[dict[str, str]] = {
    str(Relation.INTERACTS_WITH): "biolink:PairwiseGeneToGeneInteraction",
    str(Relation.ENCODES): "biolink:GeneToGeneProductRelationship",
}
_ASSOCIATION: Final = "biolink:Association"
_ENDING_AT: Final[dict[str, str]] = {
    "biolink:BiologicalProcess": "biolink:MacromolecularMachineToBiologicalProcessAssociation",
    "biolink:MolecularActivity": "biolink:MacromolecularMachineToMolecularActivityAssociation",
    "biolink:CellularComponent": "biolink:MacromolecularMachineToCellularComponentAssociation",
    "biolink:Pathway": "biolink:GeneToPathwayAssociation",
}
"""Kinds of association by what a gene is annotated to or participates in."""
_DIRECTIONS: Final[dict[str, str]] = {
    str(Relation.POSITIVELY_REGULATES): "increased",
    str(Relation.NEGATIVELY_REGULATES): "decreased",
}
_ANNOTATIONS: Final = (str(Relation.ANNOTATED_TO), str(Relation.NOT_ANNOTATED_TO))
_GO_PREDICATES: Final[dict[str, str]] = {
    "involved_in": "biolink:actively_involved_in",
    "enables": "biolink:enables",
    "contributes_to": "biolink:contributes_to",
    "located_in": "biolink:located_in",
    "part_of": "biolink:part_of",
    "is_active_in": "biolink:active_in",
    "colocalizes_with": "biolink:colocalizes_with",
    "acts_upstream_of": "biolink:acts_upstream_of",
    "acts_upstream_of_positive_effect": "biolink:acts_upstream_of_positive_effect",
    "acts_upstream_of_negative_effect": "biolink:acts_upstream_of_negative_effect",
    "acts_upstream_of_or_within": "biolink:acts_upstream_of_or_within",
    "acts_upstream_of_or_within_positive_effect": "biolink:acts_upstream_of_or_within_positive_effect",
    "acts_upstream_of_or_within_negative_effect": "biolink:acts_upstream_of_or_within_negative_effect",
}
_ASPECT_PREDICATES: Final[dict[str, str]] = {
    "biolink:BiologicalProcess": "biolink:actively_involved_in",
    "biolink:MolecularActivity": "biolink:enables",
    "biolink:CellularComponent": "biolink:located_in",
}
INFORES: Final[dict[str, str]] = {
    "string": "infores:string",
    "corum": "infores:corum",
    "complex_portal": "infores:complex-portal",
    "gene_ontology": "infores:goa",
    "reactome": "infores:reactome",
    "uniprot": "infores:uniprot",
    "hgnc": "infores:hgnc",
    "cellosaurus": "infores:cellosaurus",
}
_GO_ONTOLOGY: Final = "infores:go"
_ECO: Final[dict[str, str]] = {
    "EXP": "ECO:0000269", "IDA": "ECO:0000314", "IPI": "ECO:0000353", "IMP": "ECO:0000315", "IGI": "ECO:0000316",
    "IEP": "ECO:0000270", "HTP": "ECO:0006056", "HDA": "ECO:0007005", "HMP": "ECO:0007001", "HGI": "ECO:0007003",
    "HEP": "ECO:0007007", "ISS": "ECO:0000250", "ISO": "ECO:0000266", "ISA": "ECO:0000247", "ISM": "ECO:0000255",
    "IGC": "ECO:0000317", "IBA": "ECO:0000318", "IBD": "ECO:0000319", "IKR": "ECO:0000320", "IRD": "ECO:0000321",
    "RCA": "ECO:0000245", "TAS": "ECO:0000304", "NAS": "ECO:0000303", "IC": "ECO:0000305", "ND": "ECO:0000307",
    "IEA": "ECO:0000501",
}  # fmt: skip
_COMPUTED: Final = frozenset({"ISS", "ISO", "ISA", "ISM", "IGC", "IBA", "IBD", "IKR", "IRD", "RCA"})
_PARALLEL: Final = ("statements", "evidence", "references", "qualifiers")
_SEPARATOR: Final = "|"
HUMAN: Final = "NCBITaxon:9606"
OWN_COLUMNS: Final = ("provider_release", "license", "import_runs", "statements", "since", "object_direction_qualifier")
"""Columns beyond the slots of ``biolink:Association`` (the last is a slot of some of its kinds)."""
PREFIX_NOTE: Final = "Biolink spells the prefix of Reactome REACT; identifiers REACTOME:… are written so."


def biolink_nodes(nodes: pl.DataFrame) -> pl.DataFrame:
    """Return nodes with Biolink's slots: ``id``, ``category`` (list), ``name``, ``symbol``, ``description`` and others.

    Args:
        nodes: Columns of ``schema.NODES``.
    """
    of_human = pl.col("label").is_in([str(Label.GENE), str(Label.PROTEIN), str(Label.COMPLEX)])
    term = pl.col("label") == str(Label.GO_TERM)
    provided_by = pl.when(term).then(pl.lit(_GO_ONTOLOGY)).otherwise(_infores().fill_null("infores:not-provided"))
    also = pl.concat_list("synonyms", pl.when(pl.col("label") == str(Label.GENE)).then(pl.col("previous")))
    return nodes.select(
        _biolink_id("id"),
        pl.concat_list(category_of()).alias("category"),
        pl.coalesce("name", "symbol", "id").alias("name"),
        pl.when(pl.col("label") == str(Label.GENE)).then(pl.col("symbol")).alias("symbol"),
        "description",
        also.list.unique(maintain_order=True).alias("synonym"),
        pl.col("xrefs").alias("xref"),
        pl.when(of_human).then(pl.lit(HUMAN)).alias("taxon"),
        pl.when(pl.col("obsolete")).then(pl.lit(value=True)).alias("deprecated"),
        pl.concat_list(provided_by).alias("provided_by"),
        "provider_release",
        pl.col("licence").alias("license"),
        pl.col("statement"),
    )


def biolink_edges(edges: pl.DataFrame, nodes: pl.DataFrame) -> pl.DataFrame:
    """Return edges as Biolink associations: ``id``, ``subject``, ``predicate``, ``object`` and what supports them.

    Args:
        edges: Columns of ``schema.EDGES``.
        nodes: The nodes at their ends, columns of ``schema.NODES``.
    """
    return biolink_associations(edges, nodes).select(
        association_id().alias("id"),
        pl.concat_list("association").alias("category"),
        _biolink_id("subject"),
        "predicate",
        _biolink_id("object"),
        pl.when(pl.col("relation") == str(Relation.NOT_ANNOTATED_TO)).then(pl.lit(value=True)).alias("negated"),
        pl.col("relation").replace_strict(_DIRECTIONS, default=None).alias("object_direction_qualifier"),
        _source().alias("primary_knowledge_source"),
        "knowledge_level",
        "agent_type",
        "has_evidence",
        pl.col("references").list.filter(pl.element() != "").list.unique(maintain_order=True).alias("publications"),
        (pl.col("score") / 1000).round(3).alias("has_confidence_score"),
        "original_subject",
        "original_object",
        "provider_release",
        pl.col("licence").alias("license"),
        "import_runs",
        "statements",
        "since",
    )


def biolink_associations(edges: pl.DataFrame, nodes: pl.DataFrame) -> pl.DataFrame:
    """Return edges as they are, one row for each Biolink predicate, with what Biolink says of them.

    Added are ``predicate``, ``association`` (kind of association), ``knowledge_level``, ``agent_type`` and
    ``has_evidence``. An annotation whose lines use several GO relations gives one row for each relation.

    Args:
        edges: Columns of ``schema.EDGES``.
        nodes: The nodes at their ends, columns ``id``, ``label`` and ``namespace``.
    """
    categories = nodes.select(pl.col("id").alias("object"), category_of().alias("object_category"))
    annotated = pl.col("relation").is_in(_ANNOTATIONS)
    edges = edges.join(categories, on="object", how="left", maintain_order="left")
    plain = edges.filter(~annotated).with_columns(pl.col("relation").replace_strict(PREDICATES).alias("predicate"))
    parts = [plain, _by_go_relation(edges.filter(annotated))]
    rows = pl.concat([part.select(*edges.columns, "predicate", _association().alias("association")) for part in parts])
    return _supported(rows)


def association_id() -> pl.Expr:
    """Return the identifier of an association; the same edge has the same one in every release."""
    parts = ["subject", "relation", pl.col("predicate").str.strip_prefix("biolink:"), "object", "provider"]
    return pl.concat_str(pl.lit("urn:aroma:edge:"), pl.concat_str(parts, separator="/"))


def category_of() -> pl.Expr:
    """Return the Biolink category of a node from ``label`` and ``namespace``."""
    term = pl.col("namespace").replace_strict(ASPECT_CATEGORIES, default="biolink:NamedThing")
    labelled = pl.col("label").replace_strict(CATEGORIES, default="biolink:NamedThing")
    return pl.when(pl.col("label") == str(Label.GO_TERM)).then(term).otherwise(labelled)


def _by_go_relation(annotated: pl.DataFrame) -> pl.DataFrame:
    said = annotated.with_row_index("row").explode(_PARALLEL, empty_as_null=True, keep_nulls=True)
    relation = pl.col("qualifiers").str.split(_SEPARATOR).list.last()
    usual = pl.col("object_category").replace_strict(_ASPECT_PREDICATES, default="biolink:related_to")
    named = said.with_columns(
        pl.coalesce(relation.replace_strict(_GO_PREDICATES, default=None), usual).alias("predicate")
    )
    once = [name for name in annotated.columns if name not in _PARALLEL]
    return named.group_by("row", "predicate", maintain_order=True).agg(pl.col(once).first(), pl.col(_PARALLEL))


def _supported(rows: pl.DataFrame) -> pl.DataFrame:
    """Add ``knowledge_level``, ``agent_type`` and ``has_evidence``, worked out once for each combination there is."""
    key = ["relation", "codes"]
    rows = rows.with_columns(pl.col("evidence").list.join(_SEPARATOR, ignore_nulls=True).fill_null("").alias("codes"))
    kinds = rows.select(key).unique()
    found = [_support(relation, codes) for relation, codes in kinds.rows()]
    schema = {"knowledge_level": pl.String(), "agent_type": pl.String(), "has_evidence": TEXTS}
    return rows.join(
        kinds.hstack(pl.DataFrame(found, schema=schema, orient="row")), on=key, how="left", maintain_order="left"
    )


def _support(relation: str, joined: str) -> tuple[str, str, list[str]]:
    codes = {code for code in joined.split(_SEPARATOR) if code}
    evidence = sorted({_ECO.get(code, code) for code in codes if code in _ECO or ":" in code})
    if relation == CO_MEMBERSHIP:
        return "logical_entailment", "automated_agent", evidence
    if codes == {ASSERTED}:  # a curator's word
        return "knowledge_assertion", "manual_agent", evidence
    if relation == Relation.INTERACTS_WITH:  # STRING's score joins channels, text mining and transfer among them
        return "prediction", "data_analysis_pipeline", evidence
    if codes and codes <= {"IEA"}:
        return "prediction", "automated_agent", evidence
    if codes and codes <= {"IEA", *_COMPUTED}:
        return "prediction", "manual_validation_of_automated_agent", evidence
    return "knowledge_assertion", "manual_agent", evidence


def _association() -> pl.Expr:
    of_gene = pl.col("relation").is_in([*_ANNOTATIONS, str(Relation.PARTICIPATES_IN)])
    ending = pl.col("object_category").replace_strict(_ENDING_AT, default=_ASSOCIATION)
    named = pl.col("relation").replace_strict(ASSOCIATIONS, default=_ASSOCIATION)
    return pl.when(of_gene).then(ending).otherwise(named)


def _infores() -> pl.Expr:
    own = pl.concat_str(pl.lit("infores:"), pl.col("provider").str.replace_all("_", "-"))
    return pl.coalesce(pl.col("provider").replace_strict(INFORES, default=None), own)


def _source() -> pl.Expr:
    ontology = (pl.col("provider") == "gene_ontology") & ~pl.col("relation").is_in(_ANNOTATIONS)
    return pl.when(ontology).then(pl.lit(_GO_ONTOLOGY)).otherwise(_infores())


def _biolink_id(column: str) -> pl.Expr:
    return pl.col(column).str.replace("^REACTOME:", "REACT:")
