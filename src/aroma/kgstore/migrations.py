"""Migrations: numbered files that bring a database's constraints and indexes up to date, each applied once.

Files ``V001__name.cypher`` hold statements that end with ``;`` at a line's end, each safe to run again (``IF NOT
EXISTS``), because a database's schema changes cannot share a transaction with the record of them. Where engines
differ, ``V003__name.neo4j.cypher`` and ``V003__name.arcadedb.sql`` stand side by side. What was applied is recorded
in the graph as ``(:Migration {version, name, checksum, applied_at})``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final, Protocol

from aroma.errors import AromaError, LockHeldError, MigrationError
from aroma.kgstore.graph import Graph

_FILE: Final = re.compile(
    r"V(?P<version>\d{3})__(?P<name>\w+)(?:\.(?P<engine>neo4j|arcadedb))?\.(?P<language>cypher|sql)"
)
_STATEMENT_END: Final = re.compile(r";\s*$", re.MULTILINE)
_COMMENT_LINE: Final = re.compile(r"^\s*(//|--).*$", re.MULTILINE)
LOCK_SECONDS: Final = 120.0
"""A lock older than this was left behind by a process that ended; another one may take it."""


@dataclass(frozen=True, slots=True)
class Script:
    """The text of a migration for one engine, and its language (``cypher`` or ``sql``)."""

    text: str
    language: str

    @property
    def checksum(self) -> str:
        """sha256 of the text, line ends made alike, hex."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements, without comment lines and the ``;`` at their ends."""
        parts = _STATEMENT_END.split(_COMMENT_LINE.sub("", self.text))
        return [part.strip() for part in parts if part.strip()]


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered migration; ``scripts`` by engine, the common one under ``""``."""

    version: int
    name: str
    scripts: Mapping[str, Script]

    def script(self, engine: str) -> Script:
        """Return the script for ``neo4j`` or ``arcadedb``.

        Raises:
            MigrationError: There is none for this engine.
        """
        found = self.scripts.get(engine) or self.scripts.get("")
        if found is None:
            raise MigrationError(f"migration V{self.version:03d}__{self.name} has no file for {engine}; add one")
        return found


@dataclass(frozen=True, slots=True)
class MigrationState:
    """A migration and when it was applied to this database; ``applied_at`` is None where it was not."""

    version: int
    name: str
    checksum: str
    applied_at: str | None


class Store(Protocol):
    """A database that migrations can be applied to."""

    @property
    def engine(self) -> str:
        """``neo4j`` or ``arcadedb``."""

    def run(self, text: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[object, ...]]:
        """Run one Cypher text that may write, in a transaction of its own."""

    def run_sql(self, text: str) -> None:
        """Run one SQL statement, on the engine that has SQL."""


class GraphStore:
    """A database over Bolt, which speaks Cypher only: the embedded engine is given its SQL where it is filled."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    @property
    def engine(self) -> str:
        """``neo4j`` or ``arcadedb``."""
        return self._graph.engine

    def run(self, text: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[object, ...]]:
        """Run one Cypher text that may write."""
        return self._graph.write(text, parameters).rows

    def run_sql(self, text: str) -> None:
        """Refuse: Bolt carries no SQL.

        Raises:
            MigrationError: Always.
        """
        raise MigrationError(
            f"{self._graph.address}: the embedded engine takes SQL only while it is filled ({text[:60]}…); "
            "build or open the release again"
        )


def load_migrations(directory: Path | None = None) -> tuple[Migration, ...]:
    """Read the migrations of a directory (default: the bundled ones), in order.

    Raises:
        MigrationError: A name that is not understood, a number twice, or a number missing.
    """
    place = directory or Path(str(resources.files("aroma") / "migrations"))
    found: dict[int, tuple[str, dict[str, Script]]] = {}
    for file in sorted(place.glob("*.*")):
        if file.suffix not in {".cypher", ".sql"}:
            continue
        parts = _FILE.fullmatch(file.name)
        if parts is None:
            raise MigrationError(f"{file}: not named like V001__what_it_does.cypher; rename it")
        version, engine = int(parts["version"]), parts["engine"] or ""
        name, scripts = found.setdefault(version, (parts["name"], {}))
        if name != parts["name"] or engine in scripts:
            raise MigrationError(f"{file}: number V{version:03d} is there twice; give one of them the next free number")
        scripts[engine] = Script(file.read_text(encoding="utf-8"), parts["language"])
    for expected, version in enumerate(sorted(found), start=1):
        if version != expected:
            raise MigrationError(f"{place}: migration V{expected:03d} is missing, V{version:03d} is there; restore it")
    return tuple(Migration(version, *found[version]) for version in sorted(found))


