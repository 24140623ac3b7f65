"""Exports: a release, or a view of one, in the formats that other programs load."""
