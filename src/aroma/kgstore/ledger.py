"""The ledger of runs: what is to be done in shards, who does it now, what is done; in SQLite or a lab's own database.

A message broker only wakes workers. What is done stands here, so a broker that lost its memory costs nothing, and a
shard whose worker died is taken over. A worker holds a shard by a *lease*: it adds one to the shard's ``beats`` every
few seconds. Who wants the shard watches that number on its own monotonic clock and takes over when it has stood still
for the length of the lease; no clock of one machine is compared with that of another, and a clock that jumps frees
nothing. Every change names the state it expects, so two workers never both win.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from aroma.errors import LedgerError, UsageError
from aroma.kgstore.ledger_tables import RUNS, SHARDS, WORKERS, State, insert_if_new, make_tables, open_database, shown

__all__ = ["LEDGER_VARIABLE", "Ledger", "Run", "Shard", "ShardPlan", "State", "WorkerSeen", "worker_name"]

LEASE_SECONDS: Final = 20.0
MOST_ATTEMPTS: Final = 4
"""How often a shard that fails is tried in all."""
MOST_DEATHS: Final = 8
"""How often a shard is handed to another worker after the last one died: it may be the shard that kills them."""
WORKER_SECONDS: Final = 60.0
"""A worker that was not seen for so long is no longer counted."""
LEDGER_VARIABLE: Final = "AROMA_LEDGER"


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


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker as it last said of itself.

    Attributes:
        name: See ``worker_name``.
        queues: ``cpu``, ``gpu`` or both.
        device: ``cpu``, ``cuda:0``, ….
        since: ISO 8601, UTC.
        seen_at: ISO 8601, UTC.
    """

    name: str
    queues: tuple[str, ...]
    device: str
    since: str
    seen_at: str


def worker_name() -> str:
    """Return a name for this worker: place, process and a random part."""
    return f"{_place()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


