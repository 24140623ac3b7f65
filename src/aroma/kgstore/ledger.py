"""The ledger of runs: what is to be done in shards, who does it now, what is done; in SQLite or a lab's own database.

A message broker only wakes workers. What is done stands here, so a broker that lost its memory costs nothing, and a
shard whose worker died is taken over. A worker holds a shard by a *lease*: it adds one to the shard's ``beats`` every
few seconds. Who wants the shard watches that number on its own monotonic clock and takes over when it has stood still
for the length of the lease; no clock of one machine is compared with that of another, and a clock that jumps frees
nothing. Every change names the state it expects, so two workers never both win.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from aroma.errors import LedgerError, UsageError

LEASE_SECONDS: Final = 20.0
MOST_ATTEMPTS: Final = 4
LEDGER_VARIABLE: Final = "AROMA_LEDGER"
_BUSY_SECONDS: Final = 30


class State(StrEnum):
    """Where a run or a shard stands."""

    WAITING = "waiting"
    LEASED = "leased"  # shards only
    RUNNING = "running"  # runs only
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"  # runs only


_META: Final = sa.MetaData()
_RUNS: Final = sa.Table(
    "runs",
    _META,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("queue", sa.String(32), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("message", sa.Text, nullable=False, default=""),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("ended_at", sa.String(32)),
)
_SHARDS: Final = sa.Table(
    "shards",
    _META,
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


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard to be done: what its worker needs (JSON values), and how much work it is."""

    payload: Mapping[str, Any]
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard that a worker holds."""

    run: str
    number: int
    payload: Mapping[str, Any]
    cost: int
    worker: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Run:
    """A run and how far it is.

    Attributes:
        id: Run id; a hash of what is to be computed, so that planning it twice plans it once.
        kind: What is done: ``embed``, ``train-gat``, ….
        queue: ``cpu`` or ``gpu``.
        facts: What describes it, JSON values.
        state: Where it stands.
        message: Why it failed.
        created_at: ISO 8601, UTC.
        ended_at: ISO 8601, UTC, or None.
        shards: Number of shards by state.
        cost: Cost of all shards.
        cost_done: Cost of those that are done.
        workers: Who holds a shard now.
    """

    id: str
    kind: str
    queue: str
    facts: Mapping[str, Any]
    state: State
    message: str
    created_at: str
    ended_at: str | None
    shards: Mapping[State, int] = field(default_factory=dict)
    cost: int = 0
    cost_done: int = 0
    workers: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """True while there may be something to do."""
        return self.state in {State.WAITING, State.RUNNING}


def worker_name() -> str:
    """Return a name for this worker: host, process and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


