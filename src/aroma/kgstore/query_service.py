"""Asking the graph: a saved query or free Cypher, over the published release or an older one, never writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from aroma.errors import IdentifierError, UsageError
from aroma.kgstore.cypher_guard import check_read_only, parameter_names
from aroma.kgstore.engines import ensure_copy, open_engine
from aroma.kgstore.engines.base import PUBLISHED
from aroma.kgstore.engines.embedded import EmbeddedEngine
from aroma.kgstore.graph import READ_ROWS, READ_SECONDS, Graph, QueryResult
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.identifiers import Prefix
from aroma.kgstore.publications import require_published
from aroma.kgstore.releases import find_release, load_tables
from aroma.kgstore.resolver import GeneResolver
from aroma.kgstore.saved_queries import SavedQuery, find_query
from aroma.kgstore.tables import read_table

_GENE_PREFIXES: Final = frozenset({Prefix.HGNC, Prefix.ENSEMBL, Prefix.ENTREZ})


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: exactly one of ``name`` (a saved query) and ``cypher`` (free text).

    Attributes:
        name: Name of a saved query.
        cypher: Free Cypher, refused unless it only reads.
        parameters: As a user wrote them, by name. In free Cypher, whole numbers, true and false become such.
        queries: Directory of a user's own saved queries.
        as_of: Release to ask instead of the published one.
        limit: Most rows.
        timeout: Seconds.
        explain: Let the engine check the query instead of running it.
    """

    name: str | None = None
    cypher: str | None = None
    parameters: Mapping[str, str] | None = None
    queries: Path | None = None
    as_of: str | None = None
    limit: int = READ_ROWS
    timeout: float = READ_SECONDS
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        query: Name of the saved query, or None.
        release: Release that was asked.
        engine: Engine that answered.
        text: Cypher sent.
        parameters: Values sent.
        notes: What a user should know: genes that were resolved by another name, rows that were cut.
        result: The rows.
    """

    query: str | None
    release: str
    engine: str
    text: str
    parameters: Mapping[str, Any]
    notes: tuple[str, ...]
    result: QueryResult


def run_query(home: Home, target: GraphTarget, question: Question) -> Answer:
    """Ask one question.

    Raises:
        UsageError: No such query, parameter or gene; the message names the nearest one.
        QueryError: Free Cypher that would write, is malformed, or took too long.
        ReleaseError: Nothing is published, or there is no such release.
        StoreUnavailableError: The database cannot be reached.
    """
    if (question.name is None) == (question.cypher is None):
        raise UsageError("give the name of a saved query, or --cypher TEXT, or --file FILE: one of them")
    if question.limit < 1 or question.timeout <= 0:
        raise UsageError("--limit and --timeout must be greater than 0")
    saved = find_query(question.name, question.queries) if question.name is not None else None
    bound = saved.bind(question.parameters or {}) if saved else {}
    if question.cypher is not None:
        check_read_only(question.cypher)
    release = find_release(home, question.as_of or require_published(home).release)
    names = _Names(home, release)
    values, notes = _resolved(saved, bound, names) if saved else (_guessed(question.parameters or {}), [])
    with _connect(home, target, release, notes) as graph:
        engine = graph.engine
        text = _text(saved, question, engine, values)
        result = graph.read(text, values, timeout=question.timeout, limit=question.limit)
    if result.truncated:
        notes.append(f"more than {question.limit:,} rows: the others were cut; raise --limit, or ask for less")
    return Answer(question.name, release, engine, text, values, tuple(notes), result)


def _connect(home: Home, target: GraphTarget, release: str, notes: list[str]) -> Graph:
    """Open a client on a release: on the database if it holds it now, else on an embedded copy made of its tables.

    The copy answers for older releases, and while a Neo4j database is being changed to the next one.

    Raises:
        StoreUnavailableError: The database cannot be reached or holds no release at all.
    """
    if not target.is_embedded:
        engine = open_engine(home, target)
        held = engine.holds()
        if held is None or (held.release, held.state) == (release, PUBLISHED):
            return engine.connect(release)
        if held.state != PUBLISHED:
            notes.append(f"{target.uri} is being changed to release {held.target}; a copy of {release} answered")
    copies = EmbeddedEngine(home)
    if copies.copy_of(release) is None:
        ensure_copy(home, release, load_tables(home, release, only=()))
    return copies.connect(release)


def _text(saved: SavedQuery | None, question: Question, engine: str, values: Mapping[str, Any]) -> str:
    text = saved.text(engine) if saved else str(question.cypher)
    check_read_only(text)
    if missing := [name for name in parameter_names(text) if name not in values]:
        raise UsageError(f"the query uses ${missing[0]}, which was not given; add --param {missing[0]}=VALUE")
    text = text.strip().removesuffix(";")
    return f"EXPLAIN {text}" if question.explain else text


class _Names:
    """The gene names of one release, read when first needed."""

    def __init__(self, home: Home, release: str) -> None:
        self._directory = home.release(release)

    @cached_property
    def resolver(self) -> GeneResolver:
        nodes = read_table(self._directory, "nodes", ["id", "label", "symbol"])
        return GeneResolver.from_tables(nodes, read_table(self._directory, "gene_names", ["name", "tier", "gene"]))


def _resolved(saved: SavedQuery, bound: Mapping[str, Any], names: _Names) -> tuple[dict[str, Any], list[str]]:
    """Turn gene names into node ids, and say where that was not by symbol or id."""
    values, notes = dict(bound), []
    for parameter in saved.parameters:
        given = bound[parameter.name]
        if parameter.type == "gene" or (parameter.type == "node" and _may_be_gene(str(given))):
            values[parameter.name], said = _gene(str(given), parameter.name, names.resolver)
            notes.extend(said)
    return values, notes


def _may_be_gene(given: str) -> bool:
    prefix, separator, _ = given.partition(":")
    return not separator or prefix in _GENE_PREFIXES


def _gene(given: str, parameter: str, resolver: GeneResolver) -> tuple[str, list[str]]:
    found = resolver.resolve(given)
    if found.gene is None:
        if found.candidates:
            which = f"it may be {', '.join(found.candidates)}; give one of these"
        else:
            near = resolver.nearest(given)
            which = f"the nearest symbols are {', '.join(near)}" if near else "no symbol is spelled like it"
        raise IdentifierError(f"parameter {parameter}: {given!r} is {found.reason} as a gene of this release; {which}")
    notes = []
    if given not in {found.gene, found.symbol}:
        notes.append(f"{given} → {found.symbol or found.gene} ({found.gene}), by {found.tier}")
    if found.flags:
        notes.append(f"{given} is also a looser name of {', '.join(found.candidates)} ({', '.join(found.flags)})")
    return found.gene, notes


def _guessed(given: Mapping[str, str]) -> dict[str, Any]:
    """Give the parameters of free Cypher the type that they look like; quotes keep a number as text."""
    return {name: _guess(value) for name, value in given.items()}


def _guess(value: str) -> str | int | float | bool:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    if value in {"true", "false"}:
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
