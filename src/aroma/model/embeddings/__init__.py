"""Encoders of nodes: graph attention, protein language models, text; and the runs that compute their vectors."""
