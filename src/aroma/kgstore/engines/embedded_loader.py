"""Fills a fresh embedded database with one release, in a process of its own: ``python -m … embedded_loader``.

Reads one JSON object from standard input: ``tables`` (directory), ``target`` (the directory that the database gets when
complete), ``lock`` and ``publication``. It then holds standard input open to notice when its starter is gone. Prints
what it does, a line a step. A database that is not complete has another name and is removed by the next loader.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import filelock
import polars as pl

from aroma.errors import AromaError, StoreUnavailableError
from aroma.kgstore import projection
from aroma.kgstore.engines.ahead import ahead
from aroma.kgstore.engines.base import PUBLISHED
from aroma.kgstore.migrations import migrate
from aroma.kgstore.publications import Publication, flush_to_disk, write_durably
from aroma.kgstore.tables import ReleaseTables

CARD: Final = "aroma.json"
"""In a complete database's directory: which release and number it holds."""
COMMAND_MILLISECONDS: Final = 30_000
HEAP: Final = os.environ.get("AROMA_EMBEDDED_HEAP", "1200m")
_LOCK_SECONDS: Final = 300
_ROWS: Final = 20_000
_SLICE: Final = 200_000


def main() -> int:
    """Load what standard input describes; returns the exit code."""
    given = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_starter, daemon=True).start()
    target = Path(given["target"])
    try:
        with filelock.FileLock(given["lock"], timeout=_LOCK_SECONDS):
            if not (target / CARD).exists():
                load(Path(given["tables"]), target, Publication(**given["publication"]))
    except AromaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except filelock.Timeout:
        sys.stderr.write(f"another process has been filling a database for {_LOCK_SECONDS} s; wait for it, try again\n")
        return 1
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"{target} could not be filled: {' '.join(str(error).split())[:500]}\n")
        return 1
    return 0


