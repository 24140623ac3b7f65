// answers: Genes of a GO term: annotated to it or to a term below it over is_a and part_of, minus NOT
// note: A NOT annotation holds for the term it names and for all terms below that one.
// parameter: term: node, required, example GO:0006914: Identifier of the GO term
// column: gene: Identifier of the gene
// column: symbol: Symbol of the gene
// column: terms: Terms the gene is annotated to
// column: evidence: Evidence codes, each once
// column: direct: True where the gene is annotated to the term itself
MATCH (t:GOTerm {id: $term})<-[:IS_A|PART_OF*0..]-(d:GOTerm)
WITH DISTINCT d
MATCH (d)<-[r:ANNOTATED_TO]-(g:Gene)
WHERE NOT EXISTS { MATCH (g)-[:NOT_ANNOTATED_TO]->(n:GOTerm)<-[:IS_A|PART_OF*0..]-(d) }
UNWIND CASE WHEN size(coalesce(r.evidence, [])) = 0 THEN [null] ELSE r.evidence END AS e
WITH g, d, e ORDER BY d.id, e
WITH g, collect(DISTINCT d.id) AS terms, collect(DISTINCT e) AS evidence
RETURN g.id AS gene, g.symbol AS symbol, terms, evidence, $term IN terms AS direct
ORDER BY symbol, gene
