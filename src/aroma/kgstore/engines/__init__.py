"""Engines: what differs between databases sits here and nowhere else."""

from __future__ import annotations

from aroma.kgstore.engines.base import Difference, Engine, Projection
from aroma.kgstore.engines.embedded import EmbeddedEngine, ensure_copy, open_copy
from aroma.kgstore.engines.neo4j_server import Neo4jEngine
from aroma.kgstore.home import GraphTarget, Home

__all__ = ["Difference", "Engine", "Projection", "ensure_copy", "open_copy", "open_engine"]


def open_engine(home: Home, target: GraphTarget) -> Engine:
    """Return the engine for a graph address; nothing is started or connected before it is needed."""
    return EmbeddedEngine(home) if target.is_embedded else Neo4jEngine(target)