def load(tables: Path, target: Path, publication: Publication) -> None:
    """Fill a database beside ``target`` and rename it into place when it is complete and on the disk."""
    partial = target.with_name(f".{target.name}.partial")
    for stale in (partial, target):  # a target without its card is no database of ours
        shutil.rmtree(stale, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    read = ReleaseTables.read(tables, projection.PROJECTED)
    database = _Filling(partial)
    try:
        database.create_types()
        database.add_nodes(projection.project_nodes(read))
        said = projection.release_properties(publication, read.counts(), PUBLISHED)
        release = pl.DataFrame({"id": [publication.release], "text": [json.dumps(said)]})
        database.add_nodes(iter([projection.Nodes(projection.RELEASE, release)]))
        database.add_edges(projection.project_edges(read, publication.release, at_most=_SLICE))
        database.finish()
    finally:
        database.close()
    write_card(partial, publication)
    for file in partial.rglob("*"):
        flush_to_disk(file)
    flush_to_disk(partial)
    partial.rename(target)
    flush_to_disk(target.parent)


def write_card(directory: Path, publication: Publication) -> None:
    """Note in the directory of a database which release and number it holds."""
    card = {"release": publication.release, "sequence": publication.sequence, "published_at": publication.published_at}
    write_durably(directory / CARD, json.dumps(card))


def _end_with_starter() -> None:
    sys.stdin.read()  # returns when the starter's end of the pipe closes, however that came about
    os._exit(1)


def _say(step: str) -> None:
    sys.stdout.write(f"{step}\n")
    sys.stdout.flush()


class _Filling:
    """An ArcadeDB database being filled by ``GraphBatch``, which switches the write-ahead log off meanwhile.

    Rows cross into Java as JSON text, tens of thousands at a time (``VertexBatcher``, ``EdgeBatcher``): a call a row
    would cost more than the engine's own work.
    """

    engine = "arcadedb"

    def __init__(self, directory: Path) -> None:
        import arcadedb_embedded
        import jpype
        from arcadedb_embedded.jvm import start_jvm

        start_jvm(heap_size=HEAP)
        self._database = arcadedb_embedded.create_database(str(directory))
        self._vertices = jpype.JClass("com.arcadedb.python.VertexBatcher")
        self._edges = jpype.JClass("com.arcadedb.python.EdgeBatcher")
        self._java = self._database._java_db  # noqa: SLF001 - the batchers take the Java object
        self._batch: Any = None
        self._places: dict[str, pl.DataFrame] = {}

    def create_types(self) -> None:
        """Create all labels and relationship types, so that a query on an empty one is no error."""
        for label in (*projection.LABELS, projection.RELEASE):
            self._database.command("sql", f"CREATE VERTEX TYPE {label} BUCKETS 1")
            self._database.command("sql", f"CREATE PROPERTY {label}.id STRING")
        for relation in projection.RELATIONS:
            self._database.command("sql", f"CREATE EDGE TYPE {relation} BUCKETS 1")
        self._batch = self._java.batch().withBatchSize(_ROWS).build()

    def add_nodes(self, batches: Iterator[projection.Nodes]) -> None:
        """Write nodes and remember where the engine put them."""
        for nodes in batches:
            places: list[str] = []
            for part in nodes.frame.iter_slices(_ROWS):
                said = self._vertices.createVerticesJson(self._batch, nodes.label, _array(part["text"]))
                places.extend(str(said).split(";"))
            self._places[nodes.label] = pl.DataFrame(
                {"id": nodes.frame["id"], "place": pl.Series(places, dtype=pl.String)}
            )
            if nodes.frame.height:
                _say(f"{nodes.frame.height:,} {nodes.label} nodes")

    def add_edges(self, batches: Iterator[projection.Edges]) -> None:
        """Write edges between nodes written before."""
        for relation, rows, text in ahead(self._written(batches)):
            self._edges.newEdgesJson(self._batch, relation, text)
            _say(f"{rows:,} {relation} edges")

    def _written(self, batches: Iterator[projection.Edges]) -> Iterator[tuple[str, int, str]]:
        """Yield type, rows and JSON of edges between the places of their ends."""
        rest = pl.col("text").str.strip_prefix("{")
        comma = pl.when(rest == "}").then(pl.lit("")).otherwise(pl.lit(","))
        ends = (pl.lit('{"_src":"'), pl.col("_src"), pl.lit('","_dst":"'), pl.col("_dst"), pl.lit('"'))
        for edges in batches:
            subjects = self._places[edges.subject_label].rename({"id": "subject", "place": "_src"})
            objects = self._places[edges.object_label].rename({"id": "object", "place": "_dst"})
            for part in edges.frame.iter_slices(_ROWS):
                placed = part.join(subjects, on="subject", maintain_order="left").join(objects, on="object")
                whole = placed.select(pl.concat_str(*ends, comma, rest).alias("text"))["text"]
                yield edges.relation, placed.height, _array(whole)

    def finish(self) -> None:
        """Write out what is buffered, then build the indexes."""
        self._batch.close()
        self._batch = None
        _say("indexes and migrations")
        for label in (*projection.LABELS, projection.RELEASE):
            self._database.command("sql", f"CREATE INDEX IF NOT EXISTS ON {label} (id) UNIQUE")
        migrate(self)
        self._database.command("sql", f"ALTER DATABASE `arcadedb.command.timeout` {COMMAND_MILLISECONDS}")

    def run(self, text: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[object, ...]]:
        """Run one Cypher text; with ``run_sql`` this makes the database one that migrations can be applied to."""
        return self._command("opencypher", text, parameters)

    def run_sql(self, text: str) -> None:
        """Run one SQL statement."""
        self._command("sql", text, None)

    def _command(self, language: str, text: str, parameters: Mapping[str, Any] | None) -> list[tuple[object, ...]]:
        from arcadedb_embedded import ArcadeDBError

        try:
            if text.split(maxsplit=2)[1].upper() in {"CONSTRAINT", "INDEX", "PROPERTY", "FULLTEXT"}:
                self._database.command(language, text)
                return []
            with self._database.transaction():
                result = self._database.command(language, text, dict(parameters or {}))
                rows = [tuple(row.to_dict().values()) for row in result] if result is not None else []
        except ArcadeDBError as error:
            raise StoreUnavailableError(f"the embedded engine refuses {text[:80]!r}: {error}") from error
        return rows

    def close(self) -> None:
        """Close the database, after which its files are complete; a failed batch is given up."""
        self._database.close()


def _array(texts: pl.Series) -> str:
    return f"[{','.join(texts.to_list())}]"


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    if code == 0:
        _say(f"filled in {time.monotonic() - started:.1f} s")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the Java threads of a failed load would keep the process
