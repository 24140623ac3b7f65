"""The Neo4j engine: one database, changed by what differs between the release that it holds and the new one.

A change of up to ``ONE_TRANSACTION`` rows goes in at once, with the ``Release`` node. A larger one first marks the
``Release`` node as publishing, goes in by batches, and ends by replacing the node. What was interrupted is read back
and compared, so that a rerun does only what is missing. Labels that are not ours are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

import polars as pl

from aroma.errors import StoreUnavailableError
from aroma.kgstore import projection
from aroma.kgstore.engines import compare
from aroma.kgstore.engines.ahead import ahead
from aroma.kgstore.engines.base import PUBLISHED, PUBLISHING, Difference, Engine, Progress, Projection, silent
from aroma.kgstore.engines.compare import EdgeChanges, NodeChanges, edge_changes, node_changes
from aroma.kgstore.graph import Address, Graph
from aroma.kgstore.home import GraphTarget
from aroma.kgstore.migrations import GraphStore, migrate
from aroma.kgstore.publications import Publication
from aroma.kgstore.tables import ReleaseTables

ONE_TRANSACTION: Final = 50_000
"""Most rows that change in one transaction."""
_BATCH: Final = 20_000
Run = Callable[[str, dict[str, Any]], object]


class Neo4jEngine(Engine):
    """Holds exactly one release."""

    name: ClassVar[str] = "neo4j"

    def __init__(self, target: GraphTarget, *, one_transaction: int = ONE_TRANSACTION) -> None:
        self._address = Address(target.uri, None, target.user, target.password)
        self._one_transaction = one_transaction

    def holds(self) -> Projection | None:
        """Return what the ``Release`` node says; None where there is none, or more than one."""
        with Graph.open(self._address) as graph:
            return _held(graph)

    def connect(self, release: str | None = None) -> Graph:
        """Open a client that answers from the published release only.

        Raises:
            StoreUnavailableError: Nothing is published there, a change is under way, or it holds another release.
        """
        graph = Graph.open(self._address)
        try:
            _check_holds(graph, release)
            graph.pin = _pin
            _pin(graph)
        except BaseException:
            graph.close()
            raise
        return graph

    def project(
        self,
        tables: ReleaseTables,
        publication: Publication,
        *,
        previous: ReleaseTables | None,
        progress: Progress = silent,
    ) -> None:
        """Change the database from what it holds to ``tables``."""
        with Graph.open(self._address) as graph:
            held = _held(graph)
            migrate(GraphStore(graph))
            _index(graph)
            if held is not None and held.state == PUBLISHED and previous is not None:
                nodes, edges = _changes_from(tables, previous, publication.release)
            else:
                progress("comparing what the database holds")
                nodes, edges = _changes_read(graph, tables, publication.release)
            counts = tables.counts()
            del tables, previous  # their memory is wanted for what changes
            self._apply(graph, nodes, edges, counts, publication, progress)

    def _apply(
        self,
        graph: Graph,
        nodes: list[NodeChanges],
        edges: list[EdgeChanges],
        counts: dict[str, int],
        publication: Publication,
        progress: Progress,
    ) -> None:
        total = sum(change.rows for change in nodes) + sum(change.rows for change in edges)
        progress(f"{total:,} rows change")
        said = projection.release_properties(publication, counts, PUBLISHED)
        if total <= self._one_transaction:

            def at_once(transaction: Any) -> None:
                for text, parameters, _ in _steps(nodes, edges):
                    transaction.run(text, parameters)
                _replace_release(transaction.run, said)

            graph.write_transaction(at_once)
            return
        graph.write_transaction(lambda transaction: _mark(transaction.run, publication))
        for text, parameters, step in ahead(_steps(nodes, edges)):
            graph.write(text, parameters)
            progress(step)
        graph.write_transaction(lambda transaction: _replace_release(transaction.run, said))

    def discard(self, release: str) -> None:
        """Empty the database of our labels, if it holds this release."""
        with Graph.open(self._address) as graph:
            held = _held(graph)
            if held is None or held.release != release:
                return
            for what, deleted in (("-[d]-()", "d"), ("", "n")):  # a hub's edges do not fit into one transaction
                for label in (*projection.LABELS, projection.RELEASE):
                    _empty(graph, f"MATCH (n:{label}){what} WITH DISTINCT {deleted} LIMIT {_BATCH} DELETE {deleted}")

    def verify(self, tables: ReleaseTables) -> list[Difference]:
        """Compare the database with the tables of the release that it says it holds."""
        with Graph.open(self._address) as graph:
            held = _held(graph)
            if held is None:
                return [Difference("node", projection.RELEASE, "missing: 1", graph.address)]
            return compare.differences(graph, tables, held.release)

    def repair(self, tables: ReleaseTables, publication: Publication, *, progress: Progress = silent) -> None:
        """Read everything, and change what differs."""
        with Graph.open(self._address) as graph:
            _index(graph)
            nodes, edges = _changes_read(graph, tables, publication.release)
            self._apply(graph, nodes, edges, tables.counts(), publication, progress)


def _held(graph: Graph) -> Projection | None:
    rows = graph.read("MATCH (r:Release) RETURN r.id, r.sequence, r.state, r.target LIMIT 2").rows
    if len(rows) != 1:
        return None
    release, sequence, state, target = rows[0]
    number = sequence if isinstance(sequence, int) else 0
    return Projection(str(release), number, str(state), None if target is None else str(target))


def _empty(graph: Graph, text: str) -> None:
    while graph.write(f"{text} RETURN count(*)").rows[0][0]:
        pass


def _check_holds(graph: Graph, release: str | None) -> None:
    held = _held(graph)
    if held is None:
        raise StoreUnavailableError(f"{graph.address} holds no release; run: aroma build --uri {graph.address}")
    if release is not None and held.release != release:
        raise StoreUnavailableError(
            f"{graph.address} holds release {held.release}, not {release}; for another one use --as-of, "
            f"or: aroma releases open {release}"
        )


def _pin(graph: Graph) -> object:
    """Return what the database holds, which must be the same before and after a read."""
    rows = graph.read_once("MATCH (r:Release) RETURN r.id, r.sequence, r.state, r.target")
    if not rows:
        raise StoreUnavailableError(f"{graph.address} holds no release any more; run: aroma releases verify --repair")
    _, _, state, target = rows[0]
    if state == PUBLISHING:
        raise StoreUnavailableError(f"{graph.address} is publishing release {target}, try again")
    return rows


def _index(graph: Graph) -> None:
    """Make sure that every label has a unique key, also those that no migration asks for."""
    there = graph.read("SHOW CONSTRAINTS YIELD labelsOrTypes, properties RETURN labelsOrTypes, properties").rows
    missing = [label for label in (*projection.LABELS, projection.RELEASE) if ([label], ["id"]) not in there]
    for label in missing:
        graph.write(f"CREATE CONSTRAINT IF NOT EXISTS FOR (n:{label}) REQUIRE n.id IS UNIQUE")
    graph.write("CALL db.awaitIndexes(300)")


def _changes_from(
    tables: ReleaseTables, previous: ReleaseTables, release: str
) -> tuple[list[NodeChanges], list[EdgeChanges]]:
    """Return the changes between two releases' tables. The ``Release`` node and its edges are replaced anyway."""
    nodes = node_changes(
        projection.project_nodes(tables), {nodes.label: nodes.frame for nodes in projection.project_nodes(previous)}
    )
    before = {edges.thing: edges.frame for edges in _own_edges(previous, release)}
    return list(nodes), list(edge_changes(_own_edges(tables, release), before))


