// answers: Which files this release was read from, and what became of their rows
// parameter: provider: text, default *, example string: Provider, * for all
// column: id: Identifier of the import run
// column: provider: Who published the file
// column: kind: Kind of file
// column: file: File name
// column: version: Version of the file
// column: version_found: How the version was found
// column: sha256: Checksum of the file
// column: url: Where the file is published
// column: licence: Terms
// column: rows_read: Rows of the file
// column: accepted: Rows that became part of the graph
// column: rejected: Malformed rows
// column: unresolved: Rows whose gene is unknown or ambiguous
// column: set_aside: Well-formed rows that are no evidence here
// column: retrieved_at: When the file was fetched
MATCH (r:ImportRun)
WHERE $provider = '*' OR r.provider = $provider
RETURN r.id AS id, r.provider AS provider, r.kind AS kind, r.file AS file, r.version AS version,
  r.version_found AS version_found, r.sha256 AS sha256, r.url AS url, r.licence AS licence, r.rows_read AS rows_read,
  r.accepted AS accepted, r.rejected AS rejected, r.unresolved AS unresolved, r.set_aside AS set_aside,
  r.retrieved_at AS retrieved_at
ORDER BY provider, kind, id
