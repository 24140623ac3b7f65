// answers: Up to k shortest paths between two genes in the view path-kg, with the provenance of each hop
// note: Path-kg joins genes, GO terms, pathways and complexes. It has neither GO:0005515 and GO:0003674 nor nodes of
// note: 1000 or more neighbours: only nodes in it have a path_degree. Ranked by fewest hops, then smallest hub cost (sum
// note: over inner nodes of round(1000 * log2(path_degree))), then ids.
// note: Walks are grown from both ends, and each node keeps the k cheapest that reach it; they meet in the middle. Up
// note: to one hop more than the shortest no walk can visit a node twice, so slack is 0 or 1.
// parameter: perturbation: gene, required, example TULP1: Gene that is perturbed
// parameter: target: gene, required, example ITCH: Gene whose response is asked for
// parameter: k: integer from 1 to 100, default 3: Paths wanted at most
// parameter: max_hops: integer from 1 to 6, default 6: Longest path looked for
// parameter: slack: integer from 0 to 1, default 1: How many hops longer than the shortest a path may be
// column: rank: 1 is the best path
// column: hops: Steps of the path
// column: nodes: Names in order; symbols for genes
// column: node_ids: Identifiers in order
// column: relationships: Relationship types of each step, several joined by |
// column: provenance: Of each step, provider with release and evidence codes; several joined by |
// column: hub_cost: Sum over inner nodes of round(1000 * log2(path_degree))
MATCH (a:Gene {id: $perturbation}), (b:Gene {id: $target})
WHERE a.path_degree IS NOT NULL AND b.path_degree IS NOT NULL AND a.id <> b.id
WITH a, b, [] AS found
// Paths of 1 hop.
CALL (a, b, found) {
  WITH a, b, found
  WHERE $max_hops >= 1 AND size(found) < $k AND (size(found) = 0 OR 1 <= found[0][0] + $slack)
  MATCH (a)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(b)
  WITH DISTINCT a, b
  RETURN collect([1, 0, a.id + ' ' + b.id]) AS more
}
WITH a, b, found + more AS found
// Paths of 2 hops.
CALL (a, b, found) {
  WITH a, b, found
  WHERE $max_hops >= 2 AND size(found) < $k AND (size(found) = 0 OR 2 <= found[0][0] + $slack)
  CALL (a, b) {
    MATCH (a)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m) WHERE m.path_degree IS NOT NULL
    WITH DISTINCT m
    RETURN m, [[0, '']] AS front, null AS back
    UNION ALL
    MATCH (b)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m) WHERE m.path_degree IS NOT NULL
    WITH DISTINCT m
    RETURN m, null AS front, [[0, '']] AS back
  }
  WITH a, b, m, collect(front) AS fronts, collect(back) AS backs
  WHERE size(fronts) = 1 AND size(backs) = 1
  UNWIND fronts[0] AS f
  UNWIND backs[0] AS g
  WITH f[0] + toInteger(round(1000 * log(m.path_degree) / log(2))) + g[0] AS cost, a.id + ' ' + f[1] + m.id + g[1] + ' ' + b.id AS key
  ORDER BY cost, key
  RETURN collect([2, cost, key])[..$k] AS more
}
WITH a, b, found + more AS found
// Paths of 3 hops.
CALL (a, b, found) {
  WITH a, b, found
  WHERE $max_hops >= 3 AND size(found) < $k AND (size(found) = 0 OR 3 <= found[0][0] + $slack)
  CALL (a, b) {
    MATCH (a)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(x)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m)
    WHERE x.path_degree IS NOT NULL AND m.path_degree IS NOT NULL
    WITH DISTINCT x, m
    WITH m, toInteger(round(1000 * log(x.path_degree) / log(2))) AS cost, x.id + ' ' AS key ORDER BY cost, key
    RETURN m, collect([cost, key])[..$k] AS front, null AS back
    UNION ALL
    MATCH (b)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m) WHERE m.path_degree IS NOT NULL
    WITH DISTINCT m
    RETURN m, null AS front, [[0, '']] AS back
  }
  WITH a, b, m, collect(front) AS fronts, collect(back) AS backs
  WHERE size(fronts) = 1 AND size(backs) = 1
  UNWIND fronts[0] AS f
  UNWIND backs[0] AS g
  WITH f[0] + toInteger(round(1000 * log(m.path_degree) / log(2))) + g[0] AS cost, a.id + ' ' + f[1] + m.id + g[1] + ' ' + b.id AS key
  ORDER BY cost, key
  RETURN collect([3, cost, key])[..$k] AS more
}
WITH a, b, found + more AS found
// Paths of 4 hops.
CALL (a, b, found) {
  WITH a, b, found
  WHERE $max_hops >= 4 AND size(found) < $k AND (size(found) = 0 OR 4 <= found[0][0] + $slack)
  CALL (a, b) {
    MATCH (a)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(x)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m)
    WHERE x.path_degree IS NOT NULL AND m.path_degree IS NOT NULL
    WITH DISTINCT x, m
    WITH m, toInteger(round(1000 * log(x.path_degree) / log(2))) AS cost, x.id + ' ' AS key ORDER BY cost, key
    RETURN m, collect([cost, key])[..$k] AS front, null AS back
    UNION ALL
    MATCH (b)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(x)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m)
    WHERE x.path_degree IS NOT NULL AND m.path_degree IS NOT NULL
    WITH DISTINCT x, m
    WITH m, toInteger(round(1000 * log(x.path_degree) / log(2))) AS cost, ' ' + x.id AS key ORDER BY cost, key
    RETURN m, null AS front, collect([cost, key])[..$k] AS back
  }
  WITH a, b, m, collect(front) AS fronts, collect(back) AS backs
  WHERE size(fronts) = 1 AND size(backs) = 1
  UNWIND fronts[0] AS f
  UNWIND backs[0] AS g
  WITH f[0] + toInteger(round(1000 * log(m.path_degree) / log(2))) + g[0] AS cost, a.id + ' ' + f[1] + m.id + g[1] + ' ' + b.id AS key
  ORDER BY cost, key
  RETURN collect([4, cost, key])[..$k] AS more
}
WITH a, b, found + more AS found
// Paths of 5 hops.
CALL (a, b, found) {
  WITH a, b, found
  WHERE $max_hops >= 5 AND size(found) < $k AND (size(found) = 0 OR 5 <= found[0][0] + $slack)
  CALL (a, b) {
    MATCH (a)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(x)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m)
    WHERE x.path_degree IS NOT NULL AND m.path_degree IS NOT NULL
    WITH DISTINCT x, m
    WITH m, toInteger(round(1000 * log(x.path_degree) / log(2))) AS cost, x.id + ' ' AS key ORDER BY cost, key
    WITH m AS x, collect([cost, key])[..$k] AS walks
    MATCH (x)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m) WHERE m.path_degree IS NOT NULL
    WITH DISTINCT x, m, walks
    UNWIND walks AS walk
    WITH m, walk[0] + toInteger(round(1000 * log(x.path_degree) / log(2))) AS cost, walk[1] + x.id + ' ' AS key ORDER BY cost, key
    RETURN m, collect([cost, key])[..$k] AS front, null AS back
    UNION ALL
    MATCH (b)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(x)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m)
    WHERE x.path_degree IS NOT NULL AND m.path_degree IS NOT NULL
    WITH DISTINCT x, m
    WITH m, toInteger(round(1000 * log(x.path_degree) / log(2))) AS cost, ' ' + x.id AS key ORDER BY cost, key
    RETURN m, null AS front, collect([cost, key])[..$k] AS back
  }
  WITH a, b, m, collect(front) AS fronts, collect(back) AS backs
  WHERE size(fronts) = 1 AND size(backs) = 1
  UNWIND fronts[0] AS f
  UNWIND backs[0] AS g
  WITH f[0] + toInteger(round(1000 * log(m.path_degree) / log(2))) + g[0] AS cost, a.id + ' ' + f[1] + m.id + g[1] + ' ' + b.id AS key
  ORDER BY cost, key
  RETURN collect([5, cost, key])[..$k] AS more
}
WITH a, b, found + more AS found
// Paths of 6 hops.
CALL (a, b, found) {
  WITH a, b, found
  WHERE $max_hops >= 6 AND size(found) < $k AND (size(found) = 0 OR 6 <= found[0][0] + $slack)
  CALL (a, b) {
    MATCH (a)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(x)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m)
    WHERE x.path_degree IS NOT NULL AND m.path_degree IS NOT NULL
    WITH DISTINCT x, m
    WITH m, toInteger(round(1000 * log(x.path_degree) / log(2))) AS cost, x.id + ' ' AS key ORDER BY cost, key
    WITH m AS x, collect([cost, key])[..$k] AS walks
    MATCH (x)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m) WHERE m.path_degree IS NOT NULL
    WITH DISTINCT x, m, walks
    UNWIND walks AS walk
    WITH m, walk[0] + toInteger(round(1000 * log(x.path_degree) / log(2))) AS cost, walk[1] + x.id + ' ' AS key ORDER BY cost, key
    RETURN m, collect([cost, key])[..$k] AS front, null AS back
    UNION ALL
    MATCH (b)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(x)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m)
    WHERE x.path_degree IS NOT NULL AND m.path_degree IS NOT NULL
    WITH DISTINCT x, m
    WITH m, toInteger(round(1000 * log(x.path_degree) / log(2))) AS cost, ' ' + x.id AS key ORDER BY cost, key
    WITH m AS x, collect([cost, key])[..$k] AS walks
    MATCH (x)-[:ANNOTATED_TO|PARTICIPATES_IN|MEMBER_OF|IS_A|PART_OF|REGULATES|POSITIVELY_REGULATES|NEGATIVELY_REGULATES|CHILD_OF]-(m) WHERE m.path_degree IS NOT NULL
    WITH DISTINCT x, m, walks
    UNWIND walks AS walk
    WITH m, walk[0] + toInteger(round(1000 * log(x.path_degree) / log(2))) AS cost, ' ' + x.id + walk[1] AS key ORDER BY cost, key
    RETURN m, null AS front, collect([cost, key])[..$k] AS back
  }
  WITH a, b, m, collect(front) AS fronts, collect(back) AS backs
  WHERE size(fronts) = 1 AND size(backs) = 1
  UNWIND fronts[0] AS f
  UNWIND backs[0] AS g
  WITH f[0] + toInteger(round(1000 * log(m.path_degree) / log(2))) + g[0] AS cost, a.id + ' ' + f[1] + m.id + g[1] + ' ' + b.id AS key
  ORDER BY cost, key
  RETURN collect([6, cost, key])[..$k] AS more
}
WITH a, b, found + more AS found
WITH found[..$k] AS found
UNWIND range(0, size(found) - 1) AS place
WITH place + 1 AS rank, found[place][0] AS hops, found[place][1] AS hub_cost, split(found[place][2], ' ') AS node_ids
UNWIND range(0, hops) AS position
WITH rank, hops, hub_cost, node_ids, position, node_ids[position] AS id, node_ids[position + 1] AS next
CALL (id) {
  MATCH (n:Gene {id: id}) RETURN n
  UNION
  MATCH (n:Protein {id: id}) RETURN n
  UNION
  MATCH (n:Complex {id: id}) RETURN n
  UNION
  MATCH (n:GOTerm {id: id}) RETURN n
  UNION
  MATCH (n:Pathway {id: id}) RETURN n
  UNION
  MATCH (n:Reaction {id: id}) RETURN n
  UNION
  MATCH (n:CellLine {id: id}) RETURN n
}
OPTIONAL MATCH (n)-[r]-(o)
WHERE o.id = next AND type(r) IN ['ANNOTATED_TO', 'PARTICIPATES_IN', 'MEMBER_OF', 'IS_A', 'PART_OF', 'REGULATES', 'POSITIVELY_REGULATES', 'NEGATIVELY_REGULATES', 'CHILD_OF']
WITH rank, hops, hub_cost, node_ids, position, n, r ORDER BY rank, position, type(r), r.provider
WITH rank, hops, hub_cost, node_ids, position, coalesce(n.symbol, n.name, n.id) AS name,
  collect(DISTINCT type(r)) AS types,
  collect(DISTINCT r.provider + ' ' + r.provider_release + CASE size([e IN coalesce(r.evidence, []) WHERE e <> ''])
    WHEN 0 THEN '' ELSE ' (' + reduce(said = '', e IN coalesce(r.evidence, []) |
      CASE WHEN e = '' OR said CONTAINS e THEN said WHEN said = '' THEN e ELSE said + ', ' + e END) + ')' END) AS said
ORDER BY rank, position
WITH rank, hops, hub_cost, node_ids, collect(name) AS nodes,
  collect(reduce(all = '', t IN types | CASE all WHEN '' THEN t ELSE all + '|' + t END)) AS steps,
  collect(reduce(all = '', s IN said | CASE all WHEN '' THEN s ELSE all + '|' + s END)) AS sources
RETURN rank, hops, nodes, node_ids, steps[..hops] AS relationships, sources[..hops] AS provenance, hub_cost
ORDER BY rank
