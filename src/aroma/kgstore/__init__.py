"""The graph: schema, identifiers, release tables, releases, engines, queries."""
