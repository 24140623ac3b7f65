// answers: Which release this graph holds, and the provider versions and licences in it
// column: release: Identifier of the release
// column: sequence: Number of its publication
// column: published_at: When it was published
// column: provider: Provider
// column: title: The provider's name
// column: version: The provider's version
// column: licence: Terms
// column: commercial_use: Whether the terms allow commercial use
MATCH (r:Release)
OPTIONAL MATCH (s:Source)
RETURN r.id AS release, r.sequence AS sequence, r.published_at AS published_at, s.provider AS provider,
  s.title AS title, s.version AS version, s.licence AS licence, s.commercial_use AS commercial_use
ORDER BY provider
