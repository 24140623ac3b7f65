// answers: Every edge that can be reached from a gene in at most k hops over chosen relationship types
// note: Nodes of 1000 or more neighbours in path-kg terms (those without a path_degree) are shown and not walked through.
// parameter: gene: gene, required, example TULP1: Gene symbol or identifier
// parameter: hops: integer from 1 to 3, default 1: How far to go
// parameter: relations: list of text, default MEMBER_OF;PARTICIPATES_IN;ANNOTATED_TO: Relationship types, joined by ;
// column: hop: Step at which the edge is first reached
// column: subject: Identifier of the edge's subject
// column: relation: Relationship type
// column: object: Identifier of the edge's object
// column: provider: Who says so
// column: provider_release: The provider's version
// column: score: Combined score, 0 to 1000, where there is one
MATCH (g:Gene {id: $gene})
OPTIONAL MATCH (g)-[r]-(x) WHERE type(r) IN $relations
WITH g, collect(DISTINCT r) AS edges, collect(DISTINCT x) AS reached
WITH g, [{hop: 1, edges: edges}] AS shells, [g] AS walked, reached
CALL (shells, walked, reached) {
  WITH shells, walked, reached WHERE $hops >= 2
  UNWIND [x IN reached WHERE x.path_degree IS NOT NULL AND NOT x IN walked] AS x
  MATCH (x)-[r]-(y) WHERE type(r) IN $relations
  RETURN collect(DISTINCT r) AS edges, collect(DISTINCT y) AS next
}
WITH shells + [{hop: 2, edges: edges}] AS shells, walked + reached AS walked, next AS reached
CALL (walked, reached) {
  WITH walked, reached WHERE $hops >= 3
  UNWIND [x IN reached WHERE x.path_degree IS NOT NULL AND NOT x IN walked] AS x
  MATCH (x)-[r]-(y) WHERE type(r) IN $relations
  RETURN collect(DISTINCT r) AS edges
}
WITH shells + [{hop: 3, edges: edges}] AS shells
UNWIND shells AS shell
UNWIND shell.edges AS r
WITH r, min(shell.hop) AS hop
RETURN hop, startNode(r).id AS subject, type(r) AS relation, endNode(r).id AS object, r.provider AS provider,
  r.provider_release AS provider_release, r.score AS score
ORDER BY hop, relation, subject, object, provider