class Ledger:
    """The ledger, opened; safe to use from several processes, one object a process.

    Args:
        address: A file for SQLite, or an SQLAlchemy address (``postgresql+psycopg://…``).
        lease_seconds: How long a shard's beats may stand still before another worker takes it.

    Raises:
        LedgerError: The database cannot be opened.
    """

    def __init__(self, address: Path | str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.lease_seconds = lease_seconds
        self._shown = str(address)
        self._seen: dict[tuple[str, int], tuple[str, int, float]] = {}
        try:
            self._engine = _open(address)
            _META.create_all(self._engine)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise LedgerError(f"ledger {self._shown}: cannot be opened ({error})") from error

    @contextmanager
    def _change(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(f"ledger {self._shown}: {error}; look at the disk and {LEDGER_VARIABLE}") from error

    # --- planning ----------------------------------------------------------------------------------------------

    def plan(self, run: str, kind: str, queue: str, facts: Mapping[str, Any], shards: Sequence[ShardPlan]) -> Run:
        """Write a run and its shards; a run that is there already stays as it is (see ``resume``, ``forget``).

        A run without shards has nothing left to do and waits to be closed (``close``).
        """
        with self._change() as change:
            there = change.execute(sa.select(_RUNS.c.id).where(_RUNS.c.id == run)).first()
            if there is None:
                row = {"id": run, "kind": kind, "queue": queue, "facts": json.dumps(dict(facts), sort_keys=True)}
                insert = _insert_if_new(self._engine, _RUNS)
                change.execute(insert, {**row, "state": State.WAITING, "message": "", "created_at": _now()})
                rows = [
                    {"run": run, "number": number, "payload": json.dumps(dict(one.payload)), "cost": one.cost}
                    | {"state": State.WAITING, "beats": 0, "attempts": 0, "message": ""}
                    for number, one in enumerate(shards)
                ]
                if rows:
                    change.execute(_insert_if_new(self._engine, _SHARDS), rows)
        return self.run(run)

    def resume(self, run: str) -> Run:
        """Open a cancelled or failed run again; failed shards are tried anew, what is done stays done."""
        self.run(run)
        ended = (State.CANCELLED, State.FAILED)
        with self._change() as change:
            change.execute(
                sa.update(_RUNS)
                .where(_RUNS.c.id == run, _RUNS.c.state.in_(ended))
                .values(state=State.WAITING, message="", ended_at=None)
            )
            change.execute(
                sa.update(_SHARDS)
                .where(_SHARDS.c.run == run, _SHARDS.c.state == State.FAILED)
                .values(state=State.WAITING, attempts=0, message="")
            )
        return self.run(run)

    def cancel(self, run: str) -> Run:
        """Close a run before it is done; workers notice at their next renewal, and keep what is done."""
        self.run(run)
        with self._change() as change:
            change.execute(
                sa.update(_RUNS)
                .where(_RUNS.c.id == run, _RUNS.c.state.in_((State.WAITING, State.RUNNING)))
                .values(state=State.CANCELLED, ended_at=_now())
            )
            change.execute(
                sa.update(_SHARDS)
                .where(_SHARDS.c.run == run, _SHARDS.c.state == State.LEASED)
                .values(state=State.WAITING, worker=None)
            )
        return self.run(run)

    def forget(self, run: str) -> None:
        """Remove a run and its shards from the ledger, as for one that is to be computed anew."""
        with self._change() as change:
            change.execute(sa.delete(_SHARDS).where(_SHARDS.c.run == run))
            change.execute(sa.delete(_RUNS).where(_RUNS.c.id == run))

    # --- working -----------------------------------------------------------------------------------------------

    def claim(self, run: str, worker: str) -> Shard | None:
        """Return a shard for ``worker`` to do, or None when there is none to have now.

        Waiting shards come first, dearest first; then one whose worker is gone: its process is no longer there (same
        host), or its beats have stood still for a lease as watched by this object.
        """
        with self._change() as change:
            if change.execute(sa.select(_RUNS.c.state).where(_RUNS.c.id == run)).scalar() not in {
                State.WAITING,
                State.RUNNING,
            }:
                return None
            waiting = (
                sa.select(_SHARDS)
                .where(_SHARDS.c.run == run, _SHARDS.c.state == State.WAITING)
                .order_by(_SHARDS.c.cost.desc(), _SHARDS.c.number)
            )
            for row in change.execute(waiting.limit(8)):
                if self._take(change, row, worker):
                    return _shard(row, worker)
            held = sa.select(_SHARDS).where(_SHARDS.c.run == run, _SHARDS.c.state == State.LEASED)
            for row in change.execute(held).all():
                if self._is_abandoned(row) and self._take(change, row, worker):
                    return _shard(row, worker)
        return None

    def renew(self, shard: Shard) -> bool:
        """Say that the worker still works on its shard; False when it lost it, or the run was cancelled."""
        with self._change() as change:
            held = _held(shard)
            return bool(change.execute(sa.update(_SHARDS).where(*held).values(beats=_SHARDS.c.beats + 1)).rowcount)

    def finish(self, shard: Shard, result: Mapping[str, Any], seconds: float) -> bool:
        """Say that a shard is done; False when another worker has it now (its result is the same by content)."""
        with self._change() as change:
            done = sa.update(_SHARDS).where(*_held(shard))
            values = {"state": State.DONE, "result": json.dumps(dict(result)), "seconds": seconds, "message": ""}
            return bool(change.execute(done.values(**values)).rowcount)

    def fail(self, shard: Shard, message: str, *, again: bool) -> None:
        """Say that a shard failed; with ``again`` it is tried anew, up to ``MOST_ATTEMPTS`` times in all."""
        state = State.WAITING if again and shard.attempts < MOST_ATTEMPTS else State.FAILED
        with self._change() as change:
            change.execute(sa.update(_SHARDS).where(*_held(shard)).values(state=state, message=message, worker=None))
            if state is State.FAILED:
                change.execute(
                    sa.update(_RUNS)
                    .where(_RUNS.c.id == shard.run, _RUNS.c.state.in_((State.WAITING, State.RUNNING)))
                    .values(state=State.FAILED, message=message, ended_at=_now())
                )

    def close(self, run: str) -> bool:
        """Mark a run done when all its shards are; return whether it is done."""
        with self._change() as change:
            left = sa.select(sa.func.count()).where(_SHARDS.c.run == run, _SHARDS.c.state != State.DONE)
            if change.execute(left).scalar():
                return False
            open_states = (State.WAITING, State.RUNNING)
            change.execute(
                sa.update(_RUNS)
                .where(_RUNS.c.id == run, _RUNS.c.state.in_(open_states))
                .values(state=State.DONE, ended_at=_now())
            )
        return self.run(run).state is State.DONE

    def results(self, run: str) -> list[Mapping[str, Any]]:
        """Return the results of the shards that are done, by number."""
        done = sa.select(_SHARDS.c.result).where(_SHARDS.c.run == run, _SHARDS.c.state == State.DONE)
        with self._change() as change:
            return [json.loads(text) for (text,) in change.execute(done.order_by(_SHARDS.c.number))]

    # --- looking -----------------------------------------------------------------------------------------------

    def run(self, run: str) -> Run:
        """Return one run, by its id or the first characters of it.

        Raises:
            UsageError: None or several begin so.
        """
        with self._change() as change:
            rows = change.execute(sa.select(_RUNS).where(_RUNS.c.id.startswith(run, autoescape=True))).all()
            exact = [row for row in rows if row.id == run] or rows
            if len(exact) != 1:
                raise UsageError(f"{len(rows) or 'no'} runs begin with {run!r}; aroma runs list shows them")
            return self._described(change, exact[0])

    def runs(self) -> list[Run]:
        """Return every run, the newest first."""
        with self._change() as change:
            rows = change.execute(sa.select(_RUNS).order_by(_RUNS.c.created_at.desc(), _RUNS.c.id)).all()
            return [self._described(change, row) for row in rows]

    def _described(self, change: sa.Connection, row: Any) -> Run:
        shards = sa.select(_SHARDS.c.state, sa.func.count(), sa.func.coalesce(sa.func.sum(_SHARDS.c.cost), 0)).where(
            _SHARDS.c.run == row.id
        )
        counts = change.execute(shards.group_by(_SHARDS.c.state)).all()
        held = sa.select(_SHARDS.c.worker).where(_SHARDS.c.run == row.id, _SHARDS.c.state == State.LEASED)
        state = State(row.state)
        if state is State.WAITING and any(kind in {State.LEASED, State.DONE} for kind, _, _ in counts):
            state = State.RUNNING
        return Run(
            row.id,
            row.kind,
            row.queue,
            json.loads(row.facts),
            state,
            row.message,
            row.created_at,
            row.ended_at,
            {State(kind): number for kind, number, _ in counts},
            sum(int(cost) for _, _, cost in counts),
            sum(int(cost) for kind, _, cost in counts if kind == State.DONE),
            tuple(sorted({name for (name,) in change.execute(held) if name})),
        )

    # --- leases ------------------------------------------------------------------------------------------------

    def _take(self, change: sa.Connection, row: Any, worker: str) -> bool:
        """Take a shard if it still stands as it was read."""
        same = [_SHARDS.c.run == row.run, _SHARDS.c.number == row.number, _SHARDS.c.state == row.state]
        same += [_SHARDS.c.beats == row.beats, _SHARDS.c.attempts == row.attempts]
        taken = {"state": State.LEASED, "worker": worker, "beats": row.beats + 1, "attempts": row.attempts + 1}
        self._seen.pop((row.run, row.number), None)
        return bool(change.execute(sa.update(_SHARDS).where(*same).values(**taken)).rowcount)

    def _is_abandoned(self, row: Any) -> bool:
        if _process_is_gone(row.worker):
            return True
        key, now = (row.run, row.number), time.monotonic()
        worker, beats, since = self._seen.get(key, (row.worker, -1, now))
        if (worker, beats) != (row.worker, row.beats):
            self._seen[key] = (row.worker, row.beats, now)
            return False
        still: float = now - since
        return still > self.lease_seconds


def _open(address: Path | str) -> sa.Engine:
    if isinstance(address, Path) or "://" not in address:
        Path(address).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(f"sqlite:///{address}", connect_args={"timeout": _BUSY_SECONDS})
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_at_once)
        return engine
    return sa.create_engine(address, pool_pre_ping=True)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin ourselves, so that a writer waits instead of failing half-way
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # what is said to be done survives a power cut


def _begin_at_once(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _insert_if_new(engine: sa.Engine, table: sa.Table) -> Any:
    """Return an insert that leaves a row that is there: two planners of one run write it once."""
    if engine.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.postgresql import insert

    return insert(table).on_conflict_do_nothing()


def _held(shard: Shard) -> list[Any]:
    """Return the condition that a worker still holds its shard by this very claim."""
    return [
        _SHARDS.c.run == shard.run,
        _SHARDS.c.number == shard.number,
        _SHARDS.c.state == State.LEASED,
        _SHARDS.c.worker == shard.worker,
        _SHARDS.c.attempts == shard.attempts,
    ]


def _shard(row: Any, worker: str) -> Shard:
    return Shard(row.run, row.number, json.loads(row.payload), row.cost, worker, row.attempts + 1)


def _process_is_gone(worker: str) -> bool:
    """Tell whether a worker of this host ended; its shard need not wait for the lease."""
    host, _, rest = worker.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="milliseconds")
