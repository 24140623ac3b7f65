"""A view for PyTorch Geometric: stores that its loaders sample from, and neighbourhoods as its data objects.

Needs the extra ``embeddings``.
"""

from __future__ import annotations

from aroma.errors import UsageError

try:
    import torch_geometric  # noqa: F401
except ImportError as error:
    raise UsageError(
        "PyTorch Geometric is not installed; install it with: pip install 'aroma-evidence[embeddings]'"
    ) from error

from aroma.retrieval.pyg.neighbourhood import neighbourhood_data
from aroma.retrieval.pyg.sampling import SnapshotSampler
from aroma.retrieval.pyg.stores import (
    Backend,
    SnapshotFeatureStore,
    SnapshotGraphStore,
    remote_backend,
)
from aroma.retrieval.pyg.vectors import NodeVectors, degree_vectors

__all__ = [
    "Backend",
    "NodeVectors",
    "SnapshotFeatureStore",
    "SnapshotGraphStore",
    "SnapshotSampler",
    "degree_vectors",
    "neighbourhood_data",
    "remote_backend",
]
