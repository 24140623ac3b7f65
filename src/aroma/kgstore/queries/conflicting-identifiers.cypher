// answers: Gene names that stand in two tiers: one gene's symbol that is or was another gene's name
// parameter: name: text, default *, example TAZ: Gene name, * for all
// column: name: The name
// column: tier: Tier that decides
// column: gene: Gene it resolves to; none where that tier is itself ambiguous
// column: other_tier: Looser tier that gives the name away as well
// column: other_genes: To these genes
MATCH (c:NameConflict)
WHERE $name = '*' OR c.name = $name
RETURN c.name AS name, c.tier AS tier, c.gene AS gene, c.other_tier AS other_tier,
  coalesce(c.other_genes, []) AS other_genes
ORDER BY name, tier, other_tier