def migration_states(store: Store, migrations: tuple[Migration, ...] | None = None) -> tuple[MigrationState, ...]:
    """Compare the files with what a database records; the first ones are applied, the others are not.

    Raises:
        MigrationError: An applied file was edited, is missing, or one was applied out of order.
    """
    known = load_migrations() if migrations is None else migrations
    rows = store.run("MATCH (m:Migration) RETURN m.version, m.name, m.checksum, m.applied_at ORDER BY m.version")
    recorded = {int(str(version)): (str(name), str(checksum), str(at)) for version, name, checksum, at in rows}
    by_version = {migration.version: migration for migration in known}
    for version, (name, checksum, at) in recorded.items():
        if version not in by_version:
            raise MigrationError(
                f"migration V{version:03d}__{name} was applied at {at} and its file is missing; restore it, "
                "or use the program that is as new as this database"
            )
        if by_version[version].script(store.engine).checksum != checksum:
            raise MigrationError(
                f"migration V{version:03d}__{name} was applied at {at} and its file was edited since; "
                "restore the file and put the change into a new one"
            )
    states = [
        MigrationState(
            migration.version,
            migration.name,
            migration.script(store.engine).checksum,
            recorded[migration.version][2] if migration.version in recorded else None,
        )
        for migration in known
    ]
    if recorded and len(recorded) != max(recorded):
        lacking = min(set(range(1, max(recorded))) - set(recorded))
        raise MigrationError(f"the database records V{max(recorded):03d} and not V{lacking:03d}; run it by hand first")
    return tuple(states)


def migrate(store: Store, migrations: tuple[Migration, ...] | None = None) -> tuple[MigrationState, ...]:
    """Apply what is missing, and return those that were applied now. Safe when several processes start at once.

    Raises:
        MigrationError: The record and the files disagree, or a statement failed; earlier migrations stay applied.
        LockHeldError: Another process has been migrating for longer than this one waits.
    """
    known = load_migrations() if migrations is None else migrations
    if all(state.applied_at for state in migration_states(store, known)):
        return ()
    with _lock(store):
        missing = [state for state in migration_states(store, known) if state.applied_at is None]
        return tuple(_apply(store, known[state.version - 1], state) for state in missing)


def _apply(store: Store, migration: Migration, state: MigrationState) -> MigrationState:
    script = migration.script(store.engine)
    for statement in script.statements:
        try:
            if script.language == "sql":
                store.run_sql(statement)
            else:
                store.run(statement)
        except AromaError as error:
            shown = " ".join(statement.split())[:120]
            raise MigrationError(f"migration V{migration.version:03d}__{migration.name}: {shown}: {error}") from error
    at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    store.run(
        "CREATE (:Migration {version: $version, name: $name, checksum: $checksum, applied_at: $at})",
        {"version": migration.version, "name": migration.name, "checksum": state.checksum, "at": at},
    )
    return MigrationState(state.version, state.name, state.checksum, at)


@contextlib.contextmanager
def _lock(store: Store) -> Iterator[None]:
    """Hold the database's own lock, a node that can be there once only, for the body."""
    _retried(store, "CREATE CONSTRAINT migration_lock IF NOT EXISTS FOR (n:MigrationLock) REQUIRE n.name IS UNIQUE")
    _retried(store, "CREATE CONSTRAINT migration_version IF NOT EXISTS FOR (n:Migration) REQUIRE n.version IS UNIQUE")
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    end = time.monotonic() + LOCK_SECONDS
    while not _take(store, holder):
        if time.monotonic() > end:
            raise LockHeldError(f"another process is migrating this database: {_holder(store)}; wait for it")
        time.sleep(0.2)
    try:
        yield
    finally:
        store.run("MATCH (l:MigrationLock {name: 'migrations', holder: $holder}) DELETE l", {"holder": holder})


def _take(store: Store, holder: str) -> bool:
    now = time.time()
    store.run(
        "MATCH (l:MigrationLock {name: 'migrations'}) WHERE l.taken_at < $old DELETE l", {"old": now - LOCK_SECONDS}
    )
    try:
        store.run(
            "CREATE (:MigrationLock {name: 'migrations', holder: $holder, taken_at: $now})",
            {"holder": holder, "now": now},
        )
    except AromaError:
        if _holder(store) == "nobody":
            raise
        return False
    return True


def _holder(store: Store) -> str:
    rows = store.run("MATCH (l:MigrationLock {name: 'migrations'}) RETURN l.holder")
    return str(rows[0][0]) if rows else "nobody"


def _retried(store: Store, statement: str, attempts: int = 5) -> None:
    """Run a statement that two processes may send at once, of which the engine lets one fail."""
    for attempt in range(1, attempts + 1):
        try:
            store.run(statement)
        except AromaError:
            if attempt == attempts:
                raise
            time.sleep(0.2 * attempt)
        else:
            return
