// answers: Everything one step away from a gene, with provider and evidence of each edge
// parameter: gene: gene, required, example TULP1: Gene symbol or identifier
// parameter: relation: text, default *, example INTERACTS_WITH: Relationship type, * for all
// parameter: min_score: integer from 0 to 1000, default 0, example 700: Lowest score of an edge that has one
// column: relation: Relationship type
// column: direction: out from the gene, in to it, or both where the relation is symmetric
// column: id: Identifier of the neighbour
// column: label: Kind of node
// column: name: Symbol or name of the neighbour
// column: provider: Who says so
// column: provider_release: The provider's version
// column: score: Combined score, 0 to 1000, where there is one
// column: evidence: Evidence codes, each once
// column: references: What the provider cites, each once
MATCH (g:Gene {id: $gene})-[r]-(o)
WHERE ($relation = '*' OR type(r) = $relation) AND (r.score IS NULL OR r.score >= $min_score)
WITH DISTINCT g, r, o
RETURN type(r) AS relation,
  CASE WHEN type(r) = 'INTERACTS_WITH' THEN 'both' WHEN startNode(r).id = g.id THEN 'out' ELSE 'in' END AS direction,
  o.id AS id, labels(o)[0] AS label, coalesce(o.symbol, o.name) AS name, r.provider AS provider,
  r.provider_release AS provider_release, r.score AS score,
  reduce(s = [], e IN coalesce(r.evidence, []) | CASE WHEN e = '' OR e IN s THEN s ELSE s + e END) AS evidence,
  reduce(s = [], e IN coalesce(r.references, []) | CASE WHEN e = '' OR e IN s THEN s ELSE s + e END) AS references
ORDER BY relation, score DESC, id, provider
