"""What models ask of a release: paths, neighbourhoods, evidence."""
