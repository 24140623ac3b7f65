// answers: The members of a protein complex, with provider, method and reference
// parameter: complex: node, required, example CORUM:783: Identifier of the complex
// column: complex: Identifier of the complex
// column: name: Name of the complex
// column: gene: Identifier of the member
// column: symbol: Symbol of the member
// column: subunit: The provider's own identifier of the subunit
// column: provider: Who says so
// column: provider_release: The provider's version
// column: licence: Terms of the provider's data
// column: evidence: Purification methods
// column: references: What the provider cites
MATCH (c:Complex {id: $complex})<-[r:MEMBER_OF]-(g:Gene)
RETURN c.id AS complex, c.name AS name, g.id AS gene, g.symbol AS symbol, r.original_subject AS subunit,
  r.provider AS provider, r.provider_release AS provider_release, r.licence AS licence,
  coalesce(r.evidence, []) AS evidence, coalesce(r.references, []) AS references
ORDER BY symbol, gene, provider
