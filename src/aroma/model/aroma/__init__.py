"""AROMA: a language model that reads the evidence and, at placeholders, what graph and protein encoders learned."""
