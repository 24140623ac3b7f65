// answers: Identifiers in providers' files that stand for no gene, or for more than one
// parameter: provider: text, default *, example corum: Provider, * for all
// parameter: reason: text, default *, example ambiguous: unknown, ambiguous or another short reason, * for all
// column: provider: Whose file
// column: identifier: As written there
// column: reason: Why there is no gene
// column: candidates: Genes between which an ambiguous one stands
// column: rows: Rows of the file that this cost
// column: file: File
// column: first_line: First line that has it
MATCH (u:UnresolvedIdentifier)
WHERE ($provider = '*' OR u.provider = $provider) AND ($reason = '*' OR u.reason = $reason)
OPTIONAL MATCH (run:ImportRun {id: u.import_run})
RETURN u.provider AS provider, u.identifier AS identifier, u.reason AS reason, coalesce(u.candidates, []) AS candidates,
  u.rows AS rows, run.file AS file, u.first_line AS first_line
ORDER BY rows DESC, provider, identifier, reason, file