@lru_cache(maxsize=1)
def _place() -> str:
    """Return the host, and a mark of the space its process numbers belong to: containers may share a host's name."""
    marks = []
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            marks.append(str(Path(path).readlink()) if path.endswith("pid") else Path(path).read_text())
        except OSError:  # not Linux: a host has one space of process numbers
            marks.append("")
    return f"{socket.gethostname()}-{hashlib.sha256('|'.join(marks).encode()).hexdigest()[:6]}"


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
        self._shown = shown(address)
        self._seen: dict[tuple[str, int], tuple[str, int, float]] = {}
        try:
            self._engine = open_database(address)
            make_tables(self._engine)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            said = getattr(error, "orig", None) or error
            raise LedgerError(f"ledger {self._shown}: cannot be opened ({said}); look at {LEDGER_VARIABLE}") from error
        except ImportError as error:
            raise LedgerError(f"ledger {self._shown}: its driver is not installed ({error}); install it") from error

    @contextmanager
    def _change(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            said = getattr(error, "orig", None) or error  # the database's own words, without the library's
            raise LedgerError(f"ledger {self._shown}: {said}; look at the disk and {LEDGER_VARIABLE}") from error

    # --- planning ----------------------------------------------------------------------------------------------

    def plan(self, run: str, kind: str, queue: str, facts: Mapping[str, Any], shards: Sequence[ShardPlan]) -> Run:
        """Write a run and its shards; a run that is there already stays as it is (see ``resume``, ``forget``).

        A run without shards has nothing left to do and waits to be closed (``close``).
        """
        with self._change() as change:
            there = change.execute(sa.select(RUNS.c.id).where(RUNS.c.id == run)).first()
            if there is None:
                row = {"id": run, "kind": kind, "queue": queue, "facts": json.dumps(dict(facts), sort_keys=True)}
                insert = insert_if_new(self._engine, RUNS)
                change.execute(insert, {**row, "state": State.WAITING, "message": "", "created_at": _now()})
                rows = [
                    {"run": run, "number": number, "payload": json.dumps(dict(one.payload)), "cost": one.cost}
                    | {"state": State.WAITING, "beats": 0, "attempts": 0, "message": ""}
                    for number, one in enumerate(shards)
                ]
                if rows:
                    change.execute(insert_if_new(self._engine, SHARDS), rows)
        return self.run(run)

    def resume(self, run: str) -> Run:
        """Open a cancelled or failed run again; failed shards are tried anew, what is done stays done."""
        self.run(run)
        ended = (State.CANCELLED, State.FAILED)
        with self._change() as change:
            change.execute(
                sa.update(RUNS)
                .where(RUNS.c.id == run, RUNS.c.state.in_(ended))
                .values(state=State.WAITING, message="", ended_at=None)
            )
            change.execute(
                sa.update(SHARDS)
                .where(SHARDS.c.run == run, SHARDS.c.state == State.FAILED)
                .values(state=State.WAITING, attempts=0, message="")
            )
        return self.run(run)

    def cancel(self, run: str) -> Run:
        """Close a run before it is done; workers notice at their next renewal, and keep what is done."""
        self.run(run)
        with self._change() as change:
            change.execute(sa.update(RUNS).where(*_open_run(run)).values(state=State.CANCELLED, ended_at=_now()))
            change.execute(
                sa.update(SHARDS)
                .where(SHARDS.c.run == run, SHARDS.c.state == State.LEASED)
                .values(state=State.WAITING, worker=None)
            )
        return self.run(run)

    def fail_run(self, run: str, message: str) -> None:
        """Close an open run as failed, for what no shard is to blame; what is done stays done."""
        with self._change() as change:
            change.execute(sa.update(RUNS).where(*_open_run(run)).values(_failed(message)))

    def note(self, run: str, message: str) -> None:
        """Write beside an open run why a worker cannot do it; others may."""
        with self._change() as change:
            change.execute(sa.update(RUNS).where(*_open_run(run)).values(message=message))

    def redo(self, run: str, number: int, message: str) -> None:
        """Have a finished shard of an open run done anew: its result was lost."""
        with self._change() as change:
            done = [SHARDS.c.run == run, SHARDS.c.number == number, SHARDS.c.state == State.DONE]
            change.execute(sa.update(SHARDS).where(*done).values(state=State.WAITING, worker=None, message=message))

    def move(self, run: str, queue: str) -> Run:
        """Have an open run done by the workers of another queue; shards under way stay where they are."""
        with self._change() as change:
            change.execute(sa.update(RUNS).where(*_open_run(run)).values(queue=queue))
        return self.run(run)

    def forget(self, run: str) -> None:
        """Remove a run and its shards from the ledger, as for one that is to be computed anew."""
        with self._change() as change:
            change.execute(sa.delete(SHARDS).where(SHARDS.c.run == run))
            change.execute(sa.delete(RUNS).where(RUNS.c.id == run))

    # --- working -----------------------------------------------------------------------------------------------

    def claim(self, run: str, worker: str) -> Shard | None:
        """Return a shard for ``worker`` to do, or None when there is none to have now.

        Waiting shards come first, dearest first; then one whose worker is gone: its process is no longer there (same
        host), or its beats have stood still for a lease as watched by this object.
        """
        with self._change() as change:
            if change.execute(sa.select(RUNS.c.state).where(RUNS.c.id == run)).scalar() not in {
                State.WAITING,
                State.RUNNING,
            }:
                return None
            waiting = (
                sa.select(SHARDS)
                .where(SHARDS.c.run == run, SHARDS.c.state == State.WAITING)
                .order_by(SHARDS.c.cost.desc(), SHARDS.c.number)
            )
            for row in change.execute(waiting.limit(8)):
                if self._take(change, row, worker):
                    return _shard(row, worker)
            held = sa.select(SHARDS).where(SHARDS.c.run == run, SHARDS.c.state == State.LEASED)
            for row in change.execute(held).all():
                if not self._is_abandoned(row):
                    continue
                if row.attempts >= MOST_DEATHS:
                    _bury(change, row)
                    return None
                if self._take(change, row, worker):
                    return _shard(row, worker)
        return None

    def give_back(self, shard: Shard) -> None:
        """Let another worker have a shard that was begun: this one ends, or cannot do it."""
        with self._change() as change:
            values = {"state": State.WAITING, "worker": None, "attempts": shard.attempts - 1}
            change.execute(sa.update(SHARDS).where(*_held(shard)).values(values))

    def renew(self, shard: Shard) -> bool:
        """Say that the worker still works on its shard; False when it lost it, or the run was cancelled."""
        with self._change() as change:
            held = _held(shard)
            return bool(change.execute(sa.update(SHARDS).where(*held).values(beats=SHARDS.c.beats + 1)).rowcount)

    def finish(self, shard: Shard, result: Mapping[str, Any], seconds: float) -> bool:
        """Say that a shard is done; False when another worker has it now (its result is the same by content)."""
        with self._change() as change:
            done = sa.update(SHARDS).where(*_held(shard))
            values = {"state": State.DONE, "result": json.dumps(dict(result)), "seconds": seconds, "message": ""}
            return bool(change.execute(done.values(**values)).rowcount)

    def fail(self, shard: Shard, message: str, *, again: bool) -> None:
        """Say that a shard failed; with ``again`` it is tried anew, up to ``MOST_ATTEMPTS`` times in all."""
        state = State.WAITING if again and shard.attempts < MOST_ATTEMPTS else State.FAILED
        with self._change() as change:
            values = {"state": state, "message": message, "worker": None}
            ours = change.execute(sa.update(SHARDS).where(*_held(shard)).values(values)).rowcount
            if ours and state is State.FAILED:
                change.execute(sa.update(RUNS).where(*_open_run(shard.run)).values(_failed(message)))

    def close(self, run: str) -> bool:
        """Mark a run done when all its shards are; return whether it is done."""
        with self._change() as change:
            left = sa.select(sa.func.count()).where(SHARDS.c.run == run, SHARDS.c.state != State.DONE)
            if change.execute(left).scalar():
                return False
            values = {"state": State.DONE, "message": "", "ended_at": _now()}
            change.execute(sa.update(RUNS).where(*_open_run(run)).values(values))
        return self.run(run).state is State.DONE

    def results(self, run: str) -> list[Mapping[str, Any]]:
        """Return the results of the shards that are done, by number."""
        done = sa.select(SHARDS.c.result).where(SHARDS.c.run == run, SHARDS.c.state == State.DONE)
        with self._change() as change:
            return [json.loads(text) for (text,) in change.execute(done.order_by(SHARDS.c.number))]

    # --- looking -----------------------------------------------------------------------------------------------

    def run(self, run: str) -> Run:
        """Return one run, by its id or the first characters of it.

        Raises:
            UsageError: None or several begin so.
        """
        with self._change() as change:
            rows = change.execute(sa.select(RUNS).where(RUNS.c.id.startswith(run, autoescape=True))).all()
            exact = [row for row in rows if row.id == run] or rows
            if len(exact) != 1:
                raise UsageError(f"{len(rows) or 'no'} runs begin with {run!r}; aroma runs list shows them")
            return self._described(change, exact[0])

    def runs(self) -> list[Run]:
        """Return every run, the newest first."""
        with self._change() as change:
            rows = change.execute(sa.select(RUNS).order_by(RUNS.c.created_at.desc(), RUNS.c.id)).all()
            return [self._described(change, row) for row in rows]

    def open_runs(self, queues: Sequence[str]) -> list[tuple[str, str]]:
        """Return id and kind of the open runs of some queues, the oldest first."""
        is_open = RUNS.c.state.in_((State.WAITING, State.RUNNING))
        wanted = sa.select(RUNS.c.id, RUNS.c.kind).where(is_open, RUNS.c.queue.in_(list(queues)))
        with self._change() as change:
            rows = change.execute(wanted.order_by(RUNS.c.created_at, RUNS.c.id)).all()
        return [(row.id, row.kind) for row in rows]

    # --- workers -----------------------------------------------------------------------------------------------

    def announce(self, worker: str, queues: Sequence[str], device: str) -> None:
        """Say that a worker is there; said again every few seconds."""
        with self._change() as change:
            seen = {"seen_at": _now(), "beats": WORKERS.c.beats + 1}
            if not change.execute(sa.update(WORKERS).where(WORKERS.c.name == worker).values(seen)).rowcount:
                row = {"name": worker, "queues": ",".join(queues), "device": device, "since": _now(), "beats": 0}
                change.execute(insert_if_new(self._engine, WORKERS), row | {"seen_at": _now()})

    def leave(self, worker: str) -> None:
        """Say that a worker ends."""
        with self._change() as change:
            change.execute(sa.delete(WORKERS).where(WORKERS.c.name == worker))

    def workers(self) -> list[WorkerSeen]:
        """Return the workers that are there, by name; those that ended without a word are struck out."""
        oldest = (datetime.now(tz=UTC) - timedelta(seconds=WORKER_SECONDS)).isoformat(timespec="milliseconds")
        with self._change() as change:
            rows = change.execute(sa.select(WORKERS).order_by(WORKERS.c.name)).all()
            gone = [row.name for row in rows if row.seen_at < oldest or _process_is_gone(row.name)]
            if gone:
                change.execute(sa.delete(WORKERS).where(WORKERS.c.name.in_(gone)))
        return [
            WorkerSeen(row.name, tuple(row.queues.split(",")), row.device, row.since, row.seen_at)
            for row in rows
            if row.name not in gone
        ]

    # --- how a run stands --------------------------------------------------------------------------------------

    def _described(self, change: sa.Connection, row: Any) -> Run:
        shards = sa.select(SHARDS.c.state, sa.func.count(), sa.func.coalesce(sa.func.sum(SHARDS.c.cost), 0)).where(
            SHARDS.c.run == row.id
        )
        counts = change.execute(shards.group_by(SHARDS.c.state)).all()
        held = sa.select(SHARDS.c.worker).where(SHARDS.c.run == row.id, SHARDS.c.state == State.LEASED)
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
        same = [SHARDS.c.run == row.run, SHARDS.c.number == row.number, SHARDS.c.state == row.state]
        same += [SHARDS.c.beats == row.beats, SHARDS.c.attempts == row.attempts]
        taken = {"state": State.LEASED, "worker": worker, "beats": row.beats + 1, "attempts": row.attempts + 1}
        self._seen.pop((row.run, row.number), None)
        return bool(change.execute(sa.update(SHARDS).where(*same).values(**taken)).rowcount)

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


def _open_run(run: str) -> list[Any]:
    return [RUNS.c.id == run, RUNS.c.state.in_((State.WAITING, State.RUNNING))]


def _failed(message: str) -> dict[str, Any]:
    return {"state": State.FAILED, "message": message, "ended_at": _now()}


def _bury(change: sa.Connection, row: Any) -> None:
    """Fail a shard that one worker after the other died of."""
    message = (
        f"shard {row.number}: {row.attempts} workers died while doing it, the last was {row.worker}; "
        f"look at its memory and log, then: aroma runs resume {row.run}"
    )
    same = [SHARDS.c.run == row.run, SHARDS.c.number == row.number, SHARDS.c.beats == row.beats]
    values = {"state": State.FAILED, "message": message, "worker": None}
    if change.execute(sa.update(SHARDS).where(*same, SHARDS.c.state == State.LEASED).values(values)).rowcount:
        change.execute(sa.update(RUNS).where(*_open_run(row.run)).values(_failed(message)))


def _held(shard: Shard) -> list[Any]:
    """Return the condition that a worker still holds its shard by this very claim."""
    return [
        SHARDS.c.run == shard.run,
        SHARDS.c.number == shard.number,
        SHARDS.c.state == State.LEASED,
        SHARDS.c.worker == shard.worker,
        SHARDS.c.attempts == shard.attempts,
    ]


def _shard(row: Any, worker: str) -> Shard:
    return Shard(row.run, row.number, json.loads(row.payload), row.cost, worker, row.attempts + 1)


def _process_is_gone(worker: str) -> bool:
    """Tell whether a worker of this host ended; its shard need not wait for the lease."""
    host, _, rest = worker.partition(":")
    pid = rest.partition(":")[0]
    if host != _place() or not pid.isdigit():
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
