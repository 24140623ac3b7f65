"""The one seam to a database: a client over Bolt for both engines.

Values come back as plain Python: nodes and relationships as dicts, paths as a dict of both, dates and times as ISO
8601 text. Errors of the driver become ``StoreUnavailableError`` (cannot be used now) or ``QueryError`` (the text is at
fault, or took too long), each in one sentence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import neo4j
from neo4j import exceptions, graph

from aroma.errors import AromaError, QueryError, StoreUnavailableError

READ_SECONDS: Final = 30.0
READ_ROWS: Final = 10_000
OLDEST_NEO4J: Final = (5, 26)
_CONNECT_SECONDS: Final = 5.0
_WRITE_SECONDS: Final = 600.0

# A type that a release happens not to have is no news; without this the driver prints a paragraph for each.
logging.getLogger("neo4j.notifications").setLevel(logging.ERROR)

Result = TypeVar("Result")
Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Rows of a query.

    Attributes:
        columns: Names, in order.
        rows: Values by row, in the order of ``columns``.
        truncated: True when there were more rows than the limit.
        seconds: From sending the text to the last row.
        plan: How the engine would answer, as it says it; only of a text that begins with EXPLAIN or PROFILE.
    """

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]
    truncated: bool
    seconds: float
    plan: str | None = None

    def records(self) -> list[dict[str, object]]:
        """Return the rows as dicts by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Address:
    """Where one database answers, and as whom to ask.

    Attributes:
        uri: Bolt address.
        database: Name of the database; None for the server's own default.
        user: None where the server asks for none.
        password: None where the server asks for none.
    """

    uri: str
    database: str | None = None
    user: str | None = None
    password: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return the fields by name, for JSON output."""
        return {"uri": self.uri, "database": self.database, "user": self.user, "password": self.password}

    @property
    def auth(self) -> tuple[str, str] | None:
        """User and password for the driver."""
        return (self.user or "neo4j", self.password) if self.password is not None else None


class Transaction:
    """What ``Graph.write_transaction`` hands to its function: texts run in it stand or fall together."""

    def __init__(self, inner: neo4j.Transaction) -> None:
        self._inner = inner

    def run(self, text: str, parameters: Parameters | None = None) -> list[tuple[object, ...]]:
        """Run one text and return all its rows."""
        return [
            tuple(plain(value) for value in record.values()) for record in self._inner.run(text, dict(parameters or {}))
        ]


