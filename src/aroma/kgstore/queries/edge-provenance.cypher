// answers: Where an edge comes from: one row for each statement behind the edges between two nodes
// parameter: subject: node, required, example TULP1: One end: gene symbol or id, GO term, pathway, complex, protein
// parameter: object: node, required, example GO:0016358: The other end; both directions are looked up
// column: subject: Identifier of the edge's subject
// column: relation: Relationship type
// column: object: Identifier of the edge's object
// column: provider: Who says so
// column: provider_release: The provider's version
// column: licence: Terms of the provider's data
// column: file: File the statement stands in
// column: sha256: Checksum of that file
// column: line: Line of the (decompressed) file
// column: url: Where the file is published
// column: evidence: Evidence code or method
// column: reference: What the provider cites
// column: qualifier: Qualifier, as in GO
// column: score: Combined score of the edge, 0 to 1000, where the provider gives one
// column: since: Sequence number of the first release that said exactly this
// column: statement: Identifier of the statement, for retracting it
// column: assertion: Curator's reason, where a curator asserted this edge or retracted another statement of it
// column: curator: ORCID of that curator
CALL () {
  MATCH (s:Gene {id: $subject}) RETURN s
  UNION
  MATCH (s:Protein {id: $subject}) RETURN s
  UNION
  MATCH (s:Complex {id: $subject}) RETURN s
  UNION
  MATCH (s:GOTerm {id: $subject}) RETURN s
  UNION
  MATCH (s:Pathway {id: $subject}) RETURN s
  UNION
  MATCH (s:Reaction {id: $subject}) RETURN s
  UNION
  MATCH (s:CellLine {id: $subject}) RETURN s
}
MATCH (s)-[edge]-(o)
WHERE o.id = $object
WITH DISTINCT edge
WITH edge, startNode(edge).id AS subject, endNode(edge).id AS object
UNWIND CASE WHEN size(coalesce(edge.statements, [])) = 0 THEN [null] ELSE range(0, size(edge.statements) - 1) END AS place
WITH edge, subject, object, place, edge.statements[place] AS statement
WITH edge, subject, object, place, statement, split(statement, ':') AS parts
OPTIONAL MATCH (run:ImportRun {id: parts[0]})
OPTIONAL MATCH (said:Assertion {subject: subject, relation: type(edge), object: object, provider: edge.provider})
WHERE said.kind = 'retract' OR said.statement = statement
RETURN subject, type(edge) AS relation, object, edge.provider AS provider, edge.provider_release AS provider_release,
  edge.licence AS licence, run.file AS file, run.sha256 AS sha256, toInteger(split(parts[1], '.')[0]) AS line,
  run.url AS url, edge.evidence[place] AS evidence, edge.references[place] AS reference,
  edge.qualifiers[place] AS qualifier, edge.score AS score, edge.since AS since, statement,
  said.reason AS assertion, said.curator AS curator
ORDER BY provider, relation, subject, file, line, statement, assertion
