"""Migrating the database that a command means."""

from __future__ import annotations

from aroma.kgstore.engines import open_engine
from aroma.kgstore.graph import Address, Graph
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.migrations import GraphStore, MigrationState, migrate, migration_states


def migrate_target(
    home: Home, target: GraphTarget, *, only_show: bool = False
) -> tuple[tuple[MigrationState, ...], tuple[MigrationState, ...]]:
    """Apply what the database lacks; return what was applied now, and the state of all migrations.

    Raises:
        MigrationError: Files and record disagree, or a statement failed.
        LockHeldError: Another process is migrating this database.
        StoreUnavailableError: The database cannot be reached.
        ReleaseError: The embedded engine is meant and no release is published.
    """
    with _open(home, target) as graph:
        store = GraphStore(graph)
        applied = () if only_show else migrate(store)
        return applied, migration_states(store)


def _open(home: Home, target: GraphTarget) -> Graph:
    """Open a server even before its first release: that is when it needs its constraints."""
    if target.is_embedded:
        return open_engine(home, target).connect()
    return Graph.open(Address(target.uri, None, target.user, target.password))