def _own_edges(tables: ReleaseTables, release: str) -> Iterator[projection.Edges]:
    return (edges for edges in projection.project_edges(tables, release) if edges.relation != projection.INCLUDES)


def _changes_read(graph: Graph, tables: ReleaseTables, release: str) -> tuple[list[NodeChanges], list[EdgeChanges]]:
    """Return the changes from what the database says to the tables."""
    nodes = list(node_changes(projection.project_nodes(tables), compare.read_nodes(graph)))
    edges: list[EdgeChanges] = []
    for wanted, thing, actual in compare.read_edges(graph, projection.project_edges(tables, release)):
        if thing[0] != projection.INCLUDES:
            edges += edge_changes([wanted] if wanted else [], {thing: actual})
    return nodes, edges


def _mark(run: Run, publication: Publication) -> None:
    """Say that a change is under way; readers are refused from here on."""
    run(
        "MERGE (r:Release) ON CREATE SET r.id = $id, r.sequence = $sequence SET r.state = $state, r.target = $id",
        {"id": publication.release, "sequence": publication.sequence, "state": PUBLISHING},
    )


def _replace_release(run: Run, said: dict[str, object]) -> None:
    run("MATCH (r:Release) DETACH DELETE r", {})
    run("CREATE (r:Release) SET r = $said WITH r MATCH (i:ImportRun) CREATE (r)-[:INCLUDES]->(i)", {"said": said})