class Graph:
    """A database over Bolt. Open it by ``Engine.connect`` or ``Graph.open``; use it as a context manager."""

    def __init__(self, driver: neo4j.Driver, address: Address, engine: str, writer: Address | None = None) -> None:
        self._driver, self._address, self.engine, self._writer_address = driver, address, engine, writer
        self._writer: neo4j.Driver | None = None
        self.pin: Callable[[Graph], object] | None = None
        """Asked before and after each read: where the answers differ, a release was published meanwhile."""

    @classmethod
    def open(cls, address: Address, *, writer: Address | None = None) -> Graph:
        """Connect, and check that what answers is usable.

        Args:
            address: The database, and as whom to read.
            writer: As whom to write, where that is another user.

        Raises:
            StoreUnavailableError: Nothing answers, the password is wrong, it is no such database or is too old.
        """
        driver = _driver(address)
        try:
            agent = driver.get_server_info().agent
            engine = engine_of(agent)
            check_version(agent, address.uri)
        except BaseException as error:
            driver.close()
            if isinstance(error, Exception) and not isinstance(error, AromaError):
                raise _translated(error, address, None) from error
            raise
        return cls(driver, address, engine, writer)

    @property
    def address(self) -> str:
        """Bolt address."""
        return self._address.uri

    @property
    def database(self) -> str | None:
        """Name of the database; None for the server's own default."""
        return self._address.database

    def read(
        self,
        text: str,
        parameters: Parameters | None = None,
        *,
        timeout: float = READ_SECONDS,
        limit: int | None = READ_ROWS,
    ) -> QueryResult:
        """Run a text in read mode.

        Args:
            text: Cypher that ``kgstore.cypher_guard`` let pass. Neo4j refuses a write here; ArcadeDB does not.
            parameters: Values by name.
            timeout: Seconds, enforced by the server (Neo4j) or by giving up the connection (embedded, whose server
                ends the query at its own limit).
            limit: Most rows to return; None for all.

        Raises:
            QueryError: The text is malformed, would write, or took too long.
            StoreUnavailableError: The database cannot be reached.
        """
        before = self.pin(self) if self.pin else None
        result = self._read(text, parameters, timeout, limit)
        if self.pin and self.pin(self) != before:
            raise StoreUnavailableError(f"{self.address} published another release during the query, try again")
        return result

    def read_once(self, text: str) -> list[tuple[object, ...]]:
        """Run a short text without asking ``pin``, and return its rows."""
        return self._read(text, None, READ_SECONDS, READ_ROWS).rows

    def _read(self, text: str, parameters: Parameters | None, timeout: float, limit: int | None) -> QueryResult:
        start = time.perf_counter()

        def fetch() -> QueryResult:
            with self._session(neo4j.READ_ACCESS) as session:
                result = session.run(neo4j.Query(text, timeout=timeout), dict(parameters or {}))
                rows: list[tuple[object, ...]] = []
                truncated = False
                for record in result:
                    if limit is not None and len(rows) == limit:
                        truncated = True
                        break
                    rows.append(tuple(plain(value) for value in record.values()))
                columns = tuple(result.keys())
                plan = None if truncated else _plan_text(result.consume().plan)
                return QueryResult(columns, rows, truncated, time.perf_counter() - start, plan)

        try:
            return fetch() if self.engine == "neo4j" else _within(fetch, timeout)
        except (exceptions.Neo4jError, exceptions.DriverError, OSError, TimeoutError) as error:
            raise _translated(error, self._address, timeout) from error

    def write(self, text: str, parameters: Parameters | None = None) -> QueryResult:
        """Run one text in a transaction of its own and return all its rows.

        Raises:
            QueryError: The text is malformed.
            StoreUnavailableError: The database cannot be reached.
        """
        start = time.perf_counter()
        try:
            with self._session(neo4j.WRITE_ACCESS) as session:
                result = session.run(neo4j.Query(text, timeout=_WRITE_SECONDS), dict(parameters or {}))
                columns = tuple(result.keys())
                rows = [tuple(plain(value) for value in record.values()) for record in result]
                result.consume()
            return QueryResult(columns, rows, truncated=False, seconds=time.perf_counter() - start)
        except (exceptions.Neo4jError, exceptions.DriverError, OSError) as error:
            raise _translated(error, self._address, _WRITE_SECONDS) from error

    def write_transaction(self, work: Callable[[Transaction], Result]) -> Result:
        """Run ``work`` in one transaction: all of it is kept, or, when it raises, none.

        Raises:
            QueryError: A text is malformed.
            StoreUnavailableError: The database cannot be reached.
        """
        try:
            with self._session(neo4j.WRITE_ACCESS) as session, session.begin_transaction() as inner:
                result = work(Transaction(inner))
                inner.commit()
                return result
        except (exceptions.Neo4jError, exceptions.DriverError, OSError) as error:
            raise _translated(error, self._address, _WRITE_SECONDS) from error

    def close(self) -> None:
        """Close all connections."""
        self._driver.close()
        if self._writer is not None:
            self._writer.close()

    def _session(self, mode: str) -> neo4j.Session:
        driver = self._driver
        if mode == neo4j.WRITE_ACCESS and self._writer_address is not None:
            self._writer = driver = self._writer or _driver(self._writer_address)
        return driver.session(database=self._address.database, default_access_mode=mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _driver(address: Address) -> neo4j.Driver:
    try:
        return neo4j.GraphDatabase.driver(
            address.uri,
            auth=address.auth,
            connection_timeout=_CONNECT_SECONDS,
            connection_acquisition_timeout=_CONNECT_SECONDS * 2,
            user_agent="aroma",
            keep_alive=True,
        )
    except (exceptions.ConfigurationError, ValueError) as error:
        raise StoreUnavailableError(f"graph address {address.uri}: {error}") from error


def engine_of(agent: str) -> str:
    """Return ``arcadedb`` or ``neo4j`` for what a server says of itself."""
    return "arcadedb" if "ArcadeDB" in agent else "neo4j"


def check_version(agent: str, uri: str) -> None:
    """Refuse a server that is no Neo4j of 5.26 or newer.

    Raises:
        StoreUnavailableError: Too old, or something else that speaks Bolt.
    """
    if engine_of(agent) == "arcadedb":
        return
    name, _, version = agent.partition("/")
    parts = version.split("-")[0].split(".")[:2]
    if name != "Neo4j" or not all(part.isdigit() for part in parts) or len(parts) != len(OLDEST_NEO4J):
        raise StoreUnavailableError(
            f"{uri} is {agent or 'a server without a name'}, not a Neo4j server (5.26 or newer)"
        )
    if tuple(int(part) for part in parts) < OLDEST_NEO4J:
        raise StoreUnavailableError(f"{uri} is Neo4j {version}, which is too old; use 5.26 LTS or newer")


def plain(value: object) -> object:
    """Return a driver's value as plain Python (dict, list, text, number, bool, None)."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, graph.Entity | graph.Path):
        return _plain_entity(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.iso_format() if hasattr(value, "iso_format") else str(value)


def _plan_text(plan: Mapping[str, Any] | None, depth: int = 0) -> str | None:
    """Return an engine's plan as text: its own drawing of it, else one operator a line, inner ones indented."""
    if plan is None:
        return None
    arguments = plan.get("args", {})
    if drawn := arguments.get("string-representation"):
        return str(drawn).strip("\n")
    details = arguments.get("Details")
    line = "  " * depth + plan["operatorType"] + (f": {details}" if details else "")
    return "\n".join([line, *(str(_plan_text(child, depth + 1)) for child in plan.get("children", []))])


def _plain_entity(value: graph.Entity | graph.Path) -> dict[str, object]:
    if isinstance(value, graph.Path):
        return {
            "nodes": [_plain_entity(node) for node in value.nodes],
            "relationships": [_plain_entity(relationship) for relationship in value.relationships],
        }
    properties = {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, graph.Relationship):
        return {"type": value.type, "properties": properties}
    labels = sorted(value.labels) if isinstance(value, graph.Node) else []
    return {"labels": labels, "properties": properties}


def _within(work: Callable[[], Result], seconds: float) -> Result:
    """Run ``work`` on a thread of its own and give it up after ``seconds``: this engine ignores the driver's limit."""
    done: list[Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError
    return done[0]


def _translated(error: Exception, address: Address, seconds: float | None) -> AromaError:
    """Return our error, in one sentence, for one of the driver."""
    if isinstance(error, TimeoutError) or _timed_out(error):
        limit = f" of {seconds:g} s" if seconds else ""
        return QueryError(f"the query took longer than its limit{limit}; ask for less, or raise the limit")
    code = getattr(error, "code", None) or ""
    if "DatabaseNotFound" in code or "DatabaseUnavailable" in code:
        return StoreUnavailableError(f"{address.uri} has no database {address.database!r}")
    if isinstance(error, exceptions.AuthError) and "Forbidden" not in code:
        who = f"user {address.user or 'neo4j'}" if address.password is not None else "a login without password"
        return StoreUnavailableError(f"{address.uri} refuses {who}; set GRAPH_USER and GRAPH_PASSWORD")
    if isinstance(error, exceptions.TransientError):
        return StoreUnavailableError(f"{address.uri} cannot answer now: {_first_line(error)}; try again")
    if isinstance(error, exceptions.Neo4jError):
        return QueryError(_refusal(error, code))
    return StoreUnavailableError(
        f"no database answers at {address.uri} ({_first_line(error)}); start it, or correct --uri or GRAPH_URI"
    )


def _refusal(error: exceptions.Neo4jError, code: str) -> str:
    would_write = "Forbidden" in code or "AccessMode" in code or "read access mode" in (error.message or "")
    said = _first_line(error)
    return f"the query would write, which is not allowed here ({said})" if would_write else said


def _timed_out(error: Exception) -> bool:
    code = getattr(error, "code", None) or ""
    message = getattr(error, "message", None) or ""
    return (
        "TimedOut" in code or "TransactionTimedOut" in code or "TimeoutException" in message or "timed out" in message
    )


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", None) or error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
