"""The tables of a ledger and how its database is opened: SQLite beside the store, or a lab's own server."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
import sqlalchemy.orm  # not used here: MLflow imports it later, in a thread, while another one asks the ledger

from aroma.errors import LedgerError

_BUSY_SECONDS: Final = 30
_MAKING_SECONDS: Final = 0.2


class State(StrEnum):
    """Where a run or a shard stands."""

    WAITING = "waiting"
    LEASED = "leased"  # shards only
    RUNNING = "running"  # runs only
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"  # runs only


META: Final = sa.MetaData()
RUNS: Final = sa.Table(
    "runs",
    META,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("queue", sa.String(32), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("message", sa.Text, nullable=False, default=""),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("ended_at", sa.String(32)),
)
SHARDS: Final = sa.Table(
    "shards",
    META,
    sa.Column("run", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("cost", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("worker", sa.String(128)),
    sa.Column("beats", sa.BigInteger, nullable=False, default=0),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("seconds", sa.Float),
    sa.Column("result", sa.Text),
    sa.Column("message", sa.Text, nullable=False, default=""),
)
WORKERS: Final = sa.Table(
    "workers",
    META,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("queues", sa.String(64), nullable=False),
    sa.Column("device", sa.String(32), nullable=False),
    sa.Column("since", sa.String(32), nullable=False),
    sa.Column("seen_at", sa.String(32), nullable=False),
    sa.Column("beats", sa.BigInteger, nullable=False, default=0),
)


def open_database(address: Path | str) -> sa.Engine:
    """Return the engine of a ledger: a file is SQLite, anything with ``://`` is an SQLAlchemy address.

    Raises:
        LedgerError: Of another database than SQLite or PostgreSQL.
    """
    url = _url(address)
    if url.get_backend_name() == "sqlite":
        Path(url.database or ".").parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_at_once)
        return engine
    if url.get_backend_name() != "postgresql":
        raise LedgerError(f"ledger {shown(address)}: it is kept in SQLite or PostgreSQL, not {url.get_backend_name()}")
    return sa.create_engine(url, pool_pre_ping=True)


def make_tables(engine: sa.Engine) -> None:
    """Make the tables that are not there; several processes may begin with an empty database at once."""
    for tries_left in (2, 1, 0):
        try:
            META.create_all(engine)
        except (sa.exc.OperationalError, sa.exc.IntegrityError, sa.exc.ProgrammingError):
            if not tries_left:
                raise
            time.sleep(_MAKING_SECONDS)
        else:
            return


def shown(address: Path | str) -> str:
    """Return an address as messages may show it: without its password."""
    try:
        url = _url(address)
    except sa.exc.ArgumentError:
        return "(not readable)"
    return url.database or "" if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def _url(address: Path | str) -> sa.URL:
    if isinstance(address, Path) or "://" not in address:
        return sa.URL.create("sqlite", database=str(address))
    return sa.make_url(address)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin ourselves, so that a writer waits instead of failing half-way
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # what is said to be done survives a power cut


def _begin_at_once(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def insert_if_new(engine: sa.Engine, table: sa.Table) -> Any:
    """Return an insert that leaves a row that is there: two planners of one run write it once."""
    if engine.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.postgresql import insert

    return insert(table).on_conflict_do_nothing()
