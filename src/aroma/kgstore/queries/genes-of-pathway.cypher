// answers: Genes of a pathway and of all its sub-pathways
// parameter: pathway: node, required, example REACTOME:R-HSA-168256: Identifier of the pathway
// column: gene: Identifier of the gene
// column: symbol: Symbol of the gene
// column: pathways: Pathways among these that the gene participates in
// column: evidence: Evidence codes, each once
// column: direct: True where the gene participates in the pathway itself
MATCH (p:Pathway {id: $pathway})<-[:CHILD_OF*0..]-(q:Pathway)
WITH DISTINCT q
MATCH (q)<-[r:PARTICIPATES_IN]-(g:Gene)
UNWIND CASE WHEN size(coalesce(r.evidence, [])) = 0 THEN [null] ELSE r.evidence END AS e
WITH g, q, e ORDER BY q.id, e
WITH g, collect(DISTINCT q.id) AS pathways, collect(DISTINCT e) AS evidence
RETURN g.id AS gene, g.symbol AS symbol, pathways, evidence, $pathway IN pathways AS direct
ORDER BY symbol, gene
