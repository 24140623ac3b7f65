// answers: One gene: names, protein, description, and how much each provider knows of it
// parameter: gene: gene, required, example TULP1: Gene symbol or identifier
// column: id: Identifier of the gene
// column: symbol: Approved symbol
// column: name: Full name
// column: previous: Earlier symbols
// column: synonyms: Alias symbols
// column: identifiers: Identifiers elsewhere
// column: proteins: Proteins that it encodes
// column: interactions: Genes it interacts with (STRING)
// column: complexes: Complexes it is a member of
// column: terms: GO terms it is annotated to
// column: not_terms: GO terms it is said not to be annotated to
// column: pathways: Pathways and reactions it participates in
// column: path_degree: Neighbours in the view path-kg; none where the gene is not in it
MATCH (g:Gene {id: $gene})
OPTIONAL MATCH (g)-[:ENCODES]->(p:Protein)
WITH g, p ORDER BY p.id
WITH g, collect(DISTINCT p.id) AS proteins
RETURN g.id AS id, g.symbol AS symbol, g.name AS name, coalesce(g.previous, []) AS previous,
  coalesce(g.synonyms, []) AS synonyms, coalesce(g.xrefs, []) AS identifiers, proteins,
  COUNT { (g)-[:INTERACTS_WITH]-() } AS interactions, COUNT { (g)-[:MEMBER_OF]->() } AS complexes,
  COUNT { (g)-[:ANNOTATED_TO]->() } AS terms, COUNT { (g)-[:NOT_ANNOTATED_TO]->() } AS not_terms,
  COUNT { (g)-[:PARTICIPATES_IN]->() } AS pathways, g.path_degree AS path_degree
