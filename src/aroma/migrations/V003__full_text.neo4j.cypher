// Search in names: CALL db.index.fulltext.queryNodes('GOTerm[name]', $text), spelled as the embedded engine names them.
CREATE FULLTEXT INDEX `Gene[name]` IF NOT EXISTS FOR (n:Gene) ON EACH [n.name, n.symbol, n.synonyms];
CREATE FULLTEXT INDEX `Complex[name]` IF NOT EXISTS FOR (n:Complex) ON EACH [n.name, n.synonyms];
CREATE FULLTEXT INDEX `GOTerm[name]` IF NOT EXISTS FOR (n:GOTerm) ON EACH [n.name, n.synonyms];
CREATE FULLTEXT INDEX `Pathway[name]` IF NOT EXISTS FOR (n:Pathway) ON EACH [n.name, n.synonyms];
