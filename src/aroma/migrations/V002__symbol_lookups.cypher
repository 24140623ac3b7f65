// Genes are asked for by symbol.
CREATE INDEX gene_symbol IF NOT EXISTS FOR (n:Gene) ON (n.symbol);
CREATE INDEX edge_assertion IF NOT EXISTS FOR (n:Assertion) ON (n.subject);
