// answers: How many nodes and edges of each kind each provider gave
// column: what: node or edge
// column: kind: Label or relationship type
// column: provider: Who gave them
// column: rows: How many
CALL () {
  MATCH (n)
  WHERE n.licence IS NOT NULL AND n.import_run IS NOT NULL
  RETURN 'node' AS what, labels(n)[0] AS kind, n.provider AS provider, count(*) AS rows
  UNION ALL
  MATCH ()-[r]->()
  WHERE r.provider IS NOT NULL
  RETURN 'edge' AS what, type(r) AS kind, r.provider AS provider, count(*) AS rows
}
RETURN what, kind, provider, rows
ORDER BY what DESC, provider, kind
