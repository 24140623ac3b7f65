"""Saved queries: Cypher files whose header says what they answer, what they take and what they give.

A header is lines of ``// key: value`` at the top of a ``.cypher`` file::

    // answers: One sentence
    // note: More, where a user must know it (any number)
    // parameter: NAME: TYPE, required, example VALUE: Meaning
    // parameter: NAME: TYPE, default VALUE: Meaning
    // column: NAME: Meaning

Types are ``gene`` (symbol or identifier), ``node`` (identifier of anything, or gene symbol), ``text``, ``integer``,
``number``, ``boolean`` and ``list of text`` (values joined by ``;``); numbers may have bounds, as in ``integer from 1
to 6``. A file ``name.arcadedb.cypher`` or ``name.neo4j.cypher`` beside ``name.cypher`` replaces the text on that
engine.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from aroma.errors import QueryError, UsageError

QUERIES_VARIABLE: Final = "AROMA_QUERIES"
TYPES: Final = ("gene", "node", "text", "integer", "number", "boolean", "list of text")
_ENGINES: Final = ("neo4j", "arcadedb")
_PARAMETER: Final = re.compile(
    r"(?P<name>\w+): (?P<type>[a-z ]+?)"
    r"(?: from (?P<low>-?\d+) to (?P<high>-?\d+))?"
    r", (?:(?P<required>required)|default (?P<default>[^,:]+(?::[^ ,]+)*))"
    r"(?:, example (?P<example>.+?))?: (?P<meaning>.+)"
)

Value = str | int | float | bool | list[str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a saved query; ``default`` is None for a required one."""

    name: str
    type: str
    meaning: str
    default: str | None
    example: str
    bounds: tuple[int, int] | None = None

    def parse(self, given: str) -> Value:
        """Turn what a user wrote into a value of this parameter's type.

        Raises:
            UsageError: It is no value of that type.
        """
        try:
            value = _parse(given.strip(), self.type)
        except (ValueError, KeyError) as error:
            raise UsageError(
                f"parameter {self.name}={given!r} is not of type {self.type}; an example: {self.name}={self.example}"
            ) from error
        if self.bounds and isinstance(value, int | float) and not self.bounds[0] <= value <= self.bounds[1]:
            raise UsageError(f"parameter {self.name}={given}: give a number from {self.bounds[0]} to {self.bounds[1]}")
        return value


@dataclass(frozen=True, slots=True)
class SavedQuery:
    """A query text with its header; ``texts`` has the variants by engine, the common text under ``""``."""

    name: str
    answers: str
    notes: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    columns: tuple[tuple[str, str], ...]
    texts: Mapping[str, str]
    file: Path

    def text(self, engine: str) -> str:
        """Return the text for ``neo4j`` or ``arcadedb``."""
        return self.texts.get(engine) or self.texts[""]

    def bind(self, given: Mapping[str, str]) -> dict[str, Value]:
        """Return the values of all parameters, typed, defaults filled in.

        Raises:
            UsageError: A name that the query does not have, a missing value, or one of the wrong type.
        """
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                has = f"it takes {', '.join(names)}" if names else "it takes none"
                raise UsageError(f"query {self.name} has no parameter {name!r}{_nearest(name, names) or f'; {has}'}")
        bound: dict[str, Value] = {}
        for parameter in self.parameters:
            value = given.get(parameter.name, parameter.default)
            if value is None:
                raise UsageError(
                    f"query {self.name} needs parameter {parameter.name} ({parameter.type}: {parameter.meaning}); "
                    f"for example: aroma query {self.name} {self.example()}"
                )
            bound[parameter.name] = parameter.parse(value)
        return bound

    def example(self) -> str:
        """Return the options of an example call."""
        wanted = [parameter for parameter in self.parameters if parameter.default is None]
        return " ".join(f"--param {parameter.name}={parameter.example}" for parameter in wanted)


def load_queries(directory: Path | None = None) -> dict[str, SavedQuery]:
    """Return all saved queries by name: the bundled ones and a user's own, which win over bundled ones.

    Args:
        directory: A user's directory of query files; None takes ``AROMA_QUERIES`` where that is set.

    Raises:
        UsageError: The directory is absent, or a file's header cannot be read.
    """
    found = _read_directory(Path(str(resources.files("aroma.kgstore") / "queries")))
    own = directory or (Path(os.environ[QUERIES_VARIABLE]) if os.environ.get(QUERIES_VARIABLE) else None)
    if own is not None:
        if not own.is_dir():
            raise UsageError(f"{own} is no directory of queries (--queries or {QUERIES_VARIABLE})")
        found.update(_read_directory(own))
    return dict(sorted(found.items()))


def find_query(name: str, directory: Path | None = None) -> SavedQuery:
    """Return one saved query.

    Raises:
        UsageError: There is no such query; the message names the nearest one.
    """
    queries = load_queries(directory)
    if name not in queries:
        hint = _nearest(name, list(queries)) or f"; there are {', '.join(queries)}"
        raise UsageError(f"no saved query is called {name!r}{hint} (see: aroma query --list)")
    return queries[name]


def parse_query(file: Path, text: str, variants: Mapping[str, str]) -> SavedQuery:
    """Read one query file.

    Raises:
        UsageError: A header line that is not understood, or no ``answers`` line.
    """
    said: dict[str, list[str]] = {"answers": [], "note": [], "parameter": [], "column": []}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith("//"):
            break
        key, _, value = line.removeprefix("//").strip().partition(": ")
        if key not in said:
            raise UsageError(f"{file}, line {number}: header line {key!r} is none of {', '.join(said)}")
        said[key].append(value.strip())
    if len(said["answers"]) != 1:
        raise UsageError(f"{file}: the header needs one line '// answers: what the query answers'")
    parameters = tuple(_parse_parameter(file, line) for line in said["parameter"])
    columns = tuple((name, meaning.strip()) for name, _, meaning in (line.partition(":") for line in said["column"]))
    notes = tuple(said["note"])
    return SavedQuery(file.stem, said["answers"][0], notes, parameters, columns, {"": text, **variants}, file)


def _read_directory(directory: Path) -> dict[str, SavedQuery]:
    found = {}
    for file in sorted(directory.glob("*.cypher")):
        if file.stem.endswith(tuple(f".{engine}" for engine in _ENGINES)):
            continue
        beside = {engine: file.with_name(f"{file.stem}.{engine}.cypher") for engine in _ENGINES}
        variants = {engine: _read(path) for engine, path in beside.items() if path.exists()}
        found[file.stem] = parse_query(file, _read(file), variants)
    return found


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"{file}: cannot be read as UTF-8 text ({error})") from error


def _parse_parameter(file: Path, line: str) -> Parameter:
    found = _PARAMETER.fullmatch(line)
    if found is None or found["type"] not in TYPES:
        raise UsageError(
            f"{file}: parameter line {line!r} is not understood; "
            "write 'NAME: TYPE, required, example VALUE: Meaning' or 'NAME: TYPE, default VALUE: Meaning'"
        )
    default = found["default"]
    bounds = (int(found["low"]), int(found["high"])) if found["low"] else None
    example = found["example"] or default or "…"
    return Parameter(found["name"], found["type"], found["meaning"], default, example, bounds)


def _parse(given: str, kind: str) -> Value:
    if kind == "integer":
        return int(given)
    if kind == "number":
        return float(given)
    if kind == "boolean":
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[given.lower()]
    if kind == "list of text":
        return [part.strip() for part in given.split(";") if part.strip()]
    if not given:
        raise ValueError("empty")
    return given


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
