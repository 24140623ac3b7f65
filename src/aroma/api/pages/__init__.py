"""The evidence page: what the release says of a gene or a pair, for people; HTML from the server, no script."""