def _steps(nodes: list[NodeChanges], edges: list[EdgeChanges]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield texts, parameters and what they do: what goes first, then nodes, then the edges between them."""
    for change in edges:
        yield from _remove_edges(change.thing, pl.concat([change.remove, change.alter.select(change.remove.columns)]))
    for nodes_change in nodes:
        yield from _node_steps(nodes_change)
    for change in edges:
        yield from _add_edges(change.thing, pl.concat([change.add, change.alter]))


def _node_steps(change: NodeChanges) -> Iterator[tuple[str, dict[str, Any], str]]:
    label = change.label
    remove = f"UNWIND $rows AS id MATCH (n:{label} {{id: id}}) DETACH DELETE n"
    for part in change.remove.filter(pl.col("id").is_not_null()).iter_slices(_BATCH):
        yield remove, {"rows": part["id"].to_list()}, f"{part.height:,} {label} nodes go"
    if change.remove["id"].null_count():
        yield f"MATCH (n:{label}) WHERE n.id IS NULL DETACH DELETE n", {}, f"{label} nodes without id go"
    alter = f"UNWIND $rows AS said MATCH (n:{label} {{id: said.id}}) SET n = said"
    for part in change.alter.iter_slices(_BATCH):
        yield alter, {"rows": _objects(part["text"])}, f"{part.height:,} {label} nodes change"
    add = f"UNWIND $rows AS said CREATE (n:{label}) SET n = said"
    for part in change.add.iter_slices(_BATCH):
        yield add, {"rows": _objects(part["text"])}, f"{part.height:,} {label} nodes"


def _remove_edges(thing: compare.Thing, keys: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any], str]]:
    relation, subject, object_ = thing
    text = (
        f"UNWIND $rows AS row MATCH (a:{subject} {{id: row[0]}})-[r:{relation}]->(b:{object_} {{id: row[1]}}) "
        "WHERE coalesce(r.provider, '') = row[2] DELETE r"
    )
    for part in keys.sort(keys.columns).iter_slices(_BATCH):
        yield text, {"rows": [list(row) for row in part.rows()]}, f"{part.height:,} {relation} edges go"


def _add_edges(thing: compare.Thing, rows: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield what creates edges: grouped by subject, values without their names, and what all share once.

    Half the work of ``SET r = row.properties`` with a subject a row, on the server as well as here.
    """
    relation, subject, object_ = thing
    for part in rows.sort("subject").iter_slices(_BATCH):
        said = _objects(part["text"])
        names = sorted({name for properties in said for name in properties})
        shared = {name: said[0][name] for name in names if all(one.get(name) == said[0].get(name) for one in said)}
        own = [name for name in names if name not in shared]
        groups: dict[str, list[list[object]]] = {}
        for start, end, properties in zip(part["subject"].to_list(), part["object"].to_list(), said, strict=True):
            groups.setdefault(start, []).append([end, *map(properties.get, own)])
        values = [f"`{name}`: $shared.`{name}`" for name in shared]
        values += [f"`{name}`: row[{place}]" for place, name in enumerate(own, start=1)]
        text = (
            f"UNWIND $groups AS g MATCH (a:{subject} {{id: g[0]}}) UNWIND g[1] AS row "
            f"MATCH (b:{object_} {{id: row[0]}}) CREATE (a)-[:{relation} {{{', '.join(values)}}}]->(b)"
        )
        yield text, {"groups": [list(group) for group in groups.items()], "shared": shared}, _said(part, relation)


def _said(part: pl.DataFrame, relation: str) -> str:
    return f"{part.height:,} {relation} edges"


def _objects(texts: pl.Series) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(f"[{','.join(texts.to_list())}]")
    return found
