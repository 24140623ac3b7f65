// Search in synonyms and definitions as well, under the names that the embedded engine gives its indexes.
CREATE FULLTEXT INDEX `Gene[synonym_text]` IF NOT EXISTS FOR (n:Gene) ON EACH [n.synonym_text];
CREATE FULLTEXT INDEX `Complex[synonym_text]` IF NOT EXISTS FOR (n:Complex) ON EACH [n.synonym_text];
CREATE FULLTEXT INDEX `GOTerm[synonym_text]` IF NOT EXISTS FOR (n:GOTerm) ON EACH [n.synonym_text];
CREATE FULLTEXT INDEX `Pathway[synonym_text]` IF NOT EXISTS FOR (n:Pathway) ON EACH [n.synonym_text];
CREATE FULLTEXT INDEX `Gene[description]` IF NOT EXISTS FOR (n:Gene) ON EACH [n.description];
CREATE FULLTEXT INDEX `Complex[description]` IF NOT EXISTS FOR (n:Complex) ON EACH [n.description];
CREATE FULLTEXT INDEX `GOTerm[description]` IF NOT EXISTS FOR (n:GOTerm) ON EACH [n.description];
CREATE FULLTEXT INDEX `Pathway[description]` IF NOT EXISTS FOR (n:Pathway) ON EACH [n.description];
