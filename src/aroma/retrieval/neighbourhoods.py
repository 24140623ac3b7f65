"""The nodes within some hops of one node of a view, as a record that the doors hand out."""

from __future__ import annotations

import numpy as np

from aroma.errors import IdentifierError, UsageError
from aroma.kgstore.home import Home
from aroma.kgstore.resolver import GeneResolver
from aroma.kgstore.views import ViewDefinition
from aroma.retrieval import subgraphs
from aroma.retrieval.answer_model import Link, Neighbour, NeighbourhoodAnswer
from aroma.retrieval.evidence_model import ViewRef
from aroma.retrieval.gene_names import open_resolver
from aroma.retrieval.snapshot import Snapshot, View, open_snapshot


def neighbourhood(
    home: Home,
    name: str,
    *,
    view: str | ViewDefinition = "gene-kg",
    hops: int = 1,
    limit: int = 100,
    release: str | None = None,
) -> NeighbourhoodAnswer:
    """Return the neighbourhood of a gene by any name, or of any node by its id.

    Args:
        home: Where the release is.
        name: A gene's name, or a node id.
        view: Preset name or definition.
        hops: How far, 0 to 32.
        limit: Most nodes, the centre among them; see ``subgraphs`` for which stay.
        release: Release, or None for the published one.

    Raises:
        IdentifierError: ``name`` means no node, or one that has no edge in the view.
        UsageError: A number is out of range, or no preset has that name.
    """
    snapshot = open_snapshot(home, release)
    return neighbourhood_of(snapshot, snapshot.view(view), node_number(snapshot, name), hops=hops, limit=limit)


def node_number(snapshot: Snapshot, name: str, resolver: GeneResolver | None = None) -> int:
    """Return the release node of a gene by any name, or of any node by its id.

    Args:
        snapshot: The opened release.
        name: A gene's name, or a node id.
        resolver: The release's resolver where it is open already.

    Raises:
        IdentifierError: ``name`` means no node; the message has the nearest symbols.
    """
    number = snapshot.nodes.ids.find(name)
    if number is None:
        resolver = resolver or open_resolver(snapshot)
        found = resolver.resolve(name)
        if found.gene is None:
            near = found.candidates or tuple(resolver.nearest(name))
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise IdentifierError(f"{name!r} names no gene or node here ({found.reason}){hint}")
        number = snapshot.nodes.ids.find(found.gene)
    if number is None:
        raise IdentifierError(f"{name!r} names a gene that release {snapshot.release} has no node for")
    return number


def local_number(snapshot: Snapshot, view: View, number: int) -> int:
    """Return the view's number of a release node.

    Raises:
        IdentifierError: The node has no edge in the view.
    """
    local = view.local(number)
    if local is None:
        name = snapshot.nodes.shown(number)
        raise IdentifierError(f"{name} ({snapshot.nodes.ids[number]}) has no edge in view {view.definition.name}")
    return local


def neighbourhood_of(snapshot: Snapshot, view: View, number: int, *, hops: int, limit: int) -> NeighbourhoodAnswer:
    """Return the neighbourhood of a release node in a view.

    Raises:
        IdentifierError: The node has no edge in the view.
        UsageError: A number is out of range.
    """
    if limit < 1:
        raise UsageError(f"limit is {limit}; it must leave room for the centre itself, so be 1 or more")
    centre = local_number(snapshot, view, number)
    found = subgraphs.neighbourhoods(view.csr, [centre], hops, cap=limit, threads=1)
    locals_, distances, edges = found.of(0)
    once = edges[:, edges[0] < edges[1]]
    total = int(found.total[0])
    degrees = view.csr.degrees[locals_]
    return NeighbourhoodAnswer(
        release=snapshot.release,
        view=ViewRef(name=view.definition.name, id=view.definition.id),
        centre=snapshot.nodes.node(number),
        hops=hops,
        limit=limit,
        total=total,
        cut=total > len(locals_),
        nodes=[
            Neighbour(node=snapshot.nodes.node(int(view.to_release[local])), hops=int(distance), degree=int(degree))
            for local, distance, degree in zip(locals_, distances, degrees, strict=True)
        ],
        links=[Link(start=start, end=end) for start, end in np.asarray(once).T.tolist()],
    )
