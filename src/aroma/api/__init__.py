"""REST: the questions of ``aroma.retrieval`` over HTTP, versioned under ``/v1``."""
